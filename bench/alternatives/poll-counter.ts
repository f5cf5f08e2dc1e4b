/**
 * Counts polls, and how much of the time is spent on those that move something. Two reads of the clock cost as much as a
 * few empty polls, so polls are timed by the block. What a poll costs that finds nothing is known from blocks in which
 * none found anything; the rest of the time was spent on packets.
 */
import { type ProcessTime, timeBetween } from './process-time.js';

/** A snapshot takes some microseconds. */
const SNAPSHOT_MS = 5;
const MAX_BLOCKS = 1 << 20;
/** Blocks that took so many times the median are left out: in those the system ran somebody else. */
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

/** Taken now and then; what the counts are about lies between two of them. */
export interface Snapshot extends ProcessTime {
  readonly calls: number;
}

export class PollCounter {
  readonly #role: PollCounts['role'];
  readonly #blockPolls: number;
  readonly #snapshot: () => Snapshot;
  #polls = 0;
  #emptyPolls = 0;
  /** Empty polls since the last that moved something. */
  #pendingEmpty = 0;
  #moved = 0;
  readonly #blockMs = new Float64Array(MAX_BLOCKS);
  readonly #blockBusyPolls = new Uint16Array(MAX_BLOCKS);
  #blocks = 0;
  #left = 0;
  #busyPolls = 0;
  #blockStartMs = 0;
  #start: Snapshot | undefined;
  #last: Snapshot | undefined;
  #lastSnapshotMs = 0;

  /** @param blockPolls polls that are timed together: 1 where one takes long */
  constructor(role: PollCounts['role'], blockPolls: number, snapshot: () => Snapshot) {
    this.#role = role;
    this.#blockPolls = blockPolls;
    this.#snapshot = snapshot;
  }

  /** A function that does what `poll` does and is counted. */
  wrap(poll: () => number): () => number {
    const counter = this;
    return function counted(this: unknown): number {
      if (counter.#left === 0) counter.#beginBlock();
      const moved = poll.call(this);
      if (moved === 0) counter.#pendingEmpty++;
      else counter.#count(moved);
      if (--counter.#left === 0) counter.#endBlock();
      return moved;
    };
  }

  #beginBlock(): void {
    this.#left = this.#blockPolls;
    this.#busyPolls = 0;
    this.#blockStartMs = performance.now();
  }

  #endBlock(): void {
    const nowMs = performance.now();
    if (this.#start === undefined) return;
    if (this.#blocks < MAX_BLOCKS) {
      this.#blockMs[this.#blocks] = nowMs - this.#blockStartMs;
      this.#blockBusyPolls[this.#blocks] = this.#busyPolls;
      this.#blocks++;
    }
    // The last one's time is nearly that of the last packet.
    if (this.#busyPolls > 0 && nowMs - this.#lastSnapshotMs > SNAPSHOT_MS) {
      this.#last = this.#snapshot();
      this.#lastSnapshotMs = nowMs;
    }
  }

  #count(moved: number): void {
    if (this.#start === undefined) {
      this.#start = this.#snapshot();
      this.#pendingEmpty = 0;
    }
    this.#emptyPolls += this.#pendingEmpty;
    this.#polls += this.#pendingEmpty + 1;
    this.#pendingEmpty = 0;
    this.#moved += moved;
    this.#busyPolls++;
  }

  get counts(): PollCounts | undefined {
    if (this.#start === undefined || this.#last === undefined) return undefined;
    const busyPolls = this.#polls - this.#emptyPolls;
    const times = this.#blockMs.subarray(0, this.#blocks);
    const msPerBusyPoll = busyPollMs(times, this.#blockBusyPolls, this.#blockPolls);
    return {
      role: this.#role,
      ...timeBetween(this.#start, this.#last),
      moved: this.#moved,
      polls: this.#polls,
      emptyPolls: this.#emptyPolls,
      busySeconds: (msPerBusyPoll * busyPolls) / 1000,
      calls: this.#last.calls - this.#start.calls,
    };
  }
}

/** Mean time of a poll that moves something. @param busyPolls how many of each block's polls did */
export function busyPollMs(times: Float64Array, busyPolls: ArrayLike<number>, blockPolls: number): number {
  const emptyMs = median(times.filter((_, i) => busyPolls[i] === 0)) / blockPolls;
  const mostMs = OUTLIER * median(times.filter((_, i) => busyPolls[i]! > 0));
  let ms = 0;
  let busy = 0;
  for (let i = 0; i < times.length; i++) {
    if (busyPolls[i] === 0 || times[i]! > mostMs) continue;
    ms += Math.max(0, times[i]! - (blockPolls - busyPolls[i]!) * emptyMs);
    busy += busyPolls[i]!;
  }
  return ms / busy;
}

/** 0 where there is nothing. Sorts the list. */
function median(list: Float64Array): number {
  return list.sort()[list.length >> 1] ?? 0;
}
