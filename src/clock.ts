/** Time as the emulator sees it. Tests inject a clock of their own and move it by hand. */

export interface Clock {
  /** Monotonic time in nanoseconds since an arbitrary start. */
  nowNs(): number;
}

/** A clock that also calls back. */
export interface TimerClock extends Clock {
  /**
   * Calls `callback` every `periodMs` milliseconds until the returned function is called. Does not keep the process
   * alive.
   */
  every(periodMs: number, callback: () => void): () => void;
}

/** The machine's monotonic clock. Costs about 40 ns a call, so ask once a burst, not once a frame. */
export const monotonicClock: TimerClock = {
  nowNs: () => performance.now() * 1e6,
  every: (periodMs, callback) => {
    const timer = setInterval(callback, periodMs);
    timer.unref();
    return () => clearInterval(timer);
  },
};

interface ManualTimer {
  dueNs: number;
  readonly periodNs: number;
  readonly callback: () => void;
}

/** A clock that stands still until it is told otherwise. */
export class ManualClock implements TimerClock {
  #nowNs = 0;
  readonly #timers = new Set<ManualTimer>();

  nowNs(): number {
    return this.#nowNs;
  }

  every(periodMs: number, callback: () => void): () => void {
    const periodNs = periodMs * 1e6;
    const timer = { dueNs: this.#nowNs + periodNs, periodNs, callback };
    this.#timers.add(timer);
    return () => this.#timers.delete(timer);
  }

  /** Moves on, and calls back what has become due on the way, once for each period. */
  advanceNs(ns: number): void {
    this.#nowNs += ns;
    for (const timer of [...this.#timers]) {
      while (this.#timers.has(timer) && timer.dueNs <= this.#nowNs) {
        timer.dueNs += timer.periodNs;
        timer.callback();
      }
    }
  }
}
