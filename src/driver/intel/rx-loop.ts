/**
 * The loop that takes packets off a receive ring. A factory for `instantiate`: it uses nothing of its module but types,
 * and what it captures becomes constants of the compiled code.
 */
import type { Doorbell } from '../register-file.js';
import type { Layout } from './descriptors.js';

/** What the loop works on. */
export interface RxLoop {
  readonly ring: Int32Array;
  readonly tail: Doorbell;
  /** Buffer index of each slot. */
  readonly slots: Int32Array;
  /** Elements NEXT and GOOD. */
  readonly state: Int32Array;
  readonly counters: Float64Array;
  /** Of the pool. */
  readonly free: Int32Array;
  readonly freeLevel: Int32Array;
  readonly lengths: Uint16Array;
  readonly mask: number;
  readonly shift: number;
  /** Longest frame. */
  readonly maxBytes: number;
  /** I/O address of buffer 0's frame. */
  readonly iovaLow: number;
  readonly iovaHigh: number;
  /** `DD | EOP` and the bits that mean a damaged frame. */
  readonly testMask: number;
  /** Goes on where the loop met what is no good frame: `received` packets of at most `limit` are in `bufs`. */
  readonly receiveRest: (bufs: Uint32Array, limit: number, received: number) => number;
  /** Throws where `bufs` is no Uint32Array. */
  readonly checkRange: (bufs: Uint32Array, count: number) => void;
}

export function makeReceive(layout: Layout, loop: RxLoop): (bufs: Uint32Array, max: number) => number {
  // `var`: at every use of an outer function's `const` the engine checks that it has a value.
  var { ring, tail, slots, state, counters, free, freeLevel, lengths } = loop;
  var { mask, shift, maxBytes, iovaLow, iovaHigh, testMask, receiveRest, checkRange } = loop;
  var { NEXT, GOOD, PACKETS, BYTES, RX_STATUS, RX_LENGTH, WORD_SHIFT, DD } = layout;
  // Small enough (under 460 bytes of bytecode) for the engine to inline it in its caller.
  return function receive(bufs: Uint32Array, max: number): number {
    // The array's class costs nothing: the engine has to know it anyway for what follows.
    if (bufs.constructor !== Uint32Array) checkRange(bufs, 0);
    // `| 0`: without it the engine computes with doubles. `max` may be undefined: not less than anything.
    let limit = bufs.length | 0;
    if (max < limit) limit = max | 0;
    const good = state[GOOD]!;
    const top = (freeLevel[0]! - 1) | 0;
    let room = limit;
    if (top < room) room = (top + 1) | 0;
    const first = state[NEXT]!;
    let slot = first;
    let received = 0;
    let bytes = 0;
    // No call in this loop: after one, the engine would check `bufs` again in every round.
    while (received < room) {
      const word = slot << WORD_SHIFT;
      // The hardware sets DD last, and x86 keeps the order of these two loads.
      const status = ring[word + RX_STATUS]!;
      const length = ring[word + RX_LENGTH]! & 0xffff;
      if ((status & testMask) !== good || (length - 1) >>> 0 >= maxBytes) break;
      const fresh = free[top - received]!;
      const buffer = slots[slot]!;
      slots[slot] = fresh;
      ring[word] = (iovaLow + (fresh << shift)) | 0;
      ring[word + 1] = iovaHigh;
      ring[word + RX_STATUS] = 0;
      lengths[buffer] = length;
      bytes = (bytes + length) | 0;
      bufs[received] = buffer;
      received = (received + 1) | 0;
      slot = (first + received) & mask;
    }
    if (received > 0) {
      freeLevel[0] = (top + 1 - received) | 0;
      state[NEXT] = slot;
      counters[PACKETS]! += received;
      tail[0] = (slot - 1) & mask;
      counters[BYTES]! += bytes;
    }
    if (received < limit && (ring[(slot << WORD_SHIFT) + RX_STATUS]! & DD) !== 0) {
      return receiveRest(bufs, limit, received);
    }
    return received;
  };
}
