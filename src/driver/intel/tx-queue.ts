/**
 * Transmit ring of advanced descriptors (82576 datasheet 7.2, 82599 datasheet 7.2).
 *
 * The hardware is asked to report (RS) only on the last slot of each group of 32, so it writes back once in 32
 * packets; a group's buffers return to the pool together. Up to 31 sent packets therefore stay with the ring until
 * later ones follow or the device closes. RS not on every descriptor requires TXDCTL.WTHRESH = 0.
 */
import { type BufferOwners, type PacketPool, TxFlag } from '../../hugepage/packet-pool.js';
import type { TxQueue } from '../device.js';
import { ownCopy, STATE_LENGTH } from '../instantiate.js';
import type { Doorbell } from '../register-file.js';
import {
  DESCRIPTOR_WORD_SHIFT,
  TX_CC,
  TX_COMMAND_WORD,
  TX_DD,
  TX_DEXT,
  TX_DTYP_CONTEXT,
  TX_DTYP_DATA,
  TX_EOP,
  TX_IFCS,
  TX_IXSM,
  TX_MIN_FRAME_BYTES,
  TX_PAYLEN_SHIFT,
  TX_RS,
  TX_STATUS_WORD,
  TX_TUCMD_IPV4,
  TX_TUCMD_TCP,
  TX_TXSM,
  TX_VLE,
} from './descriptors.js';
import { inPipe, type RingShare } from './ring-share.js';
import { makeReclaim, makeSend, TX_CLEAN, TX_NEXT, TX_REPORT, type TxLoop } from './tx-loop.js';

/** Indices of `IntelTxQueue.counters`. */
export const TX_PACKETS = 0;
export const TX_BYTES = 1;
export const TX_ERRORS = 2;

/** Slots in a group; the ring's size is a multiple of it. */
const GROUP = 32;
const GROUP_MASK = GROUP - 1;
const GROUP_SHIFT = Math.log2(GROUP);
/** In `slots`: a context descriptor, which has no buffer. */
const NO_BUFFER = -1;
/** `#context` before the first context descriptor: no context has this value. */
const NO_CONTEXT = -1;
const COMMAND = TX_DTYP_DATA | TX_EOP | TX_IFCS | TX_DEXT;

export interface IntelTxQueueOptions {
  /** Four words a descriptor; the number of descriptors is a power of two, at least 64. */
  readonly ring: Int32Array;
  /** The queue's TDT register. */
  readonly tail: Doorbell;
  readonly pool: PacketPool;
}

export class IntelTxQueue implements TxQueue {
  readonly size: number;
  /** Float64 slots: adding to them never allocates, however high they count. */
  readonly counters = new Float64Array(STATE_LENGTH);
  /** A function of its own for each queue: see own-copy.ts. */
  send: TxQueue['send'];
  readonly #loop: TxLoop;
  readonly #pool: PacketPool;
  readonly #reclaimPlain: () => void;
  /** The slot whose DD tells that a group is done: its last, or one later where that is a context descriptor. */
  readonly #reports: Int32Array;
  /** Word 0 of the context that the hardware holds, and word 2. */
  #context = NO_CONTEXT;
  #contextType = 0;
  /** True from the first context descriptor on. */
  #usesContexts = false;
  #pipe: RingShare | undefined;
  #closed = false;

  constructor(options: IntelTxQueueOptions) {
    const { ring, tail, pool } = options;
    this.size = ring.length >>> DESCRIPTOR_WORD_SHIFT;
    this.#pool = pool;
    this.#reports = Int32Array.from({ length: this.size / GROUP }, (_, group) => group * GROUP + GROUP_MASK);
    const rings = {
      ring,
      tail,
      slots: new Int32Array(this.size),
      state: new Int32Array(STATE_LENGTH),
      counters: this.counters,
      free: pool.free,
      freeLevel: pool.freeLevel,
      lengths: pool.lengths,
      capacity: pool.capacity,
      mask: this.size - 1,
      shift: pool.bufferShift,
      iovaLow: pool.iovaLow | 0,
      iovaHigh: pool.iovaHigh | 0,
      minBytes: TX_MIN_FRAME_BYTES,
      spanBytes: pool.bufferSizeBytes - TX_MIN_FRAME_BYTES,
      commands: Int32Array.from({ length: this.size }, (_, slot) =>
        (slot & GROUP_MASK) === GROUP_MASK ? COMMAND | TX_RS : COMMAND,
      ),
    };
    // The high word of the address is the same for all buffers: `send` does not write it.
    for (let slot = 0; slot < this.size; slot++) ring[(slot << DESCRIPTOR_WORD_SHIFT) + 1] = rings.iovaHigh;
    rings.state[TX_REPORT] = reportWord(GROUP_MASK);
    this.#reclaimPlain = ownCopy(makeReclaim)(rings);
    this.#loop = {
      ...rings,
      refuse: (buffer) => this.#refuse(buffer),
      reclaim: () => this.reclaim(),
    };
    const send = ownCopy(makeSend)(this.#loop) as TxQueue['send'];
    const { owners } = pool;
    this.send =
      owners === undefined
        ? send
        : (bufs, count = bufs.length) => this.#sendChecked(send, owners, bufs, Math.min(count, bufs.length));
  }

