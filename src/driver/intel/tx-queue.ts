/**
 * Transmit ring of advanced descriptors (82576 datasheet 7.2, 82599 datasheet 7.2).
 *
 * The hardware is asked to report (RS) only on the last slot of each group of 32, so it writes back once in 32
 * packets; a group's buffers return to the pool together. Up to 31 sent packets therefore stay with the ring until
 * later ones follow or the device closes. RS not on every descriptor requires TXDCTL.WTHRESH = 0.
 */
import type { BufferOwners, PacketPool } from '../../hugepage/packet-pool.js';
import type { TxQueue } from '../device.js';
import type { Doorbell } from '../register-file.js';
import {
  DESCRIPTOR_WORD_SHIFT,
  TX_COMMAND_WORD,
  TX_DD,
  TX_DEXT,
  TX_DTYP_DATA,
  TX_EOP,
  TX_IFCS,
  TX_MIN_FRAME_BYTES,
  TX_PAYLEN_SHIFT,
  TX_RS,
  TX_STATUS_WORD,
} from './descriptors.js';

/** Indices of `IntelTxQueue.counters`. */
export const TX_PACKETS = 0;
export const TX_BYTES = 1;
export const TX_ERRORS = 2;
const TX_COUNTERS = 3;

/** Slots in a group; the ring's size is a multiple of it. */
const GROUP = 32;
const GROUP_MASK = GROUP - 1;
/** `(slot in group + 1) & GROUP` is GROUP on the last slot, 0 on the others; shifted, it is the RS bit. */
const RS_SHIFT = Math.log2(TX_RS) - Math.log2(GROUP);
const COMMAND = TX_DTYP_DATA | TX_EOP | TX_IFCS | TX_DEXT;

export interface IntelTxQueueOptions {
  /** Four words a descriptor; the number of descriptors is a power of two, at least 64. */
  readonly ring: Int32Array;
  /** The queue's TDT register. */
  readonly tail: Doorbell;
  readonly pool: PacketPool;
}

export class IntelTxQueue implements TxQueue {
  readonly size: number;
  /** Float64 slots: adding to them never allocates, however high they count. */
  readonly counters = new Float64Array(TX_COUNTERS);
  readonly #ring: Int32Array;
  readonly #tail: Doorbell;
  readonly #pool: PacketPool;
  readonly #owners: BufferOwners | undefined;
  readonly #mask: number;
  /** Buffer index of each slot between nextToClean and nextToUse. */
  readonly #slots: Int32Array;
  readonly #iovaLow: number;
  readonly #iovaHigh: number;
  #nextToUse = 0;
  /** First slot whose buffer has not been given back; always the first of a group. */
  #nextToClean = 0;
  #closed = false;

  constructor(options: IntelTxQueueOptions) {
    const { ring, pool } = options;
    this.size = ring.length >>> DESCRIPTOR_WORD_SHIFT;
    this.#ring = ring;
    this.#tail = options.tail;
    this.#pool = pool;
    this.#owners = pool.owners;
    this.#mask = this.size - 1;
    this.#slots = new Int32Array(this.size);
    this.#iovaLow = pool.iovaLow | 0;
    this.#iovaHigh = pool.iovaHigh | 0;
  }

  send(bufs: Uint32Array, count: number = bufs.length): number {
    const mask = this.#mask;
    const first = this.#nextToUse;
    if (((first - this.#nextToClean) & mask) >= GROUP) this.reclaim();
    // One slot stays empty: TDT = TDH means an empty ring.
    const room = (this.#nextToClean - first - 1) & mask;
    const wanted = count < bufs.length ? count : bufs.length;
    const limit = wanted < room ? wanted : room;
    if (this.#owners !== undefined) this.#owners.sent(bufs, 0, limit);
    const ring = this.#ring;
    const slots = this.#slots;
    const pool = this.#pool;
    const lengths = pool.lengths;
    const capacity = pool.capacity;
    const bufferSize = pool.bufferSizeBytes;
    const shift = pool.bufferShift;
    const iovaLow = this.#iovaLow;
    const iovaHigh = this.#iovaHigh;
    let slot = first;
    let bytes = 0;
    let errors = 0;
    for (let i = 0; i < limit; i++) {
      const buffer = bufs[i]!;
      // An index outside the pool has no length, and undefined compares false.
      const length = lengths[buffer]!;
      if (!(length >= TX_MIN_FRAME_BYTES && length <= bufferSize)) {
        errors++;
        if (buffer < capacity) pool.free[pool.freeCount++] = buffer;
        continue;
      }
      const word = slot << DESCRIPTOR_WORD_SHIFT;
      ring[word] = (iovaLow + (buffer << shift)) | 0;
      ring[word + 1] = iovaHigh;
      ring[word + TX_COMMAND_WORD] = COMMAND | length | ((((slot & GROUP_MASK) + 1) & GROUP) << RS_SHIFT);
      ring[word + TX_STATUS_WORD] = length << TX_PAYLEN_SHIFT;
      slots[slot] = buffer;
      bytes += length;
      slot = (slot + 1) & mask;
    }
    if (slot !== first) {
      this.#nextToUse = slot;
      this.#tail[0] = slot;
      this.counters[TX_PACKETS]! += limit - errors;
      this.counters[TX_BYTES]! += bytes;
    }
    if (errors > 0) this.counters[TX_ERRORS]! += errors;
    return limit;
  }

  reclaim(): void {
    const ring = this.#ring;
    const slots = this.#slots;
    const pool = this.#pool;
    const free = pool.free;
    const mask = this.#mask;
    const end = this.#nextToUse;
    let clean = this.#nextToClean;
    let freeCount = pool.freeCount;
    // Only groups that are wholly in use: DD of a group not used again yet is from the lap before.
    while (((end - clean) & mask) >= GROUP) {
      const last = (clean | GROUP_MASK) << DESCRIPTOR_WORD_SHIFT;
      if ((ring[last + TX_STATUS_WORD]! & TX_DD) === 0) break;
      const groupEnd = clean + GROUP;
      for (; clean < groupEnd; clean++) free[freeCount++] = slots[clean]!;
      clean &= mask;
    }
    this.#nextToClean = clean;
    pool.freeCount = freeCount;
  }

  /** Gives every buffer back to the pool, sent or not. The hardware must have stopped. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    const { free } = this.#pool;
    for (let slot = this.#nextToClean; slot !== this.#nextToUse; slot = (slot + 1) & this.#mask) {
      free[this.#pool.freeCount++] = this.#slots[slot]!;
    }
    // A full ring whose groups never complete: `send` takes nothing from now on.
    this.#ring.fill(0);
    this.#nextToClean = 0;
    this.#nextToUse = this.#mask;
  }
}
