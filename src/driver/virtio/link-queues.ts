/** How two virtio queues with rings of one kind are connected: receive and send in one loop. */
import type { TxQueue } from '../device.js';
import { instantiate } from '../instantiate.js';
import type { LinkedQueues, LinkOptions } from '../queue-link.js';
import { LAYOUT } from './layout.js';
import { makePackedForward } from './packed-forward-loop.js';
import type { VirtioRxQueue } from './rx-queue.js';
import { makeSplitForward } from './split-forward-loop.js';
import { VirtioTxQueue } from './tx-queue.js';

/** See `RxQueue.link`. Undefined where packets need more than the plain loop, or rings differ. */
export function linkQueues(rx: VirtioRxQueue, tx: TxQueue, options: LinkOptions): LinkedQueues | undefined {
  const { batch, touch, onPacket, general, path } = options;
  if (path === 'pipe' || onPacket !== null || !(tx instanceof VirtioTxQueue)) return undefined;
  const { plain: from } = rx;
  const { plain: to } = tx;
  if (from === undefined || to === undefined) return undefined;
  const parts = {
    rx: from.parts,
    tx: to.parts,
    ids: to.ids,
    memory: rx.pool.frames,
    batch,
    touch,
    // A frame that the receiver takes and the transmitter does not goes the long way, which counts it.
    maxBytes: Math.min(from.parts.maxBytes, to.parts.minBytes + to.parts.spanBytes),
    general,
  };
  let poll: () => number;
  if (from.ring.kind === 'split' && to.ring.kind === 'split') {
    poll = instantiate(makeSplitForward, LAYOUT, from.ring, to.ring, parts);
  } else if (from.ring.kind === 'packed' && to.ring.kind === 'packed') {
    poll = instantiate(makePackedForward, LAYOUT, from.ring, to.ring, parts);
  } else {
    return undefined;
  }
  return { path: 'general', poll, dropped: 0 };
}
