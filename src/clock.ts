/**
 * Time as all code above the drivers sees it: what polls, generates, reports and emulates asks one `Clock`, so that a
 * whole laboratory can run in virtual time. Tests inject a clock of their own and move it by hand.
 */

export interface Clock {
  /** Monotonic time in nanoseconds since an arbitrary start. Exact to about a microsecond. */
  nowNs(): number;
  /** Wall-clock time in milliseconds since 1970, with fractions. */
  wallMs(): number;
  /**
   * Calls back once, when at least so many milliseconds have passed.
   * @param keepAlive whether the process stays for it. Default true
   * @returns a function that cancels it
   */
  after(ms: number, callback: () => void, keepAlive?: boolean): () => void;
}

/** A timer cannot be set to more (Node.js, timers): a longer one would fire at once. */
export const MAX_TIMER_MS = 2 ** 31 - 1;

/** The machine's clock. `nowNs` costs about 40 ns a call: ask once a burst, not once a packet. */
export const systemClock: Clock = {
  nowNs: () => performance.now() * 1e6,
  wallMs: () => performance.timeOrigin + performance.now(),
  after(ms, callback, keepAlive = true) {
    // Without an end there is nothing to call.
    if (ms === Number.POSITIVE_INFINITY) return () => {};
    const timer = setTimeout(callback, Math.min(ms, MAX_TIMER_MS));
    if (!keepAlive) timer.unref();
    return () => clearTimeout(timer);
  },
};

/** Calls back every so many milliseconds of the clock until the returned function is called. */
export function every(clock: Clock, ms: number, callback: () => void, keepAlive = true): () => void {
  let cancel = (): void => {};
  const next = (): void => {
    cancel = clock.after(
      ms,
      () => {
        next();
        callback();
      },
      keepAlive,
    );
  };
  next();
  return () => cancel();
}

interface ManualTimer {
  readonly dueNs: number;
  readonly callback: () => void;
}

/** A clock that stands still until it is told otherwise. */
export class ManualClock implements Clock {
  #nowNs = 0;
  readonly #startWallMs: number;
  readonly #timers = new Set<ManualTimer>();

  /** @param startWallMs wall-clock time at the start, milliseconds since 1970 */
  constructor(startWallMs = 0) {
    this.#startWallMs = startWallMs;
  }

  nowNs(): number {
    return this.#nowNs;
  }

  wallMs(): number {
    return this.#startWallMs + this.#nowNs / 1e6;
  }

  after(ms: number, callback: () => void): () => void {
    const timer = { dueNs: this.#nowNs + ms * 1e6, callback };
    this.#timers.add(timer);
    return () => {
      this.#timers.delete(timer);
    };
  }

  /** Moves on, and calls what falls due on the way, each at its time. */
  advanceNs(ns: number): void {
    const end = this.#nowNs + ns;
    for (;;) {
      let first: ManualTimer | undefined;
      for (const timer of this.#timers) {
        if (timer.dueNs <= end && (first === undefined || timer.dueNs < first.dueNs)) first = timer;
      }
      if (first === undefined) break;
      this.#timers.delete(first);
      this.#nowNs = Math.max(this.#nowNs, first.dueNs);
      first.callback();
    }
    this.#nowNs = end;
  }
}
