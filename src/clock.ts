/** Time as the emulator sees it. Tests inject a clock of their own and move it by hand. */

export interface Clock {
  /** Monotonic time in nanoseconds since an arbitrary start. */
  nowNs(): number;
}

/** The machine's monotonic clock. Costs about 40 ns a call, so ask once a burst, not once a frame. */
export const monotonicClock: Clock = { nowNs: () => performance.now() * 1e6 };

/** A clock that stands still until it is told otherwise. */
export class ManualClock implements Clock {
  #nowNs = 0;

  nowNs(): number {
    return this.#nowNs;
  }

  advanceNs(ns: number): void {
    this.#nowNs += ns;
  }
}
