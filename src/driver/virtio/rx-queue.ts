/**
 * Receive queue on a split ring (VIRTIO 1.2, 2.7 and 5.1.6.3). Descriptor i holds buffer `slots[i]`, header first, always
 * as one piece. It is one byte longer than the longest frame: a frame that does not fit shows by its length, and with
 * MRG_RXBUF goes on in the next buffers, which are dropped with it (5.1.6.4). The byte behind a buffer's end is headroom of
 * the next. A received descriptor gives its buffer to the application, takes a free one and goes back to the device in
 * the same call, so all descriptors are always with the device. Which descriptor is done the device says: ids, lengths and
 * index are checked.
 */
import { NicError } from '../../errors.js';
import { type PacketPool, packetArray } from '../../hugepage/packet-pool.js';
import type { RxQueue, WaitOptions } from '../device.js';
import { instantiate, STATE_LENGTH } from '../instantiate.js';
import { PacketWait } from '../packet-wait.js';
import type { Doorbell } from '../register-file.js';
import { LAYOUT, newState, type SplitRing } from './layout.js';
import { AVAIL_NO_INTERRUPT, DESC_WRITE, NET_HEADER_BYTES, NET_NUM_BUFFERS } from './registers.js';
import { makeReceive, type RxLoop } from './rx-loop.js';

export interface VirtioRxQueueOptions {
  readonly ring: SplitRing;
  /** Number of the virtqueue, and where it is notified. */
  readonly queue: number;
  readonly notify: Doorbell;
  readonly pool: PacketPool;
  readonly maxFrameBytes: number;
  readonly hasInterrupt: boolean;
  /** Whether MRG_RXBUF was accepted. */
  readonly merges: boolean;
  /** The device did what no device may; nothing more is received. */
  readonly onLie: (what: string) => void;
}

const { NEXT, AVAIL, CALL, FENCE, SKIP, PACKETS, BYTES, NO_BUFFER, TOO_LONG, DAMAGED } = LAYOUT;
const { IDX_HALF, FLAGS_HALF, RING_HALF, RING_WORD, IDX_MASK, WORD_SHIFT, NO_NOTIFY } = LAYOUT;
/** Position in a closed ring whose idx is 0: ahead by more elements than any ring has. */
const SEALED = 0x8000;

export class VirtioRxQueue implements RxQueue {
  readonly size: number;
  readonly pool: PacketPool;
  /** Float64 slots: adding to them never allocates, however high they count. Elements as in LAYOUT. */
  readonly counters = new Float64Array(STATE_LENGTH);
  /** A function of its own for each queue: see instantiate.ts. */
  readonly receive: RxQueue['receive'];
  readonly #loop: RxLoop;
  readonly #wait: PacketWait;
  readonly #onLie: (what: string) => void;
  readonly #merges: boolean;
  #isBroken = false;
  #closed: NicError | undefined;

