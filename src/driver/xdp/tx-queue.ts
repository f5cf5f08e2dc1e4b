/**
 * Transmit side of a socket: the transmit ring names frames to send, the completion ring names those that are sent. The
 * kernel looks at the transmit ring when it is called, once for each `send`.
 */
import type { NicError } from '../../errors.js';
import { type PacketPool, packetArray } from '../../hugepage/packet-pool.js';
import type { TxQueue } from '../device.js';
import { UnusualSends } from '../unusual-sends.js';
import { COUNTERS, COUNTERS_LENGTH } from './counters.js';
import type { KernelRing } from './kernel-ring.js';
import { RING_NEED_WAKEUP } from './uapi.js';

export interface XdpTxQueueOptions {
  readonly tx: KernelRing;
  readonly completion: KernelRing;
  readonly pool: PacketPool;
  readonly minFrameBytes: number;
  readonly maxFrameBytes: number;
  /**
   * Frames are sent, and reported as sent, some time after the call, and some drivers report them only when they are called
   * again: zero-copy. Default: the call itself sends.
   */
  readonly sendsLater?: boolean;
  /** Calls the kernel. Returns 0 or the negative errno. */
  readonly wake: () => number;
}

const EAGAIN = 11;
const { PACKETS, BYTES, ERRORS, WAKE_UPS, FOREIGN } = COUNTERS;

export class XdpTxQueue implements TxQueue {
  readonly size: number;
  readonly pool: PacketPool;
  readonly counters = new Float64Array(COUNTERS_LENGTH);
  readonly send: TxQueue['send'];
  readonly #tx: KernelRing;
  readonly #completion: KernelRing;
  readonly #wake: () => number;
  readonly #sendsLater: boolean;
  readonly #minBytes: number;
  readonly #spanBytes: number;
  readonly #unusual: UnusualSends;
  readonly #mask: number;
  /** How often a buffer is on its way. */
  readonly #sent: Uint16Array;
  #inFlight = 0;
  #produced = 0;
  #completed = 0;
  #closed: NicError | undefined;

