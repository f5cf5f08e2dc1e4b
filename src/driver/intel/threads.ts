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
<<<<<<< HEAD
    const { maxFrameBytes, legacy, offloads, state, counters } = ticket;
=======
    const { maxFrameBytes, legacy, mayRest, state, counters } = ticket;
>>>>>>> d155012 (waits: interrupts held back by interruptIntervalUs; what is sent while an emulated device rests is heard, by forwarders, pipes and threads too)
    return new IntelTxQueue({
      ...viewRing(ticket),
      pool,
      maxFrameBytes,
      legacy,
<<<<<<< HEAD
      offloads,
=======
      mayRest,
>>>>>>> d155012 (waits: interrupts held back by interruptIntervalUs; what is sent while an emulated device rests is heard, by forwarders, pipes and threads too)
      attached: { state, counters },
      announce: interrupt.arm,
    });
  },
};
