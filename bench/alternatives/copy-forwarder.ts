/** Receive, touch, send, with or without a copy of each packet between. */
import type { RxQueue, TxQueue } from '../../src/driver/device.js';
import type { PacketPool } from '../../src/hugepage/packet-pool.js';

export const BATCH = 32;
/** Up to here a loop over words copies faster than a call does. */
const LOOP_LIMIT_BYTES = 128;

/** What `Forwarder` does, and a copy where that looks at a packet. */
export class CopyForwarder {
  readonly #rx: RxQueue;
  readonly #tx: TxQueue;
  readonly #pool: PacketPool;
  readonly #words: Int32Array;
  readonly #targets: Uint32Array;
  readonly #copies: boolean;
  readonly #bufs = new Uint32Array(BATCH);
  #target = 0;
  /** Packets of the last batch that had any. */
  #last = 0;

  /** @param targets where to copy to, a power of two of them; undefined: nowhere */
  constructor(rx: RxQueue, tx: TxQueue, pool: PacketPool, targets: Uint32Array | undefined) {
    this.#rx = rx;
    this.#tx = tx;
    this.#pool = pool;
    this.#words = new Int32Array(pool.memory.buffer, pool.memory.byteOffset, pool.memory.length >>> 2);
    this.#copies = targets !== undefined;
    this.#targets = targets ?? new Uint32Array(1);
  }

  poll(): void {
    const bufs = this.#bufs;
    const received = this.#rx.receive(bufs);
    if (received === 0) return;
    if (this.#copies) this.#copy(received);
    touch(this.#pool, bufs, received);
    this.#last = received;
    const sent = this.#tx.send(bufs, received);
    if (sent < received) throw new Error(`${received - sent} packets found no room`);
  }

  #copy(count: number): void {
    const { bufferShift, lengths, memory } = this.#pool;
    const bufs = this.#bufs;
    const words = this.#words;
    const targets = this.#targets;
    const mask = targets.length - 1;
    let next = this.#target;
    for (let i = 0; i < count; i++) {
      const buf = bufs[i]!;
      const length = lengths[buf]!;
      const from = buf << bufferShift;
      const to = targets[next]! << bufferShift;
      if (length > LOOP_LIMIT_BYTES) {
        memory.copyWithin(to, from, from + length);
      } else {
        const end = (from + length + 3) >>> 2;
        let target = to >>> 2;
        for (let source = from >>> 2; source < end; source++) words[target++] = words[source]!;
      }
      next = (next + 1) & mask;
    }
    this.#target = next;
  }

  /** The last batch's copies are what was sent. @throws Error where they are not */
  check(): void {
    if (!this.#copies || this.#last === 0) return;
    const { bufferShift, lengths, memory } = this.#pool;
    for (let i = 0; i < this.#last; i++) {
      const buf = this.#bufs[i]!;
      const at = (this.#target - this.#last + i) & (this.#targets.length - 1);
      const from = buf << bufferShift;
      const to = this.#targets[at]! << bufferShift;
      for (let byte = 0; byte < lengths[buf]!; byte++) {
        if (memory[from + byte] !== memory[to + byte]) throw new Error(`copy ${i} differs at byte ${byte}`);
      }
    }
  }
}

function touch(pool: PacketPool, bufs: Uint32Array, count: number): void {
  const { memory, bufferShift } = pool;
  for (let i = 0; i < count; i++) {
    const first = bufs[i]! << bufferShift;
    memory[first] = memory[first]!;
  }
}
