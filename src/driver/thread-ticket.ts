/** What a thread is given by `shareWithThread`, and the words by which the two threads talk. Plain data, and shared memory. */
import { NicError } from '../errors.js';
import type { PoolTicket } from '../hugepage/pool-slices.js';

/**
 * Words that both threads see. `TO_OPENER` and `TO_THREAD` are signals (see signal-word.ts); what they mean lies in the other
 * words, so none is lost. `LEAVE` is 1 when the thread is to leave everything.
 */
export const WORD = { STATE: 0, TO_OPENER: 1, TO_THREAD: 2, LEAVE: 3, QUEUES: 8 } as const;
/** Values of STATE: nobody has attached; a thread has; it has left everything; the share was closed. */
export const STATE = { NEW: 0, ATTACHED: 1, LEFT: 2, CLOSED: 3 } as const;
/** Words of each queue, receive queues first: the thread wants an interrupt, or has sent to a device that rests; why it has to leave; it has left. */
export const QUEUE_WORD = { ARM: 0, END: 1, LEFT: 2 } as const;
export const QUEUE_WORDS = 4;
/** Values of END. */
export const END = { NONE: 0, CLOSING: 1, GONE: 2 } as const;

/** Index of a queue's word. */
export function queueWord(queue: number, word: number): number {
  return WORD.QUEUES + queue * QUEUE_WORDS + word;
}

export interface QueueTicket {
  readonly family: string;
  readonly address: string;
  readonly data: unknown;
}

/** The end of a packet ring: its words. */
export type RingTicket = Int32Array;

/**
 * What `attachThread` takes: plain data for `workerData` or `postMessage`, within one process. Of use once.
 */
export interface ThreadTicket {
  readonly kind: 'barewire-thread';
  readonly words: Int32Array;
  readonly pool: PoolTicket;
  readonly rx: readonly QueueTicket[];
  readonly tx: readonly QueueTicket[];
  readonly inputs: readonly RingTicket[];
  readonly outputs: readonly RingTicket[];
}

/** @throws NicError `BAD_OPTION` for anything but a ticket */
export function ticketOption(value: unknown): ThreadTicket {
  const ticket = value as Partial<ThreadTicket> | null | undefined;
  if (ticket?.kind === 'barewire-thread' && ticket.words?.buffer instanceof SharedArrayBuffer) {
    return ticket as ThreadTicket;
  }
  throw new NicError('BAD_OPTION', 'attachThread was given no ticket', {
    hint: 'Give the ticket of shareWithThread, as workerData or by postMessage.',
  });
}
