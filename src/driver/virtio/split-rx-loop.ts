/**
 * The loop that takes packets off a split ring. A factory for `instantiate`: it uses nothing of its module but types, and
 * what it captures becomes constants of the compiled code.
 */
import type { Layout, SplitRing } from './layout.js';
import type { RxParts } from './queue-parts.js';

export function makeSplitReceive(
  layout: Layout,
  ring: SplitRing,
  parts: RxParts,
): (bufs: Uint32Array, max?: number) => number {
  // `var`: at every use of an outer function's `const` the engine checks that it has a value.
  var { descriptors, avail, used, usedHalves } = ring;
  var { notify, queue, dataMask, eventIdx, slots, calls, state, counters } = parts;
  var { free, freeLevel, lengths, size, shift, maxBytes, headerIovaLow, receiveRest, check } = parts;
  var { NEXT, AVAIL, CALL, FENCE, SKIP, PACKETS, BYTES, WORD_SHIFT, IDX_HALF, RING_HALF, RING_WORD } = layout;
  var { IDX_MASK, FLAGS_HALF, NO_NOTIFY, HEADER_BYTES, DATA_SHIFT } = layout;
  var mask = size - 1;
  /** avail_event: behind the elements. */
  var eventHalf = 4 * size + 2;
  /** The array of the last call, which was checked: a comparison costs less than looking at its class each time. */
  var known: Uint32Array = new Uint32Array(0);
  return function receive(bufs: Uint32Array, max?: number): number {
    if (bufs !== known) known = check(bufs);
    let limit = bufs.length | 0;
    if (max !== undefined && max < limit) limit = max | 0;
    const next = state[NEXT]!;
    // The device moves idx when the elements before it are written, and x86 keeps the order of loads.
    const ready = (usedHalves[IDX_HALF]! - next) & IDX_MASK;
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
      const filled = (fill + received) & IDX_MASK;
      freeLevel[0] = freeCount - received;
      state[NEXT] = (next + received) & IDX_MASK;
      state[AVAIL] = filled;
      // 2.7.13: descriptors and ids first, then idx; x86 keeps the order of stores.
      avail[IDX_HALF] = filled;
      counters[PACKETS]! += received;
      counters[BYTES]! += bytes;
      // 2.7.13.4.1: without a fence x86 may read what follows before idx is visible, and both sides would wait.
      Atomics.store(state, FENCE, 0);
      // 2.7.10: with EVENT_IDX the device names a position, and flags mean nothing.
      const isWanted = eventIdx
        ? ((filled - usedHalves[eventHalf]! - 1) & IDX_MASK) < received
        : (usedHalves[FLAGS_HALF]! & NO_NOTIFY) === 0;
      if (isWanted) notify[0] = queue | ((filled & dataMask) << DATA_SHIFT);
    }
    if (received < limit && received < ready) return receiveRest(bufs, limit, received);
    return received;
  };
}
