/** The counters of a process that count-polls.ts was loaded into, and the file that they end in. */
import { writeFileSync } from 'node:fs';
import koffi from 'koffi';
import { PollCounter, type Snapshot } from './poll-counter.js';
import { processTime } from './process-time.js';

const countedCalls = koffi.load(process.env.LD_PRELOAD!).func('double counted_calls()') as () => number;

function snapshot(): Snapshot {
  return { ...processTime(), calls: countedCalls() };
}

/** What two reads of the clock cost. */
function clockCostMs(): number {
  const costs = Array.from({ length: 10_001 }, () => {
    const start = performance.now();
    return performance.now() - start;
  });
  return costs.sort((a, b) => a - b)[5000]!;
}

const clockMs = clockCostMs();
export const forwarder = new PollCounter('forwarder', clockMs, snapshot);
export const emulator = new PollCounter('emulator', clockMs, snapshot);

process.once('exit', () => {
  for (const { counts } of [forwarder, emulator]) {
    if (counts === undefined) continue;
    writeFileSync(`${process.env.BAREWIRE_BENCH_POLLS}.${process.pid}`, JSON.stringify(counts));
  }
});
