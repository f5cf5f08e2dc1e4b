/** Sums of what the queues of a device have counted. */
import type { QueueStats } from './device.js';

/** Where a family's loops keep their counters. */
export interface CounterElements {
  readonly PACKETS: number;
  readonly BYTES: number;
  readonly ERRORS: number;
  readonly NO_BUFFER: number;
  readonly TOO_LONG: number;
  readonly DAMAGED: number;
}

type Counting = readonly { readonly counters: Float64Array }[];

/** The part of `NetStats` that is counted at the rings. */
export function sumQueues(rx: Counting, tx: Counting, at: CounterElements) {
  const sum = (queues: Counting, index: number): number =>
    queues.reduce((total, queue) => total + queue.counters[index]!, 0);
  return {
    rxPackets: sum(rx, at.PACKETS),
    rxBytes: sum(rx, at.BYTES),
    txPackets: sum(tx, at.PACKETS),
    txBytes: sum(tx, at.BYTES),
    rxTooLong: sum(rx, at.TOO_LONG),
    rxDamaged: sum(rx, at.DAMAGED),
    rxNoBuffer: sum(rx, at.NO_BUFFER),
    txErrors: sum(tx, at.ERRORS),
  };
}

/** The same for each pair. */
export function countQueues(rx: Counting, tx: Counting, at: CounterElements): QueueStats[] {
  return rx.map((queue, pair) => sumQueues([queue], [tx[pair]!], at));
}
