/**
 * Counts polls, and how much of the time is spent on those that move something. Two reads of the clock cost as much as an
 * empty poll, so one poll in 61 is timed, and the rest are taken to be like it.
 */
import { type ProcessTime, timeBetween } from './process-time.js';

/** A prime: it does not keep in step with the loops that poll. */
const SAMPLE = 61;
/** A snapshot takes some microseconds. */
const SNAPSHOT_MS = 5;
const MAX_SAMPLES = 1 << 20;
/** Polls that took so many times the median are left out: in those the system ran somebody else. */
const OUTLIER = 50;

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

export class PollCounter {
  readonly #role: PollCounts['role'];
  readonly #clockMs: number;
  readonly #snapshot: () => Snapshot;
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

  /** @param clockMs what two reads of the clock cost */
  constructor(role: PollCounts['role'], clockMs: number, snapshot: () => Snapshot) {
    this.#role = role;
    this.#clockMs = clockMs;
    this.#snapshot = snapshot;
  }

  /** A function that does what `poll` does and is counted. */
  wrap(poll: () => number): () => number {
    const counter = this;
    return function counted(this: unknown): number {
      const timed = --counter.#untilSample === 0;
      if (timed) counter.#untilSample = SAMPLE;
      const start = timed ? performance.now() : 0;
      const moved = poll.call(this);
      counter.#count(moved, timed ? performance.now() - start : -1);
      return moved;
    };
  }

  #count(moved: number, sampledMs: number): void {
    if (moved === 0) {
      this.#pendingEmpty++;
      return;
    }
    if (this.#start === undefined) {
      this.#start = this.#snapshot();
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
      this.#last = this.#snapshot();
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

/** Mean of the times without outliers. Sorts the list. */
export function trimmedMean(times: Float64Array): number {
  const most = OUTLIER * times.sort()[times.length >> 1]!;
  const kept = times.filter((time) => time <= most);
  return kept.reduce((sum, time) => sum + time, 0) / kept.length;
}

/** Taken now and then; what the counts are about lies between two of them. */
export interface Snapshot extends ProcessTime {
  readonly calls: number;
}
