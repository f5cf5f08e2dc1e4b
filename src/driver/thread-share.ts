/**
 * Handing queues to another thread of the process: what the thread that opened the devices does. It gives away queues, ends of
 * channels and a slice of the pool as plain data (`ticket`), and stays the one that talks to the devices: it passes interrupts
 * on, sums counters, closes.
 *
 * Closing order is free. A device that closes first asks the threads to leave its queues, and waits for that a while; one
 * that does not answer finds zero pages in the place of rings and registers. A thread that ends first leaves rings that nobody
 * polls; its buffers come back when both the thread and its devices are gone.
 */
import { NicError } from '../errors.js';
import type { PacketPool } from '../hugepage/packet-pool.js';
import type { PoolSlice } from '../hugepage/pool-slices.js';
import { arrayOption, badOption, knownOptions } from '../options.js';
import type { RxQueue, TxQueue, WaitOptions } from './device.js';
import { PacketChannel } from './packet-channel.js';
import type { QueueEnd } from './queue-share.js';
import { onSignal, signal } from './signal-word.js';
import {
  END,
  QUEUE_WORD,
  QUEUE_WORDS,
  type QueueTicket,
  queueWord,
  STATE,
  type ThreadTicket,
  WORD,
} from './thread-ticket.js';
import { until } from './until.js';

/** What a thread gets. All of it belongs to one pool. */
export interface ThreadShareOptions {
  /** Receive queues of devices, not used before. They stay with the thread until their devices close. */
  readonly rxQueues?: readonly RxQueue[];
  readonly txQueues?: readonly TxQueue[];
  /** Channels that the thread receives from. */
  readonly inputs?: readonly PacketChannel[];
  /** Channels that the thread sends to. */
  readonly outputs?: readonly PacketChannel[];
  /**
   * Free buffers that the thread begins with, beside those in its receive rings. By default enough to fill its transmit
   * rings, and 256 more.
   */
  readonly buffers?: number;
}

const KNOWN = ['rxQueues', 'txQueues', 'inputs', 'outputs', 'buffers'] as const;
const SPARE_BUFFERS = 256;
/** How long a thread may take to leave what is closed. */
const LEAVE_TIMEOUT_MS = 1000;

/** A `Worker`, as far as `follow` needs it. */
export interface EndingThread {
  once(event: 'exit', listener: () => void): unknown;
}

/** What another thread has, seen from the thread that gave it. Made by `shareWithThread`. */
export class ThreadShare {
  /** For `attachThread`: plain data, for `workerData` or `postMessage`. Of use once. */
  readonly ticket: ThreadTicket;
  readonly #words: Int32Array;
  readonly #slice: PoolSlice;
  /** Queues whose devices are open. */
  readonly #open = new Set<number>();
  /** The receive queues' waits for the thread. */
  readonly #waits: (((options: WaitOptions) => Promise<boolean>) | undefined)[] = [];
  /** Of transmit queues. */
  readonly #announced: (readonly [number, () => void])[] = [];
  readonly #aborts: (AbortController | undefined)[] = [];
  readonly #endListening: () => void;
  #finished = false;

