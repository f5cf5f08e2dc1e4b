/**
 * The loops that put packets on a split ring and take buffers back. Factories for `instantiate`: they use nothing of their
 * module but types, and what they capture becomes constants of the compiled code.
 */
import type { Doorbell } from '../register-file.js';
import type { Layout } from './layout.js';

/** What the loops work on. */
export interface TxLoop {
  readonly descriptors: Int32Array;
  readonly avail: Uint16Array;
  readonly used: Int32Array;
  readonly usedHead: Uint16Array;
  readonly notify: Doorbell;
  /** Number of the queue: what is written to notify. */
  readonly queue: number;
  /** Buffer index of each descriptor; -1 where the device has none. */
  readonly slots: Int32Array;
  /** Stack of free descriptors. */
  readonly freeIds: Int32Array;
  readonly state: Int32Array;
  readonly counters: Float64Array;
  /** The pool's memory as words, for headers. */
  readonly words: Int32Array;
  /** In `words`: the header in front of buffer 0's frame. */
  readonly headerWord: number;
  /** Of the pool. */
  readonly free: Int32Array;
  readonly freeLevel: Int32Array;
  readonly lengths: Uint16Array;
  readonly capacity: number;
  readonly size: number;
  readonly shift: number;
  /** I/O address of the header in front of buffer 0's frame. */
  readonly headerIovaLow: number;
  /** Shortest frame, and how much longer the longest is. */
  readonly minBytes: number;
  readonly spanBytes: number;
  readonly reclaim: () => void;
  /** The device said what cannot be. */
  readonly lied: () => void;
  readonly check: (bufs: Uint32Array) => Uint32Array;
  /** Goes on where the loop met what is no usual call, or a packet that no hardware can send: `sent` are queued. */
  readonly sendRest: (bufs: Uint32Array, count: number, start: number | undefined, sent: number) => number;
}

export function makeReclaim(
  layout: Layout,
  loop: Omit<TxLoop, 'reclaim' | 'check' | 'sendRest'>,
): () => void {
  var { used, usedHead, slots, freeIds, state, free, freeLevel, size, lied } = loop;
  var { NEXT, FREE, IDX_HALF, RING_WORD, IDX_MASK } = layout;
  var mask = size - 1;
  return function reclaim(): void {
    let next = state[NEXT]!;
    let done = (usedHead[IDX_HALF]! - next) & IDX_MASK;
    let idle = state[FREE]!;
    // Index and ids are the device's: a descriptor that it does not have is not free because it says so.
    if (done > size - idle) {
      lied();
      return;
    }
    let freeCount = freeLevel[0]!;
    let lies = 0;
    for (; done > 0; done--) {
      const id = used[((next & mask) << 1) + RING_WORD]!;
      next = (next + 1) & IDX_MASK;
      const buffer = id >>> 0 < size ? slots[id]! : -1;
      if (buffer < 0) {
        lies = (lies + 1) | 0;
        continue;
      }
      slots[id] = -1;
      freeIds[idle] = id;
      idle = (idle + 1) | 0;
      free[freeCount] = buffer;
      freeCount = (freeCount + 1) | 0;
    }
    state[NEXT] = next;
    state[FREE] = idle;
    freeLevel[0] = freeCount;
    if (lies > 0) lied();
  };
}

export function makeSend(
  layout: Layout,
  loop: TxLoop,
): (bufs: Uint32Array, count: number, start?: number) => number {
  // `var`: at every use of an outer function's `const` the engine checks that it has a value.
  var { descriptors, avail, usedHead, notify, queue, slots, freeIds, state, counters, words, headerWord } =
    loop;
  var { lengths, capacity, size, shift, headerIovaLow, minBytes, spanBytes, reclaim, check, sendRest } = loop;
  var { NEXT, AVAIL, FREE, FENCE, PACKETS, BYTES, WORD_SHIFT, LENGTH, IDX_HALF, RING_HALF } = layout;
  var { FLAGS_HALF, NO_NOTIFY, IDX_MASK, HEADER_BYTES } = layout;
  var mask = size - 1;
  /** The array of the last call, which was checked: a comparison costs less than looking at its class each time. */
  var known: Uint32Array = new Uint32Array(0);
  return function send(bufs: Uint32Array, count: number, start?: number): number {
    if (bufs !== known) known = check(bufs);
    if (count >>> 0 !== count || count > bufs.length || start !== undefined) {
      return sendRest(bufs, count, start, 0);
    }
    if (usedHead[IDX_HALF]! !== state[NEXT]!) reclaim();
    const idle = state[FREE]!;
    const fill = state[AVAIL]!;
    let limit = count;
    if (idle < limit) limit = idle;
    let bytes = 0;
    let sent = 0;
    while (sent < limit) {
      const buffer = bufs[sent]!;
      if (buffer >= capacity) break;
      const length = lengths[buffer]!;
      if ((length - minBytes) >>> 0 > spanBytes) break;
      const id = freeIds[idle - 1 - sent]!;
      const at = buffer << shift;
      // A received frame's header may be there. All zeros asks for nothing.
      const header = headerWord + (at >>> 2);
      words[header] = 0;
      words[header + 1] = 0;
      words[header + 2] = 0;
      const word = id << WORD_SHIFT;
      descriptors[word] = (headerIovaLow + at) | 0;
      descriptors[word + LENGTH] = length + HEADER_BYTES;
      slots[id] = buffer;
      avail[((fill + sent) & mask) + RING_HALF] = id;
      bytes = (bytes + length) | 0;
      sent = (sent + 1) | 0;
    }
    if (sent > 0) {
      state[FREE] = idle - sent;
      state[AVAIL] = (fill + sent) & IDX_MASK;
      // 2.7.13: descriptors and ids first, then idx; x86 keeps the order of stores.
      avail[IDX_HALF] = (fill + sent) & IDX_MASK;
      counters[PACKETS]! += sent;
      counters[BYTES]! += bytes;
      // 2.7.13.4.1: without a fence x86 may read the flags before idx is visible, and both sides would wait.
      Atomics.store(state, FENCE, 0);
      if ((usedHead[FLAGS_HALF]! & NO_NOTIFY) === 0) notify[0] = queue;
    }
    return sent < limit ? sendRest(bufs, count, start, sent) : sent;
  };
}
