/**
 * Transmit queue on a split or packed ring (VIRTIO 1.2, 5.1.6.2). A packet is one descriptor: header, which lies in the
 * buffer's headroom, and frame in one piece (VERSION_1 allows any framing, 2.7.4). The device says which descriptors it is
 * done with, in whatever order; each is checked.
 */
import type { NicError } from '../../errors.js';
import { checkRange, type PacketPool, packetArray } from '../../hugepage/packet-pool.js';
import type { TxQueue } from '../device.js';
import { STATE_LENGTH } from '../instantiate.js';
import type { Doorbell } from '../register-file.js';
import { UnusualSends } from '../unusual-sends.js';
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
  /** The device did what no device may. */
  readonly onLie: (what: string) => void;
}

const { FREE, ERRORS, IDX_MASK } = LAYOUT;

export class VirtioTxQueue implements TxQueue {
  readonly size: number;
  readonly pool: PacketPool;
  /** Elements as in LAYOUT. */
  readonly counters = new Float64Array(STATE_LENGTH);
  /** A function of its own for each queue: see instantiate.ts. */
  readonly send: TxQueue['send'];
  /** Absent where the device has no offloads. */
  readonly sendOffloaded?: (bufs: Uint32Array, count: number, start?: number) => number;
  readonly #parts: TxParts;
  readonly #memory: Ring;
  readonly #ring: TxRing;
  readonly #unusual: UnusualSends;
  readonly #onLie: (what: string) => void;
  #closed: NicError | undefined;

  constructor(options: VirtioTxQueueOptions) {
    const { ring, pool, minFrameBytes, maxFrameBytes } = options;
    const { size } = ring;
    this.size = size;
    this.pool = pool;
    this.#onLie = options.onLie;
    this.#memory = ring;
    this.#parts = {
      notify: options.notify,
      queue: options.queue,
      dataMask: options.notifiesData ? IDX_MASK : 0,
      eventIdx: options.eventIdx,
      slots: new Int32Array(size).fill(-1),
      state: newState(),
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
    return this.size - this.#parts.state[FREE]!;
  }

  reclaim(): void {
    if (this.#closed !== undefined) throw this.#closed;
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
    for (const buffer of this.#parts.slots) {
      if (buffer < 0) continue;
      this.pool.owners?.returned(buffer);
      this.pool.free[this.pool.freeCount++] = buffer;
    }
    this.sealRing();
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
