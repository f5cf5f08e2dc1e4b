/** A socket's four rings in plain memory, and the kernel's side of them. */
import { type KernelRing, ringIn } from '../../../src/driver/xdp/kernel-ring.js';
import { XdpRxQueue } from '../../../src/driver/xdp/rx-queue.js';
import { XdpTxQueue } from '../../../src/driver/xdp/tx-queue.js';
import { PacketPool } from '../../../src/hugepage/packet-pool.js';

const OFFSETS = { producer: 0, consumer: 64, flags: 128, descriptors: 192 } as const;
export const SIZE = 64;
export const KERNEL_BYTES = 256;
const NEED_WAKEUP = 1;

function ring(size: number, wordsPerEntry: number): KernelRing {
  return ringIn(new ArrayBuffer(OFFSETS.descriptors + size * wordsPerEntry * 4), OFFSETS, size);
}

/** What the kernel does with the rings of a socket. */
export class KernelRings {
  readonly rx: KernelRing;
  readonly fill: KernelRing;
  readonly tx: KernelRing;
  readonly completion: KernelRing;
  readonly sent: Uint8Array[] = [];
  readonly #pool: PacketPool;

  constructor(pool: PacketPool, rxSize = SIZE, txSize = SIZE) {
    this.#pool = pool;
    this.rx = ring(rxSize, 4);
    this.fill = ring(rxSize, 2);
    this.tx = ring(txSize, 4);
    this.completion = ring(txSize, 2);
    this.tx.words[this.tx.flags] = NEED_WAKEUP;
  }

  /** Takes the address of the next free buffer; undefined where there is none. */
  takeFill(): number | undefined {
    const { words, producer, consumer, entries, size } = this.fill;
    if (words[producer] === words[consumer]) return undefined;
    const at = entries + (words[consumer]! & (size - 1)) * 2;
    words[consumer] = (words[consumer]! + 1) | 0;
    return words[at]! >>> 0;
  }

  /** Says that a frame is at an address; `high` is the address's upper word. */
  tell(low: number, high: number, lengthBytes: number): void {
    const { words, producer, entries, size } = this.rx;
    words.set([low | 0, high | 0, lengthBytes | 0, 0], entries + (words[producer]! & (size - 1)) * 4);
    words[producer] = (words[producer]! + 1) | 0;
  }

  /** Whether the receive ring has no room. */
  get isFull(): boolean {
    const { words, producer, consumer, size } = this.rx;
    return (words[producer]! - words[consumer]!) >>> 0 >= size;
  }

  /** A frame comes. False: there is no buffer for it. */
  arrive(frame: Uint8Array): boolean {
    const address = this.takeFill();
    if (address === undefined) return false;
    // Beyond its own 256 bytes the kernel leaves what it was told to.
    const offset = Math.max(KERNEL_BYTES, this.#pool.headroomBytes);
    this.#pool.memory.set(frame, address + offset);
    this.tell(address, offset << 16, frame.length);
    return true;
  }

  /** Sends up to a number of frames and reports them. */
  transmit(most: number): void {
    const { words, producer, consumer, entries, size } = this.tx;
    for (let i = 0; i < most && words[producer] !== words[consumer]; i++) {
      const at = entries + (words[consumer]! & (size - 1)) * 4;
      const address = words[at]! >>> 0;
      this.sent.push(this.#pool.memory.slice(address, address + words[at + 2]!));
      words[consumer] = (words[consumer]! + 1) | 0;
      this.complete(address, 0);
    }
  }

  complete(low: number, high: number): void {
    const { words, producer, entries, size } = this.completion;
    words.set([low | 0, high], entries + (words[producer]! & (size - 1)) * 2);
    words[producer] = (words[producer]! + 1) | 0;
  }
}

/** Rings, a pool, and queues on them. */
export class KernelSide extends KernelRings {
  readonly pool: PacketPool;
  /** How often it was called for the transmit ring, and for the fill ring. */
  wakeUps = 0;
  fillWakeUps = 0;
  /** Frames that a call takes. */
  takes = Number.POSITIVE_INFINITY;
  /** What a call returns after it took what it takes. */
  returns = 0;
  idles = 0;

  constructor(headroomBytes = 64, buffers = 256, debug = false) {
    const pool = new PacketPool({ buffers, headroomBytes, pageSize: '4K', debug });
    super(pool);
    this.pool = pool;
  }

  receiver(maxFrameBytes = 1792, mode: { zeroCopy?: boolean; busyPoll?: boolean } = {}): XdpRxQueue {
    const nothing = (): void => {};
    return new XdpRxQueue({
      ...{ rx: this.rx, fill: this.fill, pool: this.pool, maxFrameBytes, arm: nothing, disarm: nothing },
      ...mode,
      idle: () => {
        this.idles++;
      },
      wake: () => {
        this.fillWakeUps++;
        return 0;
      },
    });
  }

  sender(sendsLater = false): XdpTxQueue {
    const { tx, completion, pool } = this;
    const wake = (): number => {
      this.wakeUps++;
      this.transmit(this.takes);
      return this.returns;
    };
    return new XdpTxQueue({ tx, completion, pool, minFrameBytes: 14, maxFrameBytes: 1792, sendsLater, wake });
  }
}
