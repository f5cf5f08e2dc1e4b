/** Asks running commands of this user for the counters of their ports: see `stats-server.ts`. */
import { NicError } from '../src/errors.js';
import { askLine } from './line-client.js';
import { liveSockets } from './socket-folder.js';
import type { PortCounters, StatsAbout, StatsRequest } from './stats-server.js';

export interface RunningPorts extends StatsAbout {
  /** Of its socket. */
  readonly path: string;
}

/** Commands that run traffic, by process. One that does not answer is left out. */
export async function runningPorts(): Promise<RunningPorts[]> {
  const asked = await Promise.all(liveSockets('run').map(about));
  return asked.filter((one) => one !== undefined).sort((a, b) => a.pid - b.pid);
}

async function about(path: string): Promise<RunningPorts | undefined> {
  try {
    const { pid, ports } = (await askLine(path, {
      ask: 'about',
    } satisfies StatsRequest)) as Partial<StatsAbout>;
    return typeof pid === 'number' && Array.isArray(ports)
      ? { path, pid, ports: ports.map(String) }
      : undefined;
  } catch {
    // It ended meanwhile, or it is something else.
    return undefined;
  }
}

/** @throws NicError `PEER_GONE` where it does not answer, `DEVICE_GONE` where it cannot */
export async function askCounters({ path, pid }: RunningPorts, port: string): Promise<PortCounters> {
  let said: Readonly<Record<string, unknown>>;
  try {
    said = await askLine(path, { ask: 'stats', port } satisfies StatsRequest);
  } catch (cause) {
    throw new NicError('PEER_GONE', `Process ${pid} does not tell the counters of ${port}`, { path, cause });
  }
  const { error, stats, queues } = said as { error?: unknown } & Partial<PortCounters>;
  if (error !== undefined || stats === undefined || queues === undefined) {
    throw new NicError('DEVICE_GONE', `Process ${pid} cannot tell the counters of ${port}: ${error}`, {
      path,
    });
  }
  return said as unknown as PortCounters;
}
