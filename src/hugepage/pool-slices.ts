/**
 * A pool that several threads of a process use. Each thread has a slice: buffers of its own with a free stack of its own,
 * so nothing is locked or counted atomically while packets move. A buffer's index means the same everywhere.
 *
 * So that no buffer is lost with a thread, `holders` says for each which thread has it: 0 is the thread that made the pool.
 * Buffers change hands when a slice is made, when a thread takes them out of a packet ring, and when the slice ends;
 * nothing else writes there. When a thread is gone and the hardware is done with its rings, all that it held goes back to the
 * pool, whatever the thread was doing.
 *
 * Buffers in a packet ring still count for the thread that put them in. Those that a dead thread put in stay for the
 * living one that takes them out; those that were on their way to a dead thread go back to the pool.
 */
import { NicError } from '../errors.js';
import { integerOption } from '../options.js';
import { buffersIn, closeRing, RING } from './packet-ring.js';

/** Plain data from which another thread makes its view of a pool. */
export interface PoolTicket {
  /** Virtual address of the first buffer. */
  readonly address: bigint;
  readonly capacity: number;
  readonly bufferSizeBytes: number;
  readonly headroomBytes: number;
  readonly pageSizeBytes: number;
  /** Bits 31:0 of the I/O address of the memory, bits 63:32 of it. */
  readonly iovaLow: number;
  readonly iovaHigh: number;
  readonly holders: Uint16Array;
  readonly holder: number;
  /** Free buffers that the thread begins with. */
  readonly free: Uint32Array;
}

/** What the pool lets its slices do. */
export interface SliceSource {
  readonly capacity: number;
  /** The stack of free buffers of the thread that made the pool, and (element 0) how high it is. */
  readonly free: Int32Array;
  readonly freeLevel: Int32Array;
  describe(): Omit<PoolTicket, 'holders' | 'holder' | 'free'>;
  /** The memory stays until `leave`. */
  enter(): void;
  leave(): void;
}

/** Highest number of a holder: 16 bits. */
const MAX_HOLDER = 0xffff;

/** Between which two holders a packet ring lies. */
export interface RingRecord {
  readonly words: Int32Array;
  from: number;
  to: number;
}

/** The slices of one pool, seen by the thread that made it. */
export class PoolSlices {
  readonly holders: Uint16Array;
  readonly #source: SliceSource;
  readonly #rings: RingRecord[] = [];
  readonly #open = new Set<number>();
  #last = 0;

  constructor(source: SliceSource) {
    this.#source = source;
    this.holders = new Uint16Array(new SharedArrayBuffer(2 * source.capacity));
  }

  /**
   * Makes a slice of so many free buffers.
   * @throws NicError `BAD_OPTION` where the pool has fewer
   */
  open(buffers: number): PoolSlice {
    const { capacity, free, freeLevel } = this.#source;
    const available = freeLevel[0]!;
    integerOption('buffers', buffers, { min: 0, max: capacity });
    if (buffers > available) {
      throw new NicError('BAD_OPTION', `A slice of ${buffers} buffers, and the pool has ${available} free`, {
        hint: 'Give each thread fewer buffers, or make the pool larger.',
      });
    }
    // A number is used again only when nothing of its former holder is left.
    if (this.#open.size === 0 && this.#rings.length === 0) this.#last = 0;
    if (this.#last === MAX_HOLDER) {
      throw new NicError('BAD_OPTION', `The pool has had ${MAX_HOLDER} slices`, {
        hint: 'Close all of them, or make another pool.',
      });
    }
    const ticketBase = this.#source.describe();
    const holder = ++this.#last;
    this.#open.add(holder);
    this.#source.enter();
    const taken = Uint32Array.from(free.subarray(available - buffers, available));
    freeLevel[0] = available - buffers;
    for (const buffer of taken) this.holders[buffer] = holder;
    return new PoolSlice({ ...ticketBase, holders: this.holders, holder, free: taken }, this);
  }

  /** A packet ring, at first with both ends here: what is in it belongs to whoever takes it out, while that thread lives. */
  addRing(words: Int32Array): RingRecord {
    const record: RingRecord = { words, from: 0, to: 0 };
    this.#rings.push(record);
    return record;
  }

  /** Ends a packet ring that this thread takes out of. */
  removeRing(words: Int32Array): void {
    const at = this.#rings.findIndex((ring) => ring.words === words);
    if (at < 0) return;
    closeRing(words);
    this.#drain(words);
    this.#rings.splice(at, 1);
  }

  /** The thread is gone, or has said that it touches nothing any more: everything it held goes back to the pool. */
  collect(holder: number): void {
    if (!this.#open.delete(holder)) return;
    const stays = new Set<number>();
    for (const ring of [...this.#rings]) {
      if (ring.from !== holder && ring.to !== holder) continue;
      closeRing(ring.words);
      const isOther = (end: number): boolean => end === holder || (end !== 0 && !this.#open.has(end));
      if (ring.to === holder || isOther(ring.to)) this.#drain(ring.words);
      else for (const buffer of buffersIn(ring.words)) stays.add(buffer);
      if (isOther(ring.from) && isOther(ring.to)) this.#rings.splice(this.#rings.indexOf(ring), 1);
    }
    for (let buffer = 0; buffer < this.holders.length; buffer++) {
      if (this.holders[buffer] === holder && !stays.has(buffer)) this.#takeHome(buffer);
    }
    this.#source.leave();
  }

  /** Nobody takes out of the ring any more: what is in it goes back to the pool. */
  #drain(words: Int32Array): void {
    for (const buffer of buffersIn(words)) this.#takeHome(buffer);
    Atomics.store(words, RING.HEAD, Atomics.load(words, RING.TAIL));
  }

  #takeHome(buffer: number): void {
    const { free, freeLevel } = this.#source;
    this.holders[buffer] = 0;
    free[freeLevel[0]!++] = buffer;
  }
}

/** The buffers of one thread, seen by the thread that made the pool. */
export class PoolSlice {
  readonly ticket: PoolTicket;
  readonly #slices: PoolSlices;

  constructor(ticket: PoolTicket, slices: PoolSlices) {
    this.ticket = ticket;
    this.#slices = slices;
  }

  /** Buffers that lie in a ring of the hardware's are the thread's from now on. */
  own(buffers: Int32Array): void {
    for (const buffer of buffers) this.#slices.holders[buffer] = this.ticket.holder;
  }

  /** See `PoolSlices.collect`. May be called twice. */
  close(): void {
    this.#slices.collect(this.ticket.holder);
  }
}
