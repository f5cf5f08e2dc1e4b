/**
 * `barewire stats PORT`: what a port counts, by the names of its registers.
 *
 * A port belongs to one process, and reading most of the hardware's counters clears them: so a port that a command of this user
 * runs is asked through that command. A port that nobody has is opened, which resets it: its counters begin at 0. An
 * interface that stays with the kernel is left alone, and the kernel's own counters are shown.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { every, systemClock } from '../../src/clock.js';
import type { NetDevice } from '../../src/driver/device.js';
import { isSharedInterface, open } from '../../src/driver/registry.js';
import { NicError, type NicErrorCode } from '../../src/errors.js';
import { openAddress, parseDeviceAddress } from '../../src/pci/device-address.js';
import { deviceAddress, PORT_FORMS, pageSizeFor, sysfsRoot } from '../addresses.js';
import type { RunningCommand } from '../line-client.js';
import { durationMs } from '../option-values.js';
import { warn } from '../output.js';
import { askCounters, runningPorts } from '../stats-client.js';
import { StatsReport } from '../stats-report.js';
import { readPort } from '../stats-server.js';
import { type Stop, stopOnSignals } from '../stop-signals.js';
import { runTraffic } from '../traffic-run.js';

/** How long a port that nobody has is listened to. */
const LISTEN_MS = 1000;
const BATCH = 64;
/** What the opening of a port fails with that somebody has. */
const TAKEN: readonly NicErrorCode[] = ['ALREADY_OPEN', 'GROUP_BUSY', 'PEER_GONE'];

interface Options {
  readonly interval?: number;
  readonly duration?: number;
  readonly json?: true;
}

export function register(program: Command): void {
  program
    .command('stats')
    .description('show what a port counts, by register names; of a running command or by itself')
    .argument('<PORT>', PORT_FORMS, deviceAddress)
    .option('--interval <time>', 'again and again, with rates: 1 (second), 250ms', durationMs)
    .option('--duration <time>', 'stop after this time', durationMs)
    .option('--json', 'print JSON lines')
    .action(run);
}

async function run(given: string, options: Options): Promise<void> {
  // The command that has the port was perhaps started in another folder.
  const port = given.startsWith('vfio-user:') ? openAddress(parseDeviceAddress(given)) : given;
  const owner = (await runningPorts()).find(({ ports }) => ports.includes(port));
  if (owner === undefined && !isSharedInterface(port)) {
    await listen(given, options);
    return;
  }
  if (options.duration !== undefined && options.interval === undefined) {
    throw new NicError('BAD_OPTION', '--duration is for --interval where the port is not opened', {
      hint: 'Leave it out, or say how often to look: --interval 1.',
    });
  }
  const stop = stopOnSignals();
  try {
    await (owner === undefined
      ? watchInterface(port, options, stop)
      : watchOwner(port, owner, options, stop));
  } finally {
    stop.dispose();
  }
}

/** Once, or until it is told to stop. */
async function again(look: () => Promise<void>, options: Options, stop: Stop): Promise<void> {
  const { interval, duration } = options;
  await look();
  if (interval === undefined) return;
  await new Promise<void>((resolve, reject) => {
    let busy = false;
    const endTicks = every(systemClock, interval, () => {
      if (busy) return;
      busy = true;
      look().then(
        () => {
          busy = false;
        },
        (error: unknown) => finish(() => reject(error)),
      );
    });
    const cancelEnd = systemClock.after(duration ?? Number.POSITIVE_INFINITY, () => finish(resolve));
    const finish = (settle: () => void): void => {
      endTicks();
      cancelEnd();
      stop.signal.removeEventListener('abort', onStop);
      settle();
    };
    const onStop = (): void => finish(resolve);
    stop.signal.addEventListener('abort', onStop, { once: true });
    if (stop.signal.aborted) onStop();
  });
}

async function watchOwner(port: string, owner: RunningCommand, options: Options, stop: Stop): Promise<void> {
  const report = new StatsReport(options.json ?? false, `process ${owner.pid}`);
  let asked = 0;
  try {
    await again(async () => report.show(await askCounters(owner, port), asked++), options, stop);
  } catch (error) {
    if (asked === 0 || !(error instanceof NicError && error.code === 'PEER_GONE')) throw error;
    warn(`process ${owner.pid} has ended, and gave ${port} back`);
  }
}

/** The kernel's counters of an interface that nobody here has: `Documentation/networking/statistics.rst`. */
async function watchInterface(port: string, options: Options, stop: Stop): Promise<void> {
  // scheme:NAME or scheme:NAME/QUEUE
  const [name = ''] = port.slice(port.indexOf(':') + 1).split('/');
  const folder = join(sysfsRoot(), 'class/net', name, 'statistics');
  const report = new StatsReport(options.json ?? false, 'the kernel');
  let shown = 0;
  await again(
    async () => report.showKernel(port, kernelCounters(port, folder), systemClock.nowNs() / 1e9, shown++),
    options,
    stop,
  );
}

function kernelCounters(port: string, folder: string): Record<string, number> {
  try {
    return Object.fromEntries(
      readdirSync(folder)
        .sort()
        .map((name) => [name, Number(readFileSync(join(folder, name), 'utf8'))]),
    );
  } catch (cause) {
    throw new NicError('NO_SUCH_DEVICE', `${port} is no interface of this machine`, {
      path: folder,
      hint: '"barewire list" shows them.',
      cause,
    });
  }
}

/** Opens the port, which nobody here has, and counts what comes in. */
async function listen(port: string, options: Options): Promise<void> {
  const { interval, duration = interval === undefined ? LISTEN_MS : undefined } = options;
  const report = new StatsReport(options.json ?? false, 'this command, which opened it: counters began at 0');
  const stop = stopOnSignals();
  let endTicks = (): void => {};
  let shown = 0;
  try {
    await runTraffic(
      [(signal) => openFree(port, signal)],
      ([device], clock) => {
        const show = (): void => report.show(readPort(device!, clock), shown++);
        if (interval !== undefined) {
          endTicks = every(clock, interval, () => {
            try {
              show();
            } catch (error) {
              stop.stop(error);
            }
          });
        }
        return {
          poll: () => takeAll(device!),
          wakeOn: [device!],
          report: [],
          afterPolling() {
            if (interval === undefined) show();
          },
        };
      },
      { ...options, duration },
      stop,
    );
  } finally {
    endTicks();
    stop.dispose();
  }
  stop.throwIfFailed();
}

const bufs = new Uint32Array(BATCH);

/** Frames that come are counted, and nobody wants them. */
function takeAll(device: NetDevice): number {
  let taken = 0;
  for (const queue of device.rxQueues) {
    const count = queue.receive(bufs);
    device.pool.release(bufs, count);
    taken += count;
  }
  return taken;
}

/** @throws NicError as `open`; of a port that somebody else has, with a hint who could tell its counters */
async function openFree(port: string, signal: AbortSignal): Promise<NetDevice> {
  try {
    return await open(port, { pageSize: pageSizeFor([port]), promiscuous: true, signal });
  } catch (error) {
    if (!(error instanceof NicError) || !TAKEN.includes(error.code)) throw error;
    const { code, message, path } = error;
    const hint =
      'Where another process has it, that must be a command of barewire, of this user, with the same XDG_RUNTIME_DIR.';
    throw new NicError(code, message, { path, cause: error, hint });
  }
}
