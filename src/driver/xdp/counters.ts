/** Where the queues keep their counters: elements of a Float64Array, which adds without allocating, however high it counts. */
export const COUNTERS = {
  PACKETS: 0,
  BYTES: 1,
  ERRORS: 2,
  NO_BUFFER: 3,
  TOO_LONG: 4,
  DAMAGED: 5,
  /** System calls that had the kernel look at a ring. */
  WAKE_UPS: 6,
  /** Entries of the completion ring that name what was not sent. */
  FOREIGN: 7,
} as const;

export const COUNTERS_LENGTH = 8;
