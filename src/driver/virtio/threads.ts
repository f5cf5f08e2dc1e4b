/** Virtqueues in the thread that they were handed to. What a device does that it may not ends the queue's waits there. */
import { NicError } from '../../errors.js';
import type { ThreadFamily } from '../queue-share.js';
import { type RxTicket, type TxTicket, viewQueue } from './hand-over.js';
import { VirtioRxQueue } from './rx-queue.js';
import { VirtioTxQueue } from './tx-queue.js';

export const virtioThreads: ThreadFamily = {
  name: 'virtio',
  attachRx(data, { pool, interrupt }) {
    const ticket = data as RxTicket;
    const { state, counters, slots, queue, eventIdx, notifiesData, maxFrameBytes, merges, metadata } = ticket;
    const receiver: VirtioRxQueue = new VirtioRxQueue({
      ...viewQueue(ticket),
      ...{ queue, eventIdx, notifiesData, maxFrameBytes, merges, metadata, pool, interrupt },
      onLie: (what) => receiver.end(brokenRing(what)),
      attached: { slots, state, counters },
    });
    return receiver;
  },
  attachTx(data, { pool }) {
    const ticket = data as TxTicket;
    const { state, counters, queue, eventIdx, notifiesData, maxFrameBytes, minFrameBytes, offloads } = ticket;
    return new VirtioTxQueue({
      ...viewQueue(ticket),
      ...{ queue, eventIdx, notifiesData, maxFrameBytes, minFrameBytes, offloads, pool },
      onLie: () => {},
      attached: { state, counters },
    });
  },
};

function brokenRing(what: string): NicError {
  return new NicError('DEVICE_STATE', `A device broke the rules of its rings: ${what}`, {
    hint: 'This is no device after VIRTIO 1.2, sections 2.7 and 2.8. Close it; open resets it.',
  });
}
