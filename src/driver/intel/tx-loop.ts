/**
 * The loops that put packets on a transmit ring and take buffers back. Factories for `ownCopy`: they use nothing of
 * their module but types, and what they capture becomes constants of the compiled code.
 */
import type { Doorbell } from '../register-file.js';

/** Elements of `TxLoop.state`. */
export const TX_NEXT = 0;
/** First slot whose buffer has not been given back; always the first of a group. */
export const TX_CLEAN = 1;
/** Index in the ring of the word whose DD tells that the group at TX_CLEAN is done. */
export const TX_REPORT = 2;

/** What the loops work on. */
export interface TxLoop {
  readonly ring: Int32Array;
  readonly tail: Doorbell;
  /** Buffer index of each slot between TX_CLEAN and TX_NEXT. */
  readonly slots: Int32Array;
  readonly state: Int32Array;
  readonly counters: Float64Array;
  /** Of the pool. */
  readonly free: Int32Array;
  readonly freeLevel: Int32Array;
  readonly lengths: Uint16Array;
  readonly capacity: number;
  readonly mask: number;
  readonly shift: number;
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
}

/** For a ring without context descriptors: each slot has a buffer, and the last of a group reports. */
export function makeReclaim(loop: Omit<TxLoop, 'refuse' | 'reclaim'>): () => void {
  const { ring, slots, state, free, freeLevel, mask, iovaHigh } = loop;
  // Elements of the arrays, and words and bits of descriptors.ts.
  const NEXT = 0;
  const CLEAN = 1;
  const REPORT = 2;
  const GROUP = 32;
  const WORD_SHIFT = 2;
  const STATUS = 3;
  const DD = 1;
  return function reclaim(): void {
    const end = state[NEXT]!;
    let clean = state[CLEAN]!;
    let freeCount = freeLevel[0]!;
    // Only groups that are wholly in use: DD of a group not used again yet is from the lap before.
    while (((end - clean) & mask) >= GROUP) {
      const last = clean + (GROUP - 1);
      if ((ring[(last << WORD_SHIFT) + STATUS]! & DD) === 0) break;
      // The report overwrote the high word of the address, which `send` does not write.
      ring[(last << WORD_SHIFT) + 1] = iovaHigh;
      for (let slot = clean; slot <= last; slot++) {
        free[freeCount] = slots[slot]!;
        freeCount = (freeCount + 1) | 0;
      }
      clean = (clean + GROUP) & mask;
    }
    state[CLEAN] = clean;
    state[REPORT] = ((clean + (GROUP - 1)) << WORD_SHIFT) + STATUS;
    freeLevel[0] = freeCount;
  };
}

export function makeSend(loop: TxLoop): (bufs: Uint32Array, count: number) => number {
  // `var`: at every use of an outer function's `const` the engine checks that it has a value.
  var {
    ring,
    tail,
    slots,
    state,
    counters,
    lengths,
    refuse,
    reclaim,
    capacity,
    mask,
    shift,
    iovaLow,
    minBytes,
    spanBytes,
    commands,
  } = loop;
  // Small enough (460 bytes of bytecode) for the engine to inline it in its caller.
  return function send(bufs: Uint32Array, count: number): number {
    // Elements of the arrays, and words and bits of descriptors.ts.
    const NEXT = 0;
    const CLEAN = 1;
    const REPORT = 2;
    const DD = 1;
    const PACKETS = 0;
    const BYTES = 1;
    const GROUP = 32;
    const COMMAND_WORD = 2;
    const STATUS = 3;
    const first = state[NEXT]!;
    // DD of a group that is not wholly in use is from the lap before.
    if (((first - state[CLEAN]!) & mask) >= GROUP && (ring[state[REPORT]!]! & DD) !== 0) reclaim();
    // One slot stays empty: TDT = TDH means an empty ring.
    const room = (state[CLEAN]! - first - 1) & mask;
    // `count` may be undefined: not less than anything.
    let limit = bufs.length | 0;
    if (count < limit) limit = count | 0;
    if (room < limit) limit = room;
    let slot = first;
    let bytes = 0;
    let i = 0;
    for (;;) {
      // No call in this loop: after one, the engine would check `bufs` again in every round.
      while (i < limit) {
        const buffer = bufs[i]!;
        if (buffer >= capacity) break;
        const length = lengths[buffer]!;
        if ((length - minBytes) >>> 0 > spanBytes) break;
        const word = slot << 2;
        ring[word] = (iovaLow + (buffer << shift)) | 0;
        ring[word + COMMAND_WORD] = commands[slot]! | length;
        ring[word + STATUS] = length << 14;
        slots[slot] = buffer;
        bytes = (bytes + length) | 0;
        slot = (slot + 1) & mask;
        i++;
      }
      if (i >= limit) break;
      refuse(bufs[i]!);
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
