/**
 * How long a server may keep this thread waiting. A register access waits for its reply, and nothing else of the process
 * goes on meanwhile, a Ctrl-C included; a server that answers each access just before its deadline could hold the
 * process for ever. So what replies take beyond a few milliseconds comes out of an account that fills slowly: a server
 * may be slow for some seconds, but not go on with it.
 */

/** What a reply may take for nothing: more than any server needs that the system lets run. */
const FREE_MS = 10;
export const DEFAULT_PATIENCE_MS = 10_000;
/** The account gains this much of the time that passes. */
const REFILL = 0.1;

export class Patience {
  readonly #capacityMs: number;
  #leftMs: number;
  #refilledMs: number;

  /**
   * @param capacityMs what is in the account at first, and at most
   * @param nowMs `performance.now()`
   */
  constructor(capacityMs: number, nowMs: number) {
    this.#capacityMs = capacityMs;
    this.#leftMs = capacityMs;
    this.#refilledMs = nowMs;
  }

  /** Longest time that the next reply may take. */
  allowanceMs(nowMs: number): number {
    this.#leftMs = Math.min(this.#capacityMs, this.#leftMs + REFILL * (nowMs - this.#refilledMs));
    this.#refilledMs = nowMs;
    return FREE_MS + this.#leftMs;
  }

  /** Takes the time of a reply from the account. */
  spend(waitedMs: number): void {
    this.#leftMs = Math.max(0, this.#leftMs - Math.max(0, waitedMs - FREE_MS));
  }
}
