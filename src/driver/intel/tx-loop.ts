/**
 * The loops that put packets on a transmit ring and take buffers back. Factories for `ownCopy`: they use nothing of
 * their module but types, and what they capture becomes constants of the compiled code.
 */
import type { BufferOwners } from '../../hugepage/packet-pool.js';
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
  readonly owners: BufferOwners | undefined;
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

export function makeSend(loop: TxLoop): (bufs: Uint32Array, count?: number) => number {
  const { ring, tail, slots, state, counters, lengths, owners, refuse, reclaim } = loop;
  const { capacity, mask, shift, iovaLow, iovaHigh, minBytes, spanBytes, command } = loop;
  // Elements of the arrays, and words and bits of descriptors.ts.
  const NEXT = 0;
  const CLEAN = 1;
  const PACKETS = 0;
  const BYTES = 1;
  const GROUP = 32;
  const GROUP_MASK = 31;
  const WORD_SHIFT = 2;
  const COMMAND_WORD = 2;
  const STATUS = 3;
  const PAYLEN_SHIFT = 14;
  /** `(slot in group + 1) & GROUP` is GROUP on the last slot, 0 on the others; shifted, it is the RS bit. */
  const RS_SHIFT = 22;
  return function send(bufs: Uint32Array, count: number = bufs.length): number {
    const first = state[NEXT]!;
    if (((first - state[CLEAN]!) & mask) >= GROUP) reclaim();
    // One slot stays empty: TDT = TDH means an empty ring.
    const room = (state[CLEAN]! - first - 1) & mask;
    const wanted = (count < bufs.length ? count : bufs.length) | 0;
    const limit = (wanted < room ? wanted : room) | 0;
    if (owners !== undefined) owners.sent(bufs, 0, limit);
    let slot = first;
    let bytes = 0;
    let i = 0;
    let errors = 0;
    for (;;) {
      // No call in this loop: after one, the engine would check `bufs` again in every round.
      while (i < limit) {
        const buffer = bufs[i]!;
        if (buffer >= capacity) break;
        const length = lengths[buffer]!;
        if ((length - minBytes) >>> 0 > spanBytes) break;
        const word = slot << WORD_SHIFT;
        ring[word] = (iovaLow + (buffer << shift)) | 0;
        ring[word + 1] = iovaHigh;
        ring[word + COMMAND_WORD] = command | length | ((((slot & GROUP_MASK) + 1) & GROUP) << RS_SHIFT);
        ring[word + STATUS] = length << PAYLEN_SHIFT;
        slots[slot] = buffer;
        bytes = (bytes + length) | 0;
        slot = (slot + 1) & mask;
        i = (i + 1) | 0;
      }
      if (i >= limit) break;
      refuse(bufs[i]!);
      errors++;
      i++;
    }
    if (slot !== first) {
      state[NEXT] = slot;
      tail[0] = slot;
      counters[PACKETS]! += limit - errors;
      counters[BYTES]! += bytes;
    }
    return limit;
  };
}
