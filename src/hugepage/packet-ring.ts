/**
 * A ring of packets between two threads of a process: one puts in, one takes out, nobody locks. It lies in shared memory,
 * as 32-bit words:
 *
 *     TAIL      number of packets that were ever put in, modulo 2^32; written by the producer
 *     HEAD      number that were ever taken out; written by the consumer
 *     CLOSED    1 when one of the two ends is gone
 *     WAITING   1 while the consumer sleeps; WAKE is what it sleeps on
 *     ENTRIES   two words for each packet: its buffer's index and its length
 *
 * Head, tail and the words of the sleep lie 128 bytes apart: a store to one does not take the others' cache lines (pairs
 * of them are fetched together) from the other core. The length travels with the index, so no thread reads another's
 * `lengths`. Both sides see the entries before the number that tells of them: x86 keeps the order of stores.
 */
import { types } from 'node:util';
import { NicError } from '../errors.js';
import { integerOption } from '../options.js';
import { checkRange, packetArray } from './packet-arrays.js';

export const RING = { TAIL: 0, HEAD: 32, CLOSED: 64, WAITING: 96, WAKE: 97, ENTRIES: 128 } as const;
export const RING_SIZE = { min: 2, max: 65_536, powerOfTwo: true } as const;

/** What both sides know of the buffers that pass. */
export interface RingPool {
  /** Length of each packet, of this thread. */
  readonly lengths: Uint16Array;
  /** Which thread has each buffer (see pool-slices.ts), and this thread's number there. */
  readonly holders: Uint16Array;
  readonly holder: number;
}

/** Words of a new, empty ring. @throws NicError `BAD_OPTION` */
export function newRing(size: number): Int32Array {
  integerOption('size', size, RING_SIZE);
  return new Int32Array(new SharedArrayBuffer(4 * (RING.ENTRIES + 2 * size)));
}

function maskOf(words: Int32Array): number {
  return ((words.length - RING.ENTRIES) >>> 1) - 1;
}

/** Packets in the ring. */
export function ringLevel(words: Int32Array): number {
  return (Atomics.load(words, RING.TAIL) - Atomics.load(words, RING.HEAD)) | 0;
}

/** Buffers that are in the ring at this moment. */
export function buffersIn(words: Int32Array): number[] {
  const mask = maskOf(words);
  const head = Atomics.load(words, RING.HEAD);
  const buffers: number[] = [];
  for (let i = 0; i < ringLevel(words); i++) buffers.push(words[RING.ENTRIES + 2 * ((head + i) & mask)]!);
  return buffers;
}

/** The end that puts in. */
export class RingProducer {
  readonly size: number;
  readonly #words: Int32Array;
  readonly #lengths: Uint16Array;
  readonly #mask: number;
  readonly #limit: number;
  /** What HEAD was when it was read last: it is read again when there seems to be too little room. */
  #head: number;

  constructor(words: Int32Array, { lengths }: Pick<RingPool, 'lengths'>) {
    this.#words = words;
    this.#lengths = lengths;
    this.#mask = maskOf(words);
    this.size = this.#mask + 1;
    this.#limit = lengths.length;
    this.#head = words[RING.HEAD]!;
  }

  /** Puts packets in and returns how many found room; none where the other end is gone. Those are the other thread's. */
  put(bufs: Uint32Array, count: number, start = 0): number {
    checkRange(bufs, count, start);
    const words = this.#words;
    const lengths = this.#lengths;
    const mask = this.#mask;
    if (words[RING.CLOSED] !== 0) return 0;
    const tail = words[RING.TAIL]!;
    let room = this.size - ((tail - this.#head) | 0);
    if (room < count) {
      this.#head = words[RING.HEAD]!;
      room = this.size - ((tail - this.#head) | 0);
    }
    const taken = count < room ? count : room;
    for (let i = 0; i < taken; i++) {
      const buffer = bufs[start + i]!;
      if (buffer >= this.#limit) throw foreign(buffer, this.#limit);
      const at = RING.ENTRIES + 2 * ((tail + i) & mask);
      words[at] = buffer;
      words[at + 1] = lengths[buffer]!;
    }
    if (taken === 0) return 0;
    // A locked store, once for all packets: the look at WAITING must not come before it, or a sleeper would be missed.
    Atomics.store(words, RING.TAIL, (tail + taken) | 0);
    if (words[RING.WAITING] !== 0) wakeConsumer(words);
    return taken;
  }
}

/** The end that takes out. */
export class RingConsumer {
  readonly size: number;
  readonly #words: Int32Array;
  readonly #pool: RingPool;
  readonly #mask: number;

  constructor(words: Int32Array, pool: RingPool) {
    this.#words = words;
    this.#pool = pool;
    this.#mask = maskOf(words);
    this.size = this.#mask + 1;
  }

  get pending(): boolean {
    return this.#words[RING.TAIL] !== this.#words[RING.HEAD];
  }

  /** Takes up to `max` packets out, into `bufs`, and returns how many there were. They are this thread's from now on. */
  take(bufs: Uint32Array, max?: number): number {
    const { length } = types.isUint32Array(bufs) ? bufs : packetArray(bufs);
    const words = this.#words;
    const { lengths, holders, holder } = this.#pool;
    const mask = this.#mask;
    const head = words[RING.HEAD]!;
    let count = (words[RING.TAIL]! - head) | 0;
    if (length < count) count = length;
    if (max !== undefined && max < count) count = max;
    for (let i = 0; i < count; i++) {
      const at = RING.ENTRIES + 2 * ((head + i) & mask);
      const buffer = words[at]!;
      lengths[buffer] = words[at + 1]!;
      // Before HEAD moves: a buffer that is no longer in the ring has its new holder.
      holders[buffer] = holder;
      bufs[i] = buffer;
    }
    if (count > 0) words[RING.HEAD] = (head + count) | 0;
    return count > 0 ? count : 0;
  }
}

/** Ends a sleep of the consumer's. */
export function wakeConsumer(words: Int32Array): void {
  Atomics.store(words, RING.WAITING, 0);
  Atomics.add(words, RING.WAKE, 1);
  Atomics.notify(words, RING.WAKE);
}

/** One end is gone: nothing more is put in, and a sleeping consumer looks. */
export function closeRing(words: Int32Array): void {
  Atomics.store(words, RING.CLOSED, 1);
  wakeConsumer(words);
}

export function isRingClosed(words: Int32Array): boolean {
  return Atomics.load(words, RING.CLOSED) !== 0;
}

function foreign(buffer: number, capacity: number): NicError {
  return new NicError('BAD_ARGUMENT', `No buffer ${buffer} in a pool of ${capacity}`, {
    hint: 'Send packets that this thread received or allocated.',
  });
}
