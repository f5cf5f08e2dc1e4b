/**
 * Test traffic: a source of numbered frames and a sink that checks them. The frames are those of packet/test-frame.ts, numbered
 * over all flows, or in each: a receiver with several queues keeps the order within a flow only.
 */
import { type Clock, systemClock } from '../../clock.js';
import { MIN_FRAME_BYTES } from '../../packet/protocols.js';
import { SequenceTracker } from '../../packet/sequence-tracker.js';
import { TEST_FRAME_DEFAULTS, TestFrame, TestFrameChecker } from '../../packet/test-frame.js';
import {
  deliverBurst,
  FrameBurst,
  type FrameMemory,
  frameMemory,
  isReceiving,
  MAX_BURST,
  type Pollable,
  type Port,
  UNLIMITED_ROOM,
} from '../link.js';
import { LinkEnd } from './link-end.js';

/** Slots begin on a cache line, and all of them fit the first-level cache. */
const SLOT_ALIGNMENT = 64;
const BURST_BYTES = 16_384;

const BROADCAST = new Uint8Array(6).fill(0xff);

export interface TrafficOptions {
  /** Frame length without FCS, 60 (default) or more. */
  readonly sizeBytes?: number;
  /** Frames a second; by default as many as the receiver takes. */
  readonly framesPerSecond?: number;
  /** Frames to send in all; without end by default. */
  readonly count?: number;
  /** Number of flows used in turn, so that RSS spreads the frames. They differ by the UDP source port. */
  readonly flows?: number;
  /** Number the frames of each flow by themselves; the sink must know. Default false. */
  readonly numberedByFlow?: boolean;
  readonly sourceMac?: Uint8Array;
  readonly destinationMac?: Uint8Array;
  readonly clock?: Clock;
}

/**
 * Sends numbered frames while it is polled and somebody receives at the other end; until then it waits. What it
 * receives it ignores.
 */
export class TrafficSource extends LinkEnd implements Pollable {
  /** Frames sent; the next one has this number. */
  sent = 0;
  readonly sizeBytes: number;
  /** Frames that are written and handed over together, each in a slot of its own. */
  readonly #burst = new FrameBurst();
  readonly #slots: number;
  readonly #frame: TestFrame;
  readonly #count: number;
  readonly #numberedByFlow: boolean;
  readonly #framesPerSecond: number;
  readonly #clock: Clock;
  #out: Port | undefined;
  #startNs = -1;
  #startSent = 0;

