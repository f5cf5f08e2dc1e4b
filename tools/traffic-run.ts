/**
 * What the traffic commands share: open the ports, wait for their links, run until a signal, a time or an error ends it,
 * report once a second, stop in good order.
 */
import { type Clock, every, systemClock } from '../src/clock.js';
import type { NetDevice } from '../src/driver/device.js';
import { type LoopDevice, type PollPolicy, pollLoop, sharesCpu } from '../src/forward/poll-loop.js';
import { warn } from './output.js';
import { serveStats } from './stats-server.js';
import { type Stop, stopOnSignals } from './stop-signals.js';
import { type ReportPort, TrafficReport } from './traffic-report.js';
import { waitWhileLess } from './wait-progress.js';

const LINK_TIMEOUT_MS = 10_000;
const DRAIN_TIMEOUT_MS = 500;
const REPORT_MS = 1000;

export interface TrafficOptions {
  readonly json?: boolean | undefined;
  /** Milliseconds; without it the run goes on until a signal. */
  readonly duration?: number | undefined;
  /** The time of traffic, report and duration. Default: the machine's. */
  readonly clock?: Clock;
}

/** What runs on the ports. */
export interface Traffic {
  /** One batch; returns the packets it moved. */
  poll(): number;
  /** True where nothing more will come: the run ends. */
  readonly done?: boolean;
  /** True where nothing more is sent and what is under way is waited for: averages end here. */
  readonly settling?: boolean;
  /** Whose packets end an idle sleep; empty where the poll must go on. */
  readonly wakeOn: readonly NetDevice[];
  /** When it sleeps; without it as `pollLoop` does by default. */
  readonly policy?: PollPolicy;
  /** Takes the place of polling, where other threads poll: runs until the signal is aborted. */
  run?(signal: AbortSignal): Promise<void>;
  /** What the table and the totals are about; empty where there are none. */
  readonly report: readonly ReportPort[];
  /**
   * A device is gone: ends what it had part in, and returns the devices to go on with, whose packets end an idle sleep from now on.
   * Without it, and where it returns none, the run ends.
   */
  without?(device: NetDevice, error: unknown): readonly NetDevice[];
  /** Runs between the wish to stop and the end of polling: packets that are on their way still pass. */
  beforeEnd?(): Promise<void>;
  /** Runs when polling has ended: what the receive rings hold by then still passes. */
  afterPolling?(): void;
  /** Runs when all that was queued has left the ports, or cannot. */
  afterDrain?(): Promise<void>;
  /** Runs after the totals. */
  afterTotals?(): void;
}

/**
 * Runs traffic from open to close. The totals are printed whenever traffic ran, also when it fails in the end.
 * @param openers open the ports, one after the other; those that are open are closed where a later one fails
 * @param given ends the run; by default signals do
 * @throws NicError of the first thing that failed, or the first device that was lost
 */
export async function runTraffic(
  openers: readonly ((signal: AbortSignal) => Promise<NetDevice>)[],
  makeTraffic: (devices: readonly NetDevice[], clock: Clock) => Traffic | Promise<Traffic>,
  options: TrafficOptions,
  given?: Stop,
): Promise<void> {
  const { clock = systemClock } = options;
  const stop = given ?? stopOnSignals();
  const devices: NetDevice[] = [];
  try {
    for (const opener of openers) {
      if (!stop.signal.aborted) devices.push(await opener(stop.signal));
    }
    if (!stop.signal.aborted) await waitForLinks(devices, stop.signal);
    if (!stop.signal.aborted)
      await run(devices, await makeTraffic(devices, clock), stop, { ...options, clock });
  } catch (error) {
    // What was opening or waiting ends with the wish to stop, which is no failure.
    if (error !== stop.signal.reason) stop.stop(error);
  } finally {
    const closed = await closeAll(devices);
    if (given === undefined) stop.dispose();
    if (closed !== undefined) stop.stop(closed);
  }
  stop.throwIfFailed();
}

async function run(
  devices: readonly NetDevice[],
  traffic: Traffic,
  stop: Stop,
  options: TrafficOptions & { readonly clock: Clock },
): Promise<void> {
  const { clock } = options;
  const oneCpu = sharesCpu(devices);
  if (oneCpu) {
    warn(
      'this process has one CPU, and shares it with the emulator: they take turns, and rates vary',
      'It takes two to keep both busy (nproc tells how many it may use; taskset and containers limit that).',
    );
  }
  const report =
    traffic.report.length === 0 ? undefined : new TrafficReport(traffic.report, options.json ?? false, clock);
  let wakeOn = traffic.wakeOn;
  const lost = new Set<NetDevice>();
  const lose = (device: NetDevice, error: unknown): void => {
    if (lost.has(device)) return;
    lost.add(device);
    try {
      wakeOn = traffic.without?.(device, error) ?? [];
    } catch (reason) {
      stop.stop(reason);
    }
    if (wakeOn.length === 0) stop.stop(error);
    else stop.fail(error);
  };
  const watches = devices.map((device) => device.onGone((error) => lose(device, error)));
  const endTicks = every(clock, REPORT_MS, () => {
    for (const { port, error } of report?.tick() ?? []) {
      const device = devices.find((one) => one === port.device);
      if (device === undefined) stop.stop(error);
      else lose(device, error);
    }
  });
  const stats = serveStats(devices, clock);
  const cancelEnd = clock.after(options.duration ?? Number.POSITIVE_INFINITY, () => stop.stop());
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
    if (stop.signal.aborted) polling.abort();
    if (traffic.run !== undefined) await traffic.run(polling.signal);
    else {
      const poll = (): number => {
        if (traffic.done === true) stop.stop();
        if (traffic.settling === true) report?.end();
        return traffic.poll();
      };
      const onGone = (device: LoopDevice, error: Error): readonly NetDevice[] => {
        lose(device as NetDevice, error);
        return wakeOn;
      };
      await pollLoop(poll, {
        signal: polling.signal,
        devices: wakeOn,
        onGone,
        ...(traffic.policy === undefined ? {} : { policy: traffic.policy }),
        sharesCpu: oneCpu,
        clock,
      });
      traffic.afterPolling?.();
    }
  } catch (error) {
    stop.stop(error);
  } finally {
    report?.end();
    stats?.close();
    endTicks();
    cancelEnd();
    for (const unwatch of watches) unwatch();
  }
  for (const device of devices) {
    try {
      if (!lost.has(device)) await drain(device);
    } catch (error) {
      // The others, and the totals, are due all the same.
      stop.stop(error);
    }
  }
  try {
    if (!stop.failed) await traffic.afterDrain?.();
  } catch (error) {
    stop.stop(error);
  }
  try {
    report?.final();
  } catch (error) {
    stop.stop(error);
  }
  traffic.afterTotals?.();
}

/** Ends when the hardware has sent all that was queued, or nothing for a while: it has no link, or hangs. */
function drain(device: NetDevice): Promise<void> {
  return waitWhileLess(
    () => device.stats().txInRing ?? 0,
    () => device.drain({ timeoutMs: DRAIN_TIMEOUT_MS }),
  );
}

async function waitForLinks(devices: readonly NetDevice[], signal: AbortSignal): Promise<void> {
  const states = await Promise.all(
    devices.map((device) => device.waitForLink({ timeoutMs: LINK_TIMEOUT_MS, signal })),
  );
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
