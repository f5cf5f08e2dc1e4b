/**
 * Time as all code above the drivers sees it: what polls, generates, reports and emulates asks one `Clock`, so that a
 * whole laboratory can run in virtual time. Tests inject a clock of their own and move it by hand. A driver's waits are
 * for hardware, and a vfio-user connection's for another process: those are real time.
 */
import { badOption, functionOption, millisecondsOption } from './options.js';

export interface Clock {
  /** Monotonic time in nanoseconds since an arbitrary start. Exact to about a microsecond. */
  nowNs(): number;
  /** Wall-clock time in milliseconds since 1970, with fractions. */
  wallMs(): number;
  /**
   * Calls back once, when so many milliseconds have passed; never where that is Infinity.
   * @param keepAlive whether the process stays for it. Default true
   * @returns a function that cancels it
   * @throws NicError `BAD_OPTION` where `ms` is negative or no number
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
    checkTimer(ms, callback);
    let timer: NodeJS.Timeout | undefined;
    const wait = (leftMs: number): void => {
      if (leftMs === Number.POSITIVE_INFINITY) return;
      const next = leftMs > MAX_TIMER_MS ? () => wait(leftMs - MAX_TIMER_MS) : callback;
      timer = setTimeout(next, Math.min(leftMs, MAX_TIMER_MS));
      if (!keepAlive) timer.unref();
    };
    wait(ms);
    return () => clearTimeout(timer);
  },
};

const OFFSET_SAMPLES = 5;

/**
 * What has to be added to `clock.nowNs()` for a time that all processes of the machine share: the kernel's monotonic clock, in
 * nanoseconds since the machine started, where a process's own begins when the process does. Exact to about a microsecond; 0 for
 * a clock that is not the machine's.
 */
export function sharedOffsetNs(clock: Clock): number {
  if (clock !== systemClock) return 0;
  let [best, least] = [0, Number.POSITIVE_INFINITY];
  for (let i = 0; i < OFFSET_SAMPLES; i++) {
    const before = clock.nowNs();
    const kernelNs = Number(process.hrtime.bigint());
    const took = clock.nowNs() - before;
    if (took < least) [best, least] = [kernelNs - before - took / 2, took];
  }
  return Math.round(best);
}

/**
 * Calls back every so many milliseconds of the clock until the returned function is called.
 * @throws NicError `BAD_OPTION` where `ms` is no number above 0
 */
export function every(clock: Clock, ms: number, callback: () => void, keepAlive = true): () => void {
  // A period of 0 would never let a clock move on.
  if (millisecondsOption('A period', ms) === 0)
    throw badOption('A period', ms, 'a number of milliseconds above 0');
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

/** Lets the event loop have a turn: timers, sockets and signals. No time passes by it. */
export function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** The value, where it is a clock. @throws NicError `BAD_OPTION` */
export function clockOption(name: string, value: unknown): Clock {
  const clock = value as Partial<Clock> | null | undefined;
  const methods = [clock?.nowNs, clock?.wallMs, clock?.after];
  if (methods.every((method) => typeof method === 'function')) return value as Clock;
  throw badOption(name, value, 'a clock, such as a ManualClock');
}

function checkTimer(ms: unknown, callback: unknown): void {
  millisecondsOption('A time', ms);
  functionOption('A callback', callback);
}

interface ManualTimer {
  readonly dueNs: number;
  readonly callback: () => void;
}

/** A clock that stands still until it is told otherwise. Timers that are due at the same time fire in the order they were set. */
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

  /** Timers keep no process alive here: nothing moves this clock by itself. */
  after(ms: number, callback: () => void): () => void {
    checkTimer(ms, callback);
    const timer = { dueNs: this.#nowNs + ms * 1e6, callback };
    this.#timers.add(timer);
    return () => {
      this.#timers.delete(timer);
    };
  }

  /**
   * Moves on, and calls what falls due on the way, each at its time. A callback may set and cancel timers, and move the
   * clock itself; where it throws, the clock stands at its time.
   * @throws NicError `BAD_OPTION` where `ns` is negative, no number or without an end; what a callback throws
   */
  advanceNs(ns: number): void {
    if (!(Number.isFinite(ns) && ns >= 0)) throw badOption('A time', ns, 'a number of nanoseconds from 0');
    const end = this.#nowNs + ns;
    for (let next = this.#nextDue(end); next !== undefined; next = this.#nextDue(end)) {
      this.#timers.delete(next);
      this.#nowNs = Math.max(this.#nowNs, next.dueNs);
      next.callback();
    }
    this.#nowNs = Math.max(this.#nowNs, end);
  }

  /** The first timer that is due by then. */
  #nextDue(byNs: number): ManualTimer | undefined {
    let first: ManualTimer | undefined;
    for (const timer of this.#timers) {
      if (timer.dueNs <= byNs && (first === undefined || timer.dueNs < first.dueNs)) first = timer;
    }
    return first;
  }
}

/** `13:05:07`: what a local clock shows at a wall time in milliseconds since 1970. */
export function timeOfDay(wallMs: number): string {
  const date = new Date(wallMs);
  return [date.getHours(), date.getMinutes(), date.getSeconds()]
    .map((part) => String(part).padStart(2, '0'))
    .join(':');
}
