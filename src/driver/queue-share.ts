/** How a queue is handed to another thread: what families and `thread-share.ts` agree on. */
import { NicError } from '../errors.js';
import type { PacketPool } from '../hugepage/packet-pool.js';
import type { RxQueue, TxQueue, WaitOptions } from './device.js';

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
