/**
 * Receive queue on a split or packed ring (VIRTIO 1.2, 5.1.6.3). Descriptor i holds buffer `slots[i]`, header first, always
 * as one piece. It is one byte longer than the longest frame: a frame that does not fit shows by its length, and with
 * MRG_RXBUF goes on in the next buffers, which are dropped with it (5.1.6.4). The byte behind a buffer's end is headroom of
 * the next. A received descriptor gives its buffer to the application, takes a free one and goes back to the device in
 * the same call, so all descriptors are always with the device. Which descriptor is done the device says: ids, lengths and
 * index are checked.
 */
import { NicError } from '../../errors.js';
import { type PacketPool, packetArray } from '../../hugepage/packet-pool.js';
import type { RxQueue, TxQueue, WaitOptions } from '../device.js';
import { STATE_LENGTH } from '../instantiate.js';
import { PacketWait } from '../packet-wait.js';
import type { LinkedQueues, LinkOptions } from '../queue-link.js';
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
import { type RxTicket, VirtqueueElsewhere } from './hand-over.js';
import { LAYOUT, newState, type Ring } from './layout.js';
import { linkQueues } from './link-queues.js';
import { takeHeaders } from './offloads.js';
import { PackedRxRing } from './packed-rx-ring.js';
import { Found, type RxParts, type RxRing } from './queue-parts.js';
import { NET_HEADER_BYTES, NET_NUM_BUFFERS } from './registers.js';
import { SplitRxRing } from './split-rx-ring.js';

export interface VirtioRxQueueOptions {
  readonly ring: Ring;
  /** Number of the virtqueue, and where it is notified. */
  readonly queue: number;
  readonly notify: Doorbell;
  /** What was accepted: NOTIFICATION_DATA, EVENT_IDX. */
  readonly notifiesData: boolean;
  readonly eventIdx: boolean;
  readonly pool: PacketPool;
  readonly maxFrameBytes: number;
  /** The queue has a vector. Without, waits look once a millisecond. */
  readonly hasInterrupt?: boolean;
  /** In a thread that the queue was handed to: asks the opener's for an interrupt, and takes that back. */
  readonly interrupt?: { readonly arm: () => void; readonly disarm: () => void };
  /** In a thread that the queue was handed to: the ring at work. */
  readonly attached?: AttachedRing;
  /** Of the device, for messages. */
  readonly address?: string;
  /** Whether MRG_RXBUF was accepted. */
  readonly merges: boolean;
  /** Headers are read into the pool's metadata, and checksums completed. */
  readonly metadata: boolean;
  /** The device did what no device may; nothing more is received. */
  readonly onLie: (what: string) => void;
}

const { NEXT, SKIP, PACKETS, BYTES, NO_BUFFER, TOO_LONG, DAMAGED, IDX_MASK } = LAYOUT;

export class VirtioRxQueue implements AttachedRxQueue {
  readonly size: number;
  readonly pool: PacketPool;
  /** Elements as in LAYOUT. */
  counters: Float64Array;
  /** A function of its own for each queue: see instantiate.ts. */
  receive: RxQueue['receive'];
  readonly #address: string;
  #parts: RxParts;
  readonly #memory: Ring;
  #ring: RxRing;
  readonly #wait: PacketWait;
  readonly #onLie: (what: string) => void;
  readonly #merges: boolean;
  readonly #metadata: boolean;
  #isBroken = false;
  #elsewhere: VirtqueueElsewhere | undefined;
  #closed: NicError | undefined;

