/**
 * When the next frame of a flow is due. Times are absolute: each follows from the start and from what was sent since, so a late
 * frame makes none after it late, and no error adds up. After a pause that is longer than the bound the schedule begins anew:
 * what was missed is not sent in a burst, and it is counted.
 */
import type { CheckedFlow } from './flow.js';
import { mixSeed, nextRandom, unitOf } from './random.js';
import { absoluteRate, frameBits, wireBits } from './rate.js';

/** How far a sender may be late and still catch up. */
export const DEFAULT_CATCH_UP_MS = 10;

export class Schedule {
  /** Time at which the next frame is due, on the clock of `start`; Infinity when the flow has ended. */
  dueNs = 0;
  /** Frames that were sent. */
  sent = 0;
  /** Pauses beyond the bound, and the time that was not caught up. */
  pauses = 0;
  skippedNs = 0;
  /** Without a rate: frames are due at any time. */
  readonly unlimited: boolean;
  readonly #flow: CheckedFlow;
  readonly #unit: 'packets' | 'wire-bits' | 'frame-bits';
  readonly #nsPerUnit: number;
  /** Units since `#originNs` that the frames sent have taken, and those up to the burst that is going on. */
  #units = 0;
  #burstUnits = 0;
  #inBurst = 0;
  #originNs = 0;
  #endNs = Number.POSITIVE_INFINITY;
  #state: number;

  /** @param lineBitsPerS for percent; 0 where not known @throws NicError `BAD_OPTION` */
  constructor(flow: CheckedFlow, lineBitsPerS: number) {
    this.#flow = flow;
    const rate = flow.rate === undefined ? undefined : absoluteRate(flow.rate, lineBitsPerS);
    this.unlimited = rate === undefined && flow.burstGapMs === 0;
    this.#unit = rate === undefined || rate.unit === 'percent' ? 'packets' : rate.unit;
    this.#nsPerUnit = rate === undefined ? (flow.burstGapMs * 1e6) / flow.burst : 1e9 / rate.value;
    this.#state = mixSeed(flow.seed, 0x7a_11);
  }

  start(nowNs: number): void {
    this.#originNs = nowNs + this.#flow.startDelayMs * 1e6;
    this.#endNs = this.#originNs + this.#flow.durationMs * 1e6;
    this.dueNs = this.#originNs;
  }

  /** Notes that the frame that was due is sent, and says when the next is. @param frameBytes its length without FCS */
  advance(frameBytes: number): void {
    this.sent++;
    if (this.sent >= this.#flow.count) {
      this.dueNs = Number.POSITIVE_INFINITY;
      return;
    }
    if (this.unlimited) return;
    const units =
      this.#unit === 'packets'
        ? 1
        : this.#unit === 'wire-bits'
          ? wireBits(frameBytes)
          : frameBits(frameBytes);
    if (this.#flow.poisson) {
      this.#state = nextRandom(this.#state);
      // From the exponential distribution with the mean that this frame takes.
      this.#units -= Math.log(1 - unitOf(this.#state)) * units;
    } else {
      this.#units += units;
    }
    if (++this.#inBurst === this.#flow.burst) {
      this.#inBurst = 0;
      this.#burstUnits = this.#units;
    }
    this.#setDue();
  }

  /** To be called before frames are sent: notices the end of the flow, and a pause. */
  look(nowNs: number, catchUpNs: number): void {
    if (nowNs >= this.#endNs && this.dueNs !== Number.POSITIVE_INFINITY)
      this.dueNs = Number.POSITIVE_INFINITY;
    const lateNs = nowNs - this.dueNs;
    if (!(lateNs > catchUpNs) || this.unlimited) return;
    this.pauses++;
    this.skippedNs += lateNs;
    this.#originNs += lateNs;
    this.#setDue();
  }

  /** Whether nothing more will be due. */
  get ended(): boolean {
    return this.dueNs === Number.POSITIVE_INFINITY;
  }

  end(): void {
    this.dueNs = Number.POSITIVE_INFINITY;
  }

  #setDue(): void {
    const dueNs = this.#originNs + this.#burstUnits * this.#nsPerUnit;
    this.dueNs = dueNs >= this.#endNs ? Number.POSITIVE_INFINITY : dueNs;
  }
}
