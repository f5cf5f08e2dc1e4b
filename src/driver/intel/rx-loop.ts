/**
 * The loop that takes packets off a receive ring. A factory for `ownCopy`: it uses nothing of its module but types, and
 * what it captures becomes constants of the compiled code.
 */
import type { Doorbell } from '../register-file.js';

/** Elements of `RxLoop.state`. */
export const RX_NEXT = 0;
/** What a good frame's status is under the mask: `DD | EOP`, or RX_HOLD to leave every packet to `receiveRest`. */
export const RX_GOOD = 1;
export const RX_HOLD = -1;

/** What the loop works on. */
export interface RxLoop {
  readonly ring: Int32Array;
  readonly tail: Doorbell;
  /** Buffer index of each slot. */
  readonly slots: Int32Array;
  readonly state: Int32Array;
  readonly counters: Float64Array;
  /** Of the pool. */
  readonly free: Int32Array;
  readonly freeLevel: Int32Array;
  readonly lengths: Uint16Array;
  readonly mask: number;
  readonly shift: number;
  readonly bufferSizeBytes: number;
  readonly iovaLow: number;
  readonly iovaHigh: number;
  /** `DD | EOP` and the bits that mean a damaged frame. */
  readonly testMask: number;
  /** Goes on where the loop met what is no good frame: `received` packets of at most `limit` are in `bufs`. */
  readonly receiveRest: (bufs: Uint32Array, limit: number, received: number) => number;
}

export function makeReceive(loop: RxLoop): (bufs: Uint32Array, max: number) => number {
  // `var`: at every use of an outer function's `const` the engine checks that it has a value.
  var {
    ring,
    tail,
    slots,
    state,
    counters,
    free,
    freeLevel,
    lengths,
    mask,
    shift,
    bufferSizeBytes,
    iovaLow,
    iovaHigh,
    testMask,
    receiveRest,
  } = loop;
  // Small enough (460 bytes of bytecode) for the engine to inline it in its caller.
  return function receive(bufs: Uint32Array, max: number): number {
    const NEXT = 0;
    const GOOD = 1;
    const PACKETS = 0;
    const BYTES = 1;
    const STATUS = 2;
    const LENGTH = 3;
    // `| 0`: without it the engine computes with doubles. `max` may be undefined: not less than anything.
    let limit = bufs.length | 0;
    if (max < limit) limit = max | 0;
    const good = state[GOOD]!;
    let freeCount = freeLevel[0]!;
    let room = limit;
    if (freeCount < room) room = freeCount;
    let slot = state[NEXT]!;
    let received = 0;
    let bytes = 0;
    // No call in this loop: after one, the engine would check `bufs` again in every round.
    while (received < room) {
      const word = slot << 2;
      // The hardware sets DD last, and x86 keeps the order of these two loads.
      const status = ring[word + STATUS]!;
      const length = ring[word + LENGTH]! & 0xffff;
      if ((status & testMask) !== good || (length - 1) >>> 0 >= bufferSizeBytes) break;
      freeCount--;
      const fresh = free[freeCount]!;
      const buffer = slots[slot]!;
      slots[slot] = fresh;
      ring[word] = (iovaLow + (fresh << shift)) | 0;
      ring[word + 1] = iovaHigh;
      ring[word + STATUS] = 0;
      lengths[buffer] = length;
      bytes = (bytes + length) | 0;
      bufs[received] = buffer;
      received++;
      slot = (slot + 1) & mask;
    }
    if (received > 0) {
      freeLevel[0] = freeCount;
      state[NEXT] = slot;
      counters[PACKETS]! += received;
      tail[0] = (slot - 1) & mask;
      counters[BYTES]! += bytes;
    }
    if (received < limit && (ring[(slot << 2) + STATUS]! & 1) !== 0) {
      return receiveRest(bufs, limit, received);
    }
    return received;
  };
}
