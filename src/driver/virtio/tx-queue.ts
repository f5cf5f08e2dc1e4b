/**
 * Transmit queue on a split or packed ring (VIRTIO 1.2, 5.1.6.2). A packet is one descriptor: header, which lies in the
 * buffer's headroom, and frame in one piece (VERSION_1 allows any framing, 2.7.4). The device says which descriptors it is
 * done with, in whatever order; each is checked.
 */
import type { NicError } from '../../errors.js';
import { checkRange, type PacketPool, packetArray } from '../../hugepage/packet-pool.js';
import type { TxQueue } from '../device.js';
import { STATE_LENGTH } from '../instantiate.js';
import {
  type AttachedRing,
  type AttachedTxQueue,
  doorbellAddress,
  type HandedOver,
  type HandOver,
  inOtherThread,
  noHandOver,
} from '../queue-share.js';
import type { Doorbell } from '../register-file.js';
import { UnusualSends } from '../unusual-sends.js';
import { type TxTicket, VirtqueueElsewhere } from './hand-over.js';
import { LAYOUT, newState, type Ring } from './layout.js';
import { writeHeader } from './offloads.js';
import { PackedTxRing } from './packed-tx-ring.js';
import type { TxParts, TxRing } from './queue-parts.js';
import { NET_HEADER_BYTES } from './registers.js';
import { SplitTxRing } from './split-tx-ring.js';

export interface VirtioTxQueueOptions {
  readonly ring: Ring;
  /** Number of the virtqueue, and where it is notified. */
  readonly queue: number;
  readonly notify: Doorbell;
  /** What was accepted: NOTIFICATION_DATA, EVENT_IDX. */
  readonly notifiesData: boolean;
  readonly eventIdx: boolean;
  readonly pool: PacketPool;
  readonly minFrameBytes: number;
  readonly maxFrameBytes: number;
  /** Whether CSUM was accepted. */
  readonly offloads: boolean;
  /** In a thread that the queue was handed to: the ring at work. */
  readonly attached?: AttachedRing;
  /** Of the device, for messages. */
  readonly address?: string;
  /** The device did what no device may. */
  readonly onLie: (what: string) => void;
}

const { AVAIL, FREE, ERRORS, IDX_MASK } = LAYOUT;

export class VirtioTxQueue implements AttachedTxQueue {
  readonly size: number;
  readonly pool: PacketPool;
  /** Elements as in LAYOUT. */
  counters: Float64Array;
  /** A function of its own for each queue: see instantiate.ts. */
  send: TxQueue['send'];
  /** Absent where the device has no offloads. */
  readonly sendOffloaded?: (bufs: Uint32Array, count: number, start?: number) => number;
  readonly #parts: TxParts;
  readonly #memory: Ring;
  readonly #ring: TxRing;
  readonly #unusual: UnusualSends;
  readonly #onLie: (what: string) => void;
  readonly #address: string;
  #elsewhere: VirtqueueElsewhere | undefined;
  #closed: NicError | undefined;

