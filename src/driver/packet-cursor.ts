/** The shape in which applications write loops of their own over a receive and a transmit queue: what families and `forward/` agree on. */
import { NicError } from '../errors.js';

/**
 * Shows received packets one at a time. Each stays the next one until it is pushed, dropped or taken: a loop that throws has lost
 * nothing, and goes on with the packet that it threw at. The methods need no `this`, so they can be taken apart.
 */
export interface PacketCursor {
  /**
   * The index of the next received packet in the pool, -1 where there is none. `pool.lengths` has its length, as it arrived.
   * @throws NicError `CLOSED` after a device was closed; `OWNERSHIP` while the queue belongs to a pipe or another thread
   */
  readonly next: () => number;
  /**
   * Sends the packet that `next` showed; to send more or fewer bytes of it, set its length in `pool.lengths` before. False where
   * the transmit ring has no room or the pool no buffer: the packet stays the next one. One that no hardware can send is dropped,
   * and counts in `txErrors`.
   * @throws NicError `OWNERSHIP` where `next` has shown no packet; as `next`
   */
  readonly push: () => boolean;
  /** Gives the packet that `next` showed back. @throws NicError as `push` */
  readonly drop: () => void;
  /**
   * Leaves the packet that `next` showed to the caller, as `receive` does: to be sent or released later. False where the pool has
   * no buffer to take its place: it stays the next one.
   * @throws NicError as `push`
   */
  readonly take: () => boolean;
  /**
   * Tells the hardware of all that was done: once at the end of each batch, without it nothing leaves. Returns how many packets
   * that sent.
   */
  readonly flush: () => number;
  /** Gives back what it holds beyond the rings: packets that were not shown yet, or not sent. May be called twice. */
  readonly close: () => void;
}

/** `push`, `drop` or `take` without a packet. @throws NicError `OWNERSHIP` */
export function noPacketShown(method: string): never {
  throw new NicError('OWNERSHIP', `${method}() of a cursor was called without a packet`, {
    hint: 'Call next() before each of push(), drop() and take(), and stop where it returns -1.',
  });
}
