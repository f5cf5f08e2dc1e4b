/** Received packets as an async iterable of batches: the form for services. */

import { nextTurn } from '../clock.js';
import { integerOption, knownOptions, signalOption } from '../options.js';
import type { RxQueue } from './device.js';

export interface BatchesOptions {
  /** Most packets in a batch, 1 to 4096. Default 32. */
  readonly max?: number;
  /** Ends the iteration. */
  readonly signal?: AbortSignal;
}

/** Packets that were received together. The same object each time, so it is of use until the next one is asked for. */
export interface PacketBatch {
  /** Buffer indices; `packets[0]` to `packets[count - 1]` are the caller's, to be sent or released. */
  readonly packets: Uint32Array;
  readonly count: number;
}

const MAX = { min: 1, max: 4096 } as const;
const MAX_DEFAULT = 32;
/** How long batches may follow each other without a turn of the event loop. */
const BURST_MS = 1;

/**
 * Batches of received packets as they come, until the signal is aborted or the queue's device closes. While packets come it
 * polls, with a turn of the event loop every millisecond; when there are none it sleeps until a packet interrupts. One array
 * serves all batches: nothing is allocated for a packet. What has been handed out is the caller's, also where the loop
 * breaks off.
 * @throws NicError `BAD_OPTION`, `DEVICE_GONE`
 * @example
 * for await (const { packets, count } of batches(nic.rxQueues[0], { signal })) {
 *   const sent = nic.txQueues[0].send(packets, count);
 *   nic.pool.release(packets, count - sent, sent);
 * }
 */
export async function* batches(
  queue: RxQueue,
  options: BatchesOptions = {},
): AsyncGenerator<PacketBatch, void, undefined> {
  knownOptions('batches', options, ['max', 'signal']);
  const { max = MAX_DEFAULT, signal } = options;
  if (signal !== undefined) signalOption('signal', signal);
  const batch = { packets: new Uint32Array(integerOption('max', max, MAX)), count: 0 };
  let turnMs = performance.now();
  while (signal?.aborted !== true) {
    try {
      batch.count = queue.receive(batch.packets);
      if (batch.count === 0) {
        await queue.wait(signal === undefined ? {} : { signal });
        turnMs = performance.now();
        continue;
      }
    } catch (error) {
      // The end that was asked for, and the usual end of a device.
      if (error === signal?.reason || (error as { code?: unknown }).code === 'CLOSED') return;
      throw error;
    }
    yield batch;
    if (performance.now() - turnMs > BURST_MS) {
      await nextTurn();
      turnMs = performance.now();
    }
  }
}
