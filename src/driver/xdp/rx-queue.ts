/**
 * Receive side of a socket. The fill ring tells the kernel where free buffers are, the receive ring says which of them
 * hold a frame. Each frame that is handed out is replaced by a free buffer, so that the kernel always has as many as the
 * ring has entries. What the kernel says is checked: an address that it was not given, or an impossible length, is counted
 * and dropped.
 */
import type { NicError } from '../../errors.js';
import { type PacketPool, packetArray } from '../../hugepage/packet-pool.js';
import { PAGE_BYTES } from '../../syscalls/memory.js';
import type { RxQueue, WaitOptions } from '../device.js';
import { PacketWait } from '../packet-wait.js';
import { COUNTERS, COUNTERS_LENGTH } from './counters.js';
import type { KernelRing } from './kernel-ring.js';
import { KERNEL_HEADROOM, RING_NEED_WAKEUP } from './uapi.js';

export interface XdpRxQueueOptions {
  readonly fill: KernelRing;
  readonly rx: KernelRing;
  readonly pool: PacketPool;
  readonly maxFrameBytes: number;
  /** Zero-copy: no buffer may reach into another page, which may lie elsewhere for the hardware. Default: the kernel copies. */
  readonly zeroCopy?: boolean;
  /** The kernel looks for packets only when it is called. Default false. */
  readonly busyPoll?: boolean;
  /** Called when there is nothing to receive: what waits to be sent may need the kernel. */
  readonly idle: () => void;
  /** Has the kernel look at the fill ring. Returns 0 or the negative errno. */
  readonly wake: () => number;
  /** Begins to watch the socket for packets; may be called while it is watched. */
  readonly arm: () => void;
  readonly disarm: () => void;
}

const { PACKETS, BYTES, NO_BUFFER, TOO_LONG, DAMAGED, WAKE_UPS } = COUNTERS;

export class XdpRxQueue implements RxQueue {
  readonly size: number;
  readonly pool: PacketPool;
  readonly counters = new Float64Array(COUNTERS_LENGTH);
  readonly #fill: KernelRing;
  readonly #rx: KernelRing;
  readonly #mask: number;
  readonly #maxFrameBytes: number;
  readonly #idle: () => void;
  readonly #wake: () => number;
  readonly #wait: PacketWait;
  /** 1 where the kernel may write to the buffer. */
  readonly #armed: Uint8Array;
  /** Offset of a buffer's address in the fill ring from where the buffer begins, in bytes; may be negative. */
  readonly #fillOffset: number;
  /** Buffers whose index has none of these bits are told as they begin, and their frames come `#shift` bytes behind their place. */
  readonly #shiftedMask: number;
  readonly #shift: number;
  readonly #busyPoll: boolean;
  #produced = 0;
  #consumed = 0;
  /** Buffers that were put in place of those that the kernel named wrongly. */
  #doubtful = 0;
  #closed: NicError | undefined;

  constructor(options: XdpRxQueueOptions) {
    const { fill, rx, pool, maxFrameBytes, zeroCopy = false, busyPoll = false } = options;
    const { idle, wake, arm, disarm } = options;
    this.size = rx.size;
    this.pool = pool;
    this.#fill = fill;
    this.#rx = rx;
    this.#mask = rx.size - 1;
    this.#maxFrameBytes = maxFrameBytes;
    this.#idle = idle;
    this.#wake = wake;
    this.#armed = new Uint8Array(pool.capacity);
    // The kernel puts a frame 256 bytes behind the address. A larger headroom it was told (see `umemHeadroom`).
    this.#fillOffset = Math.min(0, pool.headroomBytes - KERNEL_HEADROOM);
    this.#shift = -this.#fillOffset;
    // Buffer 0 has no memory in front of it; with zero-copy the first of each page has none that is sure to be next to it.
    this.#shiftedMask = zeroCopy ? Math.max(1, PAGE_BYTES >> pool.bufferShift) - 1 : -1;
    this.#busyPoll = busyPoll;
    this.#wait = new PacketWait({ pending: () => this.pending, arm, disarm });
    for (let i = 0; i < this.size; i++) {
      const buffer = this.#free();
      if (buffer < 0) break;
      this.#arm(buffer);
    }
    this.#publish();
  }

  get pending(): boolean {
    return this.#closed === undefined && this.#rx.words[this.#rx.producer] !== this.#consumed;
  }

