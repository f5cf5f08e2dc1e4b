/**
 * A cable that is not ideal: it has a bit rate, a length, and loses or damages frames. For an ideal one, which costs
 * nothing, join two ports with `connect` directly.
 *
 * @example
 * const cable = new Cable({ rateBitsPerSecond: 10e9, delayNs: 5000, loss: 0.001, seed: 7 });
 * connect(nicA, cable.a);
 * connect(cable.b, nicB);
 * host.addPollable(cable);
 */
import { type Clock, systemClock } from '../../clock.js';
import { FrameQueue, MAX_FRAMES } from '../device/frame-queue.js';
import {
  copyBytes,
  type FrameMemory,
  frameMemory,
  isReceiving,
  longestFrameBytes,
  type Pollable,
  type Port,
} from '../link.js';
import { random } from './random.js';

export interface CableOptions {
  /** Bits a second on the wire, preamble and gap included; unlimited by default. */
  readonly rateBitsPerSecond?: number;
  /** Time each frame is under way besides its own length. */
  readonly delayNs?: number;
  /** Probability that a frame vanishes, 0 to 1. */
  readonly loss?: number;
  /** Probability that a frame arrives with a wrong FCS. */
  readonly damage?: number;
  /** Probability that a frame arrives twice. */
  readonly duplicate?: number;
  /**
   * Probability that a frame is overtaken: it arrives behind the next one that does, or `REORDER_HOLD_NS` later where none
   * comes. One at a time in each direction.
   */
  readonly reorder?: number;
  /**
   * Bits a second, preamble and gap included, that a device halfway passes on in each direction: a model of one that is slower than
   * its ports. What comes faster waits in its buffer; what finds that full is dropped.
   */
  readonly bottleneckBitsPerSecond?: number;
  /** Of the device halfway, in each direction. Default 32 KiB. */
  readonly bottleneckBufferBytes?: number;
  /** Start of the pseudo-random numbers, the same for the same faults again. */
  readonly seed?: number;
  /**
   * Memory for frames under way in each direction, of which there may be 8192; 1 MiB by default. When it is full there is
   * no room for more: a sender that asks for room waits. For such a sender it takes 32 KiB at least.
   */
  readonly bufferBytes?: number;
  readonly clock?: Clock;
}

export interface LaneCounters {
  /** Frames that arrived whole, each counted once. */
  readonly carried: number;
  readonly lost: number;
  readonly damaged: number;
  /** Of those carried: arrived twice. */
  readonly duplicated: number;
  /** Of those carried: arrived behind one that was sent later. */
  readonly reordered: number;
  /** Dropped by the device halfway: it was too slow. */
  readonly dropped: number;
  /** Lost because the buffer was full: the sender did not ask for room. */
  readonly overflowed: number;
  /** Sent with a wrong FCS: passed on as they are, in their place and time. A device halfway drops them. */
  readonly wrongFcs: number;
  /** Still on the way. */
  readonly underWay: number;
}

/** Preamble, start delimiter, FCS and inter-frame gap (IEEE 802.3): octets a frame takes besides its own. */
const OVERHEAD_OCTETS = 24;
const MAX_FRAME_BYTES = 16384;
const DEFAULT_BUFFER_BYTES = 1 << 20;
const BOTTLENECK_BUFFER_BYTES = 32_768;
/** How far a sender may be ahead of the rate; what it sends beyond waits in its own queue, as with a card. */
const AHEAD_NS = 20_000;
/** Most frames that a sender is given room for at once, where there is a rate. */
const MOST_ROOM = 32;
/** Of the time that a frame takes on the line, what is reckoned with at the next one: room is for the longest of the last frames. */
const FORGETTING = 0.98;
/**
 * How much time the line makes up for where nobody polled it, and its sender had more to send before and after. It was idle for the rest
 * of a longer pause: what then comes at once must find room in a receiver's ring.
 */
