/**
 * What the traffic commands share: open the ports, wait for their links, run until a signal, a time or an error ends it,
 * report once a second, stop in good order.
 */
import type { NetDevice } from '../src/driver/device.js';
import { pollLoop } from '../src/forward/poll-loop.js';
import { warn } from './output.js';
import { type Stop, stopOnSignals } from './stop-signals.js';
import { type ReportPort, TrafficReport } from './traffic-report.js';

const LINK_TIMEOUT_MS = 10_000;
const DRAIN_TIMEOUT_MS = 500;
const REPORT_MS = 1000;

export interface TrafficOptions {
  readonly json?: boolean | undefined;
  /** Milliseconds; without it the run goes on until a signal. */
  readonly duration?: number | undefined;
}

/** What runs on the ports. */
export interface Traffic {
  /** One batch; returns the packets it moved. */
  poll(): number;
  /** True where nothing more will come: the run ends. */
  readonly done?: boolean;
  /** Whose packets end an idle sleep; empty where the poll must go on. */
  readonly wakeOn: readonly NetDevice[];
  readonly report: readonly ReportPort[];
  /** Runs between the wish to stop and the end of polling: packets that are on their way still pass. */
  beforeEnd?(): Promise<void>;
  /** Runs after the totals. */
  afterTotals?(): void;
}

/**
 * Runs traffic from open to close. The totals are printed whenever traffic ran, also when it fails in the end.
 * @param openAll opens the ports, one after the other; those that are open are closed where a later one fails
 * @throws NicError of the first thing that failed
 */
export async function runTraffic(
  openers: readonly (() => Promise<NetDevice>)[],
  makeTraffic: (devices: readonly NetDevice[]) => Traffic,
  options: TrafficOptions,
): Promise<void> {
  const stop = stopOnSignals();
  const devices: NetDevice[] = [];
  try {
    for (const opener of openers) {
      if (!stop.signal.aborted) devices.push(await opener());
    }
    if (!stop.signal.aborted) await waitForLinks(devices);
    if (!stop.signal.aborted) await run(devices, makeTraffic(devices), stop, options);
  } finally {
    // In reverse: later devices may use the pool of the first.
    const closed = await closeAll(devices);
    stop.dispose();
    if (closed !== undefined) stop.stop(closed);
  }
  stop.throwIfFailed();
}

async function run(
  devices: readonly NetDevice[],
  traffic: Traffic,
  stop: Stop,
  options: TrafficOptions,
): Promise<void> {
  const report = new TrafficReport(traffic.report, options.json ?? false);
  const watches = devices.map((device) => device.vfio.onGone((error) => stop.stop(error)));
  const ticker = setInterval(() => {
    try {
      report.tick();
    } catch (error) {
      stop.stop(error);
    }
  }, REPORT_MS);
  const end = options.duration === undefined ? undefined : setTimeout(() => stop.stop(), options.duration);
  const polling = new AbortController();
  const endPolling = async (): Promise<void> => {
    try {
      if (!stop.failed) await traffic.beforeEnd?.();
    } catch (error) {
      stop.stop(error);
    } finally {
      polling.abort();
    }
  };
  stop.signal.addEventListener('abort', endPolling, { once: true });
  try {
    await pollLoop(
      () => {
        if (traffic.done === true) stop.stop();
        return traffic.poll();
      },
      { signal: polling.signal, devices: traffic.wakeOn },
    );
  } catch (error) {
    stop.stop(error);
  } finally {
    clearInterval(ticker);
    clearTimeout(end);
    for (const unwatch of watches) unwatch();
  }
  try {
    for (const device of devices) await device.drain(DRAIN_TIMEOUT_MS);
    report.final(report.totals());
    traffic.afterTotals?.();
  } catch (error) {
    stop.stop(error);
  }
}

async function waitForLinks(devices: readonly NetDevice[]): Promise<void> {
  const states = await Promise.all(devices.map((device) => device.waitForLink(LINK_TIMEOUT_MS)));
  for (const [i, state] of states.entries()) {
    if (!state.up) warn(`${devices[i]!.address} has no link`, 'Check the cable and the other end; going on.');
  }
}

/** Closes every device; returns the first error. */
async function closeAll(devices: readonly NetDevice[]): Promise<unknown> {
  let first: unknown;
  for (const device of [...devices].reverse()) {
    try {
      await device.close();
    } catch (error) {
      first ??= error;
    }
  }
  return first;
}
