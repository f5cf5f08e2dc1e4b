/**
 * Receive and send in one loop, for forwarders between two queues: what `receive` followed by `send` does, without the
 * array between them. It handles what is usual (good frames, free buffers, room for a batch) and leaves the rest to
 * those. A factory for `instantiate`: it uses nothing of its module but types.
 */
import type { Layout } from './descriptors.js';
import type { RxLoop } from './rx-loop.js';
import type { TxLoop } from './tx-loop.js';

export interface ForwardLoop {
  readonly rx: RxLoop;
  readonly tx: TxLoop;
  readonly memory: Uint8Array;
  readonly batch: number;
  readonly touch: boolean;
  /** Longest frame that both queues take. */
  readonly maxBytes: number;
  /** Receives and sends the long way, at most so many packets; returns how many were received. */
  readonly general: (max: number) => number;
}

export function makeForward(layout: Layout, loop: ForwardLoop): () => number {
  const { rx, tx, memory, batch, touch, maxBytes, general } = loop;
  const { ring: rxRing, tail: rxTail, slots: rxSlots, state: rxState, counters: rxCounters } = rx;
  const { ring: txRing, tail: txTail, slots: txSlots, state: txState, counters: txCounters } = tx;
  const { free, freeLevel, mask: rxMask, shift, iovaLow, iovaHigh, testMask } = rx;
  const { mask: txMask, minBytes, commands, reclaim } = tx;
  const spanBytes = maxBytes - minBytes;
  const { NEXT, CLEAN, REPORT, GOOD, PACKETS, BYTES, WORD_SHIFT } = layout;
  const { RX_STATUS, RX_LENGTH, DD, DONE, TX_COMMAND, TX_STATUS, PAYLEN_SHIFT } = layout;
  return function poll(): number {
    let rxSlot = rxState[NEXT]!;
    let txSlot = txState[NEXT]!;
    if ((txRing[txState[REPORT]!]! & DD) !== 0) reclaim();
    const used = (txSlot - txState[CLEAN]!) & txMask;
    let freeCount = freeLevel[0]!;
    if (txMask - used < batch || freeCount < batch || rxState[GOOD] !== DONE) return general(batch);
    let moved = 0;
    let bytes = 0;
    // No call in this loop: what is needed after one would have to leave the registers before it.
    while (moved < batch) {
      const rxWord = rxSlot << WORD_SHIFT;
      // The hardware sets DD last, and x86 keeps the order of these two loads.
      const status = rxRing[rxWord + RX_STATUS]!;
      const length = rxRing[rxWord + RX_LENGTH]! & 0xffff;
      if ((status & testMask) !== DONE || (length - minBytes) >>> 0 > spanBytes) break;
      freeCount = (freeCount - 1) | 0;
      const fresh = free[freeCount]!;
      const buffer = rxSlots[rxSlot]!;
      rxSlots[rxSlot] = fresh;
      txSlots[txSlot] = buffer;
      const start = buffer << shift;
      if (touch) memory[start] = memory[start]!;
      rxRing[rxWord] = (iovaLow + (fresh << shift)) | 0;
      rxRing[rxWord + 1] = iovaHigh;
      rxRing[rxWord + RX_STATUS] = 0;
      const txWord = txSlot << WORD_SHIFT;
      txRing[txWord] = (iovaLow + start) | 0;
      txRing[txWord + TX_COMMAND] = commands[txSlot]! | length;
      txRing[txWord + TX_STATUS] = length << PAYLEN_SHIFT;
      bytes = (bytes + length) | 0;
      rxSlot = (rxSlot + 1) & rxMask;
      txSlot = (txSlot + 1) & txMask;
      moved = (moved + 1) | 0;
    }
    if (moved > 0) {
      freeLevel[0] = freeCount;
      rxState[NEXT] = rxSlot;
      txState[NEXT] = txSlot;
      rxTail[0] = (rxSlot - 1) & rxMask;
      txTail[0] = txSlot;
      rxCounters[PACKETS]! += moved;
      rxCounters[BYTES]! += bytes;
      txCounters[PACKETS]! += moved;
      txCounters[BYTES]! += bytes;
    }
    if (moved < batch && (rxRing[(rxSlot << WORD_SHIFT) + RX_STATUS]! & DD) !== 0) {
      return moved + general(batch - moved);
    }
    return moved;
  };
}
