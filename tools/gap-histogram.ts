/** How far the gaps between frames that were sent are from those that were meant: a histogram in powers of two. */

/** The first bucket ends at 1 us; each next one is twice as wide; the last one has no end. */
const FIRST_NS = 1000;
const BUCKETS = 24;

export class GapHistogram {
  readonly #counts = new Float64Array(BUCKETS);
  #lastDueNs = Number.NaN;
  #lastSentNs = Number.NaN;
  /** How late the last frame left, and the latest of all. */
  lastLateNs = 0;
  maxLateNs = 0;

  /** A frame that was due then has left now. */
  add(dueNs: number, sentNs: number): void {
    const errorNs = Math.abs(sentNs - this.#lastSentNs - (dueNs - this.#lastDueNs));
    if (errorNs >= 0) {
      let bucket = 0;
      for (let end = FIRST_NS; errorNs >= end && bucket < BUCKETS - 1; end *= 2) bucket++;
      this.#counts[bucket]! += 1;
    }
    this.#lastDueNs = dueNs;
    this.#lastSentNs = sentNs;
    this.lastLateNs = sentNs - dueNs;
    if (this.lastLateNs > this.maxLateNs) this.maxLateNs = this.lastLateNs;
  }

  /** Gaps whose error is less than so many nanoseconds (Infinity for the last), in order, without empty ones. */
  get buckets(): { readonly belowNs: number; readonly count: number }[] {
    return Array.from(this.#counts, (count, i) => ({
      belowNs: i === BUCKETS - 1 ? Number.POSITIVE_INFINITY : FIRST_NS * 2 ** i,
      count,
    })).filter(({ count }) => count > 0);
  }
}

/** `1.5 us`, `32 ms`. */
export function shortTime(ns: number): string {
  if (ns === Number.POSITIVE_INFINITY) return 'more';
  const [unit, size] = ns < 1e6 ? ['us', 1e3] : ns < 1e9 ? ['ms', 1e6] : ['s', 1e9];
  return `${Number((ns / (size as number)).toPrecision(3))} ${unit}`;
}