  /** @throws NicError `BAD_OPTION` where no frame has that size or number of flows */
  constructor(options: TrafficOptions = {}) {
    super();
    this.#frame = new TestFrame({
      sizeBytes: options.sizeBytes ?? MIN_FRAME_BYTES,
      flows: options.flows ?? 1,
      sourceMac: options.sourceMac ?? TEST_FRAME_DEFAULTS.sourceMac,
      destinationMac: options.destinationMac ?? BROADCAST,
    });
    this.sizeBytes = this.#frame.sizeBytes;
    this.#numberedByFlow = options.numberedByFlow ?? false;
    this.#count = options.count ?? Number.POSITIVE_INFINITY;
    this.#framesPerSecond = options.framesPerSecond ?? 0;
    this.#clock = options.clock ?? systemClock;
    const slotBytes = (this.sizeBytes + SLOT_ALIGNMENT - 1) & ~(SLOT_ALIGNMENT - 1);
    this.#slots = Math.min(MAX_BURST, Math.max(1, Math.floor(BURST_BYTES / slotBytes)));
    const memory = frameMemory(this.#slots * slotBytes);
    this.#burst.memory = memory;
    for (let i = 0; i < this.#slots; i++) {
      this.#burst.offsets[i] = i * slotBytes;
      this.#burst.lengths[i] = this.sizeBytes;
      this.#frame.fill(memory.bytes, i * slotBytes);
    }
  }

  get done(): boolean {
    return this.sent >= this.#count;
  }

  /** Nobody receives, or all is sent. */
  get resting(): boolean {
    return this.done || !isReceiving(this.#out);
  }

  poll(budget: number): number {
    const out = this.#out;
    if (out === undefined || this.done) return 0;
    if (!isReceiving(out)) {
      // The rate counts from the moment when somebody receives.
      this.#startNs = -1;
      return 0;
    }
    const count = Math.min(budget, out.room(), this.#due(), this.#count - this.sent);
    for (let left = count; left > 0; ) {
      const burst = Math.min(left, this.#slots);
      this.#stamp(burst);
      deliverBurst(out, this.#burst);
      left -= burst;
    }
    if (count > 0) out.flush();
    return Math.max(count, 0);
  }

  /** Makes the next frames. */
  #stamp(count: number): void {
    const frame = this.#frame;
    const { flows } = frame;
    const { memory, offsets } = this.#burst;
    const first = this.sent;
    for (let i = 0; i < count; i++) {
      const flow = flows === 1 ? 0 : (first + i) % flows;
      const number = this.#numberedByFlow ? Math.floor((first + i) / flows) : first + i;
      frame.stamp(memory.bytes, offsets[i]!, number, flow);
    }
    this.#burst.count = count;
    this.sent = first + count;
  }

  /** Frames that should have been sent by now and were not. A pause of the poller is not caught up beyond 10 ms. */
  #due(): number {
    if (this.#framesPerSecond <= 0) return UNLIMITED_ROOM;
    const nowNs = this.#clock.nowNs();
    if (this.#startNs < 0) {
      this.#startNs = nowNs;
      this.#startSent = this.sent;
    }
    const due =
      Math.floor(((nowNs - this.#startNs) * this.#framesPerSecond) / 1e9) - (this.sent - this.#startSent);
    const most = Math.ceil(this.#framesPerSecond / 100);
    if (due > most) {
      this.#startNs = -1;
      return most;
    }
    return due;
  }

  override plug(out: Port | undefined): void {
    this.#out = out;
    this.#startNs = -1;
  }
}

export interface SinkCounters {
  /** Good frames, each number counted once. */
  readonly received: number;
  /** Of these, frames that came after one with a higher number. */
  readonly reordered: number;
  /** Good frames whose number had come before. */
  readonly duplicated: number;
  /** Good frames so late that it cannot be told whether they came for the first time. */
  readonly stale: number;
  /** Test frames with damage in the payload, and frames with a wrong FCS. */
  readonly corrupt: number;
  /** Frames of somebody else. */
  readonly foreign: number;
  /**
   * Frames that had not come yet when the one with the highest number had. A frame too damaged to tell its number is taken
   * for one of the missing ones, so each frame counts once: sent = received + corrupt + lost.
   */
  readonly lost: number;
}

/** Checks the frames of one `TrafficSource`. */
export class TrafficSink extends LinkEnd {
  readonly #checker = new TestFrameChecker();
  /** One for each flow that is numbered by itself, else one for all. */
  readonly #numbers: readonly SequenceTracker[];
  #reordered = 0;
  #duplicated = 0;
  #stale = 0;
  #foreign = 0;
  #corrupt = 0;
  /** Corrupt frames with a number that had not come before: `#numbers` takes them for received ones. */
  #corruptNumbers = 0;
  /** Corrupt frames without a number: `#numbers` takes them for lost ones. */
  #corruptNumberless = 0;

  /** @param flows how many flows are numbered by themselves; 1 where numbers go over all */
  constructor(flows = 1) {
    super();
    this.#numbers = Array.from({ length: flows }, () => new SequenceTracker());
  }

  get counters(): SinkCounters {
    const sum = (of: 'received' | 'lost'): number => this.#numbers.reduce((all, one) => all + one[of], 0);
    return {
      received: sum('received') - this.#corruptNumbers,
      reordered: this.#reordered,
      duplicated: this.#duplicated,
      stale: this.#stale,
      corrupt: this.#corrupt,
      foreign: this.#foreign,
      lost: Math.max(0, sum('lost') - this.#corruptNumberless),
    };
  }

  override deliver(memory: FrameMemory, offset: number, lengthBytes: number): boolean {
    const checker = this.#checker;
    const verdict = checker.check(memory.bytes, memory.words, offset, lengthBytes);
    if (verdict === 'foreign') {
      this.#foreign++;
      return true;
    }
    if (verdict === 'bad-fields') {
      this.damaged();
      return true;
    }
    const numbers = this.#numbers[this.#numbers.length === 1 ? 0 : checker.flow];
    if (numbers === undefined) {
      // A flow that the source does not have.
      this.#foreign++;
      return true;
    }
    const arrival = numbers.record(checker.sequence);
    if (verdict === 'bad-payload') {
      this.#corrupt++;
      if (arrival === 'next' || arrival === 'late') this.#corruptNumbers++;
    } else if (arrival !== 'next') {
      this.#countUnordered(arrival);
    }
    return true;
  }

  deliverBurst({ memory, offsets, lengths, count }: FrameBurst): void {
    for (let i = 0; i < count; i++) this.deliver(memory, offsets[i]!, lengths[i]!);
  }

  #countUnordered(arrival: 'late' | 'duplicate' | 'stale'): void {
    if (arrival === 'late') this.#reordered++;
    else if (arrival === 'duplicate') this.#duplicated++;
    else this.#stale++;
  }

  override damaged(): void {
    this.#corrupt++;
    this.#corruptNumberless++;
  }
}
