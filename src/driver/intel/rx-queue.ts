/**
 * Receive ring of advanced descriptors (82576 datasheet 7.1.6, 82599 datasheet 7.1.5 to 7.1.9).
 *
 * Slot i of the ring owns buffer `slots[i]`. A received slot gives its buffer to the application and takes a free
 * one in its place at once, so the ring is always full of buffers and one tail write a call hands all refilled
 * slots back.
 */
import { NicError } from '../../errors.js';
import { RxFlag } from '../../hugepage/packet-metadata.js';
import { type PacketPool, packetArray } from '../../hugepage/packet-pool.js';
import type { RxQueue, TxQueue, WaitOptions } from '../device.js';
import { instantiate, STATE_LENGTH } from '../instantiate.js';
import type { PacketCursor } from '../packet-cursor.js';
import { PacketWait } from '../packet-wait.js';
import { type LinkedQueues, type LinkOptions, refuseNested } from '../queue-link.js';
import {
  type AttachedRing,
  type AttachedRxQueue,
  doorbellAddress,
  type HandedOver,
  type HandOver,
  inOtherThread,
  noHandOver,
} from '../queue-share.js';
import type { Doorbell } from '../register-file.js';
import { cursorOver } from './cursor.js';
import {
  DESCRIPTOR_WORD_SHIFT,
  LAYOUT,
  RX_DD,
  RX_EOP,
  RX_IPCS,
  RX_L4CS,
  RX_LENGTH_WORD,
  RX_RSS_TYPE_MASK,
  RX_STATUS_WORD,
  RX_VP,
} from './descriptors.js';
import { linkQueues } from './link-queues.js';
import { countsOf, newCounters } from './queue-counters.js';
import { RingHandOver, type RxTicket } from './ring-hand-over.js';
import { inPipe, type RingShare } from './ring-share.js';
import { makeReceive, type RxLoop } from './rx-loop.js';

export interface IntelRxQueueOptions {
  /** Four words a descriptor; the number of descriptors is a power of two. */
  readonly ring: Int32Array;
  /** The queue's RDT register. */
  readonly tail: Doorbell;
  readonly pool: PacketPool;
  /** Longest frame, at most what a buffer holds. Default: just that. */
  readonly maxFrameBytes?: number;
  /** Bits of the status word that mean the frame is damaged: they differ between families. */
  readonly errorMask: number;
  /** Fill the pool's metadata. Default false. */
  readonly metadata?: RxMetadataBits | undefined;
  /** Unmasks and masks the queue's interrupt. Without it, waits look once a millisecond. */
  readonly interrupt?: { readonly arm: () => void; readonly disarm: () => void } | undefined;
  /** Of the device, for messages. */
  readonly address?: string;
  /** The ring is at work already: another thread brought it up. By default it is new, and its slots get buffers. */
  readonly attached?: AttachedRing;
}

/** Where the status word says what was checked; the error bits differ between families. */
export interface RxMetadataBits {
  /** Bit number of "IPv4 checksum error" in the status word. */
  readonly ipErrorShift: number;
  /** Bit number of "TCP or UDP checksum error". */
  readonly l4ErrorShift: number;
}

/** Longest sleep of a queue whose slots all wait in another's transmit ring: it cannot interrupt. */
const BLOCKED_MS = 1;

const { NEXT, GOOD, HOLD, BUSY, DONE, PACKETS, BYTES, NO_BUFFER, TOO_LONG, DAMAGED } = LAYOUT;

export class IntelRxQueue implements AttachedRxQueue {
  readonly size: number;
  readonly pool: PacketPool;
  readonly #address: string;
  /** A function of its own for each queue: see instantiate.ts. */
  receive: RxQueue['receive'];
  /** Shared with the thread that the queue was handed to. */
  #counters: Float64Array;
  #loop: RxLoop;
  readonly #metadata: RxMetadataBits | undefined;
  readonly #wait: PacketWait;
  #pipe: RingShare | undefined;
  #elsewhere: RingHandOver | undefined;
  #closed: NicError | undefined;

