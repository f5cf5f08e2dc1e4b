/** The counters of a process that count-polls.ts was loaded into, and the file that they end in. */
import { writeFileSync } from 'node:fs';
import koffi from 'koffi';
import { PollCounter, type Snapshot } from './poll-counter.js';
import { processTime } from './process-time.js';

const countedCalls = koffi.load(process.env.LD_PRELOAD!).func('double counted_calls()') as () => number;

function snapshot(): Snapshot {
  return { ...processTime(), calls: countedCalls() };
}

/** A round of the forwarder takes some nanoseconds where nothing has come, one of the emulator some microseconds. */
export const forwarder = new PollCounter('forwarder', 64, snapshot);
export const emulator = new PollCounter('emulator', 1, snapshot);

process.once('exit', () => {
  for (const { counts } of [forwarder, emulator]) {
    if (counts === undefined) continue;
    writeFileSync(`${process.env.BAREWIRE_BENCH_POLLS}.${process.pid}`, JSON.stringify(counts));
  }
});
