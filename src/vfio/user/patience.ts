/**
 * How long a server may keep this thread waiting. A register access waits for its reply, and nothing else of the process
 * goes on meanwhile, a Ctrl-C included; a server that answers each access just before its deadline could hold the
 * process for ever. A server that gets no processor because the machine is busy looks much the same, and is no enemy: its
 * answers come, each some tens of milliseconds late. So there are three limits:
 *
 * - one answer has a deadline;
 * - what answers take beyond `FREE_MS` comes out of an account that gains half of the time that passes: a server whose answers
 *   take seconds, one after the other, empties it within half a minute, one that waits for its turn never does;
 * - all answers between two turns of the event loop have a limit together, for signals are seen in its turns only.
 */

/** What a reply may take for nothing: several times what a server waits for a processor that ten others want. */
export const FREE_MS = 100;
export const DEFAULT_PATIENCE_MS = 10_000;
/** The account gains this much of the time that passes. */
const REFILL = 0.5;
/** Longest time between two turns of the event loop: this many times what the account holds. */
const TURN_CAPACITIES = 2;

/** Why a reply is not waited for any longer. */
export type PatienceLimit = 'answer' | 'account' | 'turn';

export interface Allowance {
  /** Longest time that the next reply may take. */
  readonly ms: number;
  /** Which limit that is. */
  readonly limit: PatienceLimit;
}

export class Patience {
  readonly answerMs: number;
  readonly capacityMs: number;
  readonly turnMs: number;
  #leftMs: number;
  #refilledMs: number;
  #turnLeftMs: number;

  /**
   * @param answerMs longest time for one reply
   * @param capacityMs what is in the account at first, and at most
   * @param nowMs `performance.now()`
   */
  constructor(answerMs: number, capacityMs: number, nowMs: number) {
    this.answerMs = answerMs;
    this.capacityMs = capacityMs;
    this.turnMs = TURN_CAPACITIES * capacityMs;
    this.#leftMs = capacityMs;
    this.#turnLeftMs = this.turnMs;
    this.#refilledMs = nowMs;
  }

  /** How long the next reply may take. */
  allowance(nowMs: number): Allowance {
    this.#leftMs = Math.min(this.capacityMs, this.#leftMs + REFILL * (nowMs - this.#refilledMs));
    this.#refilledMs = nowMs;
    const accountMs = FREE_MS + this.#leftMs;
    if (this.#turnLeftMs < Math.min(accountMs, this.answerMs)) return { ms: this.#turnLeftMs, limit: 'turn' };
    return accountMs < this.answerMs
      ? { ms: accountMs, limit: 'account' }
      : { ms: this.answerMs, limit: 'answer' };
  }

  /** Takes the time of a reply from the account, and from what is left of this turn. */
  spend(waitedMs: number): void {
    this.#leftMs = Math.max(0, this.#leftMs - Math.max(0, waitedMs - FREE_MS));
    this.#turnLeftMs = Math.max(0, this.#turnLeftMs - waitedMs);
  }

  /** The event loop had its turn: signals have been seen. */
  turned(): void {
    this.#turnLeftMs = this.turnMs;
  }
}
