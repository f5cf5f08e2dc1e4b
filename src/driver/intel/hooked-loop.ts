/**
 * Receive, an application's hook and send in one loop, for forwarders between two queues. The hook is called in the middle of
 * the loop, where the engine inlines one that is not too large. Like `forward-loop.ts` it handles what is usual and leaves the
 * rest to `general`. A factory for `instantiate`: it uses nothing of its module but types.
 *
 * A hook may do what it likes: send on the same queue, allocate, release, throw, poll again, close a device. So before each call
 * all that others may read is up to date in memory (the free stack's level, the transmit ring's NEXT), and after it what the
 * loop goes on with is read or compared again. The packet's receive slot stays as it is until the hook has returned: a hook
 * that throws leaves its packet in the ring, and the next poll shows it again.
 */
import type { PacketHook } from '../queue-link.js';
import type { Layout } from './descriptors.js';
import type { ForwardLoop } from './forward-loop.js';

export interface HookedLoop extends Omit<ForwardLoop, 'touch'> {
  readonly onPacket: PacketHook;
  /** See `LinkOptions.dropped`. */
  readonly dropped: Float64Array;
  /** Throws: the hook called the forwarder that calls it. */
  readonly throwNested: () => void;
}

export function makeHooked(layout: Layout, loop: HookedLoop): () => number {
  const { rx, tx, memory, batch, maxBytes, general, onPacket, dropped, throwNested } = loop;
  const { ring: rxRing, tail: rxTail, slots: rxSlots, state: rxState, counters: rxCounters } = rx;
  const { ring: txRing, tail: txTail, slots: txSlots, state: txState, counters: txCounters } = tx;
  const { free, freeLevel, mask: rxMask, shift, iovaLow, iovaHigh, testMask } = rx;
  const { mask: txMask, minBytes, spanBytes: txSpanBytes, commands, reclaim } = tx;
  const spanBytes = maxBytes - minBytes;
  const { NEXT, CLEAN, REPORT, GONE, GOOD, BUSY, PACKETS, BYTES, ERRORS, WORD_SHIFT } = layout;
  const { RX_STATUS, RX_LENGTH, DD, DONE, TX_COMMAND, TX_STATUS, PAYLEN_SHIFT } = layout;
  /** See `fetch`. Longer than 64 bytes: smaller arrays move. */
  const warm = new Int32Array(32);

  /**
   * Reads a byte of each packet of a batch that has arrived whole: the processor fetches them side by side. The loop itself has
   * too many instructions a packet for that, and would wait for the memory at each.
   */
  function fetch(first: number): void {
    let sum = 0;
    for (let i = 0; i < batch; i++) {
      sum = (sum + memory[rxSlots[(first + i) & rxMask]! << shift]!) | 0;
    }
    // A sum that nobody reads would not be computed.
    warm[0] = sum;
  }

  return function poll(): number {
    if (dropped[1] !== 0 || rxState[GOOD] !== DONE) {
      if (rxState[GOOD] === BUSY) throwNested();
      return general(batch);
    }
    if ((txRing[txState[REPORT]!]! & DD) !== 0) reclaim();
    const first = rxState[NEXT]!;
    let txSlot = txState[NEXT]!;
    let freeCount = freeLevel[0]!;
    if (((txState[CLEAN]! - txSlot - 1) & txMask) < batch || freeCount < batch) return general(batch);
    if (batch > 1 && (rxRing[(((first + batch - 1) & rxMask) << WORD_SHIFT) + RX_STATUS]! & DD) !== 0) {
      fetch(first);
    }
    let end = batch;
    let moved = 0;
    let bytes = 0;
    let sent = 0;
    let sentBytes = 0;
    rxState[GOOD] = BUSY;
    try {
      while (moved < end) {
        const rxSlot = (first + moved) & rxMask;
        const rxWord = rxSlot << WORD_SHIFT;
        // The hardware sets DD last, and x86 keeps the order of these two loads.
        const status = rxRing[rxWord + RX_STATUS]!;
        const length = rxRing[rxWord + RX_LENGTH]! & 0xffff;
        if ((status & testMask) !== DONE || (length - minBytes) >>> 0 > spanBytes) break;
        const buffer = rxSlots[rxSlot]!;
        const start = buffer << shift;
        let wanted = onPacket(buffer, length) | 0;
        if (freeLevel[0] !== freeCount || txState[NEXT] !== txSlot || rxState[GOOD] !== BUSY) {
          // The hook took buffers, gave some back or sent packets; or it closed a device, whose slots are its own again.
          if (rxState[GOOD] !== BUSY) break;
          freeCount = freeLevel[0]!;
          txSlot = txState[NEXT]!;
          const slots = (txState[CLEAN]! - txSlot - 1) & txMask;
          const room = slots < freeCount ? slots : freeCount;
          // Without a buffer or a slot for it the packet is dropped.
          if (room === 0) wanted = 0;
          if (moved + room < end) end = room === 0 ? moved + 1 : moved + room;
        }
        let fresh = buffer;
        if ((wanted - minBytes) >>> 0 <= txSpanBytes) {
          freeCount = (freeCount - 1) | 0;
          fresh = free[freeCount]!;
          freeLevel[0] = freeCount;
          rxSlots[rxSlot] = fresh;
          txSlots[txSlot] = buffer;
          const txWord = txSlot << WORD_SHIFT;
          txRing[txWord] = (iovaLow + start) | 0;
          txRing[txWord + TX_COMMAND] = commands[txSlot]! | wanted;
          txRing[txWord + TX_STATUS] = wanted << PAYLEN_SHIFT;
          txSlot = (txSlot + 1) & txMask;
          txState[NEXT] = txSlot;
          sent = (sent + 1) | 0;
          sentBytes = (sentBytes + wanted) | 0;
        } else if (wanted === 0) {
          dropped[0]! += 1;
        } else {
          txCounters[ERRORS]! += 1;
        }
        // A packet that is not sent leaves its buffer to its slot.
        rxRing[rxWord] = (iovaLow + (fresh << shift)) | 0;
        rxRing[rxWord + 1] = iovaHigh;
        rxRing[rxWord + RX_STATUS] = 0;
        bytes = (bytes + length) | 0;
        moved = (moved + 1) | 0;
      }
    } finally {
      if (rxState[GOOD] === BUSY) {
        rxState[GOOD] = DONE;
        if (moved > 0) {
          rxState[NEXT] = (first + moved) & rxMask;
          rxTail[0] = (first + moved - 1) & rxMask;
        }
      }
      if (moved > 0) {
        rxCounters[PACKETS]! += moved;
        rxCounters[BYTES]! += bytes;
      }
      if (sent > 0) {
        if (txState[GONE] === 0) txTail[0] = txState[NEXT]!;
        txCounters[PACKETS]! += sent;
        txCounters[BYTES]! += sentBytes;
      }
    }
    if (moved === batch) return moved;
    const next = rxRing[(((first + moved) & rxMask) << WORD_SHIFT) + RX_STATUS]!;
    return (next & DD) !== 0 || rxState[GOOD] !== DONE ? moved + general(batch - moved) : moved;
  };
}
