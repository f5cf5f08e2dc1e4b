/**
 * The loop of a pipe: receive slot i and transmit slot i have the same buffer, for good. A packet moves by its length
 * alone: address words are written again only where the hardware overwrote them. A factory for `ownCopy`: it uses
 * nothing of its module but types, and what it captures becomes constants of the compiled code.
 */
import type { PacketHook } from '../packet-hook.js';
import type { Doorbell } from '../register-file.js';

/** Elements of `PipeLoop.state`: next slot to move, first slot that the receive ring has not got back. */
export const PIPE_NEXT = 0;
export const PIPE_CLEAN = 1;
/** 1 from the end of the pipe on. */
export const PIPE_CLOSED = 2;
/** 1 between a fragment without EOP and the end of its frame. */
export const PIPE_SKIPPING = 3;

export interface PipeLoop {
  readonly rxRing: Int32Array;
  readonly txRing: Int32Array;
  readonly rxTail: Doorbell;
  readonly txTail: Doorbell;
  /** Buffer index of each slot, and the low word of its I/O address. */
  readonly slots: Int32Array;
  readonly addresses: Int32Array;
  /** Of the pool. */
  readonly iovaLow: number;
  readonly iovaHigh: number;
  readonly state: Int32Array;
  readonly rxCounters: Float64Array;
  readonly txCounters: Float64Array;
  /** Element 0: packets dropped by the hook. */
  readonly dropped: Float64Array;
  readonly memory: Uint8Array;
  readonly mask: number;
  readonly batch: number;
  readonly minBytes: number;
  readonly spanBytes: number;
  /** `DD | EOP` and the bits that mean a damaged frame. */
  readonly testMask: number;
  /** Word 2 of each slot, without the length: the last of a group asks for a report. */
  readonly commands: Int32Array;
  /** Word 2 of a descriptor that transmits nothing. */
  readonly nullCommand: number;
  readonly touch: boolean;
  /** Null where there is none: the engine compiles null in as a constant, undefined not. */
  readonly onPacket: PacketHook | null;
  /** Counts a slot that holds no frame to send, and moves it as one that transmits nothing. */
  readonly moveBad: (slot: number, status: number, length: number) => void;
}

