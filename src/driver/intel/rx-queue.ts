/**
 * Receive ring of advanced descriptors (82576 datasheet 7.1.6, 82599 datasheet 7.1.5 to 7.1.9).
 *
 * Slot i of the ring owns buffer `slots[i]`. A received slot gives its buffer to the application and takes a free
 * one in its place at once, so the ring is always full of buffers and one tail write a call hands all refilled
 * slots back.
 */
import { NicError } from '../../errors.js';
import { type BufferOwners, type PacketPool, RxFlag } from '../../hugepage/packet-pool.js';
import type { RxQueue } from '../device.js';
import type { Doorbell } from '../register-file.js';
import {
  DESCRIPTOR_WORD_SHIFT,
  RX_DD,
  RX_EOP,
  RX_IPCS,
  RX_L4CS,
  RX_LENGTH_WORD,
  RX_RSS_TYPE_MASK,
  RX_STATUS_WORD,
  RX_VP,
} from './descriptors.js';

/** Indices of `IntelRxQueue.counters`. */
export const RX_PACKETS = 0;
export const RX_BYTES = 1;
export const RX_NO_BUFFER = 2;
export const RX_TOO_LONG = 3;
export const RX_DAMAGED = 4;
const RX_COUNTERS = 5;

/**
 * Constants of the packet loop. The engine folds a module's own constants into the code; an imported one it loads and
 * checks at every use (docs/performance.md).
 */
const WORD_SHIFT = DESCRIPTOR_WORD_SHIFT;
const STATUS = RX_STATUS_WORD;
const LENGTH = RX_LENGTH_WORD;
const DD = RX_DD;
/** One buffer a packet: a good frame is done and ends in its first descriptor. */
const DONE = RX_DD | RX_EOP;

export interface IntelRxQueueOptions {
  /** Four words a descriptor; the number of descriptors is a power of two. */
  readonly ring: Int32Array;
  /** The queue's RDT register. */
  readonly tail: Doorbell;
  readonly pool: PacketPool;
  /** Bits of the status word that mean the frame is damaged: they differ between families. */
  readonly errorMask: number;
  /** Fill `rxFlags`, `vlanTags` and `rssHashes` of the pool. Default false. */
  readonly metadata?: RxMetadataBits | undefined;
}

/** Where the status word says what was checked; the error bits differ between families. */
export interface RxMetadataBits {
  /** Bit number of "IPv4 checksum error" in the status word. */
  readonly ipErrorShift: number;
  /** Bit number of "TCP or UDP checksum error". */
  readonly l4ErrorShift: number;
}

export class IntelRxQueue implements RxQueue {
  readonly size: number;
  /** Float64 slots: adding to them never allocates, however high they count. */
  readonly counters = new Float64Array(RX_COUNTERS);
  readonly #ring: Int32Array;
  readonly #tail: Doorbell;
  readonly #pool: PacketPool;
  readonly #owners: BufferOwners | undefined;
  readonly #mask: number;
  /** Buffer index of each slot. */
  readonly #slots: Int32Array;
  readonly #errorMask: number;
  readonly #metadata: RxMetadataBits | undefined;
  readonly #iovaLow: number;
  readonly #iovaHigh: number;
  #nextToUse = 0;
  /** True between a fragment without EOP and the end of its frame. */
  #skipping = false;
  #closed = false;

  /**
   * Takes a buffer for each slot from the pool.
   * @throws NicError `BAD_OPTION` where it has fewer: another device took them since `IntelDevice` looked
   */
  constructor(options: IntelRxQueueOptions) {
    const { ring, pool } = options;
    this.size = ring.length >>> DESCRIPTOR_WORD_SHIFT;
    this.#ring = ring;
    this.#tail = options.tail;
    this.#pool = pool;
    this.#owners = pool.owners;
    this.#mask = this.size - 1;
    this.#errorMask = options.errorMask;
    this.#metadata = options.metadata;
    this.#iovaLow = pool.iovaLow | 0;
    this.#iovaHigh = pool.iovaHigh | 0;
    this.#slots = new Int32Array(this.size);
    if (pool.freeCount < this.size) {
      throw new NicError(
        'BAD_OPTION',
        `A receive ring needs ${this.size} buffers and the pool has ${pool.freeCount} free`,
        { hint: 'Make the pool larger: the receive and transmit rings of all devices, and some in flight.' },
      );
    }
    for (let slot = 0; slot < this.size; slot++) {
      this.#slots[slot] = pool.free[--pool.freeCount]!;
      this.#arm(slot);
    }
  }

  /** Hands all slots but one to the hardware: RDT = RDH would mean an empty ring. Call once the queue is enabled. */
  start(): void {
    this.#tail[0] = this.#mask;
  }

