/** Forwards from a receive queue to a transmit queue in batches: the general path, for any pair of devices. */

import type { RxQueue, TxQueue } from '../driver/device.js';
import { ownCopy, STATE_LENGTH } from '../driver/instantiate.js';
import { makeForward } from '../driver/intel/forward-loop.js';
import { IntelRxQueue } from '../driver/intel/rx-queue.js';
import { IntelTxQueue } from '../driver/intel/tx-queue.js';
import type { PacketHook } from '../driver/packet-hook.js';
import { NicError } from '../errors.js';
import type { PacketPool } from '../hugepage/packet-pool.js';

export interface ForwarderOptions {
  /** Most packets moved by one `poll`, 1 to 4096. Default 32. */
  readonly batch?: number;
  /** Read and rewrite (unchanged) one byte of each packet, as an application that looks at packets would. */
  readonly touch?: boolean;
  /** Looks at each packet in place, changes or drops it. */
  readonly onPacket?: PacketHook;
}

const BATCH_DEFAULT = 32;
const BATCH_MAX = 4096;

/** @throws NicError `BAD_OPTION` */
export function checkBatch(batch: number = BATCH_DEFAULT): number {
  if (Number.isInteger(batch) && batch >= 1 && batch <= BATCH_MAX) return batch;
  throw new NicError('BAD_OPTION', `batch is ${batch}`, { hint: `Give 1 to ${BATCH_MAX}.` });
}

export class Forwarder {
  readonly path = 'general';
  /** Moves one batch; returns the number of packets received. A function of its own for each: see own-copy.ts. */
  readonly poll: () => number;
  readonly #dropped = new Float64Array(STATE_LENGTH);

  /** @param pool the pool of both queues @throws NicError `BAD_OPTION` */
  constructor(rx: RxQueue, tx: TxQueue, pool: PacketPool, options: ForwarderOptions = {}) {
    const { touch = false, onPacket = null } = options;
    const batch = checkBatch(options.batch);
    const { memory } = pool;
    const general = ownCopy(makeGeneral)({
      receive: rx.receive.bind(rx),
      send: tx.send.bind(tx),
      pool,
      bufs: new Uint32Array(batch),
      memory,
      lengths: pool.lengths,
      shift: pool.bufferShift,
      touch,
      onPacket,
      dropped: this.#dropped,
    });
    const rxLoop = rx instanceof IntelRxQueue && rx.isOf(pool) ? rx.plainLoop : undefined;
    const txLoop = tx instanceof IntelTxQueue && tx.isOf(pool) ? tx.plainLoop : undefined;
    this.poll =
      rxLoop === undefined || txLoop === undefined || onPacket !== null
        ? () => general(batch)
        : ownCopy(makeForward)({ rx: rxLoop, tx: txLoop, memory, batch, touch, general });
  }

  /** Packets dropped since the transmit ring was full, or by `onPacket`. */
  get dropped(): number {
    return this.#dropped[0]!;
  }
}

interface GeneralLoop {
  readonly receive: (bufs: Uint32Array, max: number) => number;
  readonly send: (bufs: Uint32Array, count: number) => number;
  readonly pool: PacketPool;
  readonly bufs: Uint32Array;
  readonly memory: Uint8Array;
  readonly lengths: Uint16Array;
  readonly shift: number;
  readonly touch: boolean;
  /** Null where there is none: the engine compiles null in as a constant, undefined not. */
  readonly onPacket: PacketHook | null;
  /** Element 0 counts. */
  readonly dropped: Float64Array;
}

/** A factory for `ownCopy`: it uses nothing of its module but types. */
function makeGeneral(loop: GeneralLoop): (max: number) => number {
  const { receive, send, pool, bufs, memory, lengths, shift, touch, onPacket, dropped } = loop;

  /** Shows the packets to the hook, gives back those that it drops, and returns how many are left. */
  function filter(hook: PacketHook, count: number): number {
    let kept = 0;
    let next = 0;
    try {
      while (next < count) {
        const packet = bufs[next]!;
        const lengthBytes = hook(packet, lengths[packet]!);
        next++;
        if (lengthBytes === 0) {
          pool.release(bufs, next - 1, next);
          dropped[0]! += 1;
        } else {
          // What does not fit the lengths' 16 bits `send` refuses as it is: 0.
          lengths[packet] = lengthBytes > 0 && lengthBytes <= 0xffff ? lengthBytes : 0;
          bufs[kept++] = packet;
        }
      }
    } finally {
      // After a hook that throws nobody has these packets any more.
      if (next < count) {
        pool.release(bufs, next, count);
        pool.release(bufs, 0, kept);
        dropped[0]! += count - next + kept;
      }
    }
    return kept;
  }

  return function general(max: number): number {
    const received = receive(bufs, max);
    if (received === 0) return 0;
    let count = received;
    if (touch) {
      for (let i = 0; i < received; i++) {
        const start = bufs[i]! << shift;
        memory[start] = memory[start]!;
      }
    }
    if (onPacket !== null) count = filter(onPacket, received);
    const sent = send(bufs, count);
    if (sent < count) {
      pool.release(bufs, sent, count);
      dropped[0]! += count - sent;
    }
    return received;
  };
}
