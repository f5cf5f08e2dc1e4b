/** Forwards from a receive queue to a transmit queue in batches: the general path, for any pair of devices. */
import { NicError } from '../errors.js';
import type { PacketPool } from '../hugepage/packet-pool.js';
import type { RxQueue, TxQueue } from './device.js';

export interface ForwarderOptions {
  /** Most packets moved by one `poll`, 1 to 4096. Default 32. */
  readonly batch?: number;
  /** Read and rewrite (unchanged) one byte of each packet, as an application that looks at packets would. */
  readonly touch?: boolean;
}

export class Forwarder {
  /** Packets dropped since the transmit ring was full. */
  dropped = 0;
  readonly #rx: RxQueue;
  readonly #tx: TxQueue;
  readonly #pool: PacketPool;
  readonly #bufs: Uint32Array;
  readonly #touch: boolean;

  /** @param pool the pool of both queues @throws NicError `BAD_OPTION` */
  constructor(rx: RxQueue, tx: TxQueue, pool: PacketPool, options: ForwarderOptions = {}) {
    this.#rx = rx;
    this.#tx = tx;
    this.#pool = pool;
    const { batch = 32 } = options;
    if (!Number.isInteger(batch) || batch < 1 || batch > 4096) {
      throw new NicError('BAD_OPTION', `batch is ${batch}`, { hint: 'Give 1 to 4096.' });
    }
    this.#bufs = new Uint32Array(batch);
    this.#touch = options.touch ?? false;
  }

  /** Moves one batch; returns the number of packets received. */
  poll(): number {
    const bufs = this.#bufs;
    const received = this.#rx.receive(bufs);
    if (received === 0) return 0;
    if (this.#touch) touch(this.#pool, bufs, received);
    const sent = this.#tx.send(bufs, received);
    if (sent < received) {
      this.#pool.release(bufs, sent, received);
      this.dropped += received - sent;
    }
    return received;
  }
}

function touch(pool: PacketPool, bufs: Uint32Array, count: number): void {
  const { memory, bufferShift } = pool;
  for (let i = 0; i < count; i++) {
    const first = bufs[i]! << bufferShift;
    memory[first] = memory[first]!;
  }
}