  get pending(): boolean {
    const word = this.#nextToUse << DESCRIPTOR_WORD_SHIFT;
    return (this.#ring[word + RX_STATUS_WORD]! & RX_DD) !== 0 && !this.#closed;
  }

  receive(bufs: Uint32Array, max: number = bufs.length): number {
    let limit = max < bufs.length ? max : bufs.length;
    if (this.#metadata !== undefined) limit = this.#noteMetadata(limit, this.#metadata);
    const ring = this.#ring;
    const slots = this.#slots;
    const pool = this.#pool;
    const free = pool.free;
    const lengths = pool.lengths;
    const mask = this.#mask;
    const shift = pool.bufferShift;
    const bufferSize = pool.bufferSizeBytes;
    const iovaLow = this.#iovaLow;
    const iovaHigh = this.#iovaHigh;
    const testMask = DONE | this.#errorMask;
    // While a long frame is skipped nothing is good: no masked status equals -1.
    let good = this.#skipping ? -1 : DONE;
    let freeCount = pool.freeCount;
    let slot = this.#nextToUse;
    let received = 0;
    let bytes = 0;
    let dropped = 0;
    for (;;) {
      const room = limit < freeCount + received ? limit : freeCount + received;
      // No call in this loop: after one, the engine would check every array again in every round.
      while (received < room) {
        const word = slot << WORD_SHIFT;
        // The hardware sets DD last, and x86 keeps the order of these two loads.
        const status = ring[word + STATUS]!;
        const length = ring[word + LENGTH]! & 0xffff;
        if ((status & testMask) !== good || (length - 1) >>> 0 >= bufferSize) break;
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
      if (received === limit) break;
      const word = slot << WORD_SHIFT;
      const status = ring[word + STATUS]!;
      if ((status & DD) === 0) break;
      const length = ring[word + LENGTH]! & 0xffff;
      if ((status & testMask) === good && (length - 1) >>> 0 < bufferSize) {
        // It came just now, or no buffer is left to take its place.
        if (freeCount > 0) continue;
        this.counters[RX_NO_BUFFER]! += 1;
        break;
      }
      if (dropped++ === this.size) break;
      good = this.#drop(slot, status) ? -1 : DONE;
      slot = (slot + 1) & mask;
      // Its metadata was noted in the place of a packet's.
      if (this.#metadata !== undefined) limit--;
    }
    pool.freeCount = freeCount;
    // Not `slot !== first`: a device that fills every slot, even the one that it does not own, is a full lap ahead.
    if (received + dropped > 0) {
      this.#nextToUse = slot;
      this.#tail[0] = (slot - 1) & mask;
      this.counters[RX_PACKETS]! += received;
      this.counters[RX_BYTES]! += bytes;
      if (this.#owners !== undefined) this.#owners.taken(bufs, 0, received);
    }
    return received;
  }

  /** Gives every buffer back to the pool. The hardware must have stopped: it may not write to them any more. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const buffer of this.#slots) this.#pool.free[this.#pool.freeCount++] = buffer;
    // A device that wrote DD after its reset must find no slot to hand out.
    this.#ring.fill(0);
  }

  /** Counts a slot that holds no good frame and returns it to the ring. True while a long frame goes on. */
  #drop(slot: number, status: number): boolean {
    const endOfPacket = (status & RX_EOP) !== 0;
    if (!this.#skipping) this.counters[endOfPacket ? RX_DAMAGED : RX_TOO_LONG]! += 1;
    this.#skipping = !endOfPacket;
    this.#arm(slot);
    return this.#skipping;
  }

  /**
   * Notes what the next descriptors say besides length, at most `limit`, before `receive` arms them again: words 0 and 1
   * hold packet type and hash until then. Returns how many there were.
   */
  #noteMetadata(limit: number, bits: RxMetadataBits): number {
    const ring = this.#ring;
    const pool = this.#pool;
    let slot = this.#nextToUse;
    for (let noted = 0; noted < limit; noted++) {
      const word = slot << WORD_SHIFT;
      const status = ring[word + STATUS]!;
      if ((status & DD) === 0) return noted;
      const buffer = this.#slots[slot]!;
      const hashed = (ring[word]! & RX_RSS_TYPE_MASK) !== 0;
      pool.rxFlags[buffer] =
        ((status & RX_VP) !== 0 ? RxFlag.VLAN : 0) |
        ((status & RX_IPCS) !== 0
          ? RxFlag.IP_CHECKED | (((status >>> bits.ipErrorShift) & 1) * RxFlag.IP_BAD)
          : 0) |
        ((status & RX_L4CS) !== 0
          ? RxFlag.L4_CHECKED | (((status >>> bits.l4ErrorShift) & 1) * RxFlag.L4_BAD)
          : 0) |
        (hashed ? RxFlag.RSS_HASH : 0);
      pool.vlanTags[buffer] = ring[word + LENGTH]! >>> 16;
      pool.rssHashes[buffer] = ring[word + 1]!;
      slot = (slot + 1) & this.#mask;
    }
    return limit;
  }

  #arm(slot: number): void {
    const word = slot << DESCRIPTOR_WORD_SHIFT;
    this.#ring[word] = (this.#iovaLow + (this.#slots[slot]! << this.#pool.bufferShift)) | 0;
    this.#ring[word + 1] = this.#iovaHigh;
    this.#ring[word + 2] = 0;
    this.#ring[word + 3] = 0;
  }
}
