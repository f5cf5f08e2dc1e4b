/**
 * A log-linear histogram of times in nanoseconds: each power of two is divided into 32 buckets, so a value read from it is at
 * most 1/32 (3.1 %) above the true one; below 32 ns it is exact. Recording takes one store.
 */
const SUB_BITS = 5;
const SUB = 1 << SUB_BITS;
/** Up to 2^48 ns, which is 78 hours. */
const BUCKETS = (48 - SUB_BITS + 1) * SUB;
const TWO_31 = 2 ** 31;

const FIRST_OCTAVE_NS = 1024;

/** How many values were below a bound, and not below the one before. */
export interface Octave {
  readonly belowNs: number;
  readonly count: number;
}

export interface HistogramSummary {
  readonly count: number;
  readonly minNs: number;
  readonly meanNs: number;
  readonly p50Ns: number;
  readonly p90Ns: number;
  readonly p99Ns: number;
  readonly p999Ns: number;
  readonly p9999Ns: number;
  readonly maxNs: number;
}

export class Histogram {
  count = 0;
  #min = Number.POSITIVE_INFINITY;
  #max = 0;
  #sum = 0;
  readonly #buckets = new Float64Array(BUCKETS);

  /** Records a value so often. @param ns from 0; less counts as 0 */
  record(ns: number, times = 1): void {
    const value = ns > 0 ? ns : 0;
    this.count += times;
    this.#sum += value * times;
    if (value < this.#min) this.#min = value;
    if (value > this.#max) this.#max = value;
    this.#buckets[indexOf(value)]! += times;
  }

  /** The smallest bound that this share of the values does not exceed. @param share 0 to 1 */
  quantile(share: number): number {
    if (this.count === 0) return 0;
    const rank = Math.max(1, Math.ceil(share * this.count - 1e-9));
    let seen = 0;
    for (let i = 0; i < BUCKETS; i++) {
      seen += this.#buckets[i]!;
      // The last bucket has no bound.
      if (seen >= rank) return i === BUCKETS - 1 ? this.#max : Math.min(upperBound(i), this.#max);
    }
    return this.#max;
  }

  /**
   * Counts of values by powers of two, in order and without empty ones: the first is of all below 1024 ns, each other of those from
   * half its bound on.
   */
  octaves(): Octave[] {
    const found: Octave[] = [];
    let [count, index] = [0, 0];
    for (let belowNs = FIRST_OCTAVE_NS; index < BUCKETS; belowNs *= 2) {
      for (; index < BUCKETS && upperBound(index) < belowNs; index++) count += this.#buckets[index]!;
      if (count > 0) found.push({ belowNs, count });
      count = 0;
    }
    return found;
  }

  /** Undefined where nothing was recorded. */
  summary(): HistogramSummary | undefined {
    if (this.count === 0) return undefined;
    return {
      count: this.count,
      minNs: this.#min,
      meanNs: this.#sum / this.count,
      p50Ns: this.quantile(0.5),
      p90Ns: this.quantile(0.9),
      p99Ns: this.quantile(0.99),
      p999Ns: this.quantile(0.999),
      p9999Ns: this.quantile(0.9999),
      maxNs: this.#max,
    };
  }
}

function indexOf(value: number): number {
  if (value < TWO_31) {
    const integer = value | 0;
    if (integer < SUB) return integer;
    const shift = 31 - SUB_BITS - Math.clz32(integer);
    return ((shift + 1) << SUB_BITS) + ((integer >> shift) - SUB);
  }
  const shift = Math.min(48 - 1, Math.floor(Math.log2(value))) - SUB_BITS;
  return ((shift + 1) << SUB_BITS) + Math.min(SUB - 1, Math.floor(value / 2 ** shift) - SUB);
}

/** The largest whole number of nanoseconds that belongs to a bucket. */
function upperBound(index: number): number {
  if (index < SUB) return index;
  const shift = (index >> SUB_BITS) - 1;
  return ((index & (SUB - 1)) + SUB + 1) * 2 ** shift - 1;
}
