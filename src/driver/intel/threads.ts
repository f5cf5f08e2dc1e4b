/** Queues of the Intel families in the thread that they were handed to. */
import type { ThreadFamily } from '../queue-share.js';
import { type RxTicket, type TxTicket, viewRing } from './ring-hand-over.js';
import { IntelRxQueue } from './rx-queue.js';
import { IntelTxQueue } from './tx-queue.js';

export const intelThreads: ThreadFamily = {
  name: 'intel',
  attachRx(data, { pool, interrupt }) {
    const ticket = data as RxTicket;
    const { maxFrameBytes, errorMask, metadata, state, counters, slots } = ticket;
    return new IntelRxQueue({
      ...viewRing(ticket),
      pool,
      maxFrameBytes,
      errorMask,
      metadata,
      interrupt,
      attached: { slots, state, counters },
    });
  },
  attachTx(data, { pool, interrupt }) {
    const ticket = data as TxTicket;
    const { maxFrameBytes, legacy, offloads, mayRest, state, counters } = ticket;
    return new IntelTxQueue({
      ...viewRing(ticket),
      pool,
      maxFrameBytes,
      legacy,
      offloads,
      mayRest,
      attached: { state, counters },
      announce: interrupt.arm,
    });
  },
};
