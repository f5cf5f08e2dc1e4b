/**
 * Transmit ring of advanced descriptors (82576 datasheet 7.2, 82599 datasheet 7.2).
 *
 * The hardware is asked to report (RS) only on the last slot of each group of 32, so it writes back once in 32
 * packets; a group's buffers return to the pool together. Up to 31 sent packets therefore stay with the ring until
 * later ones follow or the device closes. RS not on every descriptor requires TXDCTL.WTHRESH = 0.
 */
import { type BufferOwners, type PacketPool, TxFlag } from '../../hugepage/packet-pool.js';
import type { TxQueue } from '../device.js';
import type { Doorbell } from '../register-file.js';
import {
  DESCRIPTOR_WORD_SHIFT,
  TX_CC,
  TX_COMMAND_WORD,
  TX_DD,
  TX_DEXT,
  TX_DTYP_CONTEXT,
  TX_DTYP_DATA,
  TX_EOP,
  TX_IFCS,
  TX_IXSM,
  TX_MIN_FRAME_BYTES,
  TX_PAYLEN_SHIFT,
  TX_RS,
  TX_STATUS_WORD,
  TX_TUCMD_IPV4,
  TX_TUCMD_TCP,
  TX_TXSM,
  TX_VLE,
} from './descriptors.js';

/** Indices of `IntelTxQueue.counters`. */
export const TX_PACKETS = 0;
export const TX_BYTES = 1;
export const TX_ERRORS = 2;
const TX_COUNTERS = 3;

/** Slots in a group; the ring's size is a multiple of it. */
const GROUP = 32;
const GROUP_MASK = GROUP - 1;
const GROUP_SHIFT = Math.log2(GROUP);
/** In `slots`: a context descriptor, which has no buffer. */
const NO_BUFFER = -1;
/** `#context` before the first context descriptor: no context has this value. */
const NO_CONTEXT = -1;
/** `(slot in group + 1) & GROUP` is GROUP on the last slot, 0 on the others; shifted, it is the RS bit. */
const RS_SHIFT = Math.log2(TX_RS) - Math.log2(GROUP);
const COMMAND = TX_DTYP_DATA | TX_EOP | TX_IFCS | TX_DEXT;