export function makePipe(loop: PipeLoop): () => number {
  const { rxRing, txRing, rxTail, txTail, slots, addresses, iovaLow, iovaHigh, state } = loop;
  const { rxCounters, txCounters, dropped, memory, mask, batch, minBytes, spanBytes, testMask } = loop;
  const { commands, nullCommand, touch, onPacket, moveBad } = loop;
  // Elements of the arrays, and words and bits of descriptors.ts.
  const NEXT = 0;
  const CLEAN = 1;
  const CLOSED = 2;
  const SKIPPING = 3;
  const PACKETS = 0;
  const BYTES = 1;
  const TX_ERRORS = 2;
  const GROUP = 32;
  const GROUP_MASK = 31;
  const WORD_SHIFT = 2;
  const RX_STATUS = 2;
  const RX_LENGTH = 3;
  const TX_COMMAND = 2;
  const TX_STATUS = 3;
  const DD = 1;
  const DONE = 3;
  const PAYLEN_SHIFT = 14;
  /** `(slot in group + 1) & GROUP` is GROUP on the last slot, 0 on the others; shifted, it is the RS bit. */
  const RS_SHIFT = 22;

  /** Gives slots whose packets have left back to the receive ring. */
  function reclaim(): void {
    const end = state[NEXT]!;
    const before = state[CLEAN]!;
    let clean = before;
    while (((end - clean) & mask) >= GROUP) {
      const word = (clean + GROUP_MASK) << WORD_SHIFT;
      if ((txRing[word + TX_STATUS]! & DD) === 0) break;
      // The report overwrote the address, or may have.
      txRing[word] = addresses[clean + GROUP_MASK]!;
      txRing[word + 1] = iovaHigh;
      clean = (clean + GROUP) & mask;
    }
    if (clean === before || state[CLOSED] !== 0) return;
    state[CLEAN] = clean;
    rxTail[0] = (clean - 1) & mask;
  }

  /** Makes what was moved known to the hardware and to the counters. */
  function commit(slot: number, packets: number, bytes: number, sent: number, sentBytes: number): void {
    state[NEXT] = slot;
    txTail[0] = slot;
    rxCounters[PACKETS]! += packets;
    rxCounters[BYTES]! += bytes;
    txCounters[PACKETS]! += sent;
    txCounters[BYTES]! += sentBytes;
  }

  function skips(): boolean {
    return state[SKIPPING] !== 0;
  }

  /** Moves a packet as it is. */
  function moveGood(slot: number, length: number): void {
    const word = slot << WORD_SHIFT;
    rxRing[word] = addresses[slot]!;
    rxRing[word + 1] = iovaHigh;
    rxRing[word + RX_STATUS] = 0;
    txRing[word + TX_COMMAND] = commands[slot]! | length;
    txRing[word + TX_STATUS] = length << PAYLEN_SHIFT;
  }

  /** With a hook: packets may change their length or be dropped. */
  function pollHooked(hook: PacketHook, limit: number): number {
    let slot = state[NEXT]!;
    let moved = 0;
    let packets = 0;
    let bytes = 0;
    let sent = 0;
    let sentBytes = 0;
    try {
      for (; moved < limit; moved++) {
        const word = slot << WORD_SHIFT;
        const status = rxRing[word + RX_STATUS]!;
        const length = rxRing[word + RX_LENGTH]! & 0xffff;
        if ((status & testMask) !== DONE || skips() || (length - minBytes) >>> 0 > spanBytes) {
          if ((status & DD) === 0) break;
          moveBad(slot, status, length);
        } else {
          const wanted = hook(slots[slot]!, length) | 0;
          packets++;
          bytes += length;
          const report = (((slot & GROUP_MASK) + 1) & GROUP) << RS_SHIFT;
          const good = (wanted - minBytes) >>> 0 <= spanBytes;
          rxRing[word] = addresses[slot]!;
          rxRing[word + 1] = iovaHigh;
          rxRing[word + RX_STATUS] = 0;
          txRing[word + TX_COMMAND] = good ? commands[slot]! | wanted : nullCommand | report;
          txRing[word + TX_STATUS] = good ? wanted << PAYLEN_SHIFT : 0;
          if (good) {
            sent++;
            sentBytes += wanted;
          } else if (wanted === 0) {
            dropped[0]! += 1;
          } else {
            txCounters[TX_ERRORS]! += 1;
          }
        }
        slot = (slot + 1) & mask;
      }
    } finally {
      // A hook that throws leaves its packet in the ring: the next poll shows it again.
      if (moved > 0) commit(slot, packets, bytes, sent, sentBytes);
    }
    return packets;
  }

  /** With what is no good frame, up to the end of the batch; `moved` good ones came before. */
  function pollRest(first: number, limit: number, moved: number, bytes: number): number {
    let slot = first;
    let packets = moved;
    let sum = bytes;
    for (let left = limit - moved; left > 0; left--) {
      const word = slot << WORD_SHIFT;
      const status = rxRing[word + RX_STATUS]!;
      const length = rxRing[word + RX_LENGTH]! & 0xffff;
      if ((status & DD) === 0) break;
      if ((status & testMask) === DONE && !skips() && (length - minBytes) >>> 0 <= spanBytes) {
        moveGood(slot, length);
        packets++;
        sum += length;
      } else {
        moveBad(slot, status, length);
      }
      slot = (slot + 1) & mask;
    }
    if (slot !== first || moved > 0) commit(slot, packets, sum, packets, sum);
    return packets;
  }

  return function poll(): number {
    const first = state[NEXT]!;
    let clean = state[CLEAN]!;
    // DD of a group that is not wholly in use is from the lap before.
    if (
      ((first - clean) & mask) >= GROUP &&
      (txRing[((clean + GROUP_MASK) << WORD_SHIFT) + TX_STATUS]! & DD) !== 0
    ) {
      reclaim();
      clean = state[CLEAN]!;
    }
    // One slot stays empty, so that neither a tail that meets its head nor a device that fills every slot confuses.
    const room = (clean - first - 1) & mask;
    const limit = (batch < room ? batch : room) | 0;
    if (onPacket !== null) return pollHooked(onPacket, limit);
    if (skips()) return pollRest(first, limit, 0, 0);
    let slot = first;
    let moved = 0;
    let bytes = 0;
    // No call in this loop: what is needed after one would have to leave the registers before it.
    while (moved < limit) {
      const word = slot << WORD_SHIFT;
      // The hardware sets DD last, and x86 keeps the order of these two loads.
      const status = rxRing[word + RX_STATUS]!;
      const length = rxRing[word + RX_LENGTH]! & 0xffff;
      if ((status & testMask) !== DONE || (length - minBytes) >>> 0 > spanBytes) break;
      const address = addresses[slot]!;
      if (touch) {
        const start = (address - iovaLow) | 0;
        memory[start] = memory[start]!;
      }
      rxRing[word] = address;
      rxRing[word + 1] = iovaHigh;
      rxRing[word + RX_STATUS] = 0;
      txRing[word + TX_COMMAND] = commands[slot]! | length;
      txRing[word + TX_STATUS] = length << PAYLEN_SHIFT;
      bytes = (bytes + length) | 0;
      slot = (slot + 1) & mask;
      moved = (moved + 1) | 0;
    }
    if (moved < limit && (rxRing[(slot << WORD_SHIFT) + RX_STATUS]! & DD) !== 0) {
      return pollRest(slot, limit, moved, bytes);
    }
    if (moved > 0) commit(slot, moved, bytes, moved, bytes);
    return moved;
  };
}
