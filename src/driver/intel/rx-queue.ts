/**
 * Receive ring of advanced descriptors (82576 datasheet 7.1.6, 82599 datasheet 7.1.5 to 7.1.9).
 *
 * Slot i of the ring owns buffer `slots[i]`. A received slot gives its buffer to the application and takes a free
 * one in its place at once, so the ring is always full of buffers and one tail write a call hands all refilled
 * slots back.
 */
import { NicError } from '../../errors.js';
import { type PacketPool, RxFlag } from '../../hugepage/packet-pool.js';
import type { RxQueue } from '../device.js';
import { ownCopy, STATE_LENGTH } from '../instantiate.js';
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
import { inPipe, type RingShare } from './ring-share.js';
import { makeReceive, RX_GOOD, RX_HOLD, RX_NEXT, type RxLoop } from './rx-loop.js';

/** Indices of `IntelRxQueue.counters`. */
export const RX_PACKETS = 0;
export const RX_BYTES = 1;
export const RX_NO_BUFFER = 2;
export const RX_TOO_LONG = 3;
export const RX_DAMAGED = 4;

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

/** One buffer a packet: a good frame is done and ends in its first descriptor. */
const DONE = RX_DD | RX_EOP;

export class IntelRxQueue implements RxQueue {
  readonly size: number;
  /** Float64 slots: adding to them never allocates, however high they count. */
  readonly counters = new Float64Array(STATE_LENGTH);
  /** A function of its own for each queue: see own-copy.ts. */
  receive: RxQueue['receive'];
  readonly #loop: RxLoop;
  readonly #pool: PacketPool;
  readonly #metadata: RxMetadataBits | undefined;
  #pipe: RingShare | undefined;
  #closed = false;

  /**
   * Takes a buffer for each slot from the pool.
   * @throws NicError `BAD_OPTION` where it has fewer: another device took them since `IntelDevice` looked
   */
  constructor(options: IntelRxQueueOptions) {
    const { ring, tail, pool, errorMask, metadata } = options;
    this.size = ring.length >>> DESCRIPTOR_WORD_SHIFT;
    this.#pool = pool;
    this.#metadata = metadata;
    if (pool.freeCount < this.size) {
      throw new NicError(
        'BAD_OPTION',
        `A receive ring needs ${this.size} buffers and the pool has ${pool.freeCount} free`,
        { hint: 'Make the pool larger: the receive and transmit rings of all devices, and some in flight.' },
      );
    }
    this.#loop = {
      ring,
      tail,
      testMask: DONE | errorMask,
      slots: new Int32Array(this.size),
      state: new Int32Array(STATE_LENGTH),
      counters: this.counters,
      free: pool.free,
      freeLevel: pool.freeLevel,
      lengths: pool.lengths,
      mask: this.size - 1,
      shift: pool.bufferShift,
      bufferSizeBytes: pool.bufferSizeBytes,
      iovaLow: pool.iovaLow | 0,
      iovaHigh: pool.iovaHigh | 0,
      receiveRest: (bufs, limit, received) => this.#receiveRest(bufs, limit, received),
    };
    for (let slot = 0; slot < this.size; slot++) {
      this.#loop.slots[slot] = pool.free[--pool.freeCount]!;
      this.#arm(slot);
    }
    this.#loop.state[RX_GOOD] = DONE;
    const receive = ownCopy(makeReceive)(this.#loop) as RxQueue['receive'];
    const { owners } = pool;
    this.receive =
      metadata === undefined && owners === undefined
        ? receive
        : (bufs, max = bufs.length) => this.#receiveWith(receive, bufs, Math.min(max, bufs.length));
  }

  /** Hands all slots but one to the hardware: RDT = RDH would mean an empty ring. Call once the queue is enabled. */
  start(): void {
    this.#loop.tail[0] = this.#loop.mask;
  }

