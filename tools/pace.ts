/**
 * When frames are due at a rate. Frame n is due n / rate after the start, on an absolute schedule. What is late by more than
 * 10 ms is not caught up: a process that was stopped, or a ring that stayed full, would else be followed by a burst that
 * nobody asked for. Those send times are left out, and counted by what held the sender up.
 */
import type { Clock } from '../src/clock.js';

/** What is later than this is left out. */
export const CATCH_UP_MS = 10;

/** A rate that was asked for, and what of its schedule was not kept. */
export interface PaceReport {
  /** Packets per second. */
  readonly requestedPps: number;
  /** Send times left out since the ring, or the pool behind it, had no room. */
  readonly leftOutNoRoom: number;
  /** Send times left out since the sender came too late. */
  readonly leftOutLate: number;
  /** Longest time between two looks at the schedule while there was room. */
  readonly longestPauseMs: number;
}

export class Pace {
  readonly #rate: number;
  readonly #clock: Clock;
  readonly #startNs: number;
  /** Most frames that may be due at once. */
  readonly #most: number;
  #lastNs: number;
  #longestPauseNs = 0;
  #noRoom = 0;
  #late = 0;

  /** @param rate frames per second */
  constructor(rate: number, clock: Clock) {
    this.#rate = rate;
    this.#clock = clock;
    this.#startNs = clock.nowNs();
    this.#lastNs = this.#startNs;
    this.#most = Math.max(1, Math.ceil((rate * CATCH_UP_MS) / 1000));
  }

  /**
   * Frames that are due now.
   * @param sent how many were sent before
   * @param wasFull whether the ring or the pool had no room since the last call
   */
  due(sent: number, wasFull: boolean): number {
    const nowNs = this.#clock.nowNs();
    if (!wasFull && nowNs - this.#lastNs > this.#longestPauseNs) this.#longestPauseNs = nowNs - this.#lastNs;
    this.#lastNs = nowNs;
    const passed = Math.floor(((nowNs - this.#startNs) * this.#rate) / 1e9);
    const due = passed - this.#noRoom - this.#late - sent;
    if (due <= this.#most) return due;
    if (wasFull) this.#noRoom += due - this.#most;
    else this.#late += due - this.#most;
    return this.#most;
  }

  get report(): PaceReport {
    return {
      requestedPps: this.#rate,
      leftOutNoRoom: this.#noRoom,
      leftOutLate: this.#late,
      longestPauseMs: Math.round(this.#longestPauseNs / 1e4) / 100,
    };
  }
}
