/** How a queue is handed to another thread: what families and `thread-share.ts` agree on. */
import { NicError } from '../errors.js';
import type { PacketPool } from '../hugepage/packet-pool.js';
import { addressOf } from '../syscalls/memory.js';
import type { RxQueue, TxQueue, WaitOptions } from './device.js';
import type { Doorbell } from './register-file.js';

/** What a queue that is handed over is told. */
export interface HandOver {
  /** The buffers that lie in its ring are the other thread's from now on. */
  own(buffers: Int32Array): void;
}

/** What a queue gives that is handed over. */
export interface HandedOver {
  /** Name of the `ThreadFamily`. */
  readonly family: string;
  /** Of the device, for messages. */
  readonly address: string;
  /** Plain data from which the family makes the queue in the other thread. */
  readonly data: unknown;
  /** Waits for packets, for the other thread: interrupts come to the thread that opened the device. Receive only. */
  readonly wait?: (options: WaitOptions) => Promise<boolean>;
  /** The other thread has sent something while the device rested, and did not hear of it: tells it. Transmit only. */
  readonly announced?: () => void;
  /** Calls back when the device begins to close (which waits for what the listener returns), has closed, or is gone. */
  onEnd(listener: QueueEndListener): void;
}

export type QueueEndListener = (end: QueueEnd) => Promise<void> | undefined;

/**
 * What happens to a queue that another thread has. `closing`: the thread has to leave it. `closed`: the hardware is done with
 * the ring's buffers. `gone`: no packet will come.
 */
export type QueueEnd = 'closing' | 'closed' | 'gone';

/** A queue in the thread that it was handed to. */
export interface AttachedQueue {
  /** Lets go of the ring, which the hardware may still use: nothing moves from now on. @param why is thrown */
  leave(why: NicError): void;
}

export interface AttachedRxQueue extends RxQueue, AttachedQueue {
  /** The interrupt came. */
  interrupted(): void;
  /** Ends all waits with this error. */
  end(why: Error): void;
}

export interface AttachedTxQueue extends TxQueue, AttachedQueue {}

/** What a queue is attached with. */
export interface AttachContext {
  /** The thread's slice of the pool. */
  readonly pool: PacketPool;
  /** Asks the thread that opened the device for an interrupt, and takes that back. Transmit: `arm` has it call `announced`. */
  readonly interrupt: { readonly arm: () => void; readonly disarm: () => void };
}

/** Makes queues from what `RxQueue.handOver` and `TxQueue.handOver` gave. A driver has one where its queues can be handed over. */
export interface ThreadFamily {
  /** Stands in the tickets. */
  readonly name: string;
  attachRx(data: unknown, context: AttachContext): AttachedRxQueue;
  attachTx(data: unknown, context: AttachContext): AttachedTxQueue;
}

/** Takes the place of what a queue does here while another thread has it. @throws NicError `OWNERSHIP` */
export function inOtherThread(): never {
  throw new NicError('OWNERSHIP', 'The queue was handed to another thread', {
    hint: 'Receive and send in that thread; close the device to get its rings back.',
  });
}

/** Queues that this thread can use: not those that it handed to others; all where it handed over all, and each says so. */
export function queuesHere<Queue extends { readonly elsewhere?: boolean }>(
  queues: readonly Queue[],
): readonly Queue[] {
  const here = queues.filter(({ elsewhere }) => elsewhere !== true);
  return here.length > 0 ? here : queues;
}

/** The state of a ring that is at work. */
export interface AttachedRing {
  /** Buffers of a receive ring. */
  readonly slots?: Int32Array;
  readonly state: Int32Array;
  readonly counters: Float64Array;
}

/** A queue that another thread has, seen from the thread that opened its device. */
export class QueueElsewhere {
  /** Both threads see these. */
  readonly state: Int32Array;
  readonly counters: Float64Array;
  #listener: QueueEndListener | undefined;

  /** Copies state and counters to memory that both threads see. */
  constructor({ state, counters }: AttachedRing) {
    this.state = new Int32Array(new SharedArrayBuffer(state.byteLength));
    this.state.set(state);
    this.counters = new Float64Array(new SharedArrayBuffer(counters.byteLength));
    this.counters.set(counters);
  }

  onEnd(listener: QueueEndListener): void {
    this.#listener = listener;
  }

  tell(end: QueueEnd): Promise<void> | undefined {
    return this.#listener?.(end);
  }
}

export function noHandOver(why: string): NicError {
  return new NicError('BAD_OPTION', `The queue cannot be handed to another thread: ${why}`, {
    hint: 'Hand queues over before anything else is done with them.',
  });
}

/** Virtual address of a doorbell. @throws NicError `BAD_OPTION` where the register is not mapped */
export function doorbellAddress(doorbell: Doorbell): bigint {
  if (doorbell instanceof Uint32Array || doorbell instanceof Uint16Array) {
    return addressOf(new Uint8Array(doorbell.buffer, doorbell.byteOffset, doorbell.byteLength));
  }
  throw new NicError(
    'BAD_OPTION',
    "The queue cannot be handed to another thread: its device's registers are not mapped",
    { hint: 'Each doorbell is a message then, which one thread sends. Emulated ports: leave --trap out.' },
  );
}
