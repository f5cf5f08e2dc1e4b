/** A socket's four rings in plain memory, and the kernel's side of them. */
import { type KernelRing, ringIn } from '../../../src/driver/xdp/kernel-ring.js';
import { XdpRxQueue } from '../../../src/driver/xdp/rx-queue.js';
import { XdpTxQueue } from '../../../src/driver/xdp/tx-queue.js';
import { PacketPool } from '../../../src/hugepage/packet-pool.js';

const OFFSETS = { producer: 0, consumer: 64, flags: 128, descriptors: 192 } as const;
export const SIZE = 64;
export const KERNEL_BYTES = 256;

export interface Rings {
  readonly rx: KernelRing;
  readonly fill: KernelRing;
  readonly tx: KernelRing;
  readonly completion: KernelRing;
}

function ring(wordsPerEntry: number): KernelRing {
  return ringIn(new ArrayBuffer(OFFSETS.descriptors + SIZE * wordsPerEntry * 4), OFFSETS, SIZE);
}

/** What the kernel does with the rings. */
export class KernelSide {
  readonly rings: Rings = { rx: ring(4), fill: ring(2), tx: ring(4), completion: ring(2) };
  readonly pool: PacketPool;
  /** How often it was called. */
  wakeUps = 0;
  /** Frames that a call takes. */
  takes = Number.POSITIVE_INFINITY;
  /** What a call returns after it took what it takes. */
  returns = 0;
  idles = 0;

  constructor(headroomBytes = 64, buffers = 256, debug = false) {
    this.pool = new PacketPool({ buffers, headroomBytes, pageSize: '4K', debug });
    this.rings.tx.words[this.rings.tx.flags] = 1;
  }

  receiver(maxFrameBytes = 1792): XdpRxQueue {
    const { rx, fill } = this.rings;
    const nothing = (): void => {};
    const idle = (): void => {
      this.idles++;
    };
    return new XdpRxQueue({ rx, fill, pool: this.pool, maxFrameBytes, idle, arm: nothing, disarm: nothing });
  }

  sender(): XdpTxQueue {
    const { tx, completion } = this.rings;
    const { pool } = this;
    const wake = (): number => {
      this.wakeUps++;
      this.transmit(this.takes);
      return this.returns;
    };
    return new XdpTxQueue({ tx, completion, pool, minFrameBytes: 14, maxFrameBytes: 1792, wake });
  }

  /** Takes the address of the next free buffer; undefined where there is none. */
  takeFill(): number | undefined {
    const { words, producer, consumer, entries } = this.rings.fill;
    if (words[producer] === words[consumer]) return undefined;
    const at = entries + (words[consumer]! & (SIZE - 1)) * 2;
    words[consumer] = (words[consumer]! + 1) | 0;
    return words[at]! >>> 0;
  }

  /** Says that a frame is at an address; `high` is the address's upper word. */
  tell(low: number, high: number, lengthBytes: number): void {
    const { words, producer, entries } = this.rings.rx;
    words.set([low | 0, high | 0, lengthBytes | 0, 0], entries + (words[producer]! & (SIZE - 1)) * 4);
    words[producer] = (words[producer]! + 1) | 0;
  }

  /** A frame comes. False: there is no buffer for it. */
  arrive(frame: Uint8Array): boolean {
    const address = this.takeFill();
    if (address === undefined) return false;
    this.pool.memory.set(frame, address + KERNEL_BYTES);
    this.tell(address, KERNEL_BYTES << 16, frame.length);
    return true;
  }

  readonly sent: Uint8Array[] = [];

  /** Sends up to a number of frames and reports them. */
  transmit(most: number): void {
    const { words, producer, consumer, entries } = this.rings.tx;
    for (let i = 0; i < most && words[producer] !== words[consumer]; i++) {
      const at = entries + (words[consumer]! & (SIZE - 1)) * 4;
      const address = words[at]! >>> 0;
      this.sent.push(this.pool.memory.slice(address, address + words[at + 2]!));
      words[consumer] = (words[consumer]! + 1) | 0;
      this.complete(address, 0);
    }
  }

  complete(low: number, high: number): void {
    const { words, producer, entries } = this.rings.completion;
    words.set([low | 0, high], entries + (words[producer]! & (SIZE - 1)) * 2);
    words[producer] = (words[producer]! + 1) | 0;
  }
}
