/**
 * The loops that put packets on a packed ring and take buffers back. Factories for `instantiate`: they use nothing of their
 * module but types, and what they capture becomes constants of the compiled code.
 *
 * A used descriptor leaves its place and its id free, and both together are what the next packet that comes to this place
 * needs: `ids[place]` is the free id, so there is no list of them.
 */
import type { Layout, PackedRing } from './layout.js';
import type { TxParts } from './queue-parts.js';

export function makePackedReclaim(
  layout: Layout,
  ring: PackedRing,
  parts: TxParts,
  ids: Int32Array,
): () => void {
  var { descriptors } = ring;
  var { slots, state, free, freeLevel, size, lied } = parts;
  var { NEXT, FREE, USED_LAP, WORD_SHIFT, FLAGS, PACKED_BOTH, ID_MASK } = layout;
  return function reclaim(): void {
    let place = state[NEXT]!;
    let lap = state[USED_LAP]!;
    let idle = state[FREE]!;
    let freeCount = freeLevel[0]!;
    let isTrue = true;
    while (idle < size) {
      const tag = descriptors[(place << WORD_SHIFT) + FLAGS]!;
      if ((tag & PACKED_BOTH) !== lap) break;
      const id = tag & ID_MASK;
      const buffer = id < size ? slots[id]! : -1;
      // The id is the device's word: a descriptor that it does not have is not free because it says so.
      isTrue = buffer >= 0;
      if (!isTrue) break;
      slots[id] = -1;
      ids[place] = id;
      free[freeCount] = buffer;
      freeCount = (freeCount + 1) | 0;
      idle = (idle + 1) | 0;
      place = (place + 1) | 0;
      if (place === size) {
        place = 0;
        lap ^= PACKED_BOTH;
      }
    }
    state[NEXT] = place;
    state[USED_LAP] = lap;
    state[FREE] = idle;
    freeLevel[0] = freeCount;
    if (!isTrue) lied();
  };
}

export function makePackedSend(
  layout: Layout,
  ring: PackedRing,
  parts: TxParts,
  ids: Int32Array,
): (bufs: Uint32Array, count: number, start?: number) => number {
  // `var`: at every use of an outer function's `const` the engine checks that it has a value.
  var { descriptors, deviceEvent } = ring;
  var { notify, queue, dataMask, slots, state, counters, words, headerWord, iovaHigh } = parts;
  var { lengths, capacity, size, shift, headerIovaLow, minBytes, spanBytes, reclaim, check, sendRest } =
    parts;
  var { NEXT, AVAIL, FREE, USED_LAP, AVAIL_LAP, FENCE, PACKETS, BYTES, WORD_SHIFT, LENGTH, FLAGS } = layout;
  var { HEADER_BYTES, PACKED_BOTH, PACKED_AVAIL, DATA_SHIFT } = layout;
  var { EVENT_FLAGS_SHIFT, EVENT_FLAGS_MASK, EVENT_ENABLE, EVENT_DISABLE, EVENT_OFFSET_MASK } = layout;
  var { EVENT_WRAP_SHIFT } = layout;
  /** The array of the last call, which was checked: a comparison costs less than looking at its class each time. */
  var known: Uint32Array = new Uint32Array(0);
  return function send(bufs: Uint32Array, count: number, start?: number): number {
    if (bufs !== known) known = check(bufs);
    if (count >>> 0 !== count || count > bufs.length || start !== undefined) {
      return sendRest(bufs, count, start, 0);
    }
    if ((descriptors[(state[NEXT]! << WORD_SHIFT) + FLAGS]! & PACKED_BOTH) === state[USED_LAP]) reclaim();
    const idle = state[FREE]!;
    let place = state[AVAIL]!;
    let lap = state[AVAIL_LAP]!;
    let limit = count;
    if (idle < limit) limit = idle;
    let bytes = 0;
    let sent = 0;
    while (sent < limit) {
      const buffer = bufs[sent]!;
      if (buffer >= capacity) break;
      const length = lengths[buffer]!;
      if ((length - minBytes) >>> 0 > spanBytes) break;
      const id = ids[place]!;
      const at = buffer << shift;
      // A received frame's header may be there. All zeros asks for nothing.
      const header = headerWord + (at >>> 2);
      words[header] = 0;
      words[header + 1] = 0;
      words[header + 2] = 0;
      slots[id] = buffer;
      const word = place << WORD_SHIFT;
      descriptors[word] = (headerIovaLow + at) | 0;
      // 2.8.5: what a used descriptor had in the place of the address is nobody's.
      descriptors[word + 1] = iovaHigh;
      descriptors[word + LENGTH] = length + HEADER_BYTES;
      // 2.8.21: flags last; x86 keeps the order of stores.
      descriptors[word + FLAGS] = id | lap;
      bytes = (bytes + length) | 0;
      sent = (sent + 1) | 0;
      place = (place + 1) | 0;
      if (place === size) {
        place = 0;
        lap ^= PACKED_BOTH;
      }
    }
    if (sent > 0) {
      state[FREE] = idle - sent;
      state[AVAIL] = place;
      state[AVAIL_LAP] = lap;
      counters[PACKETS]! += sent;
      counters[BYTES]! += bytes;
      // 2.8.21.3.1: without a fence x86 may read the device's wish before the flags are visible, and both sides would wait.
      Atomics.store(state, FENCE, 0);
      const event = deviceEvent[0]!;
      const wish = (event >>> EVENT_FLAGS_SHIFT) & EVENT_FLAGS_MASK;
      if (wish !== EVENT_DISABLE) {
        // 2.8.10: at an offset, in this lap of the available side or in the one before.
        const wrap = lap === PACKED_AVAIL ? 1 : 0;
        const asked = event & EVENT_OFFSET_MASK;
        const askedWrap = (event >>> EVENT_WRAP_SHIFT) & 1;
        let since = place - asked - 1 + (askedWrap === wrap ? 0 : size);
        if (since < 0) since += 2 * size;
        // As `isEventWanted` in packed-event.ts.
        if (
          wish === EVENT_ENABLE ||
          (asked < size &&
            (since < sent ||
              (since < size
                ? (descriptors[(asked << WORD_SHIFT) + FLAGS]! & PACKED_BOTH) ===
                  (askedWrap === 1 ? PACKED_BOTH : 0)
                : since < size + sent)))
        ) {
          notify[0] = queue | (((place | (wrap << EVENT_WRAP_SHIFT)) & dataMask) << DATA_SHIFT);
        }
      }
    }
    return sent < limit ? sendRest(bufs, count, start, sent) : sent;
  };
}
