/** Queues, channels and a slice of the pool in the thread that they were handed to: see thread-share.ts. */
import { NicError } from '../errors.js';
import { AttachedMemory } from '../hugepage/attached-memory.js';
import { PacketPool } from '../hugepage/packet-pool.js';
import type { RxQueue, TxQueue } from './device.js';
import { PacketInput, PacketOutput } from './packet-channel.js';
import type { AttachedQueue, AttachedRxQueue, AttachedTxQueue } from './queue-share.js';
import { threadFamily } from './registry.js';
import { onSignal, signal } from './signal-word.js';
import {
  END,
  QUEUE_WORD,
  type QueueTicket,
  queueWord,
  STATE,
  type ThreadTicket,
  ticketOption,
  WORD,
} from './thread-ticket.js';

/** What a thread was given. Made by `attachThread`. */
export class AttachedThread {
  /** This thread's slice of the pool: its free buffers are this thread's, a packet's index means the same everywhere. */
  readonly pool: PacketPool;
  /** In the order in which they were given. */
  readonly rxQueues: readonly RxQueue[];
  readonly txQueues: readonly TxQueue[];
  readonly inputs: readonly PacketInput[];
  readonly outputs: readonly PacketOutput[];
  readonly #words: Int32Array;
  readonly #queues: readonly (AttachedQueue & { readonly address: string })[];
  readonly #rx: readonly AttachedRxQueue[];
  readonly #left = new Set<number>();
  readonly #closed = new AbortController();
  readonly #endListening: () => void;

  /** @throws NicError `BAD_OPTION`; `OWNERSHIP` where the ticket was used before; `CLOSED` where its share was closed */
  constructor(ticket: ThreadTicket) {
    const { words } = ticket;
    this.#words = words;
    const families = [...ticket.rx, ...ticket.tx].map(({ family }) => threadFamily(family));
    const before = Atomics.compareExchange(words, WORD.STATE, STATE.NEW, STATE.ATTACHED);
    if (before !== STATE.NEW) throw usedBefore(before);
    this.pool = new PacketPool(new AttachedMemory(ticket.pool));
    const { pool } = this;
    const rx = ticket.rx.map(({ data }, i) =>
      families[i]!.attachRx(data, { pool, interrupt: this.#interruptOf(i) }),
    );
    const tx = ticket.tx.map(({ data }, i) =>
      families[rx.length + i]!.attachTx(data, { pool, interrupt: this.#interruptOf(rx.length + i) }),
    );
    this.rxQueues = rx;
    this.txQueues = tx;
    this.inputs = ticket.inputs.map((ring) => new PacketInput(ring, pool));
    this.outputs = ticket.outputs.map((ring) => new PacketOutput(ring, pool));
    this.#rx = rx;
    this.#queues = named([...rx, ...tx], [...ticket.rx, ...ticket.tx]);
    this.#endListening = onSignal(words, WORD.TO_THREAD, () => this.#heard());
    // What was said before anybody listened.
    this.#heard();
  }

  /** Aborted when this thread has left everything: it called `close`, or the other thread closed the share. */
  get closed(): AbortSignal {
    return this.#closed.signal;
  }

  /**
   * Leaves all queues and channels: they throw `CLOSED` from now on. The buffers that this thread had go back to the pool, so
   * it must not touch any of them afterwards. May be called twice.
   */
  close(): void {
    if (this.#closed.signal.aborted) return;
    const why = new NicError('CLOSED', 'This thread has left its queues', {
      hint: 'Stop polling before close().',
    });
    this.#closed.abort(why);
    for (const [number, queue] of this.#queues.entries()) this.#leave(number, queue, why);
    for (const end of [...this.inputs, ...this.outputs]) end.close(why);
    this.#endListening();
    Atomics.compareExchange(this.#words, WORD.STATE, STATE.ATTACHED, STATE.LEFT);
    signal(this.#words, WORD.TO_OPENER);
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** The other thread said something. */
  #heard(): void {
    const words = this.#words;
    for (const [number, queue] of this.#queues.entries()) {
      const end = Atomics.load(words, queueWord(number, QUEUE_WORD.END));
      const { address } = queue;
      if (end === END.CLOSING) {
        const why = new NicError('CLOSED', `${address} is closed`, { path: address, hint: CLOSED_HINT });
        this.#leave(number, queue, why);
      } else if (end === END.GONE) {
        const why = new NicError('DEVICE_GONE', `${address} is gone`, { path: address, hint: GONE_HINT });
        this.#rx[number]?.end(why);
      } else if (number < this.#rx.length && Atomics.load(words, queueWord(number, QUEUE_WORD.ARM)) === 0) {
        this.#rx[number]!.interrupted();
      }
    }
    if (Atomics.load(words, WORD.LEAVE) !== 0) this.close();
  }

  #leave(number: number, queue: AttachedQueue, why: NicError): void {
    if (this.#left.has(number)) return;
    this.#left.add(number);
    queue.leave(why);
    Atomics.store(this.#words, queueWord(number, QUEUE_WORD.LEFT), 1);
  }

  #interruptOf(number: number): { arm: () => void; disarm: () => void } {
    const words = this.#words;
    const at = queueWord(number, QUEUE_WORD.ARM);
    const want = (value: number): void => {
      if (Atomics.exchange(words, at, value) !== value) signal(words, WORD.TO_OPENER);
    };
    return { arm: () => want(1), disarm: () => want(0) };
  }
}

const CLOSED_HINT = 'Stop polling before the device is closed, or open it again.';
const GONE_HINT = 'Close it, and open it again when it is back.';

function named<Queue extends AttachedRxQueue | AttachedTxQueue>(
  queues: readonly Queue[],
  tickets: readonly QueueTicket[],
): (AttachedQueue & { readonly address: string })[] {
  return queues.map((queue, i) => ({ address: tickets[i]!.address, leave: (why) => queue.leave(why) }));
}

function usedBefore(state: number): NicError {
  if (state === STATE.CLOSED) {
    return new NicError('CLOSED', 'The share of this ticket was closed', {
      hint: 'Hand the queues over again, with their device opened again.',
    });
  }
  return new NicError('OWNERSHIP', 'This ticket was used before', {
    hint: 'One thread attaches it, once: make a share for each thread.',
  });
}

/**
 * Takes what another thread gave by `shareWithThread`.
 * @throws NicError `BAD_OPTION` for anything but a ticket; `OWNERSHIP` where it was used before; `CLOSED`
 * @example
 * async function work(ticket: unknown): Promise<void> { // workerData
 *   const { rxQueues, txQueues } = attachThread(ticket);
 *   const forward = connectQueues(rxQueues[0]!, txQueues[0]!);
 *   await pollLoop(() => forward.poll(), { signal, queues: rxQueues });
 * }
 */
export function attachThread(ticket: unknown): AttachedThread {
  return new AttachedThread(ticketOption(ticket));
}
