/**
 * Packets from one thread to another: a ring in shared memory with one end that sends and one that receives, which look like
 * the queues of a device. What is sent is the other thread's; the bytes stay where they are. Lengths travel along, metadata
 * does not.
 */
import { NicError } from '../errors.js';
import { type PacketPool, poolOption } from '../hugepage/packet-pool.js';
import {
  closeRing,
  isRingClosed,
  newRing,
  RING,
  RingConsumer,
  type RingPool,
  RingProducer,
} from '../hugepage/packet-ring.js';
import type { RingRecord } from '../hugepage/pool-slices.js';
import { integerOption, knownOptions } from '../options.js';
import type { RxQueue, TxQueue, WaitOptions } from './device.js';
import { PacketWait } from './packet-wait.js';
import { onSignal } from './signal-word.js';

export interface PacketChannelOptions {
  /** Packets that it holds: a power of two, 2 to 65,536. Default 512. */
  readonly size?: number;
}

const SIZE_DEFAULT = 512;
/** Buffers that `returnFree` moves at a time. */
const RETURN_BATCH = 64;

/**
 * Made in the thread that made the pool. Each end goes to one thread: to another by `shareWithThread` (`inputs`, `outputs`),
 * or it is used here (`input()`, `output()`).
 * @example
 * const there = new PacketChannel(nic.pool);
 * const first = shareWithThread({ rxQueues: [nic.rxQueues[0]], outputs: [there] });
 * const second = shareWithThread({ inputs: [there], buffers: 0 });
 */
export class PacketChannel {
  readonly pool: PacketPool;
  readonly #words: Int32Array;
  readonly #record: RingRecord;
  readonly #taken = new Set<'input' | 'output'>();

  /** @throws NicError `BAD_OPTION`, `CLOSED`, `OWNERSHIP` in a thread that did not make the pool */
  constructor(pool: PacketPool, options: PacketChannelOptions = {}) {
    knownOptions('PacketChannel', options, ['size']);
    this.pool = poolOption('The pool of a PacketChannel', pool);
    this.#words = newRing(options.size ?? SIZE_DEFAULT);
    this.#record = pool.slices.addRing(this.#words);
  }

  /** The end that receives, for this thread. @throws NicError `OWNERSHIP` where it was taken before */
  input(): PacketInput {
    return new PacketInput(this.take('input', 0), this.pool);
  }

  /** The end that sends, for this thread. @throws NicError `OWNERSHIP` where it was taken before */
  output(): PacketOutput {
    return new PacketOutput(this.take('output', 0), this.pool);
  }