  /**
   * Takes a buffer for each descriptor from the pool.
   * @throws NicError `BAD_OPTION` where it has fewer: another device took them since the options were checked
   */
  constructor(options: VirtioRxQueueOptions) {
    const { ring, pool, maxFrameBytes, hasInterrupt = false, interrupt, attached } = options;
    const { size } = ring;
    this.size = size;
    this.pool = pool;
    this.#address = options.address ?? 'a device';
    this.counters = attached?.counters ?? new Float64Array(STATE_LENGTH);
    this.#onLie = options.onLie;
    this.#merges = options.merges;
    if (attached === undefined && pool.freeCount < size) {
      throw new NicError(
        'BAD_OPTION',
        `A receive ring needs ${size} buffers and the pool has ${pool.freeCount} free`,
        { hint: 'Make the pool larger: the receive and transmit rings of all devices, and some in flight.' },
      );
    }
    this.#memory = ring;
    this.#parts = {
      notify: options.notify,
      queue: options.queue,
      dataMask: options.notifiesData ? IDX_MASK : 0,
      eventIdx: options.eventIdx,
      slots: attached?.slots ?? Int32Array.from({ length: size }, () => pool.free[--pool.freeCount]!),
      calls: new Int32Array(size),
      state: attached?.state ?? newState(),
      counters: this.counters,
      free: pool.free,
      freeLevel: pool.freeLevel,
      lengths: pool.lengths,
      size,
      shift: pool.bufferShift,
      maxBytes: maxFrameBytes,
      headerIovaLow: (pool.frameIovaLow - NET_HEADER_BYTES) | 0,
      iovaHigh: pool.iovaHigh | 0,
      receiveRest: (bufs, limit, received) => this.#receiveRest(bufs, limit, received),
      check: packetArray,
    };
    this.#ring = makeRing(ring, this.#parts);
    if (attached === undefined) this.#ring.fill();
    this.#wait = new PacketWait({
      pending: () => this.pending,
      arm: hasInterrupt ? () => this.#ring.setInterrupts(true) : interrupt?.arm,
      disarm: hasInterrupt ? () => this.#ring.setInterrupts(false) : interrupt?.disarm,
    });
    this.#metadata = options.metadata;
    const receive = options.metadata ? this.#withHeaders(this.#ring.receive) : this.#ring.receive;
    const { owners } = pool;
    this.receive =
      owners === undefined
        ? receive
        : (bufs, max) => {
            const received = receive(bufs, max);
            owners.taken(bufs, received);
            return received;
          };
  }

  /** A packet whose header cannot be is counted and dropped; it was among those that were received. */
  #withHeaders(receive: RxQueue['receive']): RxQueue['receive'] {
    const { pool, counters } = this;
    const drop = (buffer: number): void => {
      counters[DAMAGED]! += 1;
      counters[PACKETS]! -= 1;
      counters[BYTES]! -= pool.lengths[buffer]!;
      pool.free[pool.freeCount++] = buffer;
    };
    return (bufs, max) => takeHeaders(pool, bufs, receive(bufs, max), drop);
  }

  /** The device runs: it is told of the buffers. */
  start(): void {
    this.#ring.announce();
  }

  get pending(): boolean {
    return this.#ring.pending && this.#closed === undefined && !this.#isBroken;
  }

  wait(options: WaitOptions = {}): Promise<boolean> {
    if (this.#elsewhere !== undefined && this.#closed === undefined) inOtherThread();
    return this.#wait.wait(options);
  }

  link(tx: TxQueue, options: LinkOptions): LinkedQueues | undefined {
    return linkQueues(this, tx, options);
  }

  /** What forwarders work on; undefined where packets need more than the plain loop. */
  get plain(): { readonly ring: Ring; readonly parts: RxParts } | undefined {
    if (this.pool.owners !== undefined || this.#metadata) return undefined;
    return { ring: this.#memory, parts: this.#parts };
  }

  /** The queue's interrupt came. */
  interrupted(): void {
    this.#wait.wake();
  }

  /** No interrupt will come. Ends all waits, also those to come, with this error. */
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
    doorbellAddress(this.#parts.notify);
  }

  handOver(to: HandOver): HandedOver {
    this.checkHandOver();
    const parts = this.#parts;
    const elsewhere = new VirtqueueElsewhere(this.#memory, parts, parts.maxBytes);
    const data: RxTicket = {
      ...elsewhere.ticket,
      slots: Int32Array.from(parts.slots),
      merges: this.#merges,
      metadata: this.#metadata,
    };
    to.own(parts.slots);
    this.#elsewhere = elsewhere;
    // A caller may have kept the old `receive`: with something to skip it leaves every packet to `#receiveRest`, which throws.
    parts.state[SKIP] = 1;
    // `pending` and interrupts look where the other thread is.
    this.#parts = { ...parts, state: elsewhere.state };
    this.#ring = makeRing(this.#memory, this.#parts);
    this.counters = elsewhere.counters;
    this.receive = inOtherThread;
    return {
      family: 'virtio',
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
    // Whoever kept the old `receive`, and forwarders with loops of their own, go the long way with every packet.
    this.#parts.state[SKIP] = 1;
    this.#wait.close(why);
  }

  /** What stands against leaving the ring to another thread. */
  get #obstacle(): string | undefined {
    if (this.#elsewhere !== undefined) return 'the receive queue was handed to another thread';
    if (this.#closed !== undefined) return 'the receive queue is closed';
    const { state } = this.#parts;
    if (state[NEXT] !== 0 || this.counters.some((count) => count > 0))
      return 'packets have been received already';
    return undefined;
  }

  /**
   * Gives every buffer back to the pool and ends all waits. The device must have stopped.
   * @param why thrown by `receive` and `wait` from now on
   */
  close(why: NicError): void {
    if (this.#closed !== undefined) return;
    this.#closed = why;
    // The buffers of a ring that another thread has are in its slice of the pool.
    if (this.#elsewhere === undefined)
      for (const buffer of this.#parts.slots) this.pool.free[this.pool.freeCount++] = buffer;
    this.sealRing();
    this.#wait.close(why);
    this.#elsewhere?.tell('closed');
  }

  /**
   * Makes `receive`, also one that was kept from before, go the long way, which throws. Once more after the ring's memory
   * was replaced by zero pages.
   */
  sealRing(): void {
    this.#ring.seal();
  }

  /**
   * Goes on where the packet loop met what is no good frame, an empty pool, or what cannot be. Then tells the device of what
   * it got back. `before` packets are in `bufs`.
   */
  #receiveRest(bufs: Uint32Array, limit: number, before: number): number {
    if (this.#closed !== undefined) throw this.#closed;
    if (this.#elsewhere !== undefined) return inOtherThread();
    const { slots, state, size, lengths, maxBytes } = this.#parts;
    const { pool, counters } = this;
    const ring = this.#ring;
    let received = before;
    // Once around in a call: what it gave back the device may use again behind that.
    for (let looked = before; looked < size && received < limit && !this.#isBroken; looked++) {
      const found = ring.look();
      if (found === Found.NOTHING) break;
      if (found === Found.BROKEN) {
        this.#break();
        break;
      }
      if (found === Found.FALSE) {
        counters[DAMAGED]! += 1;
        ring.pass();
        continue;
      }
      const buffer = slots[ring.id]!;
      const lengthBytes = ring.writtenBytes - NET_HEADER_BYTES;
      if (state[SKIP]! > 0) {
        state[SKIP]! -= 1;
        ring.giveBack(buffer);
      } else if (lengthBytes <= 0 || lengthBytes > maxBytes) {
        this.#drop(buffer, lengthBytes);
        ring.giveBack(buffer);
      } else {
        if (pool.freeCount === 0) {
          counters[NO_BUFFER]! += 1;
          break;
        }
        ring.giveBack(pool.free[--pool.freeCount]!);
        lengths[buffer] = lengthBytes;
        counters[PACKETS]! += 1;
        counters[BYTES]! += lengthBytes;
        bufs[received++] = buffer;
      }
    }
    ring.publish();
    return received;
  }

  /** Counts what is no good frame, and notes how many more buffers it fills. */
  #drop(buffer: number, lengthBytes: number): void {
    const { state, size, maxBytes } = this.#parts;
    const { memory, bufferShift, headroomBytes } = this.pool;
    if (lengthBytes !== maxBytes + 1) {
      this.counters[DAMAGED]! += 1;
      return;
    }
    this.counters[TOO_LONG]! += 1;
    if (!this.#merges) return;
    const at = (buffer << bufferShift) + headroomBytes - NET_HEADER_BYTES + NET_NUM_BUFFERS;
    const buffers = memory[at]! | (memory[at + 1]! << 8);
    // The device's word: more than it can have are none.
    state[SKIP] = buffers >= 1 && buffers <= size ? buffers - 1 : 0;
  }

  /** The device used what it cannot have: nothing more is received. */
  #break(): void {
    this.#isBroken = true;
    // Every loop leaves a ring with something to skip to `#receiveRest`.
    this.#parts.state[SKIP] = 1;
    this.counters[DAMAGED]! += 1;
    this.#onLie(`receive queue ${this.#parts.queue}: it used what it did not have`);
  }
}

function makeRing(ring: Ring, parts: RxParts): RxRing {
  return ring.kind === 'split' ? new SplitRxRing(ring, parts) : new PackedRxRing(ring, parts);
}
