/**
 * Transmit queue on a split ring (VIRTIO 1.2, 2.7 and 5.1.6.2). A packet is one descriptor: header, which lies in the
 * buffer's headroom, and frame in one piece (VERSION_1 allows any framing, 2.7.4). The device says which descriptors it is
 * done with, in whatever order; each is checked.
 */
import type { NicError } from '../../errors.js';
import { type PacketPool, packetArray } from '../../hugepage/packet-pool.js';
import type { TxQueue } from '../device.js';
import { instantiate, STATE_LENGTH } from '../instantiate.js';
import type { Doorbell } from '../register-file.js';
import { UnusualSends } from '../unusual-sends.js';
import { LAYOUT, newState, type SplitRing } from './layout.js';
import { AVAIL_NO_INTERRUPT, NET_HEADER_BYTES } from './registers.js';
import { makeReclaim, makeSend, type TxLoop } from './tx-loop.js';

export interface VirtioTxQueueOptions {
  readonly ring: SplitRing;
  /** Number of the virtqueue, and where it is notified. */
  readonly queue: number;
  readonly notify: Doorbell;
  readonly pool: PacketPool;
  readonly minFrameBytes: number;
  readonly maxFrameBytes: number;
  /** The device did what no device may. */
  readonly onLie: (what: string) => void;
}

const { NEXT, FREE, ERRORS, IDX_HALF, FLAGS_HALF, WORD_SHIFT } = LAYOUT;

export class VirtioTxQueue implements TxQueue {
  readonly size: number;
  readonly pool: PacketPool;
  /** Float64 slots: adding to them never allocates, however high they count. Elements as in LAYOUT. */
  readonly counters = new Float64Array(STATE_LENGTH);
  /** A function of its own for each queue: see instantiate.ts. */
  readonly send: TxQueue['send'];
  readonly #send: TxQueue['send'];
  readonly #loop: TxLoop;
  readonly #unusual: UnusualSends;
  readonly #reclaim: () => void;
  readonly #onLie: (what: string) => void;
  #closed: NicError | undefined;

  constructor(options: VirtioTxQueueOptions) {
    const { ring, pool, minFrameBytes, maxFrameBytes } = options;
    const { size } = ring;
    this.size = size;
    this.pool = pool;
    this.#onLie = options.onLie;
    const loop = {
      descriptors: ring.descriptors,
      avail: ring.avail,
      used: ring.used,
      usedHead: ring.usedHead,
      notify: options.notify,
      queue: options.queue,
      slots: new Int32Array(size).fill(-1),
      freeIds: Int32Array.from({ length: size }, (_, i) => size - 1 - i),
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
      minBytes: minFrameBytes,
      spanBytes: maxFrameBytes - minFrameBytes,
      lied: () => this.#lied(),
    };
    loop.state[FREE] = size;
    // The high word of the address is the same for all buffers, and no flag is ever set.
    ring.descriptors.fill(0);
    for (let id = 0; id < size; id++) ring.descriptors[(id << WORD_SHIFT) + 1] = pool.iovaHigh | 0;
    ring.avail[FLAGS_HALF] = AVAIL_NO_INTERRUPT;
    this.#reclaim = instantiate(makeReclaim, LAYOUT, loop);
    this.#loop = {
      ...loop,
      reclaim: () => this.reclaim(),
      check: packetArray,
      sendRest: (bufs, count, start, sent) => this.#unusual.rest(bufs, count, start, sent),
    };
    const { state, minBytes, spanBytes } = loop;
    this.#unusual = new UnusualSends({
      ...{ pool, size: this.size, minBytes, spanBytes, counters: this.counters, errors: ERRORS },
      room: () => state[FREE]!,
      send: (bufs, count) => this.#send(bufs, count),
      reclaim: () => this.reclaim(),
    });
    this.#send = instantiate(makeSend, LAYOUT, this.#loop);
    const { owners } = pool;
    this.send = owners === undefined ? this.#send : this.#unusual.checked(owners, this.#send);
  }

  /** Packets that the device has not reported. */
  get inFlight(): number {
    return this.size - this.#loop.state[FREE]!;
  }

  reclaim(): void {
    if (this.#closed !== undefined) throw this.#closed;
    const { owners, free } = this.pool;
    const before = this.pool.freeCount;
    this.#reclaim();
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
    for (const buffer of this.#loop.slots) {
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
    const { usedHead, state } = this.#loop;
    usedHead[IDX_HALF] = 0;
    state[NEXT] = 1;
    state[FREE] = 0;
  }

  #lied(): void {
    this.#onLie(`transmit queue ${this.#loop.queue}: it returned what it did not have`);
  }
}