  /** @throws NicError `OWNERSHIP` where the end was taken before */
  checkFree(end: 'input' | 'output'): void {
    if (!this.#taken.has(end)) return;
    throw new NicError('OWNERSHIP', `The ${end} of a channel is in use already`, {
      hint: 'A channel has one thread at each end; make another channel.',
    });
  }

  /** Leaves an end to the thread with this number, for `shareWithThread`. */
  take(end: 'input' | 'output', holder: number): Int32Array {
    this.checkFree(end);
    this.#taken.add(end);
    if (end === 'input') this.#record.to = holder;
    else this.#record.from = holder;
    return this.#words;
  }

  /** Ends it for both sides. What is in it goes back to the pool where nobody is left to receive it. May be called twice. */
  close(): void {
    if (this.#record.to === 0) this.pool.slices.removeRing(this.#words);
    else closeRing(this.#words);
  }
}

/** What both ends know of their pool. @throws NicError `OWNERSHIP` */
function ringPool(pool: PacketPool): RingPool {
  const { lengths, holder, holders } = pool;
  if (holders === undefined) throw new NicError('OWNERSHIP', 'No thread shares this pool');
  return { lengths, holder, holders };
}

/** The receiving end of a channel, with all that a receive queue has. */
export class PacketInput implements RxQueue {
  readonly size: number;
  readonly pool: PacketPool;
  readonly #words: Int32Array;
  readonly #ring: RingConsumer;
  readonly #wait: PacketWait;
  readonly #scratch = new Uint32Array(RETURN_BATCH);
  #endListening: (() => void) | undefined;
  #closed: NicError | undefined;

  constructor(words: Int32Array, pool: PacketPool) {
    this.#words = words;
    this.#ring = new RingConsumer(words, ringPool(pool));
    this.size = this.#ring.size;
    this.pool = pool;
    this.#wait = new PacketWait({
      // A channel that has ended ends the wait as well: `receive` tells.
      pending: () => this.pending || isRingClosed(words),
      arm: () => Atomics.store(words, RING.WAITING, 1),
      disarm: () => Atomics.store(words, RING.WAITING, 0),
    });
  }

  get pending(): boolean {
    return this.#closed === undefined && this.#ring.pending;
  }

  /** @throws NicError `CLOSED` when the channel has ended and nothing is left in it */
  receive(bufs: Uint32Array, max?: number): number {
    if (this.#closed !== undefined) throw this.#closed;
    const received = this.#ring.take(bufs, max);
    if (received === 0 && isRingClosed(this.#words) && !this.#ring.pending) throw channelEnded();
    return received;
  }

  wait(options?: WaitOptions): Promise<boolean> {
    this.#endListening ??= onSignal(this.#words, RING.WAKE, () => this.#wait.wake());
    return this.#wait.wait(options);
  }

  /** Receives buffers that come home and gives them to this thread's free ones; returns how many. */
  takeBack(): number {
    let total = 0;
    for (;;) {
      const count = this.receive(this.#scratch);
      if (count === 0) return total;
      this.pool.release(this.#scratch, count);
      total += count;
    }
  }

  /** This end is gone. @param why is thrown from now on */
  close(why: NicError = channelEnded()): void {
    if (this.#closed !== undefined) return;
    this.#closed = why;
    closeRing(this.#words);
    this.#endListening?.();
    this.#wait.close(why);
  }
}

/** The sending end of a channel, with all that a transmit queue has. */
export class PacketOutput implements TxQueue {
  readonly size: number;
  readonly pool: PacketPool;
  readonly #words: Int32Array;
  readonly #ring: RingProducer;
  readonly #scratch = new Uint32Array(RETURN_BATCH);
  #closed: NicError | undefined;

  constructor(words: Int32Array, pool: PacketPool) {
    this.#words = words;
    this.#ring = new RingProducer(words, ringPool(pool));
    this.size = this.#ring.size;
    this.pool = pool;
  }

  /** @throws NicError `CLOSED` when the channel has ended: the packets stay the caller's */
  send(bufs: Uint32Array, count: number, start = 0): number {
    if (this.#closed !== undefined) throw this.#closed;
    const taken = this.#ring.put(bufs, count, start);
    if (taken === 0 && count > 0 && isRingClosed(this.#words)) throw channelEnded();
    return taken;
  }

  /** Sending is all there is: the receiving thread has the buffers at once. */
  reclaim(): void {}

  /**
   * Sends free buffers of this thread home, until `keep` are left or the channel is full: for the thread at the end of a
   * pipeline, where buffers gather. Returns how many.
   */
  returnFree(keep: number): number {
    integerOption('keep', keep, { min: 0, max: Number.MAX_SAFE_INTEGER });
    const { pool } = this;
    let total = 0;
    while (pool.available > keep) {
      const count = pool.allocate(this.#scratch, Math.min(RETURN_BATCH, pool.available - keep));
      let sent = 0;
      try {
        sent = this.send(this.#scratch, count);
      } finally {
        if (sent < count) pool.release(this.#scratch, count - sent, sent);
      }
      total += sent;
      if (sent < count) break;
    }
    return total;
  }

  /** This end is gone. @param why is thrown from now on */
  close(why: NicError = channelEnded()): void {
    if (this.#closed !== undefined) return;
    this.#closed = why;
    closeRing(this.#words);
  }
}

function channelEnded(): NicError {
  return new NicError('CLOSED', 'The channel has ended: the thread at its other end is gone', {
    hint: 'Stop, or start that thread again with a new channel.',
  });
}
