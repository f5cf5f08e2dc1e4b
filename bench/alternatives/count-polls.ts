/**
 * Loaded before `barewire fwd` and, since the environment is inherited, before the emulator that it starts: counts the
 * polls of both. The file named by BAREWIRE_BENCH_POLLS and the process ID has the counts when the process has ended.
 */
import { writeFileSync } from 'node:fs';
import koffi from 'koffi';
import { EmulatorHost } from '../../src/emulator/host.js';
import * as barewire from '../../src/index.js';
import { PollCounter, type Snapshot } from './poll-counter.js';
import { processTime } from './process-time.js';

/** Classes of the public API that `fwd` polls. */
const FORWARDERS = ['Forwarder', 'Pipe'];

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
const forwarder = new PollCounter('forwarder', clockMs, snapshot);
const emulator = new PollCounter('emulator', clockMs, snapshot);

for (const name of FORWARDERS) {
  const made = (barewire as Readonly<Record<string, unknown>>)[name];
  if (typeof made !== 'function') continue;
  const prototype = made.prototype as { poll(): number };
  prototype.poll = forwarder.wrap(prototype.poll);
}
EmulatorHost.prototype.pollOnce = emulator.wrap(EmulatorHost.prototype.pollOnce);

process.once('exit', () => {
  for (const { counts } of [forwarder, emulator]) {
    if (counts === undefined) continue;
    writeFileSync(`${process.env.BAREWIRE_BENCH_POLLS}.${process.pid}`, JSON.stringify(counts));
  }
});