  constructor(options: XdpTxQueueOptions) {
    const { tx, completion, pool, minFrameBytes, maxFrameBytes, sendsLater = false, wake } = options;
    this.#tx = tx;
    this.#completion = completion;
    this.#wake = wake;
    this.#sendsLater = sendsLater;
    this.#minBytes = minFrameBytes;
    this.#spanBytes = maxFrameBytes - minFrameBytes;
    this.size = tx.size;
    this.#mask = this.size - 1;
    this.pool = pool;
    this.#sent = new Uint16Array(pool.capacity);
    const loop: TxQueue['send'] = (bufs, count, start) => this.#send(bufs, count, start);
    this.#unusual = new UnusualSends({
      ...{ pool, size: this.size, minBytes: minFrameBytes, spanBytes: this.#spanBytes },
      send: loop,
      countError: () => {
        this.counters[ERRORS]! += 1;
      },
      room: () => this.size - this.#inFlight,
      reclaim: () => this.reclaim(),
    });
    this.send = pool.owners === undefined ? loop : this.#unusual.checked(pool.owners, loop);
  }

  /** Frames that were queued and are not reported as sent. */
  get inFlight(): number {
    return this.#inFlight;
  }

  /** Frames that the kernel has not taken from the ring. */
  get inRing(): number {
    const waiting = (this.#produced - this.#tx.words[this.#tx.consumer]!) >>> 0;
    return waiting < this.#inFlight ? waiting : this.#inFlight;
  }

  reclaim(): void {
    this.#collect();
    this.kick();
  }

  /** Calls the kernel while it has frames to take and asks to be called. */
  kick(): void {
    const { words, consumer, flags } = this.#tx;
    // Kernels take 32 frames a call by default, and say EAGAIN then.
    for (let calls = 0; calls < this.size; calls++) {
      const taken = words[consumer]!;
      if ((words[flags]! & RING_NEED_WAKEUP) === 0) return;
      if (taken === this.#produced && !(this.#sendsLater && this.#inFlight > 0)) return;
      this.counters[WAKE_UPS]! += 1;
      const result = this.#wake();
      const now = words[consumer]!;
      if ((result !== 0 && result !== -EAGAIN) || now === taken || now === this.#produced) return;
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

  #send(bufs: Uint32Array, count: number, start?: number): number {
    const { length } = packetArray(bufs);
    if (this.#closed !== undefined) throw this.#closed;
    if (count >>> 0 !== count || count > length || start !== undefined) {
      return this.#unusual.rest(bufs, count, start, 0);
    }
    this.#collect();
    const { capacity, lengths, bufferShift, headroomBytes } = this.pool;
    const { words, producer, entries } = this.#tx;
    // A frame holds its place until it is reported, so that the completion ring cannot run over either.
    const room = this.size - this.#inFlight;
    const limit = count < room ? count : room;
    let bytes = 0;
    let sent = 0;
    while (sent < limit) {
      const buffer = bufs[sent]!;
      if (buffer >= capacity) break;
      const lengthBytes = lengths[buffer]!;
      if ((lengthBytes - this.#minBytes) >>> 0 > this.#spanBytes) break;
      const at = entries + (((this.#produced + sent) & this.#mask) << 2);
      words[at] = (buffer << bufferShift) + headroomBytes;
      words[at + 1] = 0;
      words[at + 2] = lengthBytes;
      words[at + 3] = 0;
      this.#sent[buffer]!++;
      bytes += lengthBytes;
      sent++;
    }
    if (sent > 0) {
      this.#inFlight += sent;
      this.#produced = (this.#produced + sent) | 0;
      this.counters[PACKETS]! += sent;
      this.counters[BYTES]! += bytes;
      // The store must be seen before the flag is looked at, or both sides would wait.
      Atomics.store(words, producer, this.#produced);
    }
    // Also where there is no room: the kernel may have taken nothing the last time.
    this.kick();
    return sent < limit ? this.#unusual.rest(bufs, count, start, sent) : sent;
  }

  /** Takes back what the kernel reports as sent. */
  #collect(): void {
    if (this.#closed !== undefined) throw this.#closed;
    const { words, producer, consumer } = this.#completion;
    const ready = (words[producer]! - this.#completed) >>> 0;
    if (ready === 0) return;
    const { free, freeLevel, owners } = this.pool;
    const looks = ready < this.size ? ready : this.size;
    let freeCount = freeLevel[0]!;
    let changed: number | undefined;
    for (let i = 0; i < looks; i++) {
      const buffer = this.#completedBuffer();
      // The kernel named a buffer that is not on its way. Whichever it is done with stays with it until the end.
      if (buffer < 0) {
        this.counters[FOREIGN]! += 1;
        continue;
      }
      this.#sent[buffer]!--;
      this.#inFlight--;
      free[freeCount++] = buffer;
      if (owners?.isChanged(buffer) === true) changed = buffer;
    }
    freeLevel[0] = freeCount;
    words[consumer] = this.#completed;
    if (changed !== undefined) throw owners!.changedError(changed);
  }

  /** Takes the next entry of the completion ring: the buffer that it names, -1 where that is none on its way. */
  #completedBuffer(): number {
    const { bufferShift, headroomBytes } = this.pool;
    const { words, entries } = this.#completion;
    const at = entries + ((this.#completed & this.#mask) << 1);
    this.#completed = (this.#completed + 1) | 0;
    const place = (words[at]! >>> 0) - headroomBytes;
    const buffer = place >>> bufferShift;
    const isOurs = words[at + 1] === 0 && place === (buffer << bufferShift) >>> 0 && this.#sent[buffer]! > 0;
    return isOurs ? buffer : -1;
  }
}
