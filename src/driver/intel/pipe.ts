/**
 * Forwards between two rings that share their buffers, after the "agent" of TinyNF: receive slot i and transmit slot i
 * have the same buffer for good. A packet moves by its length alone, and nothing is taken from the pool or given back:
 * less than half the work of the general path (docs/performance.md).
 *
 * Slots go round together: received, sent, and given back to the receive ring when the transmit ring has reported their
 * group of 32. While the transmit ring is full the pipe waits: arriving frames stay in the receive ring, and what does
 * not fit there the hardware counts as missed. A dropped packet keeps its place as a descriptor that transmits nothing.
 */
import { NicError } from '../../errors.js';
import { checkBatch, Forwarder, type ForwarderOptions } from '../../forward/forwarder.js';
import type { PacketPool } from '../../hugepage/packet-pool.js';
import type { RxQueue, TxQueue } from '../device.js';
import { ownCopy, STATE_LENGTH } from '../instantiate.js';
import {
  RX_DD,
  RX_EOP,
  RX_STATUS_WORD,
  DESCRIPTOR_WORD_SHIFT as SHIFT,
  TX_COMMAND_WORD,
  TX_DD,
  TX_NULL,
  TX_RS,
  TX_STATUS_WORD,
} from './descriptors.js';
import { makePipe, PIPE_CLEAN, PIPE_CLOSED, PIPE_NEXT, PIPE_SKIPPING } from './pipe-loop.js';
import type { RingShare } from './ring-share.js';
import type { RxLoop } from './rx-loop.js';
import { IntelRxQueue, RX_BYTES, RX_DAMAGED, RX_PACKETS, RX_TOO_LONG } from './rx-queue.js';
import type { TxLoop } from './tx-loop.js';
import { IntelTxQueue, TX_ERRORS } from './tx-queue.js';

const GROUP = 32;

export class Pipe implements RingShare {
  readonly path = 'pipe';
  /**
   * Moves one batch; returns the number of packets received. A function of its own for each pipe: see own-copy.ts.
   */
  readonly poll: () => number;
  readonly #rx: RxLoop;
  readonly #tx: TxLoop;
  readonly #state = new Int32Array(STATE_LENGTH);
  readonly #dropped = new Float64Array(STATE_LENGTH);
  readonly #addresses: Int32Array;
  #kept: ReadonlyMap<number, number> | undefined;

  /**
   * Joins two queues that have not moved a packet yet, until their devices close. `receive` and `send` throw from now
   * on. @param pool the pool of both queues
   * @throws NicError `BAD_OPTION` where `Pipe.obstacle` names something
   */
  constructor(rx: RxQueue, tx: TxQueue, pool: PacketPool, options: ForwarderOptions = {}) {
    const obstacle = Pipe.obstacle(rx, tx, pool);
    if (obstacle !== undefined) {
      throw new NicError('BAD_OPTION', `No pipe is possible: ${obstacle}`, {
        hint: 'Use connectQueues, which takes the general path then, or a Forwarder.',
      });
    }
    const { touch = false, onPacket = null } = options;
    const batch = checkBatch(options.batch);
    this.#rx = (rx as IntelRxQueue).lend(this);
    this.#tx = (tx as IntelTxQueue).lend(this);
    const { slots, iovaLow, iovaHigh, shift } = this.#rx;
    this.#addresses = slots.map((buffer) => iovaLow + (buffer << shift));
    const { ring } = this.#tx;
    for (const [slot, address] of this.#addresses.entries()) {
      ring.set([address, iovaHigh, 0, 0], slot << SHIFT);
    }
    this.poll = ownCopy(makePipe)({
      rxRing: this.#rx.ring,
      txRing: ring,
      rxTail: this.#rx.tail,
      txTail: this.#tx.tail,
      slots,
      addresses: this.#addresses,
      iovaLow,
      iovaHigh,
      state: this.#state,
      rxCounters: this.#rx.counters,
      txCounters: this.#tx.counters,
      dropped: this.#dropped,
      memory: pool.memory,
      mask: this.#rx.mask,
      batch,
      minBytes: this.#tx.minBytes,
      spanBytes: this.#tx.spanBytes,
      testMask: this.#rx.testMask,
      commands: this.#tx.commands,
      nullCommand: TX_NULL,
      touch,
      onPacket,
      moveBad: (slot, status, length) => this.#moveBad(slot, status, length),
    });
  }

