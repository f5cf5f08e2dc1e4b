/**
 * The loops that put packets on a transmit ring and take buffers back. Factories for `ownCopy`: they use nothing of
 * their module but types, and what they capture becomes constants of the compiled code.
 */
import type { Doorbell } from '../register-file.js';

/** Elements of `TxLoop.state`. */
export const TX_NEXT = 0;
/** First slot whose buffer has not been given back; always the first of a group. */
export const TX_CLEAN = 1;

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
  readonly command: number;
  /** Takes a packet that no hardware can send. */
  readonly refuse: (buffer: number) => void;
  /** Gives buffers of finished groups back. */
  readonly reclaim: () => void;
}

/** For a ring without context descriptors: each slot has a buffer, and the last of a group reports. */
export function makeReclaim(loop: Omit<TxLoop, 'refuse' | 'reclaim'>): () => void {
  const { ring, slots, state, free, freeLevel, mask } = loop;
  // Elements of the arrays, and words and bits of descriptors.ts.
  const NEXT = 0;
  const CLEAN = 1;
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
      for (let slot = clean; slot <= last; slot++) {
        free[freeCount] = slots[slot]!;
        freeCount = (freeCount + 1) | 0;
      }
      clean = (clean + GROUP) & mask;
    }
    state[CLEAN] = clean;
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
    iovaHigh,
    minBytes,
    spanBytes,
    command,
  } = loop;
  // Small enough (460 bytes of bytecode) for the engine to inline it in its caller.
  return function send(bufs: Uint32Array, count: number): number {
    // Elements of the arrays, and words and bits of descriptors.ts.
    const NEXT = 0;
    const CLEAN = 1;
    const PACKETS = 0;
    const BYTES = 1;
    const GROUP = 32;
    const COMMAND_WORD = 2;
    const STATUS = 3;
    /** `(slot in group + 1) & GROUP` is GROUP on the last slot, 0 on the others; shifted, it is the RS bit. */
    const RS_SHIFT = 22;
    const first = state[NEXT]!;
    if (((first - state[CLEAN]!) & mask) >= GROUP) reclaim();
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
        ring[word + 1] = iovaHigh;
        ring[word + COMMAND_WORD] = command | length | ((((slot & 31) + 1) & GROUP) << RS_SHIFT);
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
