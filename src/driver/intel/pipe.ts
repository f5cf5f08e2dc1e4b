/**
 * Forwards between two rings that share their buffers, after the "agent" of TinyNF: receive slot i and transmit slot i
 * have the same buffer for good. A packet moves by its length alone, and nothing is taken from the pool or given back:
 * less than half the work of the general path (docs/performance.md).
 *
 * Slots go round together: received, sent, and given back to the receive ring when the transmit ring has reported their
 * group of 32. While the transmit ring is full the pipe waits: arriving frames stay in the receive ring, and what does
 * not fit there the hardware counts as missed. A dropped packet keeps its place as a descriptor that transmits nothing.
 */
import type { NicError } from '../../errors.js';
import type { BufferOwners } from '../../hugepage/buffer-owners.js';
import { instantiate, STATE_LENGTH } from '../instantiate.js';
import { type LinkOptions, type PacketHook, refuseNested } from '../queue-link.js';
import {
  GROUP,
  LAYOUT,
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
import { makePipe } from './pipe-loop.js';
import type { RingShare } from './ring-share.js';
import type { RxLoop } from './rx-loop.js';
import type { IntelRxQueue } from './rx-queue.js';
import type { TxLoop } from './tx-loop.js';
import type { IntelTxQueue } from './tx-queue.js';

const { NEXT, CLEAN, SKIPPING, CLOSED, PACKETS, BYTES, ERRORS } = LAYOUT;

export class Pipe implements RingShare {
  readonly path = 'pipe';
  /** A function of its own for each pipe: see instantiate.ts. */
  readonly poll: () => number;
  readonly #rxQueue: IntelRxQueue;
  readonly #rx: RxLoop;
  readonly #tx: TxLoop;
  readonly #state = new Int32Array(STATE_LENGTH);
  readonly #dropped = new Float64Array(STATE_LENGTH);
  readonly #addresses: Int32Array;
  #kept: ReadonlyMap<number, number> | undefined;
  #closed: NicError | undefined;

  /**
   * Joins two queues until their devices close; `receive` and `send` throw from now on. `Pipe.obstacle` must have found
   * nothing.
   */
  constructor(rx: IntelRxQueue, tx: IntelTxQueue, options: Omit<LinkOptions, 'path' | 'general'>) {
    const { touch, batch } = options;
    const onPacket = ownedHook(options.onPacket, rx.pool.owners);
    this.#rxQueue = rx;
    this.#rx = rx.lend(this);
    this.#tx = tx.lend(this);
    const { slots, iovaLow, iovaHigh, shift } = this.#rx;
    this.#addresses = slots.map((buffer) => iovaLow + (buffer << shift));
    const { ring } = this.#tx;
    for (const [slot, address] of this.#addresses.entries()) {
      ring.set([address, iovaHigh, 0, 0], slot << SHIFT);
    }
    this.poll = instantiate(makePipe, LAYOUT, {
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
      memory: rx.pool.frames,
      mask: this.#rx.mask,
      batch,
      minBytes: this.#tx.minBytes,
      // What is received must fit what may be received and what may be sent.
      spanBytes: Math.min(this.#tx.spanBytes, this.#rx.maxBytes - this.#tx.minBytes),
      testMask: this.#rx.testMask,
      commands: this.#tx.commands,
      touch,
      onPacket,
      moveBad: (slot, status, length) => this.#moveBad(slot, status, length),
      throwClosed: () => {
        throw this.#closed;
      },
      throwNested: refuseNested,
    });
  }

  /** What stands against a pipe between two queues of one pool; undefined where nothing does. */
  static obstacle(rx: IntelRxQueue, tx: IntelTxQueue): string | undefined {
    if (rx.size !== tx.size) {
      return `the receive ring has ${rx.size} descriptors and the transmit ring ${tx.size}`;
    }
    return rx.lendingObstacle ?? tx.lendingObstacle;
  }

  /** Packets that `onPacket` dropped. */
  get dropped(): number {
    return this.#dropped[0]!;
  }

  get pending(): boolean {
    return this.#hasPacket() && this.#hasRoom();
  }

  get place(): { readonly next: number; readonly clean: number } {
    return { next: this.#state[NEXT]!, clean: this.#state[CLEAN]! };
  }

  get blocked(): boolean {
    return this.#kept === undefined && !this.#hasRoom();
  }

  #hasPacket(): boolean {
    const word = this.#state[NEXT]! << SHIFT;
    return this.#kept === undefined && (this.#rx.ring[word + RX_STATUS_WORD]! & RX_DD) !== 0;
  }

  /** A free slot in the transmit ring, or a group of them that has been reported. */
  #hasRoom(): boolean {
    const clean = this.#state[CLEAN]!;
    if (((clean - this.#state[NEXT]! - 1) & this.#rx.mask) !== 0) return true;
    const last = clean + GROUP - 1;
    return (this.#tx.ring[(last << SHIFT) + TX_STATUS_WORD]! & TX_DD) !== 0;
  }

  close(why: NicError): ReadonlyMap<number, number> {
    if (this.#kept === undefined) {
      const kept = new Map<number, number>();
      const { slots, mask } = this.#rx;
      for (let slot = this.#state[CLEAN]!; slot !== this.#state[NEXT]; slot = (slot + 1) & mask) {
        kept.set(slot, slots[slot]!);
      }
      this.#kept = kept;
      this.#closed = why;
      this.#state[SKIPPING] = CLOSED;
      // Nothing to reclaim from a ring that is gone.
      this.#state[CLEAN] = 0;
      this.#state[NEXT] = 0;
    }
    return this.#kept;
  }

  /** What the general path does with a bad slot, at its place in the ring: see IntelRxQueue and IntelTxQueue. */
  #moveBad(slot: number, status: number, length: number): void {
    const { ring, counters, testMask, iovaHigh, maxBytes } = this.#rx;
    const state = this.#state;
    const endOfPacket = (status & RX_EOP) !== 0;
    const received = (status & testMask) === (RX_DD | RX_EOP) && length > 0 && length <= maxBytes;
    if (state[SKIPPING] === 0) {
      if (received) {
        // Good, and of a length that the transmitter cannot send.
        counters[PACKETS]! += 1;
        counters[BYTES]! += length;
        this.#tx.counters[ERRORS]! += 1;
      } else {
        counters[this.#rxQueue.damageOf(status, length)]! += 1;
      }
    }
    state[SKIPPING] = endOfPacket ? 0 : 1;
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

/** In a pool with checks a hook owns its packet while it runs. */
function ownedHook(hook: PacketHook | null, owners: BufferOwners | undefined): PacketHook | null {
  if (hook === null || owners === undefined) return hook;
  return (packet, lengthBytes) => owners.during(packet, () => hook(packet, lengthBytes));
}
