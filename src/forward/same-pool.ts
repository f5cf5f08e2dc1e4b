/** Two queues that packets go between have one pool. */
import type { RxQueue, TxQueue } from '../driver/device.js';
import { NicError } from '../errors.js';

/** @throws NicError `BAD_OPTION` */
export function checkSamePool(rx: RxQueue, tx: TxQueue): void {
  if (tx.pool === rx.pool) return;
  throw new NicError(
    'BAD_OPTION',
    'The two queues have different pools: a buffer of one is not in the other',
    {
      hint: 'Open the second device with the pool of the first: open(address, { pool: a.pool }).',
    },
  );
}
