/** The least and the most of a rate over the seconds of a run. */

/** Packets per second. */
export interface RateSpan {
  readonly average: number;
  /** Of whole seconds; absent where the run had none. */
  readonly min?: number;
  readonly max?: number;
}

export class RateRange {
  #min: number | undefined;
  #max: number | undefined;

  /** @param rate packets per second over one interval of the report */
  add(rate: number): void {
    this.#min = Math.min(this.#min ?? rate, rate);
    this.#max = Math.max(this.#max ?? rate, rate);
  }

  /** With the average of so many packets in so many seconds. */
  span(packets: number, seconds: number): RateSpan {
    const [min, max] = [this.#min, this.#max];
    const average = seconds > 0 ? tenths(packets / seconds) : 0;
    return min === undefined || max === undefined
      ? { average }
      : { average, min: tenths(min), max: tenths(max) };
  }
}

function tenths(rate: number): number {
  return Math.round(rate * 10) / 10;
}
