/**
 * The loops that put packets on a split ring and take buffers back. Factories for `instantiate`: they use nothing of their
 * module but types, and what they capture becomes constants of the compiled code.
 */
import type { Layout, SplitRing } from './layout.js';
import type { TxParts } from './queue-parts.js';

/** @param freeIds stack of free descriptors */
export function makeSplitReclaim(
  layout: Layout,
  ring: SplitRing,
  parts: TxParts,
  freeIds: Int32Array,
): () => void {
  var { used, usedHalves } = ring;
  var { slots, state, free, freeLevel, size, lied } = parts;
  var { NEXT, FREE, IDX_HALF, RING_WORD, IDX_MASK } = layout;
  var mask = size - 1;
  return function reclaim(): void {
    let next = state[NEXT]!;
    let done = (usedHalves[IDX_HALF]! - next) & IDX_MASK;
    let idle = state[FREE]!;
    // Index and ids are the device's: a descriptor that it does not have is not free because it says so.
    if (done > size - idle) {
      lied();
      return;
    }
    let freeCount = freeLevel[0]!;
    let lies = 0;
    for (; done > 0; done--) {
      const id = used[((next & mask) << 1) + RING_WORD]!;
      next = (next + 1) & IDX_MASK;
      const buffer = id >>> 0 < size ? slots[id]! : -1;
      if (buffer < 0) {
        lies = (lies + 1) | 0;
        continue;
      }
      slots[id] = -1;
      freeIds[idle] = id;
      idle = (idle + 1) | 0;
      free[freeCount] = buffer;
      freeCount = (freeCount + 1) | 0;
    }
    state[NEXT] = next;
    state[FREE] = idle;
    freeLevel[0] = freeCount;
    if (lies > 0) lied();
  };
}

/** @param freeIds stack of free descriptors */
export function makeSplitSend(
  layout: Layout,
  ring: SplitRing,
  parts: TxParts,
  freeIds: Int32Array,
): (bufs: Uint32Array, count: number, start?: number) => number {
  // `var`: at every use of an outer function's `const` the engine checks that it has a value.
  var { descriptors, avail, usedHalves } = ring;
  var { notify, queue, dataMask, eventIdx, slots, state, counters, words, headerWord } = parts;
  var { lengths, capacity, size, shift, headerIovaLow, minBytes, spanBytes, reclaim, check, sendRest } =
    parts;
  var { NEXT, AVAIL, FREE, FENCE, PACKETS, BYTES, WORD_SHIFT, LENGTH, IDX_HALF, RING_HALF } = layout;
  var { FLAGS_HALF, NO_NOTIFY, IDX_MASK, HEADER_BYTES, DATA_SHIFT } = layout;
  var mask = size - 1;
  /** avail_event: behind the elements. */
  var eventHalf = 4 * size + 2;
  /** The array of the last call, which was checked: a comparison costs less than looking at its class each time. */
  var known: Uint32Array = new Uint32Array(0);
  return function send(bufs: Uint32Array, count: number, start?: number): number {
    if (bufs !== known) known = check(bufs);
    if (count >>> 0 !== count || count > bufs.length || start !== undefined) {
      return sendRest(bufs, count, start, 0);
    }
    if (usedHalves[IDX_HALF]! !== state[NEXT]!) reclaim();
    const idle = state[FREE]!;
    const fill = state[AVAIL]!;
    let limit = count;
    if (idle < limit) limit = idle;
    let bytes = 0;
    let sent = 0;
    while (sent < limit) {
      const buffer = bufs[sent]!;
      if (buffer >= capacity) break;
      const length = lengths[buffer]!;
      if ((length - minBytes) >>> 0 > spanBytes) break;
      const id = freeIds[idle - 1 - sent]!;
      const at = buffer << shift;
      // A received frame's header may be there. All zeros asks for nothing.
      const header = headerWord + (at >>> 2);
      words[header] = 0;
      words[header + 1] = 0;
      words[header + 2] = 0;
      const word = id << WORD_SHIFT;
      descriptors[word] = (headerIovaLow + at) | 0;
      descriptors[word + LENGTH] = length + HEADER_BYTES;
      slots[id] = buffer;
      avail[((fill + sent) & mask) + RING_HALF] = id;
      bytes = (bytes + length) | 0;
      sent = (sent + 1) | 0;
    }
    if (sent > 0) {
      const filled = (fill + sent) & IDX_MASK;
      state[FREE] = idle - sent;
      state[AVAIL] = filled;
      // 2.7.13: descriptors and ids first, then idx; x86 keeps the order of stores.
      avail[IDX_HALF] = filled;
      counters[PACKETS]! += sent;
      counters[BYTES]! += bytes;
      // 2.7.13.4.1: without a fence x86 may read what follows before idx is visible, and both sides would wait.
      Atomics.store(state, FENCE, 0);
      // 2.7.10: with EVENT_IDX the device names a position, and flags mean nothing.
      const isWanted = eventIdx
        ? ((filled - usedHalves[eventHalf]! - 1) & IDX_MASK) < sent
        : (usedHalves[FLAGS_HALF]! & NO_NOTIFY) === 0;
      if (isWanted) notify[0] = queue | ((filled & dataMask) << DATA_SHIFT);
    }
    return sent < limit ? sendRest(bufs, count, start, sent) : sent;
  };
}
