/** A flow under way, and what it did. */
import { NicError } from '../errors.js';
import type { CheckedFlow } from './flow.js';
import { FrameWriter } from './frame-writer.js';
import { Histogram } from './histogram.js';
import type { Rate } from './rate.js';
import { Schedule } from './schedule.js';

/** What spaces the frames of a flow: this process, the hardware's rate of a queue, or frames that fill the gaps. */
export type Pacing = 'software' | 'hardware' | 'filler';

export const PACINGS = ['software', 'hardware', 'filler'] as const satisfies readonly Pacing[];

export class SendingFlow {
  readonly options: CheckedFlow;
  readonly index: number;
  readonly pacing: Pacing;
  readonly writer: FrameWriter;
  readonly schedule: Schedule;
  /** Frames that the ring took. */
  taken = 0;
  takenBytes = 0;
  firstNs = -1;
  lastNs = -1;
  /** Differences between the gaps that were asked for and those that came about; empty where the hardware makes them. */
  readonly gapErrors = new Histogram();
  /** Frames a second that the hardware was set to: the nearest rate that it has. */
  hardwarePps: number | undefined;
  /** Sets the hardware to a rate, where it spaces the frames. */
  setHardwareRate: ((rate: Rate) => void) | undefined;
  #lastDueNs = Number.NaN;
  #leftOutSeen = 0;
  /** Frames that have left the ring by `lastNs`; -1 where that was not asked. */
  #left = -1;

  constructor(
    options: CheckedFlow,
    index: number,
    sourceMac: Uint8Array,
    lineBitsPerS: number,
    pacing: Pacing = 'software',
  ) {
    if (pacing !== 'software' && options.rate === undefined && options.burstGapMs === 0)
      throw new NicError('BAD_OPTION', `pacing does nothing for ${options.name}, which has no rate`, {
        hint: 'Leave pacing out, or give a rate.',
      });
    this.options = options;
    this.index = index;
    this.pacing = pacing;
    this.writer = new FrameWriter(options, index, sourceMac);
    this.schedule = new Schedule(options, lineBitsPerS, this.writer.averageBytes, pacing === 'hardware');
  }

  /** Frames a second between the first and the last; 0 for less than two. Undefined while only the hardware knows. */
  get achievedPps(): number | undefined {
    if (this.pacing === 'hardware' && this.#left < 0) return undefined;
    const ns = this.lastNs - this.firstNs;
    const frames = this.#left < 0 ? this.taken : this.#left;
    return frames > 1 && ns > 0 ? ((frames - 1) * 1e9) / ns : 0;
  }

  /** Goes on at another rate. @throws NicError `BAD_OPTION`, also for a rate that the hardware does not have */
  setRate(rate: Rate, nowNs: number): void {
    this.setHardwareRate?.(rate);
    this.schedule.setRate(rate, nowNs);
  }

  /** Notes frames that the ring took together. @param dueNs when each was due, from `first` on */
  note(frames: number, bytes: number, nowNs: number, dueNs: Float64Array, first: number): void {
    this.taken += frames;
    this.takenBytes += bytes;
    if (!this.schedule.unlimited) this.#noteGaps(frames, nowNs, dueNs, first);
    if (this.firstNs < 0) this.firstNs = nowNs;
    this.lastNs = nowNs;
  }

  /** Notes how many frames have left the ring. */
  noteLeft(frames: number, nowNs: number): void {
    this.#left = frames;
    this.lastNs = nowNs;
  }

  #noteGaps(frames: number, nowNs: number, dueNs: Float64Array, first: number): void {
    const { gapErrors } = this;
    // A gap with send times left out in it was not asked for.
    const leftOut = this.schedule.leftOutLate + this.schedule.leftOutNoRoom;
    if (this.firstNs >= 0 && leftOut === this.#leftOutSeen)
      gapErrors.record(Math.abs(nowNs - this.lastNs - (dueNs[first]! - this.#lastDueNs)));
    const last = first + frames - 1;
    for (let i = first; i < last; i++) gapErrors.record(Math.abs(dueNs[i + 1]! - dueNs[i]!));
    this.#leftOutSeen = leftOut;
    this.#lastDueNs = dueNs[last]!;
  }
}
