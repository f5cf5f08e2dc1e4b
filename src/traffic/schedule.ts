/**
 * When the next frame of a flow is due. Times are absolute: each follows from the start and from what was sent since, so a late
 * frame makes none after it late, and no error adds up. What is late by more than a bound is not caught up: a process that was
 * stopped, or a ring that stayed full, would else be followed by a burst that nobody asked for. Those send times are left out,
 * and counted by what held the sender up.
 */
import type { CheckedFlow } from './flow.js';
import { mixSeed, nextRandom, unitOf } from './random.js';
import { absoluteRate, frameBits, packetsPerSecond, type Rate, wireBits } from './rate.js';

/** How far a sender may be late and still catch up. */
export const DEFAULT_CATCH_UP_MS = 10;

export class Schedule {
  /** Time at which the next frame is due, on the clock of `start`; Infinity when the flow has ended. */
  dueNs = 0;
  /** Frames that were sent. */
  sent = 0;
  /** Send times left out since the ring, or the pool behind it, had no room. */
  leftOutNoRoom = 0;
  /** Send times left out since the sender came too late. */
  leftOutLate = 0;
  /** Frames a second that were asked for, the last time; Infinity for as many as possible. */
  requestedPps: number;
  /** Without a rate: frames are due at any time. */
  unlimited: boolean;
  /** How often another rate was asked for since the start. */
  rateChanges = 0;
  readonly #flow: CheckedFlow;
  /** The hardware spaces the frames: they are due at any time, as many as the rate allows until the end. */
  readonly #isHardware: boolean;
  #count: number;
  readonly #lineBitsPerS: number;
  readonly #averageBytes: number;
  #unit: 'packets' | 'wire-bits' | 'frame-bits' = 'packets';
  #nsPerUnit: number;
  /** Units since `#originNs` that the frames sent have taken, and those up to the burst that is going on. */
  #units = 0;
  #burstUnits = 0;
  #inBurst = 0;
  #originNs = 0;
  #endNs = Number.POSITIVE_INFINITY;
  #state: number;

  /**
   * @param lineBitsPerS for percent; 0 where not known
   * @param averageBytes of the flow's frames without FCS
   * @param isHardware whether the hardware spaces the frames: then they are due at once, and a duration is a count
   * @throws NicError `BAD_OPTION`
   */
  constructor(flow: CheckedFlow, lineBitsPerS: number, averageBytes: number, isHardware = false) {
    this.#flow = flow;
    this.#isHardware = isHardware;
    this.#count = flow.count;
    this.#lineBitsPerS = lineBitsPerS;
    this.#averageBytes = averageBytes;
    this.requestedPps =
      flow.burstGapMs > 0 ? (flow.burst * 1000) / flow.burstGapMs : Number.POSITIVE_INFINITY;
    this.unlimited = flow.rate === undefined && flow.burstGapMs === 0;
    this.#nsPerUnit = (flow.burstGapMs * 1e6) / flow.burst;
    if (flow.rate !== undefined) this.#useRate(flow.rate);
    this.#state = mixSeed(flow.seed, 0x7a_11);
  }

  start(nowNs: number): void {
    this.#originNs = nowNs + this.#flow.startDelayMs * 1e6;
    this.#endNs = this.#originNs + this.#flow.durationMs * 1e6;
    this.dueNs = this.#originNs;
    if (this.#isHardware) this.#countUntilEnd(this.#originNs);
  }

  /** As many frames more as are due before the end at the rate. */
  #countUntilEnd(nowNs: number): void {
    const leftNs = this.#endNs - nowNs;
    const left = Math.max(0, Math.ceil((leftNs * this.requestedPps) / 1e9 - 1e-6));
    this.#count = Math.min(this.#flow.count, this.sent + left);
    if (this.sent >= this.#count) this.dueNs = Number.POSITIVE_INFINITY;
  }

  #useRate(given: Rate): void {
    const rate = absoluteRate(given, this.#lineBitsPerS);
    this.#unit = rate.unit === 'percent' ? 'packets' : rate.unit;
    this.#nsPerUnit = 1e9 / rate.value;
    this.requestedPps = packetsPerSecond(rate, this.#averageBytes);
    this.unlimited = this.#isHardware;
  }

  /**
   * Goes on at another rate. What is left of the gap before the next frame shrinks or grows with it.
   * @throws NicError `BAD_OPTION` for percent of a speed that is not known
   */
  setRate(rate: Rate, nowNs: number): void {
    const [dueNs, before] = [this.unlimited ? nowNs : this.dueNs, this.requestedPps];
    this.#useRate(rate);
    this.rateChanges++;
    if (this.ended) return;
    if (this.#isHardware) {
      this.#countUntilEnd(nowNs);
      return;
    }
    const leftNs = dueNs - nowNs;
    const isBegun = this.sent > 0 && leftNs > 0;
    this.#originNs = isBegun ? nowNs + (leftNs * before) / this.requestedPps : dueNs;
    this.#units = this.#burstUnits = this.#inBurst = 0;
    this.#setDue();
  }

  /** Notes that the frame that was due is sent, and says when the next is. @param frameBytes its length without FCS */
  advance(frameBytes: number): void {
    this.sent++;
    if (this.sent >= this.#count) {
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

  /**
   * Notes that as many frames of one length as are due by now are sent, without a rate as many as wanted.
   * @param dueNs takes the time at which each was due, from its front on @returns how many, at most `most`
   */
  take(nowNs: number, most: number, frameBytes: number, dueNs: Float64Array): number {
    if (this.dueNs > nowNs) return 0;
    if (this.unlimited) {
      const count = Math.min(most, this.#count - this.sent);
      for (let i = 0; i < count; i++) dueNs[i] = nowNs;
      this.sent += count;
      if (this.sent >= this.#count) this.dueNs = Number.POSITIVE_INFINITY;
      return count;
    }
    let count = 0;
    while (count < most && this.dueNs <= nowNs) {
      dueNs[count++] = this.dueNs;
      this.advance(frameBytes);
    }
    return count;
  }

  /**
   * To be called before frames are sent: notices the end of the flow, and leaves out what is too late.
   * @param wasFull whether the ring or the pool had no room since the last call
   */
  look(nowNs: number, catchUpNs: number, wasFull: boolean): void {
    // With a rate the last frame is the last that is due before the end, however late it is sent.
    if (this.unlimited && nowNs >= this.#endNs && !this.#isHardware) this.dueNs = Number.POSITIVE_INFINITY;
    const lateNs = nowNs - this.dueNs;
    if (!(lateNs > catchUpNs) || this.unlimited) return;
    // Whole send times, so that the others stay where they were.
    const leftOut = Math.ceil(((lateNs - catchUpNs) * this.requestedPps) / 1e9);
    if (wasFull) this.leftOutNoRoom += leftOut;
    else this.leftOutLate += leftOut;
    this.#originNs += (leftOut * 1e9) / this.requestedPps;
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
