/**
 * Transmit ring of the MU-5. The card reports each buffer by its number, in the order in which it is done: a slot can be
 * used again when any buffer was reported in it.
 */
import type { TxQueue } from '../../../src/driver/device.js';
import type { NicError } from '../../../src/errors.js';
import { checkRange, type PacketPool } from '../../../src/hugepage/packet-pool.js';
import * as reg from './registers.js';

export interface MadeUpTxQueueOptions {
  /** Two words a descriptor. */
  readonly ring: Int32Array;
  readonly pool: PacketPool;
  readonly maxFrameBytes: number;
  /** Number of the queue, for headers. */
  readonly number: number;
  /** Tells the card of new descriptors. */
  readonly kick: () => void;
}

export class MadeUpTxQueue implements TxQueue {
  readonly size: number;
  readonly pool: PacketPool;
  readonly counters = { packets: 0, bytes: 0, errors: 0 };
  readonly #options: MadeUpTxQueueOptions;
  readonly #words: Int32Array;
  /** How often a buffer is in the ring. */
  readonly #sent: Uint16Array;
  #inFlight = 0;
  /** Slots that hold a descriptor. */
  #used = 0;
  #next = 0;
  #clean = 0;
  #closed: NicError | undefined;

  constructor(options: MadeUpTxQueueOptions) {
    const { ring, pool } = options;
    this.#options = options;
    this.size = ring.length / reg.DESCRIPTOR_WORDS;
    this.pool = pool;
    this.#words = new Int32Array(pool.memory.buffer, pool.memory.byteOffset, pool.memory.length / 4);
    this.#sent = new Uint16Array(pool.capacity);
    ring.fill(0);
  }

  /** Buffers that were sent, and are not reported. */
  get inFlight(): number {
    return this.#inFlight;
  }

  send(bufs: Uint32Array, count: number, start = 0): number {
    checkRange(bufs, count, start);
    this.reclaim();
    const { pool, counters } = this;
    const room = this.size - this.#used;
    // What finds room for certain: a packet that is refused needs none.
    const most = count < room ? count : room;
    pool.owners?.sent(bufs, most, start);
    for (let i = start; i < start + most; i++) {
      const buffer = bufs[i]!;
      const lengthBytes = pool.lengths[buffer];
      if (this.#isSendable(lengthBytes)) {
        this.#queue(buffer, lengthBytes);
        counters.packets++;
        counters.bytes += lengthBytes;
        continue;
      }
      counters.errors++;
      pool.owners?.returned(buffer);
      if (buffer < pool.capacity) pool.free[pool.freeCount++] = buffer;
    }
    if (most > 0) this.#options.kick();
    return most;
  }

  /** False where the frame is too short or too long, or the buffer is of no pool. */
  #isSendable(lengthBytes: number | undefined): lengthBytes is number {
    return (
      lengthBytes !== undefined &&
      lengthBytes >= reg.MIN_FRAME_BYTES &&
      lengthBytes <= this.#options.maxFrameBytes
    );
  }

  reclaim(): void {
    if (this.#closed !== undefined) throw this.#closed;
    const { pool } = this;
    const { ring } = this.#options;
    let changed: number | undefined;
    for (; this.#used > 0; this.#used--) {
      const at = this.#clean * reg.DESCRIPTOR_WORDS;
      if ((ring[at + 1]! & reg.DONE) === 0) break;
      const buffer = ring[at]! >>> 0;
      ring[at + 1] = 0;
      this.#clean = this.#clean + 1 === this.size ? 0 : this.#clean + 1;
      // A buffer that is not in the ring: the one that is done stays with it until the end.
      if (!(this.#sent[buffer]! > 0)) continue;
      this.#sent[buffer]!--;
      this.#inFlight--;
      pool.free[pool.freeCount++] = buffer;
      if (pool.owners?.isChanged(buffer) === true) changed = buffer;
    }
    if (changed !== undefined) throw pool.owners!.changedError(changed);
  }

  /** Gives every buffer back, sent or not. The card must have stopped. */
  close(why: NicError): void {
    if (this.#closed !== undefined) return;
    this.#closed = why;
    const { pool } = this;
    for (const [buffer, count] of this.#sent.entries()) {
      if (count === 0) continue;
      pool.owners?.returned(buffer);
      pool.free[pool.freeCount++] = buffer;
    }
  }

  #queue(buffer: number, lengthBytes: number): void {
    const { pool } = this;
    const { ring, number } = this.#options;
    const header = ((buffer << pool.bufferShift) + pool.headroomBytes - reg.HEADER_BYTES) / 4;
    this.#words[header] = reg.KIND_TX;
    this.#words[header + 1] = lengthBytes;
    this.#words[header + 2] = number;
    const at = this.#next * reg.DESCRIPTOR_WORDS;
    ring[at] = buffer;
    ring[at + 1] = reg.OWNED | (lengthBytes + reg.HEADER_BYTES);
    this.#next = this.#next + 1 === this.size ? 0 : this.#next + 1;
    this.#sent[buffer]!++;
    this.#inFlight++;
    this.#used++;
  }
}
