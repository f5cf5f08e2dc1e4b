/** Tells others the counters of the ports that this process has, which nobody else can read: `barewire stats`. */
import createDebug from 'debug';
import type { Clock } from '../src/clock.js';
import type { LinkState, NetDevice, NetStats, QueueStats } from '../src/driver/device.js';
import { LineServer } from './line-server.js';

const debug = createDebug('barewire:stats');

/** What can be asked beside what every command's socket tells (`line-server.ts`): what a port counted. */
export interface StatsRequest {
  readonly ask: 'stats';
  readonly port: string;
}

/** The counters of a port, since it was opened. */
export interface PortCounters {
  readonly address: string;
  readonly driver: string;
  readonly model: string;
  /** When they were read, in seconds of the clock of the process that has the port. */
  readonly timeS: number;
  readonly link: LinkState;
  readonly stats: NetStats;
  readonly queues: readonly QueueStats[];
  /** By the names of the hardware's registers; absent where it has none. */
  readonly registers?: Readonly<Record<string, number>>;
}

/** @throws NicError `DEVICE_GONE`, `CLOSED` */
export function readPort(device: NetDevice, clock: Clock): PortCounters {
  const { address, driver, model } = device;
  const registers = device.registerCounters?.();
  return {
    address,
    driver,
    model,
    timeS: clock.nowNs() / 1e9,
    link: device.linkState(),
    stats: device.stats(),
    queues: device.queueStats(),
    ...(registers === undefined ? {} : { registers }),
  };
}

/** Undefined where no socket can be made: the traffic is worth more. */
export function serveStats(devices: readonly NetDevice[], clock: Clock): LineServer | undefined {
  const ports = devices.map(({ address }) => address);
  try {
    return new LineServer('run', 'stats', ports, (socket, request) => {
      socket.end(`${JSON.stringify(answer(devices, clock, request))}\n`);
    });
  } catch (error) {
    debug('no socket for barewire stats: %s', (error as Error).message);
    return undefined;
  }
}

function answer(
  devices: readonly NetDevice[],
  clock: Clock,
  { ask, port }: Readonly<Record<string, unknown>>,
): PortCounters {
  const device = devices.find(({ address }) => address === port);
  if (ask !== 'stats' || device === undefined) throw new Error('nothing that is known is asked for');
  return readPort(device, clock);
}
