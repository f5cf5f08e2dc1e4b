/**
 * The loops that put packets on a transmit ring and take buffers back. Factories for `instantiate`: they use nothing of
 * their module but types, and what they capture becomes constants of the compiled code.
 */
import type { Doorbell } from '../register-file.js';
import type { Layout } from './descriptors.js';

/** What the loops work on. */
export interface TxLoop {
  readonly ring: Int32Array;
  readonly tail: Doorbell;
  /** Buffer index of each slot between CLEAN and NEXT. */
  readonly slots: Int32Array;
  /** Elements NEXT, CLEAN (always the first of a group) and REPORT. */
  readonly state: Int32Array;
  readonly counters: Float64Array;
  /** Of the pool. */
  readonly free: Int32Array;
  readonly freeLevel: Int32Array;
  readonly lengths: Uint16Array;
  readonly capacity: number;
  readonly mask: number;
  readonly shift: number;
  /** I/O address of buffer 0's frame. */
  readonly iovaLow: number;
  readonly iovaHigh: number;
  /** Shortest frame, and how much longer the longest is. */
  readonly minBytes: number;
  readonly spanBytes: number;
  /** Word 2 of each slot, without the length: the last of a group asks for a report. */
  readonly commands: Int32Array;
  /** Gives buffers of finished groups back. */
  readonly reclaim: () => void;
  /** The array itself; throws where it is no Uint32Array. */
  readonly check: (bufs: Uint32Array) => Uint32Array;
  /** Goes on where the loop met what is no usual call, or a packet that no hardware can send: `sent` are queued. */
  readonly sendRest: (bufs: Uint32Array, count: number, start: number | undefined, sent: number) => number;
}

/** For a ring without context descriptors: each slot has a buffer, and the last of a group reports. */
export function makeReclaim(
  layout: Layout,
  loop: Omit<TxLoop, 'reclaim' | 'check' | 'sendRest'>,
): () => void {
  var { ring, slots, state, free, freeLevel, mask, iovaHigh } = loop;
  var { NEXT, CLEAN, REPORT, GROUP, WORD_SHIFT, TX_STATUS, DD } = layout;
  return function reclaim(): void {
    const end = state[NEXT]!;
    let clean = state[CLEAN]!;
    let freeCount = freeLevel[0]!;
    // Only groups that are wholly in use, whatever the hardware says.
    while (((end - clean) & mask) >= GROUP) {
      const last = clean + (GROUP - 1);
      if ((ring[(last << WORD_SHIFT) + TX_STATUS]! & DD) === 0) break;
      // The report overwrote the high word of the address, which `send` does not write. Its DD must not be found again on the
      // next lap: then `send` knows by this bit alone that there is something to reclaim.
      ring[(last << WORD_SHIFT) + 1] = iovaHigh;
      ring[(last << WORD_SHIFT) + TX_STATUS] = 0;
      for (let slot = clean; slot <= last; slot++) {
        free[freeCount] = slots[slot]!;
        freeCount = (freeCount + 1) | 0;
      }
      clean = (clean + GROUP) & mask;
    }
    state[CLEAN] = clean;
    state[REPORT] = ((clean + (GROUP - 1)) << WORD_SHIFT) + TX_STATUS;
    freeLevel[0] = freeCount;
  };
}

export function makeSend(
  layout: Layout,
  loop: TxLoop,
): (bufs: Uint32Array, count: number, start?: number) => number {
  // `var`: at every use of an outer function's `const` the engine checks that it has a value.
  var { ring, tail, slots, state, counters, lengths, reclaim, check, sendRest } = loop;
  var { capacity, mask, shift, iovaLow, minBytes, spanBytes, commands } = loop;
  var { NEXT, CLEAN, REPORT, PACKETS, BYTES, WORD_SHIFT, TX_COMMAND, TX_STATUS, PAYLEN_SHIFT, DD } = layout;
  /** The array of the last call, which was checked: a comparison costs less than looking at its class each time. */
  var known: Uint32Array = new Uint32Array(0);
  // Bytecode: see `receive`.
  return function send(bufs: Uint32Array, count: number, start?: number): number {
    const words = ring;
    const place = state;
    const counts = counters;
    if (bufs !== known) known = check(bufs);
    if (count >>> 0 !== count || count > bufs.length || start !== undefined) {
      return sendRest(bufs, count, start, 0);
    }
    let slot = place[NEXT]!;
    if (words[place[REPORT]!]! & DD) reclaim();
    // One slot stays empty: TDT = TDH means an empty ring.
    const room = (place[CLEAN]! - slot - 1) & mask;
    const limit = count < room ? count : room;
    let bytes = 0;
    let sent = 0;
    // No call: see `receive`.
    while (sent < limit) {
      const buffer = bufs[sent]!;
      if (buffer >= capacity) break;
      const length = lengths[buffer]!;
      if ((length - minBytes) >>> 0 > spanBytes) break;
      const word = slot << WORD_SHIFT;
      words[word] = (iovaLow + (buffer << shift)) | 0;
      words[word + TX_COMMAND] = commands[slot]! | length;
      words[word + TX_STATUS] = length << PAYLEN_SHIFT;
      slots[slot] = buffer;
      bytes = (bytes + length) | 0;
      sent++;
      slot = (slot + 1) & mask;
    }
    if (sent > 0) {
      place[NEXT] = slot;
      tail[0] = slot;
      counts[PACKETS]! += sent;
      counts[BYTES]! += bytes;
    }
    return sent < limit ? sendRest(bufs, count, start, sent) : sent;
  };
}
