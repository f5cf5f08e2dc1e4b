/** How two queues of Intel's advanced descriptors are connected: a pipe, or receive and send in one loop. */
import { NicError } from '../../errors.js';
import type { TxQueue } from '../device.js';
import { instantiate } from '../instantiate.js';
import { type LinkedQueues, type LinkOptions, refuseNested } from '../queue-link.js';
import { LAYOUT } from './descriptors.js';
import { makeForward } from './forward-loop.js';
import { makeHooked } from './hooked-loop.js';
import { Pipe } from './pipe.js';
import type { IntelRxQueue } from './rx-queue.js';
import { IntelTxQueue } from './tx-queue.js';

/** See `RxQueue.link`. */
export function linkQueues(rx: IntelRxQueue, tx: TxQueue, options: LinkOptions): LinkedQueues | undefined {
  const obstacle =
    tx instanceof IntelTxQueue ? Pipe.obstacle(rx, tx) : 'the rings have different descriptors';
  if (options.path === 'pipe' && obstacle !== undefined) {
    throw new NicError('BAD_OPTION', `No pipe is possible: ${obstacle}`, {
      hint: 'Leave the path to connectQueues, which takes the general one then.',
    });
  }
  if (!(tx instanceof IntelTxQueue)) return undefined;
  if (options.path !== 'general' && obstacle === undefined) {
    const pipe = new Pipe(rx, tx, options);
    return {
      path: 'pipe',
      poll: tx.heard(pipe.poll),
      get dropped() {
        return pipe.dropped;
      },
    };
  }
  const { plainLoop: rxLoop } = rx;
  const { plainLoop: txLoop } = tx;
  if (rxLoop === undefined || txLoop === undefined) return undefined;
  const { batch, touch, onPacket, general, dropped } = options;
  const loop = {
    rx: rxLoop,
    tx: txLoop,
    memory: rx.pool.frames,
    batch,
    // A frame that the receiver takes and the transmitter does not goes the long way, which counts it.
    maxBytes: Math.min(rxLoop.maxBytes, txLoop.minBytes + txLoop.spanBytes),
    general,
  };
  // With a hook the touch is left out: the hook reads what it wants.
  const poll =
    onPacket === null
      ? instantiate(makeForward, LAYOUT, { ...loop, touch })
      : instantiate(makeHooked, LAYOUT, { ...loop, onPacket, dropped, throwNested: refuseNested });
  return { path: 'general', poll: tx.heard(poll), dropped: 0 };
}
