/**
 * Loaded before `barewire fwd` and, since the environment is inherited, before the emulator that it starts: counts how
 * often each of the two polled, and how much of the time was spent on polls that moved something. The file named by
 * BAREWIRE_BENCH_POLLS and the process ID has the counts when the process has ended.
 *
 * Two reads of the clock cost as much as an empty poll, so one poll in 61 is timed, and the rest are taken to be like it.
 * What comes before the first packet and after the last is left out.
 */
import { writeFileSync } from 'node:fs';
import koffi from 'koffi';
import { Forwarder } from '../../src/driver/forwarder.js';
import { EmulatorHost } from '../../src/emulator/host.js';
import { type ProcessTime, processTime, timeBetween } from './process-time.js';

/** A prime: it does not keep in step with the loops that poll. */
const SAMPLE = 61;
/** A snapshot takes some microseconds. */
const SNAPSHOT_MS = 5;
const MAX_SAMPLES = 1 << 20;
/** The longest polls are left out: in those the system ran somebody else. */
const TRIMMED_SHARE = 0.01;

/** The time is from the first poll that moved something to the last. */
export interface PollCounts extends ProcessTime {
  readonly role: 'forwarder' | 'emulator';
  readonly moved: number;
  readonly polls: number;
  readonly emptyPolls: number;
  /** Spent on polls that moved something. */
  readonly busySeconds: number;
  /** Of the process's main thread, waits included. */
  readonly calls: number;
}

class PollCounter {
  readonly #role: PollCounts['role'];
  readonly #clockMs: number;
  #polls = 0;
  #emptyPolls = 0;
  /** Empty polls since the last that moved something. */
  #pendingEmpty = 0;
  #moved = 0;
  #untilSample = SAMPLE;
  /** Times of polls that moved something. */
  readonly #samples = new Float64Array(MAX_SAMPLES);
  #sampleCount = 0;
  #start: Snapshot | undefined;
  #last: Snapshot | undefined;
  #lastSnapshotMs = 0;

  constructor(role: PollCounts['role'], clockMs: number) {
    this.#role = role;
    this.#clockMs = clockMs;
  }

  /** True where this poll is to be timed. */
  sample(): boolean {
    if (--this.#untilSample > 0) return false;
    this.#untilSample = SAMPLE;
    return true;
  }

  count(moved: number, sampledMs: number): void {
    if (moved === 0) {
      this.#pendingEmpty++;
      return;
    }
    if (this.#start === undefined) {
      this.#start = snapshot();
      this.#pendingEmpty = 0;
      return;
    }
    this.#emptyPolls += this.#pendingEmpty;
    this.#polls += this.#pendingEmpty + 1;
    this.#pendingEmpty = 0;
    this.#moved += moved;
    if (sampledMs < 0) return;
    if (this.#sampleCount < MAX_SAMPLES) {
      this.#samples[this.#sampleCount++] = Math.max(0, sampledMs - this.#clockMs);
    }
    // The last one's time is nearly that of the last packet.
    const nowMs = performance.now();
    if (nowMs - this.#lastSnapshotMs > SNAPSHOT_MS) {
      this.#last = snapshot();
      this.#lastSnapshotMs = nowMs;
    }
  }

  get counts(): PollCounts | undefined {
    if (this.#start === undefined || this.#last === undefined) return undefined;
    const busyPolls = this.#polls - this.#emptyPolls;
    return {
      role: this.#role,
      ...timeBetween(this.#start, this.#last),
      moved: this.#moved,
      polls: this.#polls,
      emptyPolls: this.#emptyPolls,
      busySeconds: (trimmedMean(this.#samples.subarray(0, this.#sampleCount)) * busyPolls) / 1000,
      calls: this.#last.calls - this.#start.calls,
    };
  }
}

/** Sorts the list. */
function trimmedMean(samples: Float64Array): number {
  const kept = samples.sort().subarray(0, Math.ceil(samples.length * (1 - TRIMMED_SHARE)));
  return kept.reduce((sum, value) => sum + value, 0) / kept.length;
}

interface Snapshot extends ProcessTime {
  readonly calls: number;
}

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

/** Makes a class's method count. */
function countCalls<K extends string>(
  prototype: { [key in K]: () => number },
  method: K,
  counter: PollCounter,
): void {
  const original = prototype[method];
  prototype[method] = function (this: unknown): number {
    if (!counter.sample()) {
      const moved = original.call(this);
      counter.count(moved, -1);
      return moved;
    }
    const start = performance.now();
    const moved = original.call(this);
    counter.count(moved, performance.now() - start);
    return moved;
  };
}

const clockMs = clockCostMs();
const counters = [new PollCounter('forwarder', clockMs), new PollCounter('emulator', clockMs)] as const;
countCalls(Forwarder.prototype, 'poll', counters[0]);
countCalls(EmulatorHost.prototype, 'pollOnce', counters[1]);

process.once('exit', () => {
  for (const { counts } of counters) {
    if (counts !== undefined) {
      writeFileSync(`${process.env.BAREWIRE_BENCH_POLLS}.${process.pid}`, JSON.stringify(counts));
    }
  }
});
