/** Asks running commands of this user for the counters of their ports: see `stats-server.ts`. */
import { NicError } from '../src/errors.js';
import { askLine, type RunningCommand, runningCommands } from './line-client.js';
import type { PortCounters, StatsRequest } from './stats-server.js';

/** Commands that run traffic, by process. */
export function runningPorts(): Promise<RunningCommand[]> {
  return runningCommands('run');
}

/** @throws NicError `PEER_GONE` where it does not answer, `DEVICE_GONE` where it cannot */
export async function askCounters({ path, pid }: RunningCommand, port: string): Promise<PortCounters> {
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
