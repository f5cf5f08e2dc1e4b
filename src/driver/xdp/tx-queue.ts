/**
 * Transmit side of a socket: the transmit ring names frames to send, the completion ring names those that are sent. The
 * kernel looks at the transmit ring when it is called, once for each `send`.
 */
import type { NicError } from '../../errors.js';
import { checkRange, type PacketPool } from '../../hugepage/packet-pool.js';
import type { TxQueue } from '../device.js';
import type { KernelRing } from './kernel-ring.js';
import { RING_NEED_WAKEUP } from './uapi.js';

export interface XdpTxQueueOptions {
  readonly tx: KernelRing;
  readonly completion: KernelRing;
  readonly pool: PacketPool;
  readonly minFrameBytes: number;
  readonly maxFrameBytes: number;
  /** Calls the kernel. Returns 0 or the negative errno. */
  readonly wake: () => number;
}

const EAGAIN = 11;

export class XdpTxQueue implements TxQueue {
  readonly size: number;
  readonly pool: PacketPool;
  readonly counters = { packets: 0, bytes: 0, errors: 0, wakeUps: 0, foreign: 0 };
  readonly #options: XdpTxQueueOptions;
  readonly #mask: number;
  /** How often a buffer is on its way. */
  readonly #sent: Uint16Array;
  #inFlight = 0;
  #produced = 0;
  #completed = 0;
  #closed: NicError | undefined;

  constructor(options: XdpTxQueueOptions) {
    this.#options = options;
    this.size = options.tx.size;
    this.#mask = this.size - 1;
    this.pool = options.pool;
    this.#sent = new Uint16Array(this.pool.capacity);
  }

  /** Frames that were queued and are not reported as sent. */
  get inFlight(): number {
    return this.#inFlight;
  }

  send(bufs: Uint32Array, count: number, start = 0): number {
    checkRange(bufs, count, start);
    this.#collect();
    const { pool, counters } = this;
    // A frame holds its place until it is reported, so that the completion ring cannot run over either.
    const room = this.size - this.#inFlight;
    const most = count < room ? count : room;
    pool.owners?.sent(bufs, most, start);
    let bytes = 0;
    const before = this.#produced;
    for (let i = start; i < start + most; i++) {
      const buffer = bufs[i]!;
      const lengthBytes = pool.lengths[buffer];
      if (this.#isSendable(lengthBytes)) {
        this.#queue(buffer, lengthBytes);
        bytes += lengthBytes;
        continue;
      }
      counters.errors++;
      pool.owners?.returned(buffer);
      if (buffer < pool.capacity) pool.free[pool.freeCount++] = buffer;
    }
    counters.packets += (this.#produced - before) | 0;
    counters.bytes += bytes;
    const { words, producer } = this.#options.tx;
    // The store must be seen before the flag is looked at, or both sides would wait.
    Atomics.store(words, producer, this.#produced);
    this.kick();
    return most;
  }

  reclaim(): void {
    this.#collect();
    this.kick();
  }

  /** Calls the kernel while it has frames to take and asks to be called. */
  kick(): void {
    const { words, consumer, flags } = this.#options.tx;
    // Kernels take 32 frames a call by default, and say EAGAIN then.
    for (let calls = 0; calls < this.size; calls++) {
      const taken = words[consumer]!;
      if (taken === this.#produced || (words[flags]! & RING_NEED_WAKEUP) === 0) return;
      this.counters.wakeUps++;
      const result = this.#options.wake();
      if ((result !== 0 && result !== -EAGAIN) || words[consumer] === taken) return;
    }
  }

  /** Gives every buffer back, sent or not. The socket must be closed. */
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

  /** False where the frame is too short or too long, or the buffer is of no pool. */
  #isSendable(lengthBytes: number | undefined): lengthBytes is number {
    const { minFrameBytes, maxFrameBytes } = this.#options;
    return lengthBytes !== undefined && lengthBytes >= minFrameBytes && lengthBytes <= maxFrameBytes;
  }

  #queue(buffer: number, lengthBytes: number): void {
    const { pool } = this;
    const { words, entries } = this.#options.tx;
    const at = entries + ((this.#produced & this.#mask) << 2);
    words[at] = (buffer << pool.bufferShift) + pool.headroomBytes;
    words[at + 1] = 0;
    words[at + 2] = lengthBytes;
    words[at + 3] = 0;
    this.#produced = (this.#produced + 1) | 0;
    this.#sent[buffer]!++;
    this.#inFlight++;
  }

  #collect(): void {
    if (this.#closed !== undefined) throw this.#closed;
    const { pool } = this;
    const { words, producer, consumer, entries } = this.#options.completion;
    const ready = (words[producer]! - this.#completed) >>> 0;
    if (ready === 0) return;
    const looks = ready < this.size ? ready : this.size;
    let changed: number | undefined;
    for (let i = 0; i < looks; i++) {
      const at = entries + ((this.#completed & this.#mask) << 1);
      this.#completed = (this.#completed + 1) | 0;
      const place = (words[at]! >>> 0) - pool.headroomBytes;
      const buffer = place >>> pool.bufferShift;
      const isOurs =
        words[at + 1] === 0 && place === (buffer << pool.bufferShift) >>> 0 && this.#sent[buffer]! > 0;
      // The kernel named a buffer that is not on its way. Whichever it is done with stays with it until the end.
      if (!isOurs) {
        this.counters.foreign++;
        continue;
      }
      this.#sent[buffer]!--;
      this.#inFlight--;
      pool.free[pool.freeCount++] = buffer;
      if (pool.owners?.isChanged(buffer) === true) changed = buffer;
    }
    words[consumer] = this.#completed;
    if (changed !== undefined) throw pool.owners!.changedError(changed);
  }
}