  get pending(): boolean {
    if (this.#pipe !== undefined) return this.#pipe.pending;
    const { ring, state } = this.#loop;
    const word = state[RX_NEXT]! << DESCRIPTOR_WORD_SHIFT;
    return (ring[word + RX_STATUS_WORD]! & RX_DD) !== 0 && !this.#closed;
  }

  /** True where a pipe has no slot left to receive into: no interrupt tells when there is one again. */
  get blocked(): boolean {
    return this.#pipe?.blocked ?? false;
  }

  /** What forwarders work on; undefined where packets need more than the plain loop. */
  get plainLoop(): RxLoop | undefined {
    return this.#metadata === undefined && this.#pool.owners === undefined ? this.#loop : undefined;
  }

  isOf(pool: PacketPool): boolean {
    return pool === this.#pool;
  }

  /** What stands against lending the ring to a pipe; undefined where nothing does. */
  get lendingObstacle(): string | undefined {
    if (this.#pipe !== undefined) return 'the receive queue is in a pipe already';
    if (this.#closed) return 'the receive queue is closed';
    if (this.#metadata !== undefined) return 'the receive queue notes metadata for each packet';
    const { state } = this.#loop;
    if (state[RX_NEXT] !== 0 || state[RX_GOOD] === RX_HOLD || this.counters.some((count) => count > 0)) {
      return 'packets have been received already';
    }
    return undefined;
  }

  /** Leaves the ring to a pipe until the queue closes. */
  lend(pipe: RingShare): RxLoop {
    this.#pipe = pipe;
    this.receive = inPipe;
    // For those who kept the function that was there.
    this.#loop.state[RX_GOOD] = RX_HOLD;
    return this.#loop;
  }

  /** Gives every buffer back to the pool. The hardware must have stopped: it may not write to them any more. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    const { ring, slots } = this.#loop;
    const kept = this.#pipe?.close();
    for (const [slot, buffer] of slots.entries()) {
      if (kept?.has(slot) !== true) this.#pool.free[this.#pool.freeCount++] = buffer;
    }
    // A device that wrote DD after its reset must find no slot to hand out.
    ring.fill(0);
  }

  /** Receives with what few ask for around it: metadata, checks of ownership. */
  #receiveWith(receive: RxQueue['receive'], bufs: Uint32Array, max: number): number {
    const metadata = this.#metadata;
    const received = receive(bufs, metadata === undefined ? max : this.#noteMetadata(max, metadata));
    this.#pool.owners?.taken(bufs, 0, received);
    return received;
  }

  /**
   * Goes on where the packet loop met what is no good frame, and rings the doorbell for both. `received` packets are
   * in `bufs`.
   */
  #receiveRest(bufs: Uint32Array, max: number, before: number): number {
    if (this.#pipe !== undefined) inPipe();
    const { ring, tail, slots, state, lengths, mask, testMask, bufferSizeBytes } = this.#loop;
    const { free } = this.#pool;
    let limit = max;
    let received = before;
    let bytes = 0;
    let dropped = 0;
    let slot = state[RX_NEXT]!;
    while (received < limit) {
      const word = slot << DESCRIPTOR_WORD_SHIFT;
      const status = ring[word + RX_STATUS_WORD]!;
      if ((status & RX_DD) === 0) break;
      const length = ring[word + RX_LENGTH_WORD]! & 0xffff;
      const good = (status & testMask) === state[RX_GOOD] && length > 0 && length <= bufferSizeBytes;
      if (good) {
        if (this.#pool.freeCount === 0) {
          this.counters[RX_NO_BUFFER]! += 1;
          break;
        }
        const buffer = slots[slot]!;
        slots[slot] = free[--this.#pool.freeCount]!;
        this.#arm(slot);
        lengths[buffer] = length;
        bytes += length;
        bufs[received++] = buffer;
      } else {
        // A device that fills slots that it does not own never ends.
        if (dropped++ === this.size) break;
        this.#drop(slot, status);
        // Its metadata was noted in the place of a packet's.
        if (this.#metadata !== undefined) limit--;
      }
      slot = (slot + 1) & mask;
    }
    state[RX_NEXT] = slot;
    this.counters[RX_PACKETS]! += received - before;
    this.counters[RX_BYTES]! += bytes;
    if (received + dropped > before) tail[0] = (slot - 1) & mask;
    return received;
  }

  /** Counts a slot that holds no good frame and returns it to the ring. */
  #drop(slot: number, status: number): void {
    const { state } = this.#loop;
    const endOfPacket = (status & RX_EOP) !== 0;
    // Held: the rest of a frame that is too long.
    if (state[RX_GOOD] !== RX_HOLD) this.counters[endOfPacket ? RX_DAMAGED : RX_TOO_LONG]! += 1;
    state[RX_GOOD] = endOfPacket ? DONE : RX_HOLD;
    this.#arm(slot);
  }

  /**
   * Notes what the next descriptors say besides length, at most `limit`, before `receive` arms them again: words 0 and 1
   * hold packet type and hash until then. Returns how many there were.
   */
  #noteMetadata(limit: number, bits: RxMetadataBits): number {
    const { ring, slots, state, mask } = this.#loop;
    const pool = this.#pool;
    let slot = state[RX_NEXT]!;
    for (let noted = 0; noted < limit; noted++) {
      const word = slot << DESCRIPTOR_WORD_SHIFT;
      const status = ring[word + RX_STATUS_WORD]!;
      if ((status & RX_DD) === 0) return noted;
      const buffer = slots[slot]!;
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
      pool.vlanTags[buffer] = ring[word + RX_LENGTH_WORD]! >>> 16;
      pool.rssHashes[buffer] = ring[word + 1]!;
      slot = (slot + 1) & mask;
    }
    return limit;
  }

  #arm(slot: number): void {
    const { ring, slots, iovaLow, iovaHigh, shift } = this.#loop;
    const word = slot << DESCRIPTOR_WORD_SHIFT;
    ring[word] = (iovaLow + (slots[slot]! << shift)) | 0;
    ring[word + 1] = iovaHigh;
    ring[word + 2] = 0;
    ring[word + 3] = 0;
  }
}