  /** The options are checked. */
  constructor(pool: PacketPool, options: Required<ThreadShareOptions>) {
    const { rxQueues, txQueues, inputs, outputs, buffers } = options;
    const queues = rxQueues.length + txQueues.length;
    this.#words = new Int32Array(new SharedArrayBuffer(4 * (WORD.QUEUES + queues * QUEUE_WORDS)));
    this.#slice = pool.slices.open(buffers);
    const { holder } = this.#slice.ticket;
    const rx = rxQueues.map((queue, i) => this.#handOver(queue, i));
    const tx = txQueues.map((queue, i) => this.#handOver(queue, rxQueues.length + i));
    this.ticket = {
      kind: 'barewire-thread',
      words: this.#words,
      pool: this.#slice.ticket,
      rx,
      tx,
      inputs: inputs.map((channel) => channel.take('input', holder)),
      outputs: outputs.map((channel) => channel.take('output', holder)),
    };
    this.#endListening = onSignal(this.#words, WORD.TO_OPENER, () => this.#heard());
  }

  /** True from the moment when the thread has everything until it leaves. */
  get attached(): boolean {
    return Atomics.load(this.#words, WORD.STATE) === STATE.ATTACHED;
  }

  /** Closes the share when the worker has ended, in whichever way. Returns the share. */
  follow(worker: EndingThread): this {
    worker.once('exit', () => this.#finish());
    return this;
  }

  /**
   * Asks the thread to leave everything, and takes its buffers back as soon as its devices have closed as well. Not needed
   * where `follow` was called and the worker ends. May be called twice.
   * @throws NicError `OWNERSHIP` where the thread does not leave within a second: it may still write to its buffers
   */
  async close(): Promise<void> {
    Atomics.compareExchange(this.#words, WORD.STATE, STATE.NEW, STATE.CLOSED);
    Atomics.store(this.#words, WORD.LEAVE, 1);
    signal(this.#words, WORD.TO_THREAD);
    const left = (): true | undefined => (this.#finished || !this.attached ? true : undefined);
    if ((await until(left, { timeoutMs: LEAVE_TIMEOUT_MS })) === undefined) {
      throw new NicError('OWNERSHIP', `The thread did not leave its queues within ${LEAVE_TIMEOUT_MS} ms`, {
        hint: 'Let its event loop have turns (pollLoop does), or terminate the worker.',
      });
    }
    this.#finish();
  }

  #handOver(queue: RxQueue | TxQueue, number: number): QueueTicket {
    const slice = this.#slice;
    // There: `checkShare` has asked.
    const handed = queue.handOver!({ own: (buffers) => slice.own(buffers) });
    const { family, address, data, wait, announced, onEnd } = handed;
    if (announced !== undefined) this.#announced.push([number, announced]);
    this.#open.add(number);
    this.#waits[number] = wait;
    onEnd((end) => this.#ended(number, end));
    return { family, address, data };
  }

  /** What a queue's device tells. */
  #ended(number: number, end: QueueEnd): Promise<void> | undefined {
    if (end === 'closed') {
      this.#open.delete(number);
      this.#collect();
      return undefined;
    }
    const words = this.#words;
    Atomics.store(words, queueWord(number, QUEUE_WORD.END), end === 'gone' ? END.GONE : END.CLOSING);
    signal(words, WORD.TO_THREAD);
    if (end === 'gone') return undefined;
    const left = (): true | undefined =>
      this.#finished || !this.attached || Atomics.load(words, queueWord(number, QUEUE_WORD.LEFT)) !== 0
        ? true
        : undefined;
    return until(left, { timeoutMs: LEAVE_TIMEOUT_MS }).then(() => {});
  }

  /** The thread said something. */
  #heard(): void {
    if (Atomics.load(this.#words, WORD.STATE) === STATE.LEFT) {
      this.#finish();
      return;
    }
    for (const [number, announced] of this.#announced) {
      if (Atomics.exchange(this.#words, queueWord(number, QUEUE_WORD.ARM), 0) !== 0) announced();
    }
    for (const [number, wait] of this.#waits.entries()) {
      if (wait === undefined) continue;
      const isWanted = Atomics.load(this.#words, queueWord(number, QUEUE_WORD.ARM)) !== 0;
      if (isWanted && this.#aborts[number] === undefined) void this.#waitFor(number, wait);
      else if (!isWanted) this.#aborts[number]?.abort();
    }
  }

  /** Waits for packets, for the thread, and wakes it. */
  async #waitFor(number: number, wait: (options: WaitOptions) => Promise<boolean>): Promise<void> {
    const abort = new AbortController();
    this.#aborts[number] = abort;
    try {
      await wait({ signal: abort.signal });
    } catch {
      // Given up by the thread; or the device is closed or gone, which the thread is told.
    }
    this.#aborts[number] = undefined;
    if (abort.signal.aborted) {
      // Wanted again meanwhile?
      if (!this.#finished) this.#heard();
      return;
    }
    Atomics.store(this.#words, queueWord(number, QUEUE_WORD.ARM), 0);
    signal(this.#words, WORD.TO_THREAD);
  }

  /** The thread is gone, or has left everything. */
  #finish(): void {
    if (this.#finished) return;
    this.#finished = true;
    Atomics.store(this.#words, WORD.STATE, STATE.CLOSED);
    this.#endListening();
    for (const abort of this.#aborts) abort?.abort();
    this.#collect();
  }

  /** While the hardware is at work, the buffers of its rings are out; one slice goes back at once. */
  #collect(): void {
    if (this.#finished && this.#open.size === 0) this.#slice.close();
  }
}

/**
 * Gives queues, ends of channels and a slice of their pool to another thread, which gets them by `attachThread`. Until their
 * devices close, nothing but that thread receives and sends there; counters, link and `close` stay with the devices, here.
 * @throws NicError `BAD_OPTION` where a queue was used before, or cannot be handed over, or the pool has too few buffers:
 *   nothing has changed then; `OWNERSHIP` for an end of a channel that is in use; `CLOSED`
 * @example
 * const share = shareWithThread({ rxQueues: [nic.rxQueues[0]], txQueues: [nic.txQueues[0]] });
 * // const worker = new Worker(new URL('./worker.js', import.meta.url), { workerData: share.ticket });
 * // share.follow(worker);
 */
export function shareWithThread(options: ThreadShareOptions): ThreadShare {
  knownOptions('shareWithThread', options, KNOWN);
  const rxQueues = arrayOption('rxQueues', options.rxQueues ?? []);
  const txQueues = arrayOption('txQueues', options.txQueues ?? []);
  const inputs = arrayOption('inputs', options.inputs ?? []).map((channel) =>
    channelOption('inputs', channel),
  );
  const outputs = arrayOption('outputs', options.outputs ?? []).map((channel) =>
    channelOption('outputs', channel),
  );
  const parts = [...rxQueues, ...txQueues, ...inputs, ...outputs];
  const [first] = parts;
  if (first === undefined) {
    throw new NicError('BAD_OPTION', 'shareWithThread was given nothing to share', {
      hint: 'Give queues of a device, or channels.',
    });
  }
  const { pool } = first;
  if (parts.some((part) => part.pool !== pool)) {
    throw new NicError('BAD_OPTION', 'The queues and channels of a thread have different pools', {
      hint: 'Open the second device with the pool of the first: open(address, { pool: a.pool }).',
    });
  }
  for (const queue of [...rxQueues, ...txQueues]) checkQueue(queue);
  if (new Set(parts).size !== rxQueues.length + txQueues.length + new Set([...inputs, ...outputs]).size) {
    throw new NicError('BAD_OPTION', 'A queue is given twice', { hint: 'Give each queue once.' });
  }
  for (const channel of inputs) channel.checkFree('input');
  for (const channel of outputs) channel.checkFree('output');
  const buffers = options.buffers ?? txQueues.reduce((sum, { size }) => sum + size, SPARE_BUFFERS);
  return new ThreadShare(pool, { rxQueues, txQueues, inputs, outputs, buffers });
}

function channelOption(name: string, value: unknown): PacketChannel {
  if (value instanceof PacketChannel) return value;
  throw badOption(`An element of ${name}`, value, 'a PacketChannel');
}

/** @throws NicError `BAD_OPTION` */
function checkQueue(queue: RxQueue | TxQueue): void {
  if (typeof queue !== 'object' || queue === null) {
    throw badOption('A queue for a thread', queue, 'a queue of a device that open() returned');
  }
  if (queue.handOver === undefined || queue.checkHandOver === undefined) {
    throw new NicError('BAD_OPTION', 'The driver of this queue does not hand queues to other threads', {
      hint: 'Use it in the thread that opened the device.',
    });
  }
  queue.checkHandOver();
}