  constructor(options: VirtioTxQueueOptions) {
    const { ring, pool, minFrameBytes, maxFrameBytes, attached } = options;
    const { size } = ring;
    this.size = size;
    this.pool = pool;
    this.#address = options.address ?? 'a device';
    this.counters = attached?.counters ?? new Float64Array(STATE_LENGTH);
    this.#onLie = options.onLie;
    this.#memory = ring;
    this.#parts = {
      notify: options.notify,
      queue: options.queue,
      dataMask: options.notifiesData ? IDX_MASK : 0,
      eventIdx: options.eventIdx,
      slots: new Int32Array(size).fill(-1),
      state: attached?.state ?? newState(),
      counters: this.counters,
      words: new Int32Array(pool.memory.buffer, pool.memory.byteOffset, pool.memory.length >>> 2),
      headerWord: (pool.headroomBytes - NET_HEADER_BYTES) >>> 2,
      free: pool.free,
      freeLevel: pool.freeLevel,
      lengths: pool.lengths,
      capacity: pool.capacity,
      size,
      shift: pool.bufferShift,
      headerIovaLow: (pool.frameIovaLow - NET_HEADER_BYTES) | 0,
      iovaHigh: pool.iovaHigh | 0,
      minBytes: minFrameBytes,
      spanBytes: maxFrameBytes - minFrameBytes,
      lied: () => this.#lied(),
      reclaim: () => this.reclaim(),
      check: packetArray,
      sendRest: (bufs, count, start, sent) => this.#unusual.rest(bufs, count, start, sent),
    };
    this.#ring =
      ring.kind === 'split' ? new SplitTxRing(ring, this.#parts) : new PackedTxRing(ring, this.#parts);
    const { send } = this.#ring;
    const { state, minBytes, spanBytes } = this.#parts;
    this.#unusual = new UnusualSends({
      ...{ pool, size: this.size, minBytes, spanBytes },
      countError: () => {
        this.counters[ERRORS]! += 1;
      },
      room: () => state[FREE]!,
      send: (bufs, count) => send(bufs, count),
      reclaim: () => this.reclaim(),
    });
    const { owners } = pool;
    this.send = owners === undefined ? send : this.#unusual.checked(owners, send);
    if (options.offloads)
      this.sendOffloaded = (bufs, count, start) => this.#sendOffloaded(bufs, count, start);
  }

  #sendOffloaded(bufs: Uint32Array, count: number, start = 0): number {
    if (this.#closed !== undefined) throw this.#closed;
    if (this.#elsewhere !== undefined) return inOtherThread();
    checkRange(bufs, count, start);
    this.reclaim();
    const { pool } = this;
    const { state, lengths, minBytes, spanBytes } = this.#parts;
    const { owners } = pool;
    let taken = 0;
    for (; taken < count && state[FREE]! > 0; taken++) {
      const buffer = bufs[start + taken]!;
      owners?.sent(bufs, 1, start + taken);
      const length = lengths[buffer]!;
      // An index outside the pool has no length, and undefined compares false.
      const fits = length >= minBytes && length - minBytes <= spanBytes;
      if (fits && writeHeader(pool, buffer, this.#parts)) this.#ring.put(buffer, length);
      else this.#unusual.refuse(buffer);
    }
    this.#ring.publish();
    return taken;
  }

  /** What forwarders work on; undefined where packets need more than the plain loop. */
  get plain(): { readonly ring: Ring; readonly parts: TxParts; readonly ids: Int32Array } | undefined {
    if (this.pool.owners !== undefined) return undefined;
    return { ring: this.#memory, parts: this.#parts, ids: this.#ring.ids };
  }

  /** Packets that the device has not reported. */
  get inFlight(): number {
    return this.#elsewhere === undefined
      ? this.size - this.#parts.state[FREE]!
      : this.#ring.unused(this.#elsewhere.state);
  }

  get elsewhere(): boolean {
    return this.#elsewhere !== undefined;
  }

  checkHandOver(): void {
    const obstacle = this.#obstacle;
    if (obstacle !== undefined) throw noHandOver(obstacle);
    doorbellAddress(this.#parts.notify);
  }

  handOver(_to: HandOver): HandedOver {
    this.checkHandOver();
    const parts = this.#parts;
    const { minBytes, spanBytes, state } = parts;
    const elsewhere = new VirtqueueElsewhere(this.#memory, parts, minBytes + spanBytes);
    const data: TxTicket = {
      ...elsewhere.ticket,
      minFrameBytes: minBytes,
      offloads: this.sendOffloaded !== undefined,
    };
    this.#elsewhere = elsewhere;
    this.counters = elsewhere.counters;
    this.send = inOtherThread;
    // A caller may have kept the old `send`: it finds a full ring.
    state[FREE] = 0;
    return {
      family: 'virtio',
      address: this.#address,
      data,
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
    this.send = () => {
      throw why;
    };
    // Whoever kept the old `send`, and forwarders with loops of their own: all find a full ring.
    this.#parts.state[FREE] = 0;
  }

  /** What stands against leaving the ring to another thread. */
  get #obstacle(): string | undefined {
    if (this.#elsewhere !== undefined) return 'the transmit queue was handed to another thread';
    if (this.#closed !== undefined) return 'the transmit queue is closed';
    if (this.#parts.state[AVAIL] !== 0 || this.counters.some((count) => count > 0))
      return 'packets have been sent already';
    return undefined;
  }

  reclaim(): void {
    if (this.#closed !== undefined) throw this.#closed;
    if (this.#elsewhere !== undefined) inOtherThread();
    const { owners, free } = this.pool;
    const before = this.pool.freeCount;
    this.#ring.reclaim();
    if (owners === undefined) return;
    let changed: number | undefined;
    for (let i = before; i < this.pool.freeCount; i++) if (owners.isChanged(free[i]!)) changed = free[i]!;
    // Told when the ring is in order again.
    if (changed !== undefined) throw owners.changedError(changed);
  }

  /**
   * Gives every buffer back to the pool, sent or not. The device must have stopped.
   * @param why thrown by `send` from now on
   */
  close(why: NicError): void {
    if (this.#closed !== undefined) return;
    this.#closed = why;
    // The buffers of a ring that another thread has are in its slice of the pool; here no descriptor has one.
    for (const buffer of this.#parts.slots) {
      if (buffer < 0) continue;
      this.pool.owners?.returned(buffer);
      this.pool.free[this.pool.freeCount++] = buffer;
    }
    this.sealRing();
    this.#elsewhere?.tell('closed');
  }

  /**
   * Makes the ring look full, with something to reclaim: `send`, also one that was kept from before, asks `reclaim` first,
   * which throws. Once more after the ring's memory was replaced by zero pages.
   */
  sealRing(): void {
    this.#ring.seal();
  }

  #lied(): void {
    this.#onLie(`transmit queue ${this.#parts.queue}: it returned what it did not have`);
  }
}