  /** Sends, and checks first that the application owns the packets that will be taken. */
  #sendChecked(send: TxQueue['send'], owners: BufferOwners, bufs: Uint32Array, count: number): number {
    const { state, mask } = this.#loop;
    this.reclaim();
    const room = (state[TX_CLEAN]! - state[TX_NEXT]! - 1) & mask;
    const taken = Math.min(count, room);
    owners.sent(bufs, 0, taken);
    return send(bufs, taken);
  }

  /** Takes a packet that no hardware can send: counts it and gives its buffer back. */
  #refuse(buffer: number): void {
    const pool = this.#pool;
    this.counters[TX_ERRORS]! += 1;
    if (buffer < pool.capacity) pool.free[pool.freeCount++] = buffer;
  }

  sendOffloaded(bufs: Uint32Array, count: number = bufs.length): number {
    if (this.#pipe !== undefined) return inPipe();
    const { state, mask, tail } = this.#loop;
    const { owners } = this.#pool;
    if (((state[TX_NEXT]! - state[TX_CLEAN]!) & mask) >= GROUP) this.reclaim();
    const wanted = Math.min(count, bufs.length);
    const first = state[TX_NEXT]!;
    let taken = 0;
    while (taken < wanted) {
      // A packet needs a slot, and one more where its context is not the one that the hardware holds.
      const room = (state[TX_CLEAN]! - state[TX_NEXT]! - 1) & mask;
      if (room < 2) break;
      if (owners !== undefined) owners.sent(bufs, taken, taken + 1);
      this.#queueOffloaded(bufs[taken]!);
      taken++;
    }
    if (state[TX_NEXT] !== first) tail[0] = state[TX_NEXT]!;
    return taken;
  }

  /** Writes a context descriptor where needed, and the data descriptor. */
  #queueOffloaded(buffer: number): void {
    const pool = this.#pool;
    const { ring, slots, state, mask, iovaLow, iovaHigh, commands } = this.#loop;
    const length = pool.lengths[buffer]!;
    // An index outside the pool has no length, and undefined compares false.
    if (!(length >= TX_MIN_FRAME_BYTES && length <= pool.bufferSizeBytes)) {
      this.#refuse(buffer);
      return;
    }
    const flags = pool.txFlags[buffer]!;
    let command = length;
    let status = length << TX_PAYLEN_SHIFT;
    let owed = 0;
    if (flags !== 0) {
      owed = this.#useContext(buffer, flags);
      status |= TX_CC;
      if ((flags & TxFlag.VLAN) !== 0) command |= TX_VLE;
      if ((flags & TxFlag.IP_CHECKSUM) !== 0) status |= TX_IXSM;
      if ((flags & (TxFlag.TCP_CHECKSUM | TxFlag.UDP_CHECKSUM)) !== 0) status |= TX_TXSM;
    }
    const slot = state[TX_NEXT]!;
    command |= commands[slot]!;
    const word = slot << DESCRIPTOR_WORD_SHIFT;
    ring[word] = (iovaLow + (buffer << pool.bufferShift)) | 0;
    ring[word + 1] = iovaHigh;
    ring[word + TX_COMMAND_WORD] = command | owed;
    ring[word + TX_STATUS_WORD] = status;
    slots[slot] = buffer;
    state[TX_NEXT] = (slot + 1) & mask;
    this.counters[TX_PACKETS]! += 1;
    this.counters[TX_BYTES]! += length;
  }

  /**
   * Queues a context descriptor unless the hardware holds this context already. Returns TX_RS where the context took
   * a group's last slot: a context cannot report, so the data descriptor after it reports for the group.
   */
  #useContext(buffer: number, flags: number): number {
    const pool = this.#pool;
    const { ring, slots, state, mask } = this.#loop;
    const vlan = (flags & TxFlag.VLAN) !== 0 ? pool.vlanTags[buffer]! : 0;
    const context = (vlan << 16) | pool.txHeaders[buffer]!;
    const type =
      TX_DTYP_CONTEXT |
      TX_DEXT |
      ((flags & TxFlag.IP_CHECKSUM) !== 0 ? TX_TUCMD_IPV4 : 0) |
      ((flags & TxFlag.TCP_CHECKSUM) !== 0 ? TX_TUCMD_TCP : 0);
    if (this.#context === context && this.#contextType === type) return 0;
    this.#usesContexts = true;
    this.#context = context;
    this.#contextType = type;
    const slot = state[TX_NEXT]!;
    const next = (slot + 1) & mask;
    const word = slot << DESCRIPTOR_WORD_SHIFT;
    ring[word] = context;
    ring[word + 1] = 0;
    ring[word + TX_COMMAND_WORD] = type;
    ring[word + TX_STATUS_WORD] = 0;
    slots[slot] = NO_BUFFER;
    state[TX_NEXT] = next;
    if ((slot & GROUP_MASK) !== GROUP_MASK) return 0;
    this.#reports[slot >>> GROUP_SHIFT] = next;
    state[TX_REPORT] = reportWord(this.#reports[state[TX_CLEAN]! >>> GROUP_SHIFT]!);
    return TX_RS;
  }

  reclaim(): void {
    if (this.#pipe !== undefined) return;
    if (this.#usesContexts) this.#reclaimMixed();
    else this.#reclaimPlain();
  }

  /** Like `makeReclaim`, where slots without a buffer are possible. */
  #reclaimMixed(): void {
    const pool = this.#pool;
    const reports = this.#reports;
    const { ring, slots, state, mask, iovaHigh } = this.#loop;
    let clean = state[TX_CLEAN]!;
    while (((state[TX_NEXT]! - clean) & mask) >= GROUP) {
      const group = clean >>> GROUP_SHIFT;
      if ((ring[(reports[group]! << DESCRIPTOR_WORD_SHIFT) + TX_STATUS_WORD]! & TX_DD) === 0) break;
      reports[group] = clean | GROUP_MASK;
      const groupEnd = clean + GROUP;
      for (; clean < groupEnd; clean++) {
        const buffer = slots[clean]!;
        // Contexts have something else there.
        ring[(clean << DESCRIPTOR_WORD_SHIFT) + 1] = iovaHigh;
        if (buffer >= 0) pool.free[pool.freeCount++] = buffer;
      }
      clean &= mask;
    }
    state[TX_CLEAN] = clean;
    state[TX_REPORT] = reportWord(reports[clean >>> GROUP_SHIFT]!);
  }

  /** What forwarders work on; undefined where packets need more than the plain loop. */
  get plainLoop(): TxLoop | undefined {
    return this.#pool.owners === undefined ? this.#loop : undefined;
  }

  isOf(pool: PacketPool): boolean {
    return pool === this.#pool;
  }

  /** What stands against lending the ring to a pipe; undefined where nothing does. */
  get lendingObstacle(): string | undefined {
    if (this.#pipe !== undefined) return 'the transmit queue is in a pipe already';
    if (this.#closed) return 'the transmit queue is closed';
    const { state } = this.#loop;
    if (state[TX_NEXT] !== 0 || state[TX_CLEAN] !== 0 || this.counters.some((count) => count > 0)) {
      return 'packets have been sent already';
    }
    return undefined;
  }

  /** Leaves the ring to a pipe until the queue closes. */
  lend(pipe: RingShare): TxLoop {
    this.#pipe = pipe;
    this.send = inPipe;
    // A full ring to those who kept the function that was there.
    this.#loop.state[TX_NEXT] = this.#loop.mask;
    return this.#loop;
  }

  /** Gives every buffer back to the pool, sent or not. The hardware must have stopped. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    const { ring, slots, state, mask } = this.#loop;
    const { free } = this.#pool;
    if (this.#pipe !== undefined) {
      for (const buffer of this.#pipe.close().values()) free[this.#pool.freeCount++] = buffer;
    } else {
      for (let slot = state[TX_CLEAN]!; slot !== state[TX_NEXT]; slot = (slot + 1) & mask) {
        const buffer = slots[slot]!;
        if (buffer >= 0) free[this.#pool.freeCount++] = buffer;
      }
    }
    // A full ring whose groups never complete: `send` takes nothing from now on.
    ring.fill(0);
    state[TX_CLEAN] = 0;
    state[TX_NEXT] = mask;
  }
}

/** Index in the ring of the word with a slot's DD. */
function reportWord(slot: number): number {
  return (slot << DESCRIPTOR_WORD_SHIFT) + TX_STATUS_WORD;
}
