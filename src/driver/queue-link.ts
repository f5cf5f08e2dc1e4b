/** How a receive queue is connected with a transmit queue: what families and `forward/` agree on. */
import { NicError } from '../errors.js';

/**
 * Sees every packet in place: `packet` is its index in the pool (`pool.bytes(packet)`), and `lengthBytes` its length, which
 * `pool.lengths` need not have. Returns the number of bytes to send: `lengthBytes`, or another where it changed the length; 0
 * drops the packet. A length that no hardware can send drops it as well, and counts in `txErrors`.
 *
 * What it throws, `poll` throws. Nothing is lost by it: packets before are sent, and the next poll begins with the one it was
 * called for. It may send on the same queue and take buffers from the pool; it may not call `poll` of its forwarder or
 * `receive` of the queue (`OWNERSHIP`). The packet is its own only while it runs.
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
  /**
   * What `general` counts and notes. Element 0: packets dropped. Element 1: not 0 while the hook runs, and while packets wait
   * that a hook that threw has not seen; then `general` is to be called. Loops of a family's own use both.
   */
  readonly dropped: Float64Array;
}

/** Two queues that are connected. */
export interface LinkedQueues {
  readonly path: 'pipe' | 'general';
  /** Moves one batch; returns the number of packets received. */
  readonly poll: () => number;
  /** Packets that it dropped itself: those that the hook dropped. */
  readonly dropped: number;
}

/** A hook called what is calling it: the batch under way would be moved twice. @throws NicError `OWNERSHIP` */
export function refuseNested(): never {
  throw new NicError(
    'OWNERSHIP',
    'onPacket called poll() of the forwarder that is calling it, or receive() of its queue',
    { hint: 'Return from the hook first: poll() goes on with the next packet by itself.' },
  );
}