  /** What stands against a pipe between two queues; undefined where nothing does. @param pool of both queues */
  static obstacle(rx: RxQueue, tx: TxQueue, pool: PacketPool): string | undefined {
    if (!(rx instanceof IntelRxQueue && tx instanceof IntelTxQueue)) {
      return 'the rings have different descriptors';
    }
    if (rx.size !== tx.size) {
      return `the receive ring has ${rx.size} descriptors and the transmit ring ${tx.size}`;
    }
    if (!rx.isOf(pool) || !tx.isOf(pool)) return 'the queues have different pools';
    return rx.lendingObstacle ?? tx.lendingObstacle;
  }

  /** Packets that `onPacket` dropped. */
  get dropped(): number {
    return this.#dropped[0]!;
  }

  get pending(): boolean {
    return this.#hasPacket() && this.#hasRoom();
  }

  get blocked(): boolean {
    return this.#kept === undefined && !this.#hasRoom();
  }

  #hasPacket(): boolean {
    const word = this.#state[PIPE_NEXT]! << SHIFT;
    return this.#kept === undefined && (this.#rx.ring[word + RX_STATUS_WORD]! & RX_DD) !== 0;
  }

  /** A free slot in the transmit ring, or a group of them that has been reported. */
  #hasRoom(): boolean {
    const clean = this.#state[PIPE_CLEAN]!;
    if (((clean - this.#state[PIPE_NEXT]! - 1) & this.#rx.mask) !== 0) return true;
    const last = clean + GROUP - 1;
    return (this.#tx.ring[(last << SHIFT) + TX_STATUS_WORD]! & TX_DD) !== 0;
  }

  close(): ReadonlyMap<number, number> {
    if (this.#kept === undefined) {
      const kept = new Map<number, number>();
      const { slots, mask } = this.#rx;
      for (let slot = this.#state[PIPE_CLEAN]!; slot !== this.#state[PIPE_NEXT]; slot = (slot + 1) & mask) {
        kept.set(slot, slots[slot]!);
      }
      this.#kept = kept;
      // No room: `poll` moves nothing from now on.
      this.#state[PIPE_CLOSED] = 1;
      this.#state[PIPE_CLEAN] = 0;
      this.#state[PIPE_NEXT] = mask;
    }
    return this.#kept;
  }

  /** What the general path does with a bad slot, at its place in the ring: see IntelRxQueue and IntelTxQueue. */
  #moveBad(slot: number, status: number, length: number): void {
    const { ring, counters, testMask, iovaHigh, bufferSizeBytes } = this.#rx;
    const state = this.#state;
    const endOfPacket = (status & RX_EOP) !== 0;
    const received = (status & testMask) === (RX_DD | RX_EOP) && length > 0 && length <= bufferSizeBytes;
    if (state[PIPE_SKIPPING] === 0) {
      if (received) {
        // Good, and shorter than hardware can send.
        counters[RX_PACKETS]! += 1;
        counters[RX_BYTES]! += length;
        this.#tx.counters[TX_ERRORS]! += 1;
      } else {
        counters[endOfPacket ? RX_DAMAGED : RX_TOO_LONG]! += 1;
      }
    }
    state[PIPE_SKIPPING] = endOfPacket ? 0 : 1;
    const word = slot << SHIFT;
    ring[word] = this.#addresses[slot]!;
    ring[word + 1] = iovaHigh;
    ring[word + 2] = 0;
    ring[word + 3] = 0;
    const isLast = (slot & (GROUP - 1)) === GROUP - 1;
    this.#tx.ring[word + TX_COMMAND_WORD] = isLast ? TX_NULL | TX_RS : TX_NULL;
    this.#tx.ring[word + TX_STATUS_WORD] = 0;
  }
}

export interface ConnectOptions extends ForwarderOptions {
  /**
   * `auto`, the default, makes a pipe where one is possible and a forwarder elsewhere; `pipe` insists; `general` makes
   * a forwarder.
   */
  readonly path?: 'auto' | 'pipe' | 'general';
}

/**
 * Connects a receive queue with a transmit queue by the fastest path there is.
 * @param pool the pool of both queues
 * @returns a `Pipe` or a `Forwarder`: both have `poll`, `dropped` and `path`
 * @throws NicError `BAD_OPTION` where `path` is `pipe` and none is possible
 * @example
 * const toB = connectQueues(a.rxQueues[0]!, b.txQueues[0]!, pool);
 * await pollLoop(() => toB.poll(), { signal, devices: [a] });
 */
export function connectQueues(
  rx: RxQueue,
  tx: TxQueue,
  pool: PacketPool,
  options: ConnectOptions = {},
): Pipe | Forwarder {
  const { path = 'auto' } = options;
  const wantsPipe = path === 'pipe' || (path === 'auto' && Pipe.obstacle(rx, tx, pool) === undefined);
  return wantsPipe ? new Pipe(rx, tx, pool, options) : new Forwarder(rx, tx, pool, options);
}
