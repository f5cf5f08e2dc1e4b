/**
 * Receive and send in one loop, for forwarders between two packed rings: what `receive` followed by `send` does, without the
 * array between them, and with one fence for both. It handles what is usual (good frames, free buffers, room for a batch) and
 * leaves the rest to those. A factory for `instantiate`: it uses nothing of its module but types.
 */
import type { Layout, PackedRing } from './layout.js';
import type { ForwardParts } from './queue-parts.js';

export function makePackedForward(
  layout: Layout,
  rxRing: PackedRing,
  txRing: PackedRing,
  parts: ForwardParts,
): () => number {
  const { rx, tx, ids, memory, batch, touch, maxBytes, general } = parts;
  const { descriptors: rxTable, deviceEvent: rxEvent } = rxRing;
  const { descriptors: txTable, deviceEvent: txEvent } = txRing;
  const {
    slots: rxSlots,
    calls,
    state: rxState,
    counters: rxCounters,
    size: rxSize,
    free,
    freeLevel,
    shift,
  } = rx;
  const { notify: rxNotify, queue: rxQueue, dataMask: rxDataMask, headerIovaLow, iovaHigh } = rx;
  const { slots: txSlots, state: txState, counters: txCounters, size: txSize, words, headerWord } = tx;
  const { notify: txNotify, queue: txQueue, dataMask: txDataMask, minBytes, reclaim } = tx;
  const spanBytes = maxBytes - minBytes;
  const { NEXT, AVAIL, FREE, USED_LAP, AVAIL_LAP, CALL, FENCE, SKIP, PACKETS, BYTES, WORD_SHIFT } = layout;
  const { LENGTH, FLAGS, HEADER_BYTES, PACKED_BOTH, PACKED_AVAIL, PACKED_WRITE, ID_MASK } = layout;
  const { DATA_SHIFT, EVENT_FLAGS_SHIFT, EVENT_FLAGS_MASK, EVENT_ENABLE, EVENT_DISABLE } = layout;
  const { EVENT_OFFSET_MASK, EVENT_WRAP_SHIFT } = layout;
  const bufferBytes = HEADER_BYTES + rx.maxBytes + 1;

  /** As `isEventWanted` in packed-event.ts. */
  function isWanted(
    event: number,
    place: number,
    wrap: number,
    count: number,
    size: number,
    table: Int32Array | undefined,
  ): boolean {
    const wish = (event >>> EVENT_FLAGS_SHIFT) & EVENT_FLAGS_MASK;
    if (wish === EVENT_DISABLE || wish === EVENT_ENABLE) return wish === EVENT_ENABLE;
    const asked = event & EVENT_OFFSET_MASK;
    const askedWrap = (event >>> EVENT_WRAP_SHIFT) & 1;
    if (asked >= size) return false;
    let since = place - asked - 1 + (askedWrap === wrap ? 0 : size);
    if (since < 0) since += 2 * size;
    if (since < count || table === undefined) return since < count;
    if (since >= size) return since < size + count;
    return (table[(asked << WORD_SHIFT) + FLAGS]! & PACKED_BOTH) === (askedWrap === 1 ? PACKED_BOTH : 0);
  }

  return function poll(): number {
    if ((txTable[(txState[NEXT]! << WORD_SHIFT) + FLAGS]! & PACKED_BOTH) === txState[USED_LAP]) reclaim();
    const idle = txState[FREE]!;
    let freeCount = freeLevel[0]!;
    if (idle < batch || freeCount < batch || rxState[SKIP] !== 0) return general(batch);
    let rxPlace = rxState[NEXT]!;
    let rxLap = rxState[USED_LAP]!;
    let txPlace = txState[AVAIL]!;
    let txLap = txState[AVAIL_LAP]!;
    const call = (rxState[CALL]! + 1) | 0;
    rxState[CALL] = call;
    let moved = 0;
    let bytes = 0;
    // No call in this loop: what is needed after one would have to leave the registers before it.
    while (moved < batch) {
      const rxWord = rxPlace << WORD_SHIFT;
      const tag = rxTable[rxWord + FLAGS]!;
      const length = rxTable[rxWord + LENGTH]! - HEADER_BYTES;
      const id = tag & ID_MASK;
      if ((tag & PACKED_BOTH) !== rxLap || id >= rxSize || (length - minBytes) >>> 0 > spanBytes) break;
      if (calls[id] === call) break;
      calls[id] = call;
      freeCount = (freeCount - 1) | 0;
      const fresh = free[freeCount]!;
      const buffer = rxSlots[id]!;
      rxSlots[id] = fresh;
      const at = buffer << shift;
      if (touch) memory[at] = memory[at]!;
      rxTable[rxWord] = (headerIovaLow + (fresh << shift)) | 0;
      rxTable[rxWord + 1] = iovaHigh;
      rxTable[rxWord + LENGTH] = bufferBytes;
      rxTable[rxWord + FLAGS] = id | PACKED_WRITE | (rxLap ^ PACKED_AVAIL);
      rxPlace = (rxPlace + 1) | 0;
      if (rxPlace === rxSize) {
        rxPlace = 0;
        rxLap ^= PACKED_BOTH;
      }
      const header = headerWord + (at >>> 2);
      words[header] = 0;
      words[header + 1] = 0;
      words[header + 2] = 0;
      const txId = ids[txPlace]!;
      txSlots[txId] = buffer;
      const txWord = txPlace << WORD_SHIFT;
      txTable[txWord] = (headerIovaLow + at) | 0;
      txTable[txWord + 1] = iovaHigh;
      txTable[txWord + LENGTH] = length + HEADER_BYTES;
      txTable[txWord + FLAGS] = txId | txLap;
      txPlace = (txPlace + 1) | 0;
      if (txPlace === txSize) {
        txPlace = 0;
        txLap ^= PACKED_BOTH;
      }
      bytes = (bytes + length) | 0;
      moved = (moved + 1) | 0;
    }
    if (moved > 0) {
      freeLevel[0] = freeCount;
      rxState[NEXT] = rxPlace;
      rxState[USED_LAP] = rxLap;
      txState[FREE] = idle - moved;
      txState[AVAIL] = txPlace;
      txState[AVAIL_LAP] = txLap;
      rxCounters[PACKETS]! += moved;
      rxCounters[BYTES]! += bytes;
      txCounters[PACKETS]! += moved;
      txCounters[BYTES]! += bytes;
      // 2.8.21.3.1, as in `receive` and `send`.
      Atomics.store(rxState, FENCE, 0);
      const rxWrap = rxLap === 0 ? 1 : 0;
      if (isWanted(rxEvent[0]!, rxPlace, rxWrap, moved, rxSize, undefined)) {
        rxNotify[0] = rxQueue | (((rxPlace | (rxWrap << EVENT_WRAP_SHIFT)) & rxDataMask) << DATA_SHIFT);
      }
      const txWrap = txLap === PACKED_AVAIL ? 1 : 0;
      if (isWanted(txEvent[0]!, txPlace, txWrap, moved, txSize, txTable)) {
        txNotify[0] = txQueue | (((txPlace | (txWrap << EVENT_WRAP_SHIFT)) & txDataMask) << DATA_SHIFT);
      }
    }
    if (moved < batch && (rxTable[(rxPlace << WORD_SHIFT) + FLAGS]! & PACKED_BOTH) === rxLap) {
      // `receive` goes on in the same call: an id that comes twice is found out.
      rxState[CALL] = call - 1;
      return moved + general(batch - moved);
    }
    return moved;
  };
}
