/** Counts of durations in buckets whose width grows with the value: 1/16 of a power of two. Adding allocates nothing. */

const SUB_BITS = 4;
const SUBS = 1 << SUB_BITS;
const BUCKETS = 32 * SUBS;

export class Histogram {
  readonly #counts = new Float64Array(BUCKETS);
  /** Count, and the largest value. */
  readonly #state = new Float64Array(32);

  /** @param ns 0 or more, below 2^31 */
  add(ns: number): void {
    const value = ns < 0x7fff_ffff ? ns | 0 : 0x7fff_ffff;
    this.#counts[bucketOf(value)]! += 1;
    this.#state[0]! += 1;
    if (value > this.#state[1]!) this.#state[1] = value;
  }

  get count(): number {
    return this.#state[0]!;
  }

  get max(): number {
    return this.#state[1]!;
  }

  /** Upper edge of the bucket that holds the value of this rank. @param share 0 to 1 */
  quantile(share: number): number {
    const rank = share * this.count;
    let seen = 0;
    for (let bucket = 0; bucket < BUCKETS; bucket++) {
      seen += this.#counts[bucket]!;
      if (seen > 0 && seen >= rank) return Math.min(upperEdge(bucket), this.max);
    }
    return this.max;
  }
}

/** The highest bit says which power of two, the four bits below which part of it. */
function bucketOf(value: number): number {
  if (value < SUBS) return value;
  const exponent = 31 - Math.clz32(value) - SUB_BITS;
  return (exponent + 1) * SUBS + ((value >>> exponent) & (SUBS - 1));
}

function upperEdge(bucket: number): number {
  if (bucket < SUBS) return bucket;
  const exponent = (bucket >>> SUB_BITS) - 1;
  return (SUBS + (bucket & (SUBS - 1)) + 1) * 2 ** exponent - 1;
}