  receive(bufs: Uint32Array, max?: number): number {
    const { length } = packetArray(bufs);
    if (this.#closed !== undefined) throw this.#closed;
    const limit = max !== undefined && max < length ? max : length;
    const { words, producer, consumer, entries } = this.#rx;
    let consumed = this.#consumed;
    const ready = (words[producer]! - consumed) >>> 0;
    if (ready === 0) {
      if (this.#busyPoll) this.#call();
      else this.#wakeFill();
      this.#idle();
      return 0;
    }
    // A producer that is out of range means entries that were there before: each is checked.
    const looks = ready < this.size ? ready : this.size;
    // All in locals: read anew for each packet, fields of the class cost more than half of the loop.
    const { pool, counters } = this;
    const { free, freeLevel, lengths, bufferShift, headroomBytes } = pool;
    const { words: fillWords, entries: fillEntries } = this.#fill;
    const armed = this.#armed;
    const mask = this.#mask;
    const maxFrameBytes = this.#maxFrameBytes;
    const shiftedMask = this.#shiftedMask;
    const shift = this.#shift;
    const fillOffset = this.#fillOffset;
    let freeCount = freeLevel[0]!;
    let produced = this.#produced;
    let received = 0;
    let bytes = 0;
    for (let looked = 0; looked < looks && received < limit; looked++) {
      if (freeCount === 0) {
        counters[NO_BUFFER]! += 1;
        break;
      }
      const at = entries + ((consumed & mask) << 2);
      consumed = (consumed + 1) | 0;
      // In unaligned mode the high 16 bits are an offset to the rest.
      const high = words[at + 1]!;
      const place = (words[at]! >>> 0) + (high >>> 16) - headroomBytes;
      const buffer = place >>> bufferShift;
      const start = (buffer << bufferShift) >>> 0;
      const moved = (buffer & shiftedMask) === 0 ? shift : 0;
      const lengthBytes = words[at + 2]! >>> 0;
      const isOurs = (high & 0xffff) === 0 && place === start + moved && armed[buffer] === 1;
      if (!isOurs || lengthBytes === 0 || lengthBytes > maxFrameBytes) {
        freeLevel[0] = freeCount;
        this.#produced = produced;
        this.#refuse(isOurs ? buffer : -1, lengthBytes);
        freeCount = freeLevel[0];
        produced = this.#produced;
        continue;
      }
      if (moved !== 0) pool.frames.copyWithin(start, place, place + lengthBytes);
      armed[buffer] = 0;
      lengths[buffer] = lengthBytes;
      bytes += lengthBytes;
      bufs[received++] = buffer;
      // Another in its place: as `#arm`.
      const next = free[--freeCount]!;
      const to = fillEntries + ((produced & mask) << 1);
      const nextStart = next << bufferShift;
      fillWords[to] = (next & shiftedMask) === 0 ? nextStart : nextStart + fillOffset;
      fillWords[to + 1] = 0;
      armed[next] = 1;
      produced = (produced + 1) | 0;
    }
    freeLevel[0] = freeCount;
    this.#produced = produced;
    this.#consumed = consumed;
    words[consumer] = consumed;
    this.#publish();
    pool.owners?.taken(bufs, received);
    counters[PACKETS]! += received;
    counters[BYTES]! += bytes;
    return received;
  }

  wait(options: WaitOptions = {}): Promise<boolean> {
    return this.#wait.wait(options);
  }

  /** The socket can be read, or has an error. */
  readable(): void {
    this.#wait.wake();
  }

  /** Ends all waits: the interface is gone. */
  end(why: Error): void {
    this.#wait.close(why);
  }

  /** Gives every buffer back. The socket must be closed. */
  close(why: NicError): void {
    if (this.#closed !== undefined) return;
    this.#closed = why;
    const { pool } = this;
    for (const [buffer, armed] of this.#armed.entries()) {
      if (armed === 1) pool.free[pool.freeCount++] = buffer;
    }
    this.#wait.close(why);
  }

  /**
   * Counts an entry that holds no good frame, and gives the kernel a buffer for it.
   * @param buffer -1 where the entry names none that the kernel has
   */
  #refuse(buffer: number, lengthBytes: number): void {
    const { counters } = this;
    counters[buffer < 0 || lengthBytes === 0 ? DAMAGED : TOO_LONG]! += 1;
    if (buffer < 0) this.#replaceDoubtful();
    else this.#arm(buffer);
  }

  /**
   * The kernel named a buffer that it does not have. Which one it is done with nobody knows: all stay its own until the
   * end, and it gets another, as often as the ring has entries. The fill ring may be full by then, so that is asked.
   */
  #replaceDoubtful(): void {
    const waiting = (this.#produced - this.#fill.words[this.#fill.consumer]!) >>> 0;
    if (this.#doubtful++ < this.size && waiting < this.size) this.#arm(this.#free());
  }

  /** A free buffer, -1 where there is none. */
  #free(): number {
    const { pool } = this;
    const count = pool.freeCount;
    if (count === 0) return -1;
    pool.freeCount = count - 1;
    return pool.free[count - 1]!;
  }

  /** Puts a buffer into the fill ring; `#publish` tells the kernel. */
  #arm(buffer: number): void {
    const { words, entries } = this.#fill;
    const at = entries + ((this.#produced & this.#mask) << 1);
    const start = buffer << this.pool.bufferShift;
    words[at] = (buffer & this.#shiftedMask) === 0 ? start : start + this.#fillOffset;
    words[at + 1] = 0;
    this.#armed[buffer] = 1;
    this.#produced = (this.#produced + 1) | 0;
  }

  #publish(): void {
    // The store must be seen before the flag is looked at, or both sides would wait.
    Atomics.store(this.#fill.words, this.#fill.producer, this.#produced);
    this.#wakeFill();
  }

  /** Calls the kernel where it ran out of buffers and sleeps until it is told of new ones. Copy mode never asks for that. */
  #wakeFill(): void {
    const { words, flags } = this.#fill;
    if ((words[flags]! & RING_NEED_WAKEUP) !== 0) this.#call();
  }

  #call(): void {
    this.counters[WAKE_UPS]! += 1;
    this.#wake();
  }
}
