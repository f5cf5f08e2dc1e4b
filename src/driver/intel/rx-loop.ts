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
  /** The array itself; throws where it is no Uint32Array. */
  readonly check: (bufs: Uint32Array) => Uint32Array;
}

export function makeReceive(layout: Layout, loop: RxLoop): (bufs: Uint32Array, max: number) => number {
  // `var`: at every use of an outer function's `const` the engine checks that it has a value.
  var { ring, tail, slots, state, counters, free, freeLevel, lengths } = loop;
  var { mask, shift, maxBytes, iovaLow, iovaHigh, testMask, receiveRest, check } = loop;
  var { NEXT, GOOD, PACKETS, BYTES, RX_STATUS, RX_LENGTH, LENGTH_MASK, WORD_SHIFT, DD } = layout;
  /** The array of the last call, which was checked: a comparison costs less than looking at its class each time. */
  var known: Uint32Array = new Uint32Array(0);
  // Bytecode, as of `send`, counted by a test: under 460 each and 1.2 times one and the other under 920 with what the caller
  // has of its own, the engine inlines both in a caller that uses both. Variables that are used often are copied for that reason.
  return function receive(bufs: Uint32Array, max: number): number {
    const words = ring;
    const place = state;
    const counts = counters;
    const buffers = slots;
    const level = freeLevel;
    if (bufs !== known) known = check(bufs);
    // `| 0`: without it the engine computes with doubles. `max` may be undefined: not less than anything.
    let limit = bufs.length | 0;
    if (max < limit) limit = max | 0;
    const good = place[GOOD]!;
    let freeCount = level[0]!;
    const room = freeCount < limit ? freeCount : limit;
    let slot = place[NEXT]!;
    let received = 0;
    let bytes = 0;
    let status = DD as number;
    // No call in this loop: after one, the engine would check `bufs` again in every round.
    while (received < room) {
      const word = slot << WORD_SHIFT;
      // The hardware sets DD last, and x86 keeps the order of these two loads.
      status = words[word + RX_STATUS]!;
      const length = words[word + RX_LENGTH]! & LENGTH_MASK;
      if ((status & testMask) !== good || (length - 1) >>> 0 >= maxBytes) break;
      const buffer = buffers[slot]!;
      bufs[received] = buffer;
      lengths[buffer] = length;
      received++;
      freeCount = (freeCount - 1) | 0;
      const fresh = free[freeCount]!;
      buffers[slot] = fresh;
      words[word] = (iovaLow + (fresh << shift)) | 0;
      words[word + 1] = iovaHigh;
      words[word + RX_STATUS] = 0;
      bytes = (bytes + length) | 0;
      slot = (slot + 1) & mask;
    }
    if (received > 0) {
      level[0] = freeCount;
      place[NEXT] = slot;
      tail[0] = (slot - 1) & mask;
      counts[PACKETS]! += received;
      counts[BYTES]! += bytes;
    }
    // Something that is no good frame, or no free buffer.
    return received < limit && status & DD ? receiveRest(bufs, limit, received) : received;
  };
}
