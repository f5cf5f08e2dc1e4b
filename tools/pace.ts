/** How a rate that was asked for was kept, for the totals of a port. */

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
}
