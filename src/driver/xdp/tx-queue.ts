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
    // All in locals: read anew for each packet, fields of the class cost more than half of the loop.
    const { capacity, lengths, bufferShift, headroomBytes } = this.pool;
    const { words, producer, entries } = this.#tx;
    const onTheWay = this.#sent;
    const mask = this.#mask;
    const minBytes = this.#minBytes;
    const spanBytes = this.#spanBytes;
    const produced = this.#produced;
    // A frame holds its place until it is reported, so that the completion ring cannot run over either.
    const room = this.size - this.#inFlight;
    const limit = count < room ? count : room;
    let bytes = 0;
    let sent = 0;
    while (sent < limit) {
      const buffer = bufs[sent]!;
      if (buffer >= capacity) break;
      const lengthBytes = lengths[buffer]!;
      if ((lengthBytes - minBytes) >>> 0 > spanBytes) break;
      const at = entries + (((produced + sent) & mask) << 2);
      words[at] = (buffer << bufferShift) + headroomBytes;
      words[at + 1] = 0;
      words[at + 2] = lengthBytes;
      words[at + 3] = 0;
      onTheWay[buffer]!++;
      bytes += lengthBytes;
      sent++;
    }
    if (sent > 0) {
      this.#inFlight += sent;
      this.#produced = (produced + sent) | 0;
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
    const { words, producer, consumer, entries } = this.#completion;
    let completed = this.#completed;
    const ready = (words[producer]! - completed) >>> 0;
    if (ready === 0) return;
    const { free, freeLevel, owners, bufferShift, headroomBytes } = this.pool;
    const onTheWay = this.#sent;
    const mask = this.#mask;
    const looks = ready < this.size ? ready : this.size;
    const before = freeLevel[0]!;
    let freeCount = before;
    let changed: number | undefined;
    for (let i = 0; i < looks; i++) {
      const at = entries + ((completed & mask) << 1);
      completed = (completed + 1) | 0;
      const place = (words[at]! >>> 0) - headroomBytes;
      const buffer = place >>> bufferShift;
      const isWhole = words[at + 1] === 0 && place === (buffer << bufferShift) >>> 0;
      // Where the kernel names a buffer that is not on its way, whichever it is done with stays with it until the end.
      if (!isWhole || !(onTheWay[buffer]! > 0)) {
        this.counters[FOREIGN]! += 1;
        continue;
      }
      onTheWay[buffer]!--;
      free[freeCount++] = buffer;
      if (owners?.isChanged(buffer) === true) changed = buffer;
    }
    this.#inFlight -= freeCount - before;
    freeLevel[0] = freeCount;
    this.#completed = completed;
    words[consumer] = completed;
    if (changed !== undefined) throw owners!.changedError(changed);
  }
}
