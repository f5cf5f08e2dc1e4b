/** How a rate that was asked for was kept, for the totals of a port. */
import type { Pacing } from '../src/traffic/index.js';

/** A rate that was asked for, and what of its schedule was not kept. */
export interface PaceReport {
  /** Packets per second. */
  readonly requestedPps: number;
  /** Send times left out since the ring, or the pool behind it, had no room. */
  readonly leftOutNoRoom: number;
  /** Send times left out since the sender came too late. */
  readonly leftOutLate: number;
  /** Longest time between two looks at the schedule while there was room. */
  readonly longestPauseMs: number;
  /** What is later than this is left out. */
  readonly catchUpMs: number;
  /** What spaced the frames, where that was not this process. */
  readonly pacing?: Exclude<Pacing, 'software'>;
  /** The nearest rate that the hardware has, and what the line's speed is divided by a multiple of. */
  readonly hardwarePps?: number;
  readonly divisorStep?: number;
}
