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
  /** Takes a packet that no hardware can send. */
  readonly refuse: (buffer: number) => void;
  /** Gives buffers of finished groups back. */
  readonly reclaim: () => void;
  /** Throws where `bufs`, `count` and `start` are no range of packets. */
  readonly checkRange: (bufs: Uint32Array, count: number, start: number | undefined) => void;
}

/** For a ring without context descriptors: each slot has a buffer, and the last of a group reports. */
export function makeReclaim(
  layout: Layout,
  loop: Omit<TxLoop, 'refuse' | 'reclaim' | 'checkRange'>,
): () => void {
  var { ring, slots, state, free, freeLevel, mask, iovaHigh } = loop;
  var { NEXT, CLEAN, REPORT, GROUP, WORD_SHIFT, TX_STATUS, DD } = layout;
  return function reclaim(): void {
    const end = state[NEXT]!;
    let clean = state[CLEAN]!;
    let freeCount = freeLevel[0]!;
    // Only groups that are wholly in use: DD of a group not used again yet is from the lap before.
    while (((end - clean) & mask) >= GROUP) {
      const last = clean + (GROUP - 1);
      if ((ring[(last << WORD_SHIFT) + TX_STATUS]! & DD) === 0) break;
      // The report overwrote the high word of the address, which `send` does not write.
      ring[(last << WORD_SHIFT) + 1] = iovaHigh;
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
  var { ring, tail, slots, state, counters, lengths, refuse, reclaim, checkRange } = loop;
  var { capacity, mask, shift, iovaLow, minBytes, spanBytes, commands } = loop;
  var { NEXT, CLEAN, REPORT, PACKETS, BYTES, GROUP, WORD_SHIFT, TX_COMMAND, TX_STATUS, PAYLEN_SHIFT, DD } =
    layout;
  // Small enough (under 460 bytes of bytecode) for the engine to inline it in its caller.
  return function send(bufs: Uint32Array, count: number, start?: number): number {
    const from = (start as number) | 0;
    const end = (from + count) | 0;
    // The array's class costs nothing: the engine has to know it anyway for what follows.
    if (
      bufs.constructor !== Uint32Array ||
      end - from !== count ||
      end > bufs.length ||
      (from | count) < 0 ||
      (start !== undefined && start !== from)
    ) {
      checkRange(bufs, count, start);
    }
    const first = state[NEXT]!;
    // DD of a group that is not wholly in use is from the lap before.
    if (((first - state[CLEAN]!) & mask) >= GROUP && (ring[state[REPORT]!]! & DD) !== 0) reclaim();
    // One slot stays empty: TDT = TDH means an empty ring.
    let limit = (state[CLEAN]! - first - 1) & mask;
    if (count < limit) limit = count;
    let slot = first;
    let bytes = 0;
    let i = 0;
    for (;;) {
      // No call in this loop: after one, the engine would check `bufs` again in every round.
      while (i < limit) {
        const buffer = bufs[from + i]!;
        if (buffer >= capacity) break;
        const length = lengths[buffer]!;
        if ((length - minBytes) >>> 0 > spanBytes) break;
        const word = slot << WORD_SHIFT;
        ring[word] = (iovaLow + (buffer << shift)) | 0;
        ring[word + TX_COMMAND] = commands[slot]! | length;
        ring[word + TX_STATUS] = length << PAYLEN_SHIFT;
        slots[slot] = buffer;
        bytes = (bytes + length) | 0;
        slot = (slot + 1) & mask;
        i = (i + 1) | 0;
      }
      if (i >= limit) break;
      refuse(bufs[from + i]!);
      i++;
    }
    if (slot !== first) {
      state[NEXT] = slot;
      tail[0] = slot;
      counters[PACKETS]! += (slot - first) & mask;
      counters[BYTES]! += bytes;
    }
    return limit;
  };
}