  /**
   * Takes a buffer for each slot from the pool.
   * @throws NicError `BAD_OPTION` where it has fewer: another device took them since the options were checked
   */
  constructor(options: IntelRxQueueOptions) {
    const { ring, tail, pool, errorMask, metadata, interrupt, attached } = options;
    this.size = ring.length >>> DESCRIPTOR_WORD_SHIFT;
    this.pool = pool;
    this.#address = options.address ?? 'a device';
    this.#metadata = metadata;
    this.#counters = attached?.counters ?? newCounters();
    if (attached === undefined && pool.freeCount < this.size) {
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
      slots: attached?.slots ?? new Int32Array(this.size),
      state: attached?.state ?? new Int32Array(STATE_LENGTH),
      counters: this.#counters,
      free: pool.free,
      freeLevel: pool.freeLevel,
      lengths: pool.lengths,
      mask: this.size - 1,
      shift: pool.bufferShift,
      maxBytes: Math.min(options.maxFrameBytes ?? pool.maxFrameBytes, pool.maxFrameBytes),
      iovaLow: pool.frameIovaLow | 0,
      iovaHigh: pool.iovaHigh | 0,
      receiveRest: (bufs, limit, received) => this.#receiveRest(bufs, limit, received),
      check: packetArray,
    };
    if (attached === undefined) {
      for (let slot = 0; slot < this.size; slot++) {
        this.#loop.slots[slot] = pool.free[--pool.freeCount]!;
        this.#arm(slot);
      }
      this.#loop.state[GOOD] = DONE;
    }
    this.#wait = new PacketWait({
      pending: () => this.pending,
      arm: interrupt?.arm,
      disarm: interrupt?.disarm,
    });
    const receive = instantiate(makeReceive, LAYOUT, this.#loop) as RxQueue['receive'];
    const { owners } = pool;
    this.receive =
      metadata === undefined && owners === undefined
        ? receive
        : (bufs, max) => this.#receiveWith(receive, bufs, max);
  }

  /** Hands all slots but one to the hardware: RDT = RDH would mean an empty ring. Call once the queue is enabled. */
  start(): void {
    this.#loop.tail[0] = this.#loop.mask;
  }

  /**
   * Where the hardware goes on that has lost its registers and not its ring: the first slot that it has not filled, and the value
   * of the tail.
   */
  get resumePoint(): { readonly head: number; readonly tail: number } {
    const { ring, state, mask } = this.#loop;
    const { next, clean } = this.#pipe?.place ?? { next: state[NEXT]!, clean: state[NEXT]! };
    const tail = (clean - 1) & mask;
    let head = next;
    while (head !== tail && (ring[(head << DESCRIPTOR_WORD_SHIFT) + RX_STATUS_WORD]! & RX_DD) !== 0) {
      head = (head + 1) & mask;
    }
    return { head, tail };
  }

  /** What was counted so far; elements as in LAYOUT. */
  get counters(): Float64Array {
    return countsOf(this.#counters);
  }

  get pending(): boolean {
    if (this.#pipe !== undefined) return this.#pipe.pending;
    const { ring, state } = this.#loop;
    const word = state[NEXT]! << DESCRIPTOR_WORD_SHIFT;
    return (ring[word + RX_STATUS_WORD]! & RX_DD) !== 0 && this.#closed === undefined;
  }

  wait(options: WaitOptions = {}): Promise<boolean> {
    if (this.#elsewhere !== undefined && this.#closed === undefined) inOtherThread();
    if (!this.blocked) return this.#wait.wait(options);
    return this.#wait.wait({ ...options, timeoutMs: Math.min(options.timeoutMs ?? BLOCKED_MS, BLOCKED_MS) });
  }

  /** The queue's interrupt came. */
  interrupted(): void {
    this.#wait.wake();
  }

  /** The device is gone: no interrupt will come. Ends all waits, also those to come, with this error. */
  end(why: Error): void {
    this.#wait.close(why);
    this.#elsewhere?.tell('gone');
  }

  get elsewhere(): boolean {
    return this.#elsewhere !== undefined;
  }

  checkHandOver(): void {
    const obstacle = this.#obstacle;
    if (obstacle !== undefined) throw noHandOver(obstacle);
    doorbellAddress(this.#loop.tail);
  }

  handOver(to: HandOver): HandedOver {
    this.checkHandOver();
    const { slots, maxBytes, testMask, tail } = this.#loop;
    const elsewhere = new RingHandOver(this.#loop);
    const data: RxTicket = {
      ...elsewhere.ticket,
      tail: doorbellAddress(tail),
      slots: Int32Array.from(slots),
      maxFrameBytes: maxBytes,
      errorMask: testMask & ~DONE,
      metadata: this.#metadata,
    };
    to.own(slots);
    this.#elsewhere = elsewhere;
    // `pending` looks where the other thread is; a caller that kept the old `receive` finds every packet held.
    this.#loop.state[GOOD] = HOLD;
    this.#loop = { ...this.#loop, state: elsewhere.state };
    this.#counters = elsewhere.counters;
    this.receive = inOtherThread;
    return {
      family: 'intel',
      address: this.#address,
      data,
      wait: (options) => this.#wait.wait(options),
      onEnd: (listener) => elsewhere.onEnd(listener),
    };
  }

  /** The device begins to close: a thread that has the queue is asked to leave it. Resolves when it has, or hangs. */
  beginClose(): Promise<void> | undefined {
    return this.#elsewhere?.tell('closing');
  }

  /** Lets go of a ring that another thread's device goes on with: it is not written to, and its buffers stay there. */
  leave(why: NicError): void {
    if (this.#closed !== undefined) return;
    this.#closed = why;
    this.receive = () => {
      throw why;
    };
    this.#pipe?.close(why);
    // A caller may have kept the old `receive`, and forwarders have loops of their own: held, none of them moves a packet.
    this.#loop.state[GOOD] = HOLD;
    this.#wait.close(why);
  }

  link(tx: TxQueue, options: LinkOptions): LinkedQueues | undefined {
    return linkQueues(this, tx, options);
  }

  cursor(tx: TxQueue): PacketCursor | undefined {
    return cursorOver(this, tx);
  }

  /** The packet that the next slot holds: -1 where it holds no good one. @throws NicError `CLOSED`, `OWNERSHIP` */
  shown(): number {
    this.#assertUsable();
    const { ring, slots, state, testMask } = this.#loop;
    const slot = state[NEXT]!;
    const status = ring[(slot << DESCRIPTOR_WORD_SHIFT) + RX_STATUS_WORD]!;
    return (status & testMask) === state[GOOD] ? slots[slot]! : -1;
  }

  /**
   * Drops what holds no good frame in front of the next packet, and shows that; -1 where there is none yet.
   * @throws NicError `CLOSED`, `OWNERSHIP`
   */
  nextGood(): number {
    this.#assertUsable();
    const { ring, tail, slots, state, lengths, mask, testMask, maxBytes } = this.#loop;
    const first = state[NEXT]!;
    let packet = -1;
    let slot = first;
    // A device that fills slots that it does not own never ends.
    for (let dropped = 0; dropped < this.size; dropped++) {
      const word = slot << DESCRIPTOR_WORD_SHIFT;
      const status = ring[word + RX_STATUS_WORD]!;
      if ((status & RX_DD) === 0) break;
      const length = ring[word + RX_LENGTH_WORD]! & 0xffff;
      if ((status & testMask) === state[GOOD] && length > 0 && length <= maxBytes) {
        packet = slots[slot]!;
        lengths[packet] = length;
        break;
      }
      this.#drop(slot, status, length);
      slot = (slot + 1) & mask;
    }
    if (slot !== first) {
      state[NEXT] = slot;
      tail[0] = (slot - 1) & mask;
    }
    return packet;
  }

  /** @throws NicError `CLOSED`, `OWNERSHIP` where the ring is not this queue's to work on */
  #assertUsable(): void {
    if (this.#closed !== undefined) throw this.#closed;
    if (this.#pipe !== undefined) inPipe();
    if (this.#elsewhere !== undefined) inOtherThread();
    if (this.#loop.state[GOOD] === BUSY) refuseNested();
  }

  /** True where a pipe has no slot left to receive into: no interrupt tells when there is one again. */
  get blocked(): boolean {
    return this.#pipe?.blocked ?? false;
  }

  /** What forwarders work on; undefined where packets need more than the plain loop. */
  get plainLoop(): RxLoop | undefined {
    if (this.#metadata !== undefined || this.pool.owners !== undefined) return undefined;
    // The state is that of the thread that has the ring.
    return this.#elsewhere === undefined ? this.#loop : undefined;
  }

  /** What stands against lending the ring to a pipe; undefined where nothing does. */
  get lendingObstacle(): string | undefined {
    if (this.#metadata !== undefined) return 'the receive queue notes metadata for each packet';
    return this.#obstacle;
  }

  /** What stands against leaving the ring to anybody else. */
  get #obstacle(): string | undefined {
    if (this.#elsewhere !== undefined) return 'the receive queue was handed to another thread';
    if (this.#pipe !== undefined) return 'the receive queue is in a pipe already';
    if (this.#closed !== undefined) return 'the receive queue is closed';
    const { state } = this.#loop;
    if (state[NEXT] !== 0 || state[GOOD] === HOLD || this.counters.some((count) => count > 0)) {
      return 'packets have been received already';
    }
    return undefined;
  }

  /** Leaves the ring to a pipe until the queue closes. */
  lend(pipe: RingShare): RxLoop {
    this.#pipe = pipe;
    this.receive = inPipe;
    // A caller may have kept the old `receive`: under HOLD it leaves every packet to `#receiveRest`, which throws.
    this.#loop.state[GOOD] = HOLD;
    return this.#loop;
  }

  /**
   * Gives every buffer back to the pool and ends all waits. The hardware must have stopped: it may not write to buffers
   * any more. @param why thrown by `receive` and `wait` from now on
   */
  close(why: NicError): void {
    if (this.#closed !== undefined) return;
    this.#closed = why;
    const { slots } = this.#loop;
    const kept = this.#pipe?.close(why);
    // The buffers of a ring that another thread has are in its slice of the pool.
    if (this.#elsewhere === undefined) {
      for (const [slot, buffer] of slots.entries()) {
        if (kept?.has(slot) !== true) this.pool.free[this.pool.freeCount++] = buffer;
      }
    }
    this.sealRing();
    this.#wait.close(why);
    this.#elsewhere?.tell('closed');
  }

  /**
   * Makes the ring look as if its next slot were done and bad, so that every loop over it goes the long way and throws.
   * Once more after the ring's memory was replaced by zero pages.
   */
  sealRing(): void {
    const { ring, state } = this.#loop;
    ring.fill(0);
    state[GOOD] = HOLD;
    ring[(state[NEXT]! << DESCRIPTOR_WORD_SHIFT) + RX_STATUS_WORD] = RX_DD;
  }

  /** Receives with what few ask for around it: metadata, checks of ownership. */
  #receiveWith(receive: RxQueue['receive'], bufs: Uint32Array, max: number | undefined): number {
    const metadata = this.#metadata;
    const { length } = packetArray(bufs);
    const limit = max !== undefined && max < length ? max : length;
    const received = receive(bufs, metadata === undefined ? limit : this.#noteMetadata(limit, metadata));
    this.pool.owners?.taken(bufs, received);
    return received;
  }

  /**
   * Goes on where the packet loop met what is no good frame, and rings the doorbell for both. `received` packets are
   * in `bufs`.
   */
  #receiveRest(bufs: Uint32Array, max: number, before: number): number {
    this.#assertUsable();
    const { ring, tail, slots, state, lengths, mask, testMask, maxBytes } = this.#loop;
    const { free } = this.pool;
    let limit = max;
    let received = before;
    let bytes = 0;
    let dropped = 0;
    let slot = state[NEXT]!;
    while (received < limit) {
      const word = slot << DESCRIPTOR_WORD_SHIFT;
      const status = ring[word + RX_STATUS_WORD]!;
      if ((status & RX_DD) === 0) break;
      const length = ring[word + RX_LENGTH_WORD]! & 0xffff;
      const good = (status & testMask) === state[GOOD] && length > 0 && length <= maxBytes;
      if (good) {
        if (this.pool.freeCount === 0) {
          this.#counters[NO_BUFFER]! += 1;
          break;
        }
        const buffer = slots[slot]!;
        slots[slot] = free[--this.pool.freeCount]!;
        this.#arm(slot);
        lengths[buffer] = length;
        bytes += length;
        bufs[received++] = buffer;
      } else {
        // A device that fills slots that it does not own never ends.
        if (dropped++ === this.size) break;
        this.#drop(slot, status, length);
        // Its metadata was noted in the place of a packet's.
        if (this.#metadata !== undefined) limit--;
      }
      slot = (slot + 1) & mask;
    }
    state[NEXT] = slot;
    this.#counters[PACKETS]! += received - before;
    this.#counters[BYTES]! += bytes;
    if (received + dropped > before) tail[0] = (slot - 1) & mask;
    return received;
  }

  /** Counts a slot that holds no good frame and returns it to the ring. */
  #drop(slot: number, status: number, length: number): void {
    const { state } = this.#loop;
    // Held: the rest of a frame that was counted at its first slot.
    if (state[GOOD] !== HOLD) this.#counters[this.damageOf(status, length)]! += 1;
    state[GOOD] = (status & RX_EOP) !== 0 ? DONE : HOLD;
    this.#arm(slot);
  }

  /** Which counter a slot counts in that holds no good frame: TOO_LONG or DAMAGED. */
  damageOf(status: number, length: number): number {
    const { testMask, maxBytes } = this.#loop;
    if ((status & RX_EOP) === 0) return TOO_LONG;
    // Whole and undamaged, and longer than the longest frame.
    return (status & testMask) === DONE && length > maxBytes ? TOO_LONG : DAMAGED;
  }

  /**
   * Notes what the next descriptors say besides length, at most `limit`, before `receive` arms them again: words 0 and 1
   * hold packet type and hash until then. Returns how many there were.
   */
  #noteMetadata(limit: number, bits: RxMetadataBits): number {
    const { ring, slots, state, mask } = this.#loop;
    const { metadata } = this.pool;
    let slot = state[NEXT]!;
    for (let noted = 0; noted < limit; noted++) {
      const word = slot << DESCRIPTOR_WORD_SHIFT;
      const status = ring[word + RX_STATUS_WORD]!;
      if ((status & RX_DD) === 0) return noted;
      const buffer = slots[slot]!;
      const hashed = (ring[word]! & RX_RSS_TYPE_MASK) !== 0;
      metadata.rxFlags[buffer] =
        ((status & RX_VP) !== 0 ? RxFlag.VLAN : 0) |
        ((status & RX_IPCS) !== 0
          ? RxFlag.IP_CHECKED | (((status >>> bits.ipErrorShift) & 1) * RxFlag.IP_BAD)
          : 0) |
        ((status & RX_L4CS) !== 0
          ? RxFlag.L4_CHECKED | (((status >>> bits.l4ErrorShift) & 1) * RxFlag.L4_BAD)
          : 0) |
        (hashed ? RxFlag.HASH : 0);
      metadata.vlanTags[buffer] = ring[word + RX_LENGTH_WORD]! >>> 16;
      metadata.hashes[buffer] = ring[word + 1]!;
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
