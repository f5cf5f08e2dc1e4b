/** Processor time of this process, and the time for which it was ready to run while the system ran somebody else. */
import { readFileSync } from 'node:fs';

export interface ProcessTime {
  readonly seconds: number;
  /** User and system time of all threads. */
  readonly cpuSeconds: number;
  /** Of the main thread; 0 where the kernel does not tell. */
  readonly waitedSeconds: number;
}

export function processTime(): ProcessTime {
  const { user, system } = process.cpuUsage();
  return {
    seconds: performance.now() / 1000,
    cpuSeconds: (user + system) / 1e6,
    waitedSeconds: waitedNs() / 1e9,
  };
}

export function timeBetween(before: ProcessTime, after: ProcessTime): ProcessTime {
  return {
    seconds: after.seconds - before.seconds,
    cpuSeconds: after.cpuSeconds - before.cpuSeconds,
    waitedSeconds: after.waitedSeconds - before.waitedSeconds,
  };
}

/** Second number of schedstat (Documentation/scheduler/sched-stats.rst). */
function waitedNs(): number {
  try {
    return Number(readFileSync('/proc/self/schedstat', 'utf8').split(' ')[1]);
  } catch {
    return 0;
  }
}
