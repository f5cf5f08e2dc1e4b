/** How a receive queue is connected with a transmit queue: what families and `forward/` agree on. */
import { NicError } from '../errors.js';

/**
 * Sees every packet in place: `packet` is its index in the pool (`pool.bytes(packet)`). Returns the number of bytes to
 * send: `lengthBytes`, or another where it changed the length; 0 drops the packet. A length that no hardware can send
 * drops it as well, and counts in `txErrors`.
 */
export type PacketHook = (packet: number, lengthBytes: number) => number;

/**
 * `general`: buffers go through the pool, one for each packet. `pipe`: both rings keep their buffers, only lengths move.
 * `auto`: a pipe where one is possible.
 */
export type LinkPath = 'auto' | 'pipe' | 'general';

/** What a queue is told that is to connect itself with another. All is checked. */
export interface LinkOptions {
  readonly path: LinkPath;
  /** Most packets moved by one `poll`. */
  readonly batch: number;
  /** Read and rewrite (unchanged) one byte of each packet. */
  readonly touch: boolean;
  /** Null where there is none: the engine compiles null in as a constant, undefined not. */
  readonly onPacket: PacketHook | null;
  /**
   * Moves at most so many packets by `receive` and `send`, and returns how many were received. A faster loop leaves what
   * is unusual to it.
   */
  readonly general: (max: number) => number;
}

/** Two queues that are connected. */
export interface LinkedQueues {
  readonly path: 'pipe' | 'general';
  /** Moves one batch; returns the number of packets received. */
  readonly poll: () => number;
  /** Packets that it dropped itself: those that the hook dropped. */
  readonly dropped: number;
}

/** Thrown by a `poll` that its own hook calls: the batch under way would be moved twice. */
export function nestedPoll(): NicError {
  return new NicError('OWNERSHIP', 'onPacket called poll() of the forwarder that is calling it', {
    hint: 'Return from the hook first: poll() goes on with the next packet by itself.',
  });
}
