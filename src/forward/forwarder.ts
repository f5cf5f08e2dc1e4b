/**
 * Forwards from a receive queue to a transmit queue in batches, for any pair of devices: by `receive` and `send`, or by
 * a faster way that the receive queue offers itself.
 */

import type { RxQueue, TxQueue } from '../driver/device.js';
import { instantiate, STATE_LENGTH } from '../driver/instantiate.js';
import { type LinkedQueues, type LinkPath, type PacketHook, refuseNested } from '../driver/queue-link.js';
import { NicError } from '../errors.js';
import { booleanOption, choiceOption, functionOption, integerOption, knownOptions } from '../options.js';
import { makeGeneral } from './general-loop.js';
import { checkSamePool } from './same-pool.js';

export interface ForwardOptions {
  /** Most packets moved by one `poll`, 1 to 4096. Default 32. */
  readonly batch?: number;
  /** Read and rewrite (unchanged) one byte of each packet, as an application that looks at packets would. */
  readonly touch?: boolean;
  /** Looks at each packet in place, changes or drops it. */
  readonly onPacket?: PacketHook;
  /**
   * `auto`, the default, makes a pipe where one is possible and takes the general path elsewhere; `pipe` insists on one;
   * `general` never makes one.
   */
  readonly path?: LinkPath;
}

const BATCH_DEFAULT = 32;
const BATCH = { min: 1, max: 4096 } as const;
const PATHS = ['auto', 'pipe', 'general'] as const satisfies readonly LinkPath[];
const KNOWN = ['batch', 'touch', 'onPacket', 'path'] as const;

/** Two queues that are connected. Made by `connectQueues`. */
export class Forwarder {
  /** Which way was taken: in a `pipe` rings share their buffers, on the `general` path they go through the pool. */
  readonly path: 'pipe' | 'general';
  readonly rx: RxQueue;
  readonly tx: TxQueue;
  readonly #link: LinkedQueues | undefined;
  readonly #dropped = new Float64Array(STATE_LENGTH);
  readonly #bufs: Uint32Array;
  /**
   * Moves one batch; returns the number of packets received.
   * @throws NicError `CLOSED` after a device or the forwarder was closed; what `onPacket` throws
   */
  poll: () => number;

  /** @throws NicError `BAD_OPTION` */
  constructor(rx: RxQueue, tx: TxQueue, options: ForwardOptions = {}) {
    knownOptions('connectQueues', options, KNOWN);
    const { touch = false, onPacket, path = 'auto' } = options;
    const batch = integerOption('batch', options.batch ?? BATCH_DEFAULT, BATCH);
    booleanOption('touch', touch);
    choiceOption('path', path, PATHS);
    if (onPacket !== undefined) functionOption('onPacket', onPacket);
    const { pool } = rx;
    checkSamePool(rx, tx);
    this.rx = rx;
    this.tx = tx;
    this.#bufs = new Uint32Array(batch);
    const general = instantiate(makeGeneral, null, {
      receive: rx.receive.bind(rx),
      send: tx.send.bind(tx),
      reclaim: tx.reclaim.bind(tx),
      pool,
      bufs: this.#bufs,
      frames: pool.frames,
      lengths: pool.lengths,
      freeLevel: pool.freeLevel,
      shift: pool.bufferShift,
      touch,
      onPacket: onPacket ?? null,
      dropped: this.#dropped,
      throwNested: refuseNested,
    });
    this.#link = rx.link?.(tx, {
      path,
      batch,
      touch,
      onPacket: onPacket ?? null,
      general,
      dropped: this.#dropped,
    });
    if (this.#link === undefined && path === 'pipe') {
      throw new NicError('BAD_OPTION', 'No pipe is possible between these two queues', {
        hint: 'Leave the path to connectQueues, which takes the general one then.',
      });
    }
    this.path = this.#link?.path ?? 'general';
    this.poll = this.#link?.poll ?? (() => general(batch));
  }

  /** Packets dropped since the transmit ring was full, or by `onPacket`. */
  get dropped(): number {
    return this.#dropped[0]! + (this.#link?.dropped ?? 0);
  }

  /**
   * Ends it: `poll` throws from now on. On the general path the queues can be used otherwise; rings in a pipe stay with
   * it until their devices close. May be called twice.
   */
  close(): void {
    // Packets that a hook that threw has not seen: see `general-loop.ts`.
    if (this.#dropped[1] === 2) {
      this.#dropped[1] = 0;
      this.rx.pool.release(this.#bufs, this.#dropped[2]!);
      this.#dropped[0]! += this.#dropped[2]!;
    }
    this.poll = () => {
      throw new NicError('CLOSED', 'The forwarder is closed', {
        hint: 'Stop polling before close(), or connect the queues again.',
      });
    };
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/**
 * Connects a receive queue with a transmit queue of the same pool by the fastest path there is.
 * @throws NicError `BAD_OPTION` where the pools differ, or where `path` is `pipe` and none is possible
 * @example
 * const toB = connectQueues(a.rxQueues[0], b.txQueues[0]);
 * await pollLoop(() => toB.poll(), { signal, devices: [a] });
 */
export function connectQueues(rx: RxQueue, tx: TxQueue, options: ForwardOptions = {}): Forwarder {
  return new Forwarder(rx, tx, options);
}
