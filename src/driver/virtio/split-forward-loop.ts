/**
 * Receive and send in one loop, for forwarders between two split rings: what `receive` followed by `send` does, without the
 * array between them, and with one fence for both. It handles what is usual (good frames, free buffers, room for a batch) and
 * leaves the rest to those. A factory for `instantiate`: it uses nothing of its module but types.
 */
import type { Layout, SplitRing } from './layout.js';
import type { ForwardParts } from './queue-parts.js';

export function makeSplitForward(
  layout: Layout,
  rxRing: SplitRing,
  txRing: SplitRing,
  parts: ForwardParts,
): () => number {
  const { rx, tx, ids, memory, batch, touch, maxBytes, general } = parts;
  const { descriptors: rxTable, avail: rxAvail, used: rxUsed, usedHalves: rxHalves } = rxRing;
  const { descriptors: txTable, avail: txAvail, usedHalves: txHalves } = txRing;
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
  const { notify: rxNotify, queue: rxQueue, dataMask: rxDataMask, eventIdx: rxEventIdx, headerIovaLow } = rx;
  const { slots: txSlots, state: txState, counters: txCounters, size: txSize, words, headerWord } = tx;
  const { notify: txNotify, queue: txQueue, dataMask: txDataMask, eventIdx: txEventIdx, reclaim } = tx;
  const { minBytes } = tx;
  const spanBytes = maxBytes - minBytes;
  const { NEXT, AVAIL, FREE, CALL, FENCE, SKIP, PACKETS, BYTES, WORD_SHIFT, LENGTH, IDX_HALF, FLAGS_HALF } =
    layout;
  const { RING_HALF, RING_WORD, IDX_MASK, HEADER_BYTES, NO_NOTIFY, DATA_SHIFT } = layout;
  const rxMask = rxSize - 1;
  const txMask = txSize - 1;
  /** avail_event: behind the elements. */
  const rxEvent = 4 * rxSize + 2;
  const txEvent = 4 * txSize + 2;
  return function poll(): number {
    if (txHalves[IDX_HALF]! !== txState[NEXT]!) reclaim();
    const idle = txState[FREE]!;
    const freeCount = freeLevel[0]!;
    const next = rxState[NEXT]!;
    const ready = (rxHalves[IDX_HALF]! - next) & IDX_MASK;
    if (idle < batch || freeCount < batch || ready > rxSize || rxState[SKIP] !== 0) return general(batch);
    const room = ready < batch ? ready : batch;
    const rxFill = rxState[AVAIL]!;
    const txFill = txState[AVAIL]!;
    const call = (rxState[CALL]! + 1) | 0;
    rxState[CALL] = call;
    let moved = 0;
    let bytes = 0;
    // No call in this loop: what is needed after one would have to leave the registers before it.
    while (moved < room) {
      const element = (((next + moved) & rxMask) << 1) + RING_WORD;
      const id = rxUsed[element]!;
      const length = rxUsed[element + 1]! - HEADER_BYTES;
      if (id >>> 0 >= rxSize || (length - minBytes) >>> 0 > spanBytes || calls[id] === call) break;
      calls[id] = call;
      const fresh = free[freeCount - 1 - moved]!;
      const buffer = rxSlots[id]!;
      rxSlots[id] = fresh;
      const at = buffer << shift;
      if (touch) memory[at] = memory[at]!;
      rxTable[id << WORD_SHIFT] = (headerIovaLow + (fresh << shift)) | 0;
      rxAvail[((rxFill + moved) & rxMask) + RING_HALF] = id;
      const header = headerWord + (at >>> 2);
      words[header] = 0;
      words[header + 1] = 0;
      words[header + 2] = 0;
      const txId = ids[idle - 1 - moved]!;
      txSlots[txId] = buffer;
      const txWord = txId << WORD_SHIFT;
      txTable[txWord] = (headerIovaLow + at) | 0;
      txTable[txWord + LENGTH] = length + HEADER_BYTES;
      txAvail[((txFill + moved) & txMask) + RING_HALF] = txId;
      bytes = (bytes + length) | 0;
      moved = (moved + 1) | 0;
    }
    if (moved > 0) {
      const rxFilled = (rxFill + moved) & IDX_MASK;
      const txFilled = (txFill + moved) & IDX_MASK;
      freeLevel[0] = freeCount - moved;
      rxState[NEXT] = (next + moved) & IDX_MASK;
      rxState[AVAIL] = rxFilled;
      txState[FREE] = idle - moved;
      txState[AVAIL] = txFilled;
      rxAvail[IDX_HALF] = rxFilled;
      txAvail[IDX_HALF] = txFilled;
      rxCounters[PACKETS]! += moved;
      rxCounters[BYTES]! += bytes;
      txCounters[PACKETS]! += moved;
      txCounters[BYTES]! += bytes;
      // 2.7.13.4.1, as in `receive` and `send`.
      Atomics.store(rxState, FENCE, 0);
      const isRxWanted = rxEventIdx
        ? ((rxFilled - rxHalves[rxEvent]! - 1) & IDX_MASK) < moved
        : (rxHalves[FLAGS_HALF]! & NO_NOTIFY) === 0;
      if (isRxWanted) rxNotify[0] = rxQueue | ((rxFilled & rxDataMask) << DATA_SHIFT);
      const isTxWanted = txEventIdx
        ? ((txFilled - txHalves[txEvent]! - 1) & IDX_MASK) < moved
        : (txHalves[FLAGS_HALF]! & NO_NOTIFY) === 0;
      if (isTxWanted) txNotify[0] = txQueue | ((txFilled & txDataMask) << DATA_SHIFT);
    }
    if (moved === room) return moved;
    // `receive` goes on in the same call: an id that comes twice is found out.
    rxState[CALL] = call - 1;
    return moved + general(batch - moved);
  };
}
