/**
 * Receive ring of the MU-5. Every slot has a descriptor with a buffer; one that is done gives its buffer to the
 * application, and a free one takes its place. Which buffer is done the card says, so each is checked.
 */
import type { RxQueue, WaitOptions } from '../../../src/driver/device.js';
import { PacketWait } from '../../../src/driver/packet-wait.js';
import type { NicError } from '../../../src/errors.js';
import { type PacketPool, packetArray } from '../../../src/hugepage/packet-pool.js';
import * as reg from './registers.js';

export interface MadeUpRxQueueOptions {
  /** Two words a descriptor. */
  readonly ring: Int32Array;
  readonly pool: PacketPool;
  readonly maxFrameBytes: number;
  /** Tells the card of new descriptors. */
  readonly kick: () => void;
  readonly arm: () => void;
  readonly disarm: () => void;
}

export class MadeUpRxQueue implements RxQueue {
  readonly size: number;
  readonly pool: PacketPool;
  readonly counters = { packets: 0, bytes: 0, tooLong: 0, damaged: 0, noBuffer: 0 };
  readonly #options: MadeUpRxQueueOptions;
  /** The pool's memory as words, for headers. */
  readonly #words: Int32Array;
  /** 1 where the card may write to the buffer. */
  readonly #armed: Uint8Array;
  readonly #wait: PacketWait;
  /** Buffers that the card was told a falsehood about: it has them until the end. */
  #doubtful = 0;
  #next = 0;
  #closed: NicError | undefined;

  constructor(options: MadeUpRxQueueOptions) {
    const { ring, pool, arm, disarm } = options;
    this.#options = options;
    this.size = ring.length / reg.DESCRIPTOR_WORDS;
    this.pool = pool;
    this.#words = new Int32Array(pool.memory.buffer, pool.memory.byteOffset, pool.memory.length / 4);
    this.#armed = new Uint8Array(pool.capacity);
    this.#wait = new PacketWait({ pending: () => this.pending, arm, disarm });
    for (let slot = 0; slot < this.size; slot++) this.#arm(slot, pool.free[--pool.freeCount]!);
  }

  get pending(): boolean {
    return (this.#flags() & reg.DONE) !== 0 && this.#closed === undefined;
  }

  receive(bufs: Uint32Array, max?: number): number {
    const { length } = packetArray(bufs);
    if (this.#closed !== undefined) throw this.#closed;
    const limit = max !== undefined && max < length ? max : length;
    const { pool, counters } = this;
    let received = 0;
    // A card that fills descriptors as fast as they are read would keep it here for ever.
    for (let looked = 0; received < limit && looked < this.size && this.pending; looked++) {
      if (pool.freeCount === 0) {
        counters.noBuffer++;
        break;
      }
      const buffer = this.#take();
      if (buffer >= 0) bufs[received++] = buffer;
    }
    pool.owners?.taken(bufs, received);
    counters.packets += received;
    for (let i = 0; i < received; i++) counters.bytes += pool.lengths[bufs[i]!]!;
    this.#options.kick();
    return received;
  }

  wait(options: WaitOptions = {}): Promise<boolean> {
    return this.#wait.wait(options);
  }

  interrupted(): void {
    this.#wait.wake();
  }

  /** Ends all waits: the card is gone. */
  end(why: Error): void {
    this.#wait.close(why);
  }

  /** Gives every buffer back. The card must have stopped. */
  close(why: NicError): void {
    if (this.#closed !== undefined) return;
    this.#closed = why;
    const { pool } = this;
    for (const [buffer, armed] of this.#armed.entries())
      if (armed === 1) pool.free[pool.freeCount++] = buffer;
    this.#wait.close(why);
  }

  /** The next packet's buffer, with its length noted; -1 where the descriptor held no good packet. */
  #take(): number {
    const { pool, counters } = this;
    const at = this.#next * reg.DESCRIPTOR_WORDS;
    const buffer = this.#options.ring[at]! >>> 0;
    const flags = this.#flags();
    const lengthBytes = (flags & reg.LENGTH_MASK) - reg.HEADER_BYTES;
    if (this.#armed[buffer] !== 1) {
      counters.damaged++;
      this.#replaceDoubtful();
      return -1;
    }
    const frameAt = ((buffer << pool.bufferShift) + pool.headroomBytes) / 4;
    const header = frameAt - reg.HEADER_BYTES / 4;
    const fits = lengthBytes > 0 && lengthBytes <= this.#options.maxFrameBytes;
    const agrees = this.#words[header] === reg.KIND_RX && this.#words[header + 1] === lengthBytes;
    if ((flags & (reg.DAMAGED | reg.CUT)) !== 0 || !fits || !agrees) {
      if ((flags & reg.DAMAGED) === 0 && (flags & reg.CUT) !== 0) counters.tooLong++;
      else counters.damaged++;
      this.#arm(this.#advance(), buffer);
      return -1;
    }
    this.#armed[buffer] = 0;
    pool.lengths[buffer] = lengthBytes;
    this.#arm(this.#advance(), pool.free[--pool.freeCount]!);
    return buffer;
  }

  /**
   * The card named a buffer that it does not have. Which one it is done with nobody knows, so all stay its own, and the
   * slot gets one more: as often as the ring has slots; a card that goes on like that gets none.
   */
  #replaceDoubtful(): void {
    const { pool } = this;
    const slot = this.#advance();
    if (this.#doubtful++ < this.size) this.#arm(slot, pool.free[--pool.freeCount]!);
    else this.#options.ring[slot * reg.DESCRIPTOR_WORDS + 1] = 0;
  }

  #advance(): number {
    const slot = this.#next;
    this.#next = slot + 1 === this.size ? 0 : slot + 1;
    return slot;
  }

  #flags(): number {
    return this.#options.ring[this.#next * reg.DESCRIPTOR_WORDS + 1]!;
  }

  #arm(slot: number, buffer: number): void {
    const { ring, maxFrameBytes } = this.#options;
    this.#armed[buffer] = 1;
    ring[slot * reg.DESCRIPTOR_WORDS] = buffer;
    ring[slot * reg.DESCRIPTOR_WORDS + 1] = reg.OWNED | (maxFrameBytes + reg.HEADER_BYTES);
  }
}
