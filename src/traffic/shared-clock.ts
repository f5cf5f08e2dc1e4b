/**
 * The clock that stamps frames. Processes on one machine share it: it is the kernel's monotonic clock, in nanoseconds since the
 * machine started, where a process's own `nowNs` begins when the process does.
 */
import { type Clock, systemClock } from '../clock.js';

const SAMPLES = 5;

/**
 * What has to be added to `clock.nowNs()`: 0 for a clock of one's own. Exact to about a microsecond.
 */
export function sharedOffsetNs(clock: Clock): number {
  if (clock !== systemClock) return 0;
  let [best, least] = [0, Number.POSITIVE_INFINITY];
  for (let i = 0; i < SAMPLES; i++) {
    const before = clock.nowNs();
    const kernelNs = Number(process.hrtime.bigint());
    const took = clock.nowNs() - before;
    if (took < least) [best, least] = [kernelNs - before - took / 2, took];
  }
  return Math.round(best);
}