const CATCH_UP_NS = 2e6;
/** How long a frame that is to be overtaken waits for another. */
const REORDER_HOLD_NS = 1e6;
/** What is to happen to a frame under way. */
const FATE = { ARRIVES: 0, DAMAGED: 1, TWICE: 2, OVERTAKEN: 3, CAME_DAMAGED: 4 } as const;
/** In the place of a frame with a wrong FCS, of which nothing but the length matters. */
const NOTHING = frameMemory(MAX_FRAME_BYTES);

export class Cable implements Pollable {
  /** The ends: what is delivered at one comes out at the other. */
  readonly a: Port;
  readonly b: Port;
  readonly #ab: Lane;
  readonly #ba: Lane;
  readonly #clock: Clock;

  constructor(options: CableOptions = {}) {
    this.#clock = options.clock ?? systemClock;
    const seed = options.seed ?? 1;
    this.#ab = new Lane(options, seed);
    this.#ba = new Lane(options, seed + 1);
    this.a = new End(this.#ab, this.#ba);
    this.b = new End(this.#ba, this.#ab);
    const nowNs = this.#clock.nowNs();
    this.#ab.begin(nowNs);
    this.#ba.begin(nowNs);
  }

  get resting(): boolean {
    return this.#ab.resting && this.#ba.resting;
  }

  /** Hands over what has arrived by now. */
  poll(budget: number): number {
    const nowNs = this.#clock.nowNs();
    return this.#ab.poll(nowNs, budget) + this.#ba.poll(nowNs, budget);
  }

  /** What happened to frames from `a` to `b`, and the other way. */
  counters(direction: 'ab' | 'ba'): LaneCounters {
    const lane = direction === 'ab' ? this.#ab : this.#ba;
    return { ...lane.counters, underWay: lane.underWay };
  }
}

/** One direction. */
class Lane {
  out: Port | undefined;
  readonly counters = {
    carried: 0,
    lost: 0,
    damaged: 0,
    duplicated: 0,
    reordered: 0,
    dropped: 0,
    overflowed: 0,
    wrongFcs: 0,
  };
  readonly #queue = new FrameQueue();
  readonly #arrivalNs = new Float64Array(MAX_FRAMES);
  readonly #fates = new Uint8Array(MAX_FRAMES);
  /** The frame that is to be overtaken, and its length; 0 where there is none. */
  readonly #held = frameMemory(MAX_FRAME_BYTES);
  #heldBytes = 0;
  #heldUntilNs = 0;
  readonly #nsPerOctet: number;
  readonly #delayNs: number;
  readonly #loss: number;
  readonly #damage: number;
  readonly #duplicate: number;
  readonly #reorder: number;
  readonly #random: () => number;
  #lineFreeNs = 0;
  /** Time of the last poll. */
  #nowNs = 0;
  /** Frames start on the line no earlier: at the last poll, or before it where the line makes up for a pause. */
  #fromNs = 0;
  /** What is left of the room that the sender was told of since the last poll. With 0 or less it is taken to have more waiting. */
  #roomLeft = Number.POSITIVE_INFINITY;
  /** Whether it had more waiting at the last poll. */
  #waited = false;
  /** Time on the line of the longest of the last frames; 0 before the first. */
  #longFrameNs = 0;
  /** Of the device halfway: time for an octet, time that a full buffer takes, and when it will have sent what it has. */
  readonly #slowNsPerOctet: number;
  readonly #slowBufferNs: number;
  #slowFreeNs = 0;

  constructor(options: CableOptions, seed: number) {
    this.#queue.reset(options.bufferBytes ?? DEFAULT_BUFFER_BYTES);
    const rate = options.rateBitsPerSecond ?? 0;
    this.#nsPerOctet = rate > 0 ? 8e9 / rate : 0;
    this.#delayNs = options.delayNs ?? 0;
    this.#loss = options.loss ?? 0;
    this.#damage = options.damage ?? 0;
    this.#duplicate = options.duplicate ?? 0;
    this.#reorder = options.reorder ?? 0;
    this.#random = random(seed);
    const slowRate = options.bottleneckBitsPerSecond ?? 0;
    this.#slowNsPerOctet = slowRate > 0 ? 8e9 / slowRate : 0;
    this.#slowBufferNs = (options.bottleneckBufferBytes ?? BOTTLENECK_BUFFER_BYTES) * this.#slowNsPerOctet;
  }

  begin(nowNs: number): void {
    this.#nowNs = this.#fromNs = nowNs;
  }

  /** Nothing is under way, and no sender waits for the line. */
  get resting(): boolean {
    return this.underWay === 0 && this.#lineFreeNs <= this.#nowNs;
  }

  get underWay(): number {
    return this.#queue.count + (this.#heldBytes > 0 ? 1 : 0);
  }

  send(memory: FrameMemory, offset: number, lengthBytes: number): boolean {
    const endNs = this.#endOnLine(lengthBytes);
    if (this.#loss > 0 && this.#random() < this.#loss) {
      // A lost frame took its time on the wire as well.
      this.#lineFreeNs = endNs;
      this.counters.lost++;
      return true;
    }
    const isSlow = this.#slowNsPerOctet > 0;
    if (isSlow && this.#slowFreeNs - endNs > this.#slowBufferNs) {
      this.#lineFreeNs = endNs;
      this.counters.dropped++;
      return true;
    }
    const slot = this.#queue.nextSlot;
    if (!this.#queue.push(memory, offset, lengthBytes)) {
      this.counters.overflowed++;
      return false;
    }
    this.#lineFreeNs = endNs;
    if (isSlow)
      this.#slowFreeNs =
        Math.max(endNs, this.#slowFreeNs) + (lengthBytes + OVERHEAD_OCTETS) * this.#slowNsPerOctet;
    this.#arrivalNs[slot] = this.#arrivalAfter(isSlow ? this.#slowFreeNs : endNs);
    this.#fates[slot] = this.#chooseFate();
    return true;
  }

  /** When a frame that is sent now will have left the line. */
  #endOnLine(lengthBytes: number): number {
    this.#roomLeft--;
    const frameNs = (lengthBytes + OVERHEAD_OCTETS) * this.#nsPerOctet;
    this.#longFrameNs = Math.max(frameNs, FORGETTING * this.#longFrameNs);
    return Math.max(this.#fromNs, this.#lineFreeNs) + frameNs;
  }

  /** Time that the line makes up for is none of the delay. */
  #arrivalAfter(endNs: number): number {
    return Math.max(this.#nowNs, endNs) + this.#delayNs;
  }

  /** A frame that comes with a wrong FCS: it is as bad as can be, so no fault is added to it. */
  sendDamaged(lengthBytes: number): void {
    this.counters.wrongFcs++;
    const endNs = this.#endOnLine(lengthBytes);
    const slot = this.#queue.nextSlot;
    if (this.#slowNsPerOctet === 0) {
      if (!this.#queue.push(NOTHING, 0, Math.min(lengthBytes, MAX_FRAME_BYTES))) {
        this.counters.overflowed++;
        return;
      }
      this.#arrivalNs[slot] = this.#arrivalAfter(endNs);
      this.#fates[slot] = FATE.CAME_DAMAGED;
    }
    this.#lineFreeNs = endNs;
  }

  /** Asks for no random number where a fault is impossible: the others come as they would without it. */
  #chooseFate(): number {
    if (this.#damage > 0 && this.#random() < this.#damage) return FATE.DAMAGED;
    if (this.#duplicate > 0 && this.#random() < this.#duplicate) return FATE.TWICE;
    return this.#reorder > 0 && this.#random() < this.#reorder ? FATE.OVERTAKEN : FATE.ARRIVES;
  }

  room(): number {
    const frames = Math.min(this.#queue.freeBytes / (2 * MAX_FRAME_BYTES), MAX_FRAMES - this.#queue.count);
    if (this.#nsPerOctet === 0) return Math.floor(frames);
    // As many as fit into the time, if they are like the longest of the last; one at least, however long it takes.
    const aheadNs = this.#nowNs + AHEAD_NS - Math.max(this.#fromNs, this.#lineFreeNs);
    const fitting = this.#longFrameNs > 0 ? Math.floor(aheadNs / this.#longFrameNs) : 1;
    const due = aheadNs < 0 ? 0 : Math.max(1, Math.min(MOST_ROOM, fitting));
    const room = Math.min(Math.floor(frames), due);
    // Where there is no memory, it is not the line that the sender waits for.
    if (due === 0 || frames >= 1) this.#roomLeft = room;
    return room;
  }

  poll(nowNs: number, budget: number): number {
    this.#nowNs = nowNs;
    const waits = this.#roomLeft <= 0;
    this.#fromNs = waits && this.#waited ? Math.max(this.#fromNs, nowNs - CATCH_UP_NS) : nowNs;
    this.#waited = waits;
    this.#roomLeft = Number.POSITIVE_INFINITY;
    const queue = this.#queue;
    const out = this.out;
    let moved = 0;
    while (moved < budget && queue.count > 0) {
      const slot = queue.frontSlot;
      if (this.#arrivalNs[slot]! > nowNs) break;
      this.#arrive(out, this.#fates[slot]!, nowNs);
      queue.pop();
      moved++;
    }
    if (this.#heldBytes > 0 && nowNs >= this.#heldUntilNs) {
      this.#releaseHeld(out);
      moved++;
    }
    if (moved > 0) out?.flush();
    return moved;
  }

  /** Delivers the frame at the front, or does to it what is to happen. */
  #arrive(out: Port | undefined, fate: number, nowNs: number): void {
    const { memory, frontOffset, frontLength } = this.#queue;
    if (fate === FATE.CAME_DAMAGED) {
      out?.damaged(frontLength);
      return;
    }
    if (fate === FATE.DAMAGED) {
      this.counters.damaged++;
      out?.damaged(frontLength);
      return;
    }
    if (fate === FATE.OVERTAKEN && this.#heldBytes === 0 && frontLength <= MAX_FRAME_BYTES) {
      copyBytes(memory, frontOffset, this.#held, 0, frontLength);
      this.#heldBytes = frontLength;
      this.#heldUntilNs = nowNs + REORDER_HOLD_NS;
      return;
    }
    this.counters.carried++;
    out?.deliver(memory, frontOffset, frontLength);
    if (fate === FATE.TWICE) {
      this.counters.duplicated++;
      out?.deliver(memory, frontOffset, frontLength);
    }
    if (this.#heldBytes === 0) return;
    this.counters.reordered++;
    this.#releaseHeld(out);
  }

  #releaseHeld(out: Port | undefined): void {
    this.counters.carried++;
    out?.deliver(this.#held, 0, this.#heldBytes);
    this.#heldBytes = 0;
  }
}

class End implements Port {
  readonly #outgoing: Lane;
  readonly #incoming: Lane;

  constructor(outgoing: Lane, incoming: Lane) {
    this.#outgoing = outgoing;
    this.#incoming = incoming;
  }

  plug(out: Port | undefined): void {
    this.#incoming.out = out;
  }

  deliver(memory: FrameMemory, offsetBytes: number, lengthBytes: number): boolean {
    return this.#outgoing.send(memory, offsetBytes, lengthBytes);
  }

  damaged(lengthBytes: number): void {
    this.#outgoing.sendDamaged(lengthBytes);
  }

  flush(): void {}

  room(): number {
    return this.#outgoing.room();
  }

  carrier(): void {}

  receiving(): boolean {
    return isReceiving(this.#outgoing.out);
  }

  maxFrameBytes(): number {
    return longestFrameBytes(this.#outgoing.out);
  }
}
