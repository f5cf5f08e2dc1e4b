/**
 * Transmit ring of advanced descriptors (82576 datasheet 7.2, 82599 datasheet 7.2).
 *
 * The hardware is asked to report (RS) only on the last slot of each group of 32, so it writes back once in 32
 * packets; a group's buffers return to the pool together. Up to 31 sent packets therefore stay with the ring until
 * later ones follow or the device closes. RS not on every descriptor requires TXDCTL.WTHRESH = 0.
 */
import type { NicError } from '../../errors.js';
import { TxFlag } from '../../hugepage/packet-metadata.js';
import { checkRange, type PacketPool, packetArray } from '../../hugepage/packet-pool.js';
import type { TxQueue } from '../device.js';
import { instantiate, STATE_LENGTH } from '../instantiate.js';
import {
  type AttachedRing,
  type AttachedTxQueue,
  doorbellAddress,
  type HandedOver,
  type HandOver,
  inOtherThread,
  noHandOver,
} from '../queue-share.js';
import type { Doorbell } from '../register-file.js';
import { UnusualSends } from '../unusual-sends.js';
import {
  DESCRIPTOR_WORD_SHIFT,
  GROUP,
  LAYOUT,
  TX_CC,
  TX_COMMAND_WORD,
  TX_DD,
  TX_DEXT,
  TX_DTYP_CONTEXT,
  TX_DTYP_DATA,
  TX_DTYP_MASK,
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
import { countsOf, newCounters } from './queue-counters.js';
import { RingHandOver, type TxTicket } from './ring-hand-over.js';
import { inPipe, type RingShare } from './ring-share.js';
import { makeReclaim, makeSend, type TxLoop } from './tx-loop.js';

/** What `sendOffloaded` does for all families of advanced descriptors: bits of `TxFlag`. Some do `TxFlag.OWN_FCS` as well. */
export const TX_OFFLOADS: number =
  TxFlag.VLAN | TxFlag.IP_CHECKSUM | TxFlag.TCP_CHECKSUM | TxFlag.UDP_CHECKSUM;

/** A frame with an FCS of its own has to be a whole one: nothing is padded behind it. */
const MIN_OWN_FCS_BYTES = 64;
const FCS_BYTES = 4;

const { NEXT, CLEAN, REPORT, GONE, RESTS, PACKETS, BYTES, ERRORS } = LAYOUT;
const GROUP_MASK = GROUP - 1;
const GROUP_SHIFT = Math.log2(GROUP);
/** In `slots`: a context descriptor, which has no buffer. */
const NO_BUFFER = -1;
/** `#context` before the first context descriptor: no context has this value. */
const NO_CONTEXT = -1;
const COMMAND = TX_DTYP_DATA | TX_EOP | TX_IFCS | TX_DEXT;
/**
 * Word 2 of a legacy descriptor. Word 3 gets the length above bit 14 as in an advanced one: there are CSS and VLAN, which
 * count only with IC and VLE (82574 datasheet 7.2.3). So both kinds have one loop.
 */
const LEGACY_COMMAND = TX_EOP | TX_IFCS;

export interface IntelTxQueueOptions {
  /** Four words a descriptor; the number of descriptors is a power of two, at least 64. */
  readonly ring: Int32Array;
  /** The queue's TDT register. */
  readonly tail: Doorbell;
  readonly pool: PacketPool;
  /** Longest frame, at most what a buffer holds. Default: just that. */
  readonly maxFrameBytes?: number;
  /** Legacy descriptors, which have no offloads; default: advanced ones. */
  readonly legacy?: boolean;
  /** What `sendOffloaded` does: bits of `TxFlag`. Default `TX_OFFLOADS`. */
  readonly offloads?: number;
  /** Sets the queue's rate, where the hardware has one: `TxQueue.setRate`. */
  readonly setRate?: ((bitsPerS: number) => number) | undefined;
  /** Of the device, for messages. */
  readonly address?: string;
  /** The device may rest, and not look at its doorbells then: see `announceSends`. Default false. */
  readonly mayRest?: boolean;
  /** The ring is at work already: another thread brought it up. By default it is new. */
  readonly attached?: AttachedRing;
  /** Of such a ring: has that thread tell a device that rests of what was sent. */
  readonly announce?: () => void;
}

export class IntelTxQueue implements AttachedTxQueue {
  readonly size: number;
  readonly pool: PacketPool;
  readonly #address: string;
  readonly #legacy: boolean;
  readonly #offloads: number;
  /** A function of its own for each queue: see instantiate.ts. */
  send: TxQueue['send'];
  /** Absent where the descriptors have no offloads. */
  readonly sendOffloaded?: (bufs: Uint32Array, count: number, start?: number) => number;
  /** Absent where the hardware has no rate. */
  readonly setRate?: (bitsPerS: number) => number;
  readonly #send: TxQueue['send'];
  /** Shared with the thread that the queue was handed to. */
  #counters: Float64Array;
  readonly #loop: TxLoop;
  #elsewhere: RingHandOver | undefined;
  readonly #unusual: UnusualSends;
  readonly #reclaimPlain: () => void;
  /** The slot whose DD tells that a group is done: its last, or one later where that is a context descriptor. */
  readonly #reports: Int32Array;
  /** Word 0 of the context that the hardware holds, and word 2. */
  #context = NO_CONTEXT;
  #contextType = 0;
  readonly #mayRest: boolean;
  /** While the device rests. */
  #announce: (() => void) | undefined;
  readonly #announceThere: (() => void) | undefined;
  /** True from the first context descriptor on. */
  #usesContexts = false;
  #pipe: RingShare | undefined;
  #closed: NicError | undefined;

  constructor(options: IntelTxQueueOptions) {
    const { ring, tail, pool, attached, legacy = false } = options;
    const command = legacy ? LEGACY_COMMAND : COMMAND;
    this.#counters = attached?.counters ?? newCounters();
    const maxBytes = Math.min(options.maxFrameBytes ?? pool.maxFrameBytes, pool.maxFrameBytes);
    this.size = ring.length >>> DESCRIPTOR_WORD_SHIFT;
    this.pool = pool;
    this.#address = options.address ?? 'a device';
    this.#legacy = legacy;
    this.#offloads = options.offloads ?? TX_OFFLOADS;
    this.#mayRest = options.mayRest ?? false;
    this.#announceThere = options.announce;
    this.#reports = Int32Array.from({ length: this.size / GROUP }, (_, group) => group * GROUP + GROUP_MASK);
    const rings = {
      ring,
      tail,
      slots: attached?.slots ?? new Int32Array(this.size),
      state: attached?.state ?? new Int32Array(STATE_LENGTH),
      counters: this.#counters,
      free: pool.free,
      freeLevel: pool.freeLevel,
      lengths: pool.lengths,
      capacity: pool.capacity,
      mask: this.size - 1,
      shift: pool.bufferShift,
      iovaLow: pool.frameIovaLow | 0,
      iovaHigh: pool.iovaHigh | 0,
      minBytes: TX_MIN_FRAME_BYTES,
      spanBytes: maxBytes - TX_MIN_FRAME_BYTES,
      commands: Int32Array.from({ length: this.size }, (_, slot) =>
        (slot & GROUP_MASK) === GROUP_MASK ? command | TX_RS : command,
      ),
    };
    // The high word of the address is the same for all buffers: `send` does not write it. No group has been reported.
    for (let slot = 0; slot < this.size; slot++) {
      ring[(slot << DESCRIPTOR_WORD_SHIFT) + 1] = rings.iovaHigh;
      ring[reportWord(slot)] = 0;
    }
    rings.state[REPORT] = reportWord(GROUP_MASK);
    this.#reclaimPlain = instantiate(makeReclaim, LAYOUT, rings);
    this.#loop = {
      ...rings,
      reclaim: () => this.reclaim(),
      check: packetArray,
      sendRest: (bufs, count, start, sent) => this.#unusual.rest(bufs, count, start, sent),
    };
    const { state, mask, minBytes, spanBytes } = rings;
    this.#unusual = new UnusualSends({
      ...{ pool, size: this.size, minBytes, spanBytes },
      countError: () => {
        this.#counters[ERRORS]! += 1;
      },
      room: () => (state[CLEAN]! - state[NEXT]! - 1) & mask,
      send: (bufs, count) => this.#send(bufs, count),
      reclaim: () => this.reclaim(),
    });
    this.#send = instantiate(makeSend, LAYOUT, this.#loop);
    const { setRate } = options;
    if (setRate !== undefined)
      this.setRate = (bitsPerS) => {
        if (this.#closed !== undefined) throw this.#closed;
        return setRate(bitsPerS);
      };
    if (!legacy)
      this.sendOffloaded = this.#heardSend((bufs, count, start) => this.#sendOffloaded(bufs, count, start));
    const { owners } = pool;
    this.send = this.#heardSend(
      owners === undefined ? this.#send : this.#unusual.checked(owners, this.#send),
    );
  }

  /**
   * Has `announce` called after each batch that is sent, until it is called with undefined: for a device that rests and does not
   * look at doorbells.
   */
  announceSends(announce: (() => void) | undefined): void {
    this.#announce = announce;
    if (this.#elsewhere !== undefined)
      Atomics.store(this.#elsewhere.state, RESTS, announce === undefined ? 0 : 1);
  }

  /** Something was sent. */
  #tell(): void {
    // The locked operation is the fence between the doorbell and this look: the other thread sets the word, and then has the device
    // look at its doorbells once more.
    if (this.#announceThere === undefined) this.#announce?.();
    else if (Atomics.add(this.#loop.state, RESTS, 0) !== 0) this.#announceThere();
  }

  /** What rings the doorbell by itself, made so that a device that rests hears of it. Devices that never do pay nothing. */
  heard(ring: () => number): () => number {
    if (!this.#mayRest) return ring;
    return () => {
      const moved = ring();
      if (moved > 0) this.#tell();
      return moved;
    };
  }

  /** `heard`, for `send`. */
  #heardSend(send: TxQueue['send']): TxQueue['send'] {
    if (!this.#mayRest) return send;
    return (bufs, count, start) => {
      const taken = send(bufs, count, start);
      if (taken > 0) this.#tell();
      return taken;
    };
  }

  /** What was counted so far; elements as in LAYOUT. */
  get counters(): Float64Array {
    return countsOf(this.#counters);
  }

  #sendOffloaded(bufs: Uint32Array, count: number, start = 0): number {
    if (this.#closed !== undefined) throw this.#closed;
    if (this.#pipe !== undefined) return inPipe();
    if (this.#elsewhere !== undefined) return inOtherThread();
    checkRange(bufs, count, start);
    const { state, mask, tail } = this.#loop;
    const { owners } = this.pool;
    if (((state[NEXT]! - state[CLEAN]!) & mask) >= GROUP) this.reclaim();
    const first = state[NEXT]!;
    let taken = 0;
    while (taken < count) {
      // A packet needs a slot, and one more where its context is not the one that the hardware holds.
      const room = (state[CLEAN]! - state[NEXT]! - 1) & mask;
      if (room < 2) break;
      owners?.sent(bufs, 1, start + taken);
      this.#queueOffloaded(bufs[start + taken]!);
      taken++;
    }
    if (state[NEXT] !== first) tail[0] = state[NEXT]!;
    return taken;
  }

  /** Writes a context descriptor where needed, and the data descriptor. */
  #queueOffloaded(buffer: number): void {
    const { pool } = this;
    const { ring, slots, state, mask, iovaLow, iovaHigh, commands, minBytes, spanBytes } = this.#loop;
    const length = pool.lengths[buffer]!;
    const flags = pool.metadata.txFlags[buffer]!;
    // An index outside the pool has no length, and undefined compares false.
    if (!(length >= minBytes && length - minBytes <= spanBytes) || (flags & ~this.#offloads) !== 0) {
      this.#unusual.refuse(buffer);
      return;
    }
    if ((flags & TxFlag.OWN_FCS) !== 0) {
      if (flags === TxFlag.OWN_FCS && length >= MIN_OWN_FCS_BYTES) this.#queueWithFcs(buffer, length);
      else this.#unusual.refuse(buffer);
      return;
    }
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
    const slot = state[NEXT]!;
    command |= commands[slot]!;
    const word = slot << DESCRIPTOR_WORD_SHIFT;
    ring[word] = (iovaLow + (buffer << pool.bufferShift)) | 0;
    ring[word + 1] = iovaHigh;
    ring[word + TX_COMMAND_WORD] = command | owed;
    ring[word + TX_STATUS_WORD] = status;
    slots[slot] = buffer;
    state[NEXT] = (slot + 1) & mask;
    this.#counters[PACKETS]! += 1;
    this.#counters[BYTES]! += length;
  }

  /** A frame that ends in its own FCS: one descriptor without IFCS (82599 datasheet 7.2.3.2.4, 82576 datasheet 7.2.2.3). */
  #queueWithFcs(buffer: number, length: number): void {
    const { ring, slots, state, mask, iovaLow, iovaHigh, commands } = this.#loop;
    const slot = state[NEXT]!;
    const word = slot << DESCRIPTOR_WORD_SHIFT;
    ring[word] = (iovaLow + (buffer << this.pool.bufferShift)) | 0;
    ring[word + 1] = iovaHigh;
    ring[word + TX_COMMAND_WORD] = (commands[slot]! & ~TX_IFCS) | length;
    ring[word + TX_STATUS_WORD] = length << TX_PAYLEN_SHIFT;
    slots[slot] = buffer;
    state[NEXT] = (slot + 1) & mask;
    this.#counters[PACKETS]! += 1;
    this.#counters[BYTES]! += length - FCS_BYTES;
  }

  /**
   * Queues a context descriptor unless the hardware holds this context already. Returns TX_RS where the context took
   * a group's last slot: a context cannot report, so the data descriptor after it reports for the group.
   */
  #useContext(buffer: number, flags: number): number {
    const { metadata } = this.pool;
    const { ring, slots, state, mask } = this.#loop;
    const vlan = (flags & TxFlag.VLAN) !== 0 ? metadata.vlanTags[buffer]! : 0;
    // MACLEN 15:9, IPLEN 8:0.
    const context = (vlan << 16) | (metadata.l2Bytes[buffer]! << 9) | (metadata.l3Bytes[buffer]! & 0x1ff);
    const type =
      TX_DTYP_CONTEXT |
      TX_DEXT |
      ((flags & TxFlag.IP_CHECKSUM) !== 0 ? TX_TUCMD_IPV4 : 0) |
      ((flags & TxFlag.TCP_CHECKSUM) !== 0 ? TX_TUCMD_TCP : 0);
    if (this.#context === context && this.#contextType === type) return 0;
    this.#usesContexts = true;
    this.#context = context;
    this.#contextType = type;
    const slot = state[NEXT]!;
    const next = (slot + 1) & mask;
    const word = slot << DESCRIPTOR_WORD_SHIFT;
    ring[word] = context;
    ring[word + 1] = 0;
    ring[word + TX_COMMAND_WORD] = type;
    ring[word + TX_STATUS_WORD] = 0;
    slots[slot] = NO_BUFFER;
    state[NEXT] = next;
    if ((slot & GROUP_MASK) !== GROUP_MASK) return 0;
    this.#reports[slot >>> GROUP_SHIFT] = next;
    state[REPORT] = reportWord(this.#reports[state[CLEAN]! >>> GROUP_SHIFT]!);
    return TX_RS;
  }

  reclaim(): void {
    if (this.#closed !== undefined) throw this.#closed;
    if (this.#pipe !== undefined) return;
    if (this.#elsewhere !== undefined) inOtherThread();
    if (this.#usesContexts || this.pool.owners !== undefined) this.#reclaimMixed();
    else this.#reclaimPlain();
  }

  /** Like `makeReclaim`, where slots without a buffer are possible, and buffers that are to be checked. */
  #reclaimMixed(): void {
    const { pool } = this;
    let changed: number | undefined;
    const reports = this.#reports;
    const { ring, slots, state, mask, iovaHigh } = this.#loop;
    let clean = state[CLEAN]!;
    while (((state[NEXT]! - clean) & mask) >= GROUP) {
      const group = clean >>> GROUP_SHIFT;
      const report = reportWord(reports[group]!);
      if ((ring[report]! & TX_DD) === 0) break;
      ring[report]! &= ~TX_DD;
      reports[group] = clean | GROUP_MASK;
      const groupEnd = clean + GROUP;
      for (; clean < groupEnd; clean++) {
        const buffer = slots[clean]!;
        // Contexts have something else there.
        ring[(clean << DESCRIPTOR_WORD_SHIFT) + 1] = iovaHigh;
        if (buffer < 0) continue;
        pool.free[pool.freeCount++] = buffer;
        if (pool.owners?.isChanged(buffer) === true) changed = buffer;
      }
      clean &= mask;
    }
    state[CLEAN] = clean;
    state[REPORT] = reportWord(reports[clean >>> GROUP_SHIFT]!);
    // Told when the ring is in order again.
    if (changed !== undefined) throw pool.owners!.changedError(changed);
  }

  /** The slot that the next packet gets. */
  get nextSlot(): number {
    return this.#place.next;
  }

  /**
   * The hardware has lost its registers, and with them what was on the ring: reports all of it, so that the buffers come
   * back. Returns the slot where the hardware goes on.
   */
  abandon(): number {
    const { ring, mask } = this.#loop;
    const { next, clean } = this.#place;
    for (let slot = clean; slot !== next; slot = (slot + 1) & mask) {
      const word = slot << DESCRIPTOR_WORD_SHIFT;
      if ((ring[word + TX_COMMAND_WORD]! & TX_RS) !== 0) ring[word + TX_STATUS_WORD]! |= TX_DD;
    }
    return next;
  }

  get #place(): { readonly next: number; readonly clean: number } {
    if (this.#pipe !== undefined) return this.#pipe.place;
    const state = this.#elsewhere?.state ?? this.#loop.state;
    return { next: state[NEXT]!, clean: state[CLEAN]! };
  }

  /** Frames in the slots from `head` to `tail`: neither contexts, nor the null descriptors of what a pipe's hook dropped. */
  countFrames(head: number, tail: number): number {
    const { ring, mask } = this.#loop;
    let frames = 0;
    for (let slot = head & mask; slot !== (tail & mask); slot = (slot + 1) & mask) {
      const command = ring[(slot << DESCRIPTOR_WORD_SHIFT) + TX_COMMAND_WORD]!;
      const isContext = (command & TX_DEXT) !== 0 && (command & TX_DTYP_MASK) === TX_DTYP_CONTEXT;
      if (!isContext && (command & LAYOUT.LENGTH_MASK) !== 0) frames++;
    }
    return frames;
  }

  /** What forwarders work on; undefined where packets need more than the plain loop. */
  get plainLoop(): TxLoop | undefined {
    return this.pool.owners === undefined ? this.#loop : undefined;
  }

  /** What stands against lending the ring to a pipe; undefined where nothing does. */
  get lendingObstacle(): string | undefined {
    if (this.#elsewhere !== undefined) return 'the transmit queue was handed to another thread';
    if (this.#pipe !== undefined) return 'the transmit queue is in a pipe already';
    if (this.#closed !== undefined) return 'the transmit queue is closed';
    const { state } = this.#loop;
    if (state[NEXT] !== 0 || state[CLEAN] !== 0 || this.counters.some((count) => count > 0)) {
      return 'packets have been sent already';
    }
    return undefined;
  }

  /** Leaves the ring to a pipe until the queue closes. */
  lend(pipe: RingShare): TxLoop {
    this.#pipe = pipe;
    this.send = inPipe;
    // A caller may have kept the old `send`: it finds a full ring.
    this.#loop.state[NEXT] = this.#loop.mask;
    return this.#loop;
  }

  get elsewhere(): boolean {
    return this.#elsewhere !== undefined;
  }

  checkHandOver(): void {
    const { lendingObstacle } = this;
    if (lendingObstacle !== undefined) throw noHandOver(lendingObstacle);
    doorbellAddress(this.#loop.tail);
  }

  handOver(_to: HandOver): HandedOver {
    this.checkHandOver();
    const { state, tail, minBytes, spanBytes } = this.#loop;
    const elsewhere = new RingHandOver(this.#loop);
    const data: TxTicket = {
      ...elsewhere.ticket,
      tail: doorbellAddress(tail),
      maxFrameBytes: minBytes + spanBytes,
      legacy: this.#legacy,
      offloads: this.#offloads,
      mayRest: this.#mayRest,
    };
    this.#elsewhere = elsewhere;
    if (this.#announce !== undefined) Atomics.store(elsewhere.state, RESTS, 1);
    this.#counters = elsewhere.counters;
    this.send = inOtherThread;
    // A caller may have kept the old `send`: it finds a full ring.
    state[NEXT] = this.#loop.mask;
    return {
      family: 'intel',
      address: this.#address,
      data,
      announced: () => this.#announce?.(),
      onEnd: (listener) => elsewhere.onEnd(listener),
    };
  }

  /** The device begins to close: a thread that has the queue is asked to leave it. Resolves when it has, or hangs. */
  beginClose(): Promise<void> | undefined {
    return this.#elsewhere?.tell('closing');
  }

  /** Lets go of a ring that another thread's device goes on with: it is not written to, and its buffers stay there. */
  leave(why: NicError): void {
    if (this.#closed !== undefined) return;
    this.#closed = why;
    this.send = () => {
      throw why;
    };
    this.#pipe?.close(why);
    const { state, mask } = this.#loop;
    // A caller may have kept the old `send`, and forwarders have loops of their own: all find a full ring.
    state[CLEAN] = 0;
    state[NEXT] = mask;
    state[GONE] = 1;
    state[REPORT] = reportWord(GROUP_MASK);
  }

  /**
   * Gives every buffer back to the pool, sent or not. The hardware must have stopped.
   * @param why thrown by `send` from now on
   */
  close(why: NicError): void {
    if (this.#closed !== undefined) return;
    this.#closed = why;
    const { slots, state, mask } = this.#loop;
    const { free, owners } = this.pool;
    const inFlight: number[] = [];
    if (this.#pipe !== undefined) inFlight.push(...this.#pipe.close(why).values());
    // The buffers of a ring that another thread has are in its slice of the pool.
    else if (this.#elsewhere === undefined) {
      for (let slot = state[CLEAN]!; slot !== state[NEXT]; slot = (slot + 1) & mask)
        inFlight.push(slots[slot]!);
    }
    for (const buffer of inFlight) {
      if (buffer < 0) continue;
      owners?.returned(buffer);
      free[this.pool.freeCount++] = buffer;
    }
    this.sealRing();
    this.#elsewhere?.tell('closed');
  }

  /**
   * Makes the ring look full, with a group that is done: every loop over it asks `reclaim` first, which throws. Once more
   * after the ring's memory was replaced by zero pages.
   */
  sealRing(): void {
    const { ring, state, mask } = this.#loop;
    ring.fill(0);
    state[CLEAN] = 0;
    state[NEXT] = mask;
    state[GONE] = 1;
    state[REPORT] = reportWord(GROUP_MASK);
    ring[reportWord(GROUP_MASK)] = TX_DD;
  }
}

/** Index in the ring of the word with a slot's DD. */
function reportWord(slot: number): number {
  return (slot << DESCRIPTOR_WORD_SHIFT) + TX_STATUS_WORD;
}
