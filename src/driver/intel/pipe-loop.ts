/**
 * The loop of a pipe: receive slot i and transmit slot i have the same buffer, for good. A packet moves by its length
 * alone: address words are written again only where the hardware overwrote them. A factory for `instantiate`: it
 * uses nothing of its module but types, and what it captures becomes constants of the compiled code.
 */
import type { PacketHook } from '../queue-link.js';
import type { Doorbell } from '../register-file.js';
import type { Layout } from './descriptors.js';

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
  /** Elements NEXT, CLEAN (the first slot that the receive ring has not got back) and SKIPPING. */
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
  readonly touch: boolean;
  /** Null where there is none: the engine compiles null in as a constant, undefined not. */
  readonly onPacket: PacketHook | null;
  /** Counts a slot that holds no frame to send, and moves it as one that transmits nothing. */
  readonly moveBad: (slot: number, status: number, length: number) => void;
  /** Throws: one of the two devices is closed. */
  readonly throwClosed: () => void;
  /** Throws: the hook called the pipe that calls it. */
  readonly throwNested: () => void;
}

export function makePipe(layout: Layout, loop: PipeLoop): () => number {
  const { rxRing, txRing, rxTail, txTail, slots, addresses, iovaLow, iovaHigh, state } = loop;
  const { rxCounters, txCounters, dropped, memory, mask, batch, minBytes, spanBytes, testMask } = loop;
  const { commands, touch, onPacket, moveBad, throwClosed, throwNested } = loop;
  const { NEXT, CLEAN, SKIPPING, PACKETS, BYTES, ERRORS, GROUP, WORD_SHIFT, RX_STATUS, RX_LENGTH } = layout;
  const { TX_COMMAND, TX_STATUS, DD, DONE, NULL, PAYLEN_SHIFT, RS_SHIFT, CLOSED, HOOKED } = layout;
  const GROUP_MASK = GROUP - 1;

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
    if (clean === before) return;
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

  /** In the middle of a frame that is too long, or at the end of the pipe. */
  function pollSkipping(first: number, limit: number): number {
    if (state[SKIPPING] === CLOSED) throwClosed();
    return onPacket !== null ? pollHooked(onPacket, limit) : pollRest(first, limit, 0, 0);
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

  /** As in `hooked-loop.ts`: longer than 64 bytes, and what `fetch` reads. */
  const warm = new Int32Array(32);

  /** As in `hooked-loop.ts`: reads a byte of each packet of a batch that has arrived whole. */
  function fetch(first: number, count: number): void {
    let sum = 0;
    for (let i = 0; i < count; i++) {
      sum = (sum + memory[(addresses[(first + i) & mask]! - iovaLow) | 0]!) | 0;
    }
    warm[0] = sum;
  }

  /** With a hook, up to what is no good frame: packets may change their length or be dropped. */
  function pollGood(hook: PacketHook, first: number, limit: number): number {
    if (state[HOOKED] !== 0) throwNested();
    let moved = 0;
    let bytes = 0;
    let sent = 0;
    let sentBytes = 0;
    state[HOOKED] = 1;
    try {
      while (moved < limit) {
        const slot = (first + moved) & mask;
        const word = slot << WORD_SHIFT;
        const status = rxRing[word + RX_STATUS]!;
        const length = rxRing[word + RX_LENGTH]! & 0xffff;
        if ((status & testMask) !== DONE || (length - minBytes) >>> 0 > spanBytes) break;
        const wanted = hook(slots[slot]!, length) | 0;
        // The hook closed a device: its slots are not the pipe's any more.
        if (state[SKIPPING] !== 0) break;
        rxRing[word] = addresses[slot]!;
        rxRing[word + 1] = iovaHigh;
        rxRing[word + RX_STATUS] = 0;
        if ((wanted - minBytes) >>> 0 <= spanBytes) {
          txRing[word + TX_COMMAND] = commands[slot]! | wanted;
          txRing[word + TX_STATUS] = wanted << PAYLEN_SHIFT;
          sent = (sent + 1) | 0;
          sentBytes = (sentBytes + wanted) | 0;
        } else {
          txRing[word + TX_COMMAND] = NULL | ((((slot & GROUP_MASK) + 1) & GROUP) << RS_SHIFT);
          txRing[word + TX_STATUS] = 0;
          if (wanted === 0) dropped[0]! += 1;
          else txCounters[ERRORS]! += 1;
        }
        bytes = (bytes + length) | 0;
        moved = (moved + 1) | 0;
      }
    } finally {
      state[HOOKED] = 0;
      // A hook that throws leaves its packet in the ring: the next poll shows it again.
      if (moved > 0 && state[SKIPPING] === 0) commit((first + moved) & mask, moved, bytes, sent, sentBytes);
    }
    return moved;
  }

  /** The same with what is no good frame among them. */
  function pollHooked(hook: PacketHook, limit: number): number {
    if (state[HOOKED] !== 0) throwNested();
    state[HOOKED] = 1;
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
          txRing[word + TX_COMMAND] = good ? commands[slot]! | wanted : NULL | report;
          txRing[word + TX_STATUS] = good ? wanted << PAYLEN_SHIFT : 0;
          if (good) {
            sent++;
            sentBytes += wanted;
          } else if (wanted === 0) {
            dropped[0]! += 1;
          } else {
            txCounters[ERRORS]! += 1;
          }
        }
        slot = (slot + 1) & mask;
      }
    } finally {
      state[HOOKED] = 0;
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
    if (skips()) return pollSkipping(first, limit);
    if (onPacket !== null) {
      const last = (first + limit - 1) & mask;
      if (limit > 1 && (rxRing[(last << WORD_SHIFT) + RX_STATUS]! & DD) !== 0) fetch(first, limit);
      const good = pollGood(onPacket, first, limit);
      if (good === limit || skips()) return good;
      const next = rxRing[(((first + good) & mask) << WORD_SHIFT) + RX_STATUS]!;
      return (next & DD) !== 0 ? good + pollHooked(onPacket, limit - good) : good;
    }
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
