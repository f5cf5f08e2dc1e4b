/**
 * The loop that takes packets off a receive ring. A factory for `ownCopy`: it uses nothing of its module but types, and
 * what it captures becomes constants of the compiled code.
 */
import type { BufferOwners } from '../../hugepage/packet-pool.js';
import type { Doorbell } from '../register-file.js';

/** Elements of `RxLoop.state`. */
export const RX_NEXT = 0;
/** Not 0: the loop leaves every packet to `receiveRest`. */
export const RX_HELD = 1;

/** What the loop works on. */
export interface RxLoop {
  readonly ring: Int32Array;
  readonly tail: Doorbell;
  /** Buffer index of each slot. */
  readonly slots: Int32Array;
  readonly state: Int32Array;
  readonly counters: Float64Array;
  /** Of the pool. */
  readonly free: Int32Array;
  readonly freeLevel: Int32Array;
  readonly lengths: Uint16Array;
  readonly owners: BufferOwners | undefined;
  readonly mask: number;
  readonly shift: number;
  readonly bufferSizeBytes: number;
  readonly iovaLow: number;
  readonly iovaHigh: number;
  readonly errorMask: number;
  /** Notes metadata of the next descriptors, at most so many, and returns how many there were. */
  readonly noteMetadata: ((limit: number) => number) | undefined;
  /** Goes on where the loop met what is no good frame: `received` packets of at most `limit` are in `bufs`. */
  readonly receiveRest: (bufs: Uint32Array, limit: number, received: number) => number;
}

export function makeReceive(loop: RxLoop): (bufs: Uint32Array, max?: number) => number {
  const { ring, tail, slots, state, counters, free, freeLevel, lengths, owners } = loop;
  const { mask, shift, bufferSizeBytes, iovaLow, iovaHigh, noteMetadata, receiveRest } = loop;
  // Elements of the arrays, and words and bits of descriptors.ts.
  const NEXT = 0;
  const HELD = 1;
  const PACKETS = 0;
  const BYTES = 1;
  const WORD_SHIFT = 2;
  const STATUS = 2;
  const LENGTH = 3;
  const DD = 1;
  const DONE = 3;
  const testMask = DONE | loop.errorMask;
  return function receive(bufs: Uint32Array, max: number = bufs.length): number {
    // `| 0`: without it the engine computes with doubles.
    let limit = (max < bufs.length ? max : bufs.length) | 0;
    if (noteMetadata !== undefined) limit = noteMetadata(limit);
    let freeCount = freeLevel[0]!;
    let room = (limit < freeCount ? limit : freeCount) | 0;
    if (state[HELD] !== 0) room = 0;
    let slot = state[NEXT]!;
    let received = 0;
    let bytes = 0;
    // No call in this loop: after one, the engine would check `bufs` again in every round.
    while (received < room) {
      const word = slot << WORD_SHIFT;
      // The hardware sets DD last, and x86 keeps the order of these two loads.
      const status = ring[word + STATUS]!;
      const length = ring[word + LENGTH]! & 0xffff;
      if ((status & testMask) !== DONE || (length - 1) >>> 0 >= bufferSizeBytes) break;
      freeCount = (freeCount - 1) | 0;
      const fresh = free[freeCount]!;
      const buffer = slots[slot]!;
      slots[slot] = fresh;
      ring[word] = (iovaLow + (fresh << shift)) | 0;
      ring[word + 1] = iovaHigh;
      ring[word + STATUS] = 0;
      lengths[buffer] = length;
      bytes = (bytes + length) | 0;
      bufs[received] = buffer;
      received = (received + 1) | 0;
      slot = (slot + 1) & mask;
    }
    if (received > 0) {
      freeLevel[0] = freeCount;
      state[NEXT] = slot;
      counters[PACKETS]! += received;
      counters[BYTES]! += bytes;
    }
    if (received < limit && (ring[(slot << WORD_SHIFT) + STATUS]! & DD) !== 0)
      return receiveRest(bufs, limit, received);
    if (received > 0) {
      tail[0] = (slot - 1) & mask;
      if (owners !== undefined) owners.taken(bufs, 0, received);
    }
    return received;
  };
}
