/**
 * Tells from the numbers of arriving frames which were lost, which came twice and which out of order.
 *
 * A bit for each of the last 65,536 numbers says whether it has come. So memory is fixed (8 KiB), and a number that comes
 * later than that cannot be told from one that came twice: it counts as stale. All sums add up at any time:
 *
 *     calls of record = received + duplicated + stale
 *     expected        = received + lost
 */

/** What a number was when it came. */
export type Arrival = 'next' | 'late' | 'duplicate' | 'stale';

const DEFAULT_WINDOW = 65_536;
const MAX_WINDOW = 2 ** 30;
const BITS_PER_WORD = 32;

export class SequenceTracker {
  /** Of `received`, numbers that came after a higher one. */
  reordered = 0;
  /** Numbers that had come before. */
  duplicated = 0;
  /** Numbers so far below the highest that late ones and duplicates cannot be told apart. */
  stale = 0;
  /** One above the highest number that has come. */
  #next = 0;
  /**
   * All numbers from here to `#next` have come one after the other. Their bits are set only when the run ends: a number in
   * order then costs a comparison and a store.
   */
  #runStart = 0;
  /** Numbers below `#runStart` that have come. */
  #receivedBefore = 0;
  /** Bit i: whether number n with n modulo the window = i has come, for the numbers below `#runStart` of the last window. */
  readonly #seen: Int32Array;
  readonly #window: number;

  /** @param window how many numbers are remembered; rounded up to a power of two, 32 at least */
  constructor(window = DEFAULT_WINDOW) {
    this.#window = 2 ** Math.ceil(Math.log2(Math.min(Math.max(window, BITS_PER_WORD), MAX_WINDOW)));
    this.#seen = new Int32Array(this.#window / BITS_PER_WORD);
  }

  /** Numbers that have come, each counted once. */
  get received(): number {
    return this.#receivedBefore + this.#next - this.#runStart;
  }

  /** How many numbers should have come by now: all from 0 to the highest. */
  get expected(): number {
    return this.#next;
  }

  /** Numbers below the highest that have not come. One that comes late is no longer lost, unless it is stale. */
  get lost(): number {
    return this.expected - this.received;
  }

  /** Notes a number, 0 to 2^53 - 2. Allocates nothing. */
  record(sequence: number): Arrival {
    if (sequence === this.#next) {
      this.#next = sequence + 1;
      return 'next';
    }
    return this.#recordOutOfOrder(sequence);
  }

  /**
   * Notes numbers that follow each other, where the first is the next one that should come.
   * @returns false where it is not: then nothing is noted
   */
  recordRun(first: number, count: number): boolean {
    if (first !== this.#next) return false;
    this.#next = first + count;
    return true;
  }

  #recordOutOfOrder(sequence: number): Arrival {
    this.#endRun();
    if (sequence > this.#next) {
      this.#setBits(this.#next, sequence, false);
      this.#next = sequence + 1;
      this.#runStart = sequence;
      return 'next';
    }
    if (sequence < this.#next - this.#window) {
      this.stale++;
      return 'stale';
    }
    const place = sequence % this.#window;
    const word = this.#seen[place >>> 5]!;
    const bit = 1 << (place & 31);
    if ((word & bit) !== 0) {
      this.duplicated++;
      return 'duplicate';
    }
    this.#seen[place >>> 5] = word | bit;
    this.#receivedBefore++;
    this.reordered++;
    return 'late';
  }

  /** Sets the bits of the run, so that the next one may begin anywhere. */
  #endRun(): void {
    this.#setBits(this.#runStart, this.#next, true);
    this.#receivedBefore += this.#next - this.#runStart;
    this.#runStart = this.#next;
  }

  /** Says of the numbers from `first` to before `end` that they have come or not. A window of them is all there is. */
  #setBits(first: number, end: number, hasCome: boolean): void {
    const seen = this.#seen;
    const wholeWord = hasCome ? -1 : 0;
    if (end - first >= this.#window) {
      seen.fill(wholeWord);
      return;
    }
    const mask = this.#window - 1;
    let place = first % this.#window;
    for (let left = end - first; left > 0; ) {
      const bit = place & 31;
      const count = Math.min(left, BITS_PER_WORD - bit);
      const bits = count === BITS_PER_WORD ? -1 : ((1 << count) - 1) << bit;
      if (hasCome) seen[place >>> 5]! |= bits;
      else seen[place >>> 5]! &= ~bits;
      place = (place + count) & mask;
      left -= count;
    }
  }

  /** Forgets everything, for a sender that starts again from 0. */
  reset(): void {
    this.reordered = 0;
    this.duplicated = 0;
    this.stale = 0;
    this.#next = 0;
    this.#runStart = 0;
    this.#receivedBefore = 0;
    this.#seen.fill(0);
  }
}