  /**
   * Takes a buffer for each descriptor from the pool.
   * @throws NicError `BAD_OPTION` where it has fewer: another device took them since the options were checked
   */
  constructor(options: VirtioRxQueueOptions) {
    const { ring, pool, maxFrameBytes, hasInterrupt } = options;
    const { size } = ring;
    this.size = size;
    this.pool = pool;
    this.#onLie = options.onLie;
    this.#merges = options.merges;
    if (pool.freeCount < size) {
      throw new NicError(
        'BAD_OPTION',
        `A receive ring needs ${size} buffers and the pool has ${pool.freeCount} free`,
        { hint: 'Make the pool larger: the receive and transmit rings of all devices, and some in flight.' },
      );
    }
    this.#loop = {
      descriptors: ring.descriptors,
      avail: ring.avail,
      used: ring.used,
      usedHead: ring.usedHead,
      notify: options.notify,
      queue: options.queue,
      slots: new Int32Array(size),
      calls: new Int32Array(size),
      state: newState(),
      counters: this.counters,
      free: pool.free,
      freeLevel: pool.freeLevel,
      lengths: pool.lengths,
      size,
      shift: pool.bufferShift,
      maxBytes: maxFrameBytes,
      headerIovaLow: (pool.frameIovaLow - NET_HEADER_BYTES) | 0,
      receiveRest: (bufs, limit, received) => this.#receiveRest(bufs, limit, received),
      check: packetArray,
    };
    this.#fill(pool.iovaHigh | 0);
    const { avail, state } = this.#loop;
    this.#wait = new PacketWait({
      pending: () => this.pending,
      arm: hasInterrupt
        ? () => {
            avail[FLAGS_HALF] = 0;
            // 2.7.7: the waiter looks at the ring once more, and must not do so before the flag is visible.
            Atomics.store(state, FENCE, 0);
          }
        : undefined,
      disarm: hasInterrupt
        ? () => {
            avail[FLAGS_HALF] = AVAIL_NO_INTERRUPT;
          }
        : undefined,
    });
    const receive = instantiate(makeReceive, LAYOUT, this.#loop) as RxQueue['receive'];
    const { owners } = pool;
    this.receive =
      owners === undefined
        ? receive
        : (bufs, max) => {
            const received = receive(bufs, max);
            owners.taken(bufs, received);
            return received;
          };
  }

  /** The device runs: it is told of the buffers. */
  start(): void {
    this.#loop.notify[0] = this.#loop.queue;
  }

  get pending(): boolean {
    const { usedHead, state } = this.#loop;
    return usedHead[IDX_HALF] !== state[NEXT] && this.#closed === undefined && !this.#isBroken;
  }

  wait(options: WaitOptions = {}): Promise<boolean> {
    return this.#wait.wait(options);
  }

  /** The queue's interrupt came. */
  interrupted(): void {
    this.#wait.wake();
  }

  /** No interrupt will come. Ends all waits, also those to come, with this error. */
  end(why: Error): void {
    this.#wait.close(why);
  }

  /**
   * Gives every buffer back to the pool and ends all waits. The device must have stopped.
   * @param why thrown by `receive` and `wait` from now on
   */
  close(why: NicError): void {
    if (this.#closed !== undefined) return;
    this.#closed = why;
    for (const buffer of this.#loop.slots) this.pool.free[this.pool.freeCount++] = buffer;
    this.sealRing();
    this.#wait.close(why);
  }

  /**
   * Makes the ring look as if the device had run ahead, so that `receive`, also one that was kept from before, goes the
   * long way, which throws. Once more after the ring's memory was replaced by zero pages.
   */
  sealRing(): void {
    const { usedHead, state } = this.#loop;
    usedHead[IDX_HALF] = 0;
    state[NEXT] = SEALED;
  }

  #fill(iovaHigh: number): void {
    const { pool, size } = this;
    const { descriptors, avail, slots, state, shift, headerIovaLow, maxBytes } = this.#loop;
    for (let id = 0; id < size; id++) {
      const buffer = pool.free[--pool.freeCount]!;
      slots[id] = buffer;
      descriptors.set(
        [(headerIovaLow + (buffer << shift)) | 0, iovaHigh, NET_HEADER_BYTES + maxBytes + 1, DESC_WRITE],
        id << WORD_SHIFT,
      );
      avail[id + RING_HALF] = id;
    }
    state[AVAIL] = size & IDX_MASK;
    avail[IDX_HALF] = size & IDX_MASK;
    avail[FLAGS_HALF] = AVAIL_NO_INTERRUPT;
  }

  /**
   * Goes on where the packet loop met an element that is no good frame, an empty pool, or an index that cannot be. Then
   * tells the device of what it got back. `before` packets are in `bufs`.
   */
  #receiveRest(bufs: Uint32Array, limit: number, before: number): number {
    if (this.#closed !== undefined) throw this.#closed;
    const { avail, used, usedHead, notify, queue, slots, calls, state, size, lengths } = this.#loop;
    const { pool, counters } = this;
    const mask = size - 1;
    let received = before;
    let next = state[NEXT]!;
    const ready = this.#isBroken ? 0 : (usedHead[IDX_HALF]! - next) & IDX_MASK;
    if (ready > size) {
      this.#break(`it has used ${ready} of ${size} buffers`);
      return received;
    }
    for (let left = ready; left > 0 && received < limit; left--) {
      const element = ((next & mask) << 1) + RING_WORD;
      const id = used[element]! >>> 0;
      const lengthBytes = used[element + 1]! - NET_HEADER_BYTES;
      if (id >= size || calls[id] === state[CALL]) {
        // A buffer that the device does not have. Which one it is done with nobody knows: it has all of them still.
        counters[DAMAGED]! += 1;
      } else if (state[SKIP]! > 0) {
        state[SKIP]! -= 1;
        this.#giveBack(id, slots[id]!);
      } else if (lengthBytes <= 0 || lengthBytes > this.#loop.maxBytes) {
        this.#drop(slots[id]!, lengthBytes);
        this.#giveBack(id, slots[id]!);
      } else {
        if (pool.freeCount === 0) {
          counters[NO_BUFFER]! += 1;
          break;
        }
        const buffer = slots[id]!;
        this.#giveBack(id, pool.free[--pool.freeCount]!);
        lengths[buffer] = lengthBytes;
        counters[PACKETS]! += 1;
        counters[BYTES]! += lengthBytes;
        bufs[received++] = buffer;
      }
      next = (next + 1) & IDX_MASK;
    }
    state[NEXT] = next;
    if (avail[IDX_HALF] !== state[AVAIL]) {
      avail[IDX_HALF] = state[AVAIL]!;
      // As in the packet loop.
      Atomics.store(state, FENCE, 0);
      if ((usedHead[FLAGS_HALF]! & NO_NOTIFY) === 0) notify[0] = queue;
    }
    return received;
  }

  /** Counts what is no good frame, and notes how many more buffers it fills. */
  #drop(buffer: number, lengthBytes: number): void {
    const { state, size, maxBytes } = this.#loop;
    const { memory, bufferShift, headroomBytes } = this.pool;
    if (lengthBytes !== maxBytes + 1) {
      this.counters[DAMAGED]! += 1;
      return;
    }
    this.counters[TOO_LONG]! += 1;
    if (!this.#merges) return;
    const at = (buffer << bufferShift) + headroomBytes - NET_HEADER_BYTES + NET_NUM_BUFFERS;
    const buffers = memory[at]! | (memory[at + 1]! << 8);
    // The device's word: more than it can have are none.
    state[SKIP] = buffers >= 1 && buffers <= size ? buffers - 1 : 0;
  }

  #giveBack(id: number, buffer: number): void {
    const { descriptors, avail, slots, calls, state, size, shift, headerIovaLow } = this.#loop;
    slots[id] = buffer;
    calls[id] = state[CALL]!;
    descriptors[id << WORD_SHIFT] = (headerIovaLow + (buffer << shift)) | 0;
    avail[(state[AVAIL]! & (size - 1)) + RING_HALF] = id;
    state[AVAIL] = (state[AVAIL]! + 1) & IDX_MASK;
  }

  #break(what: string): void {
    this.#isBroken = true;
    this.counters[DAMAGED]! += 1;
    this.#onLie(`receive queue ${this.#loop.queue}: ${what}`);
  }
}
