/**
 * The loop that takes packets off a split ring. A factory for `instantiate`: it uses nothing of its module but types, and
 * what it captures becomes constants of the compiled code.
 */
import type { Doorbell } from '../register-file.js';
import type { Layout } from './layout.js';

/** What the loop works on. */
export interface RxLoop {
  readonly descriptors: Int32Array;
  readonly avail: Uint16Array;
  readonly used: Int32Array;
  readonly usedHead: Uint16Array;
  readonly notify: Doorbell;
  /** Number of the queue: what is written to notify. */
  readonly queue: number;
  /** Buffer index of each descriptor. */
  readonly slots: Int32Array;
  /** The call of `receive` that gave a descriptor back: the device cannot have used it again in the same one. */
  readonly calls: Int32Array;
  readonly state: Int32Array;
  readonly counters: Float64Array;
  /** Of the pool. */
  readonly free: Int32Array;
  readonly freeLevel: Int32Array;
  readonly lengths: Uint16Array;
  readonly size: number;
  readonly shift: number;
  /** Longest frame. */
  readonly maxBytes: number;
  /** I/O address of the header in front of buffer 0's frame. */
  readonly headerIovaLow: number;
  /** Goes on where the loop met what is no good frame: `received` packets of at most `limit` are in `bufs`. */
  readonly receiveRest: (bufs: Uint32Array, limit: number, received: number) => number;
  /** The array itself; throws where it is no Uint32Array. */
  readonly check: (bufs: Uint32Array) => Uint32Array;
}

export function makeReceive(layout: Layout, loop: RxLoop): (bufs: Uint32Array, max?: number) => number {
  // `var`: at every use of an outer function's `const` the engine checks that it has a value.
  var { descriptors, avail, used, usedHead, notify, queue, slots, calls, state, counters } = loop;
  var { free, freeLevel, lengths, size, shift, maxBytes, headerIovaLow, receiveRest, check } = loop;
  var { NEXT, AVAIL, CALL, FENCE, SKIP, PACKETS, BYTES, WORD_SHIFT, IDX_HALF, RING_HALF, RING_WORD } = layout;
  var { IDX_MASK, FLAGS_HALF, NO_NOTIFY, HEADER_BYTES } = layout;
  var mask = size - 1;
  /** The array of the last call, which was checked: a comparison costs less than looking at its class each time. */
  var known: Uint32Array = new Uint32Array(0);
  return function receive(bufs: Uint32Array, max?: number): number {
    if (bufs !== known) known = check(bufs);
    let limit = bufs.length | 0;
    if (max !== undefined && max < limit) limit = max | 0;
    const next = state[NEXT]!;
    // The device moves idx when the elements before it are written, and x86 keeps the order of loads.
    const ready = (usedHead[IDX_HALF]! - next) & IDX_MASK;
    if (ready === 0 || limit <= 0) return ready > size ? receiveRest(bufs, limit, 0) : 0;
    const freeCount = freeLevel[0]!;
    let room = limit;
    if (ready < room) room = ready;
    if (freeCount < room) room = freeCount;
    // A device whose index runs ahead of what it was given; the rest of a frame that was dropped.
    if (ready > size || state[SKIP] !== 0) room = 0;
    const call = (state[CALL]! + 1) | 0;
    state[CALL] = call;
    const fill = state[AVAIL]!;
    let received = 0;
    let bytes = 0;
    while (received < room) {
      const element = (((next + received) & mask) << 1) + RING_WORD;
      const id = used[element]!;
      const length = used[element + 1]! - HEADER_BYTES;
      if (id >>> 0 >= size || (length - 1) >>> 0 >= maxBytes || calls[id] === call) break;
      calls[id] = call;
      const fresh = free[freeCount - 1 - received]!;
      const buffer = slots[id]!;
      slots[id] = fresh;
      descriptors[id << WORD_SHIFT] = (headerIovaLow + (fresh << shift)) | 0;
      avail[((fill + received) & mask) + RING_HALF] = id;
      lengths[buffer] = length;
      bytes = (bytes + length) | 0;
      bufs[received] = buffer;
      received = (received + 1) | 0;
    }
    if (received > 0) {
      freeLevel[0] = freeCount - received;
      state[NEXT] = (next + received) & IDX_MASK;
      state[AVAIL] = (fill + received) & IDX_MASK;
      // 2.7.13: descriptors and ids first, then idx; x86 keeps the order of stores.
      avail[IDX_HALF] = (fill + received) & IDX_MASK;
      counters[PACKETS]! += received;
      counters[BYTES]! += bytes;
      // 2.7.13.4.1: without a fence x86 may read the flags before idx is visible, and both sides would wait.
      Atomics.store(state, FENCE, 0);
      if ((usedHead[FLAGS_HALF]! & NO_NOTIFY) === 0) notify[0] = queue;
    }
    if (received < limit && received < ready) return receiveRest(bufs, limit, received);
    return received;
  };
}
