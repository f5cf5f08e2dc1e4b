/**
 * The loop that takes packets off a packed ring. A factory for `instantiate`: it uses nothing of its module but types, and
 * what it captures becomes constants of the compiled code.
 */
import type { Layout, PackedRing } from './layout.js';
import type { RxParts } from './queue-parts.js';

export function makePackedReceive(
  layout: Layout,
  ring: PackedRing,
  parts: RxParts,
): (bufs: Uint32Array, max?: number) => number {
  // `var`: at every use of an outer function's `const` the engine checks that it has a value.
  var { descriptors, deviceEvent } = ring;
  var { notify, queue, dataMask, slots, calls, state, counters, iovaHigh } = parts;
  var { free, freeLevel, lengths, size, shift, maxBytes, headerIovaLow, receiveRest, check } = parts;
  var { NEXT, USED_LAP, CALL, FENCE, SKIP, PACKETS, BYTES, WORD_SHIFT, LENGTH, FLAGS, HEADER_BYTES } = layout;
  var { PACKED_BOTH, PACKED_AVAIL, PACKED_WRITE, ID_MASK, IDX_MASK, DATA_SHIFT } = layout;
  var { EVENT_FLAGS_SHIFT, EVENT_FLAGS_MASK, EVENT_ENABLE, EVENT_DISABLE, EVENT_OFFSET_MASK } = layout;
  var { EVENT_WRAP_SHIFT } = layout;
  /** Of a buffer; a used descriptor's field holds what was written. */
  var bufferBytes = HEADER_BYTES + maxBytes + 1;
  /** The array of the last call, which was checked: a comparison costs less than looking at its class each time. */
  var known: Uint32Array = new Uint32Array(0);
  return function receive(bufs: Uint32Array, max?: number): number {
    if (bufs !== known) known = check(bufs);
    let limit = bufs.length | 0;
    if (max !== undefined && max < limit) limit = max | 0;
    let place = state[NEXT]!;
    let lap = state[USED_LAP]!;
    if ((descriptors[(place << WORD_SHIFT) + FLAGS]! & PACKED_BOTH) !== lap || limit <= 0) return 0;
    const freeCount = freeLevel[0]!;
    // Once around: what was given back in this call may be used again in it behind that, by a device that is fast.
    let room = limit;
    if (freeCount < room) room = freeCount;
    if (size < room) room = size;
    // The rest of a frame that was dropped, or a ring that goes on no more.
    if (state[SKIP] !== 0) room = 0;
    const call = (state[CALL]! + 1) | 0;
    state[CALL] = call;
    let received = 0;
    let bytes = 0;
    let isMore = true;
    while (received < room) {
      const word = place << WORD_SHIFT;
      // The device writes the flags last, and x86 keeps the order of loads.
      const tag = descriptors[word + FLAGS]!;
      if ((tag & PACKED_BOTH) !== lap) {
        isMore = false;
        break;
      }
      const id = tag & ID_MASK;
      const length = descriptors[word + LENGTH]! - HEADER_BYTES;
      if (id >= size || (length - 1) >>> 0 >= maxBytes || calls[id] === call) break;
      calls[id] = call;
      const fresh = free[freeCount - 1 - received]!;
      const buffer = slots[id]!;
      slots[id] = fresh;
      descriptors[word] = (headerIovaLow + (fresh << shift)) | 0;
      // 2.8.5: what a used descriptor has in the place of the address is nobody's.
      descriptors[word + 1] = iovaHigh;
      descriptors[word + LENGTH] = bufferBytes;
      // 2.8.21: flags last; x86 keeps the order of stores. Available in the next lap: the other counter's AVAIL.
      descriptors[word + FLAGS] = id | PACKED_WRITE | (lap ^ PACKED_AVAIL);
      place = (place + 1) | 0;
      if (place === size) {
        place = 0;
        lap ^= PACKED_BOTH;
      }
      lengths[buffer] = length;
      bytes = (bytes + length) | 0;
      bufs[received] = buffer;
      received = (received + 1) | 0;
    }
    if (received > 0) {
      freeLevel[0] = freeCount - received;
      state[NEXT] = place;
      state[USED_LAP] = lap;
      counters[PACKETS]! += received;
      counters[BYTES]! += bytes;
      // 2.8.21.3.1: without a fence x86 may read the device's wish before the flags are visible, and both sides would wait.
      Atomics.store(state, FENCE, 0);
      const event = deviceEvent[0]!;
      const wish = (event >>> EVENT_FLAGS_SHIFT) & EVENT_FLAGS_MASK;
      if (wish !== EVENT_DISABLE) {
        // 2.8.10: at an offset, in this lap of the available side or in the one before.
        const isNextLap = ((event >>> EVENT_WRAP_SHIFT) & 1) === (lap === 0 ? 1 : 0);
        const at = (event & EVENT_OFFSET_MASK) - (isNextLap ? 0 : size);
        if (wish === EVENT_ENABLE || ((place - at - 1) & IDX_MASK) < received) {
          const position = place | ((lap === 0 ? 1 : 0) << EVENT_WRAP_SHIFT);
          notify[0] = queue | ((position & dataMask) << DATA_SHIFT);
        }
      }
    }
    if (received < limit && isMore && received < size) return receiveRest(bufs, limit, received);
    return received;
  };
}