/** Imported constants as the module's own: see rx-queue.ts. */
const WORD_SHIFT = DESCRIPTOR_WORD_SHIFT;
const COMMAND_WORD = TX_COMMAND_WORD;
const STATUS = TX_STATUS_WORD;
const PAYLEN_SHIFT = TX_PAYLEN_SHIFT;
const MIN_BYTES = TX_MIN_FRAME_BYTES;
const DD = TX_DD;

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
  /** Buffer index of each slot between nextToClean and nextToUse; NO_BUFFER for a context descriptor. */
  readonly #slots: Int32Array;
  /** The slot whose DD tells that a group is done: its last, or one later where that is a context descriptor. */
  readonly #reports: Int32Array;
  /** Word 0 of the context that the hardware holds, and word 2. */
  #context = NO_CONTEXT;
  #contextType = 0;
  /** True from the first context descriptor on. */
  #usesContexts = false;
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
    this.#reports = Int32Array.from({ length: this.size / GROUP }, (_, group) => group * GROUP + GROUP_MASK);
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
    const longest = pool.bufferSizeBytes - MIN_BYTES;
    const shift = pool.bufferShift;
    const iovaLow = this.#iovaLow;
    const iovaHigh = this.#iovaHigh;
    let slot = first;
    let bytes = 0;
    let i = 0;
    let errors = 0;
    for (;;) {
      // No call in this loop: after one, the engine would check every array again in every round.
      while (i < limit) {
        const buffer = bufs[i]!;
        if (buffer >= capacity) break;
        const length = lengths[buffer]!;
        if ((length - MIN_BYTES) >>> 0 > longest) break;
        const word = slot << WORD_SHIFT;
        ring[word] = (iovaLow + (buffer << shift)) | 0;
        ring[word + 1] = iovaHigh;
        ring[word + COMMAND_WORD] = COMMAND | length | ((((slot & GROUP_MASK) + 1) & GROUP) << RS_SHIFT);
        ring[word + STATUS] = length << PAYLEN_SHIFT;
        slots[slot] = buffer;
        bytes = (bytes + length) | 0;
        slot = (slot + 1) & mask;
        i = (i + 1) | 0;
      }
      if (i >= limit) break;
      this.#refuse(bufs[i]!);
      errors++;
      i++;
    }
    if (slot !== first) {
      this.#nextToUse = slot;
      this.#tail[0] = slot;
      this.counters[TX_PACKETS]! += limit - errors;
      this.counters[TX_BYTES]! += bytes;
    }
    return limit;
  }

  /** Takes a packet that no hardware can send: counts it and gives its buffer back. */
  #refuse(buffer: number): void {
    const pool = this.#pool;
    this.counters[TX_ERRORS]! += 1;
    if (buffer < pool.capacity) pool.free[pool.freeCount++] = buffer;
  }

  sendOffloaded(bufs: Uint32Array, count: number = bufs.length): number {
    if (((this.#nextToUse - this.#nextToClean) & this.#mask) >= GROUP) this.reclaim();
    const wanted = Math.min(count, bufs.length);
    const first = this.#nextToUse;
    let taken = 0;
    while (taken < wanted) {
      // A packet needs a slot, and one more where its context is not the one that the hardware holds.
      const room = (this.#nextToClean - this.#nextToUse - 1) & this.#mask;
      if (room < 2) break;
      if (this.#owners !== undefined) this.#owners.sent(bufs, taken, taken + 1);
      this.#queueOffloaded(bufs[taken]!);
      taken++;
    }
    if (this.#nextToUse !== first) this.#tail[0] = this.#nextToUse;
    return taken;
  }

  /** Writes a context descriptor where needed, and the data descriptor. */
  #queueOffloaded(buffer: number): void {
    const pool = this.#pool;
    const length = pool.lengths[buffer]!;
    // An index outside the pool has no length, and undefined compares false.
    if (!(length >= MIN_BYTES && length <= pool.bufferSizeBytes)) {
      this.#refuse(buffer);
      return;
    }
    const flags = pool.txFlags[buffer]!;
    let command = COMMAND | length;
    let status = length << TX_PAYLEN_SHIFT;
    let owed = 0;
    if (flags !== 0) {
      owed = this.#useContext(buffer, flags);
      status |= TX_CC;
      if ((flags & TxFlag.VLAN) !== 0) command |= TX_VLE;
      if ((flags & TxFlag.IP_CHECKSUM) !== 0) status |= TX_IXSM;
      if ((flags & (TxFlag.TCP_CHECKSUM | TxFlag.UDP_CHECKSUM)) !== 0) status |= TX_TXSM;
    }
    const slot = this.#nextToUse;
    command |= (((slot & GROUP_MASK) + 1) & GROUP) << RS_SHIFT;
    const word = slot << DESCRIPTOR_WORD_SHIFT;
    this.#ring[word] = (this.#iovaLow + (buffer << pool.bufferShift)) | 0;
    this.#ring[word + 1] = this.#iovaHigh;
    this.#ring[word + TX_COMMAND_WORD] = command | owed;
    this.#ring[word + TX_STATUS_WORD] = status;
    this.#slots[slot] = buffer;
    this.#nextToUse = (slot + 1) & this.#mask;
    this.counters[TX_PACKETS]! += 1;
    this.counters[TX_BYTES]! += length;
  }

  /**
   * Queues a context descriptor unless the hardware holds this context already. Returns TX_RS where the context took
   * a group's last slot: a context cannot report, so the data descriptor after it reports for the group.
   */
  #useContext(buffer: number, flags: number): number {
    const pool = this.#pool;
    const vlan = (flags & TxFlag.VLAN) !== 0 ? pool.vlanTags[buffer]! : 0;
    const context = (vlan << 16) | pool.txHeaders[buffer]!;
    const type =
      TX_DTYP_CONTEXT |
      TX_DEXT |
      ((flags & TxFlag.IP_CHECKSUM) !== 0 ? TX_TUCMD_IPV4 : 0) |
      ((flags & TxFlag.TCP_CHECKSUM) !== 0 ? TX_TUCMD_TCP : 0);
    if (this.#context === context && this.#contextType === type) return 0;
    this.#usesContexts = true;
    this.#context = context;
    this.#contextType = type;
    const slot = this.#nextToUse;
    const next = (slot + 1) & this.#mask;
    const word = slot << DESCRIPTOR_WORD_SHIFT;
    this.#ring[word] = context;
    this.#ring[word + 1] = 0;
    this.#ring[word + TX_COMMAND_WORD] = type;
    this.#ring[word + TX_STATUS_WORD] = 0;
    this.#slots[slot] = NO_BUFFER;
    this.#nextToUse = next;
    if ((slot & GROUP_MASK) !== GROUP_MASK) return 0;
    this.#reports[slot >>> GROUP_SHIFT] = next;
    return TX_RS;
  }

  reclaim(): void {
    if (this.#usesContexts) {
      this.#reclaimMixed();
      return;
    }
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
      const last = clean + GROUP_MASK;
      if ((ring[(last << WORD_SHIFT) + STATUS]! & DD) === 0) break;
      for (let slot = clean; slot <= last; slot++) {
        free[freeCount] = slots[slot]!;
        freeCount = (freeCount + 1) | 0;
      }
      clean = (clean + GROUP) & mask;
    }
    this.#nextToClean = clean;
    pool.freeCount = freeCount;
  }

  /** Like `reclaim`, where slots without a buffer are possible. */
  #reclaimMixed(): void {
    const pool = this.#pool;
    const reports = this.#reports;
    let clean = this.#nextToClean;
    while (((this.#nextToUse - clean) & this.#mask) >= GROUP) {
      const group = clean >>> GROUP_SHIFT;
      if ((this.#ring[(reports[group]! << WORD_SHIFT) + STATUS]! & DD) === 0) break;
      reports[group] = clean | GROUP_MASK;
      const groupEnd = clean + GROUP;
      for (; clean < groupEnd; clean++) {
        const buffer = this.#slots[clean]!;
        if (buffer >= 0) pool.free[pool.freeCount++] = buffer;
      }
      clean &= this.#mask;
    }
    this.#nextToClean = clean;
  }

  /** Gives every buffer back to the pool, sent or not. The hardware must have stopped. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    const { free } = this.#pool;
    for (let slot = this.#nextToClean; slot !== this.#nextToUse; slot = (slot + 1) & this.#mask) {
      const buffer = this.#slots[slot]!;
      if (buffer >= 0) free[this.#pool.freeCount++] = buffer;
    }
    // A full ring whose groups never complete: `send` takes nothing from now on.
    this.#ring.fill(0);
    this.#nextToClean = 0;
    this.#nextToUse = this.#mask;
  }
}
