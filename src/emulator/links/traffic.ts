/**
 * Test traffic: a source of numbered UDP frames and a sink that checks them.
 *
 * Frame: Ethernet, IPv4, UDP from port 1024 + flow to port 9, then a magic word, the sequence number (both big-endian)
 * and a fixed pattern. All checksums are right. What lies before the payload may be rewritten on the way.
 */
import { type Clock, systemClock } from '../../clock.js';
import {
  type FrameMemory,
  frameMemory,
  isReceiving,
  type Pollable,
  type Port,
  UNLIMITED_ROOM,
} from '../link.js';

const MAGIC = 0x42575452; // 'BWTR'
const IP_AT = 14;
const UDP_AT = 34;
const PAYLOAD_AT = 42;
const SEQUENCE_AT = 46;
const PATTERN_AT = 50;
const MIN_FRAME_BYTES = 60;
const FIRST_PORT = 1024;

export interface TrafficOptions {
  /** Frame length without FCS, 60 to 9014; 60 by default. */
  readonly sizeBytes?: number;
  /** Frames a second; by default as many as the receiver takes. */
  readonly framesPerSecond?: number;
  /** Frames to send in all; without end by default. */
  readonly count?: number;
  /** Number of UDP source ports used in turn, so that RSS spreads the frames. */
  readonly flows?: number;
  readonly sourceMac?: Uint8Array;
  readonly destinationMac?: Uint8Array;
  readonly clock?: Clock;
}

/**
 * Sends numbered frames while it is polled and somebody receives at the other end; until then it waits. What it
 * receives it ignores.
 */
export class TrafficSource implements Port, Pollable {
  /** Frames sent; the next one has this number. */
  sent = 0;
  readonly sizeBytes: number;
  readonly #frame: FrameMemory;
  readonly #count: number;
  readonly #flows: number;
  readonly #framesPerSecond: number;
  readonly #clock: Clock;
  /** Sum of the UDP checksum without source port and sequence number. */
  readonly #baseSum: number;
  #out: Port | undefined;
  #startNs = -1;
  #startSent = 0;

  constructor(options: TrafficOptions = {}) {
    this.sizeBytes = Math.min(Math.max(options.sizeBytes ?? MIN_FRAME_BYTES, MIN_FRAME_BYTES), 9014);
    this.#count = options.count ?? Number.POSITIVE_INFINITY;
    this.#flows = Math.max(1, options.flows ?? 1);
    this.#framesPerSecond = options.framesPerSecond ?? 0;
    this.#clock = options.clock ?? systemClock;
    this.#frame = frameMemory(this.sizeBytes);
    this.#baseSum = fillTemplate(
      this.#frame.bytes.subarray(0, this.sizeBytes),
      options.sourceMac ?? Uint8Array.of(2, 0, 0, 0, 0, 1),
      options.destinationMac ?? Uint8Array.of(0xff, 0xff, 0xff, 0xff, 0xff, 0xff),
    );
  }

  get done(): boolean {
    return this.sent >= this.#count;
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
    for (let i = 0; i < count; i++) {
      this.#number(this.sent);
      out.deliver(this.#frame, 0, this.sizeBytes);
      this.sent++;
    }
    if (count > 0) out.flush();
    return Math.max(count, 0);
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

  #number(sequence: number): void {
    const bytes = this.#frame.bytes;
    const port = FIRST_PORT + (sequence % this.#flows);
    bytes[UDP_AT] = port >>> 8;
    bytes[UDP_AT + 1] = port;
    bytes[SEQUENCE_AT] = sequence >>> 24;
    bytes[SEQUENCE_AT + 1] = sequence >>> 16;
    bytes[SEQUENCE_AT + 2] = sequence >>> 8;
    bytes[SEQUENCE_AT + 3] = sequence;
    const sum = fold(this.#baseSum + port + ((sequence >>> 16) & 0xffff) + (sequence & 0xffff));
    const checksum = sum === 0xffff ? 0xffff : ~sum;
    bytes[UDP_AT + 6] = checksum >>> 8;
    bytes[UDP_AT + 7] = checksum;
  }

  plug(out: Port | undefined): void {
    this.#out = out;
    this.#startNs = -1;
  }

  deliver(): boolean {
    return true;
  }

  damaged(): void {}
  flush(): void {}
  carrier(): void {}

  room(): number {
    return UNLIMITED_ROOM;
  }
}

export interface SinkCounters {
  /** Frames of a `TrafficSource` with the right payload. */
  readonly received: number;
  /** Frames after one with a higher number. */
  readonly reordered: number;
  /** Frames with the magic word and a wrong payload, or a wrong FCS. */
  readonly corrupt: number;
  /** Frames of somebody else. */
  readonly foreign: number;
  /** Frames that had not come yet when the one with the highest number had. */
  readonly lost: number;
}

/** Checks the frames of one `TrafficSource`. */
export class TrafficSink implements Port {
  #received = 0;
  #reordered = 0;
  #corrupt = 0;
  #foreign = 0;
  #highest = -1;

  get counters(): SinkCounters {
    return {
      received: this.#received,
      reordered: this.#reordered,
      corrupt: this.#corrupt,
      foreign: this.#foreign,
      lost: Math.max(0, this.#highest + 1 - this.#received - this.#corrupt),
    };
  }

  plug(): void {}

  deliver(memory: FrameMemory, offset: number, lengthBytes: number): boolean {
    const bytes = memory.bytes;
    if (lengthBytes < PATTERN_AT || get32(bytes, offset + PAYLOAD_AT) !== MAGIC) {
      this.#foreign++;
      return true;
    }
    if (!hasPattern(memory, offset, lengthBytes)) {
      this.#corrupt++;
      return true;
    }
    const sequence = get32(bytes, offset + SEQUENCE_AT);
    this.#received++;
    if (sequence > this.#highest) this.#highest = sequence;
    else this.#reordered++;
    return true;
  }

  damaged(): void {
    this.#corrupt++;
  }

  flush(): void {}
  carrier(): void {}

  room(): number {
    return UNLIMITED_ROOM;
  }
}

function patternAt(index: number): number {
  return (index * 7 + 3) & 0xff;
}

/** The pattern repeats after 256 bytes. */
const PATTERN_WORDS = new Int32Array(Uint8Array.from({ length: 256 }, (_, i) => patternAt(i)).buffer);

/** Whether the frame has the pattern to its end. By words where it lies on one: bytes take three times as long. */
function hasPattern({ bytes, words }: FrameMemory, offset: number, lengthBytes: number): boolean {
  let at = PATTERN_AT;
  let differences = 0;
  if ((offset & 3) === 0) {
    for (; (at & 3) !== 0 && at < lengthBytes; at++) differences |= bytes[offset + at]! ^ patternAt(at);
    const firstWord = offset >>> 2;
    const end = lengthBytes >>> 2;
    for (let i = at >>> 2; i < end; i++) differences |= words[firstWord + i]! ^ PATTERN_WORDS[i & 63]!;
    at = Math.max(at, end << 2);
  }
  for (; at < lengthBytes; at++) differences |= bytes[offset + at]! ^ patternAt(at);
  return differences === 0;
}

function get32(bytes: Uint8Array, at: number): number {
  return bytes[at]! * 0x1000000 + ((bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!);
}

function fold(sum: number): number {
  const once = (sum & 0xffff) + (sum >>> 16);
  return (once & 0xffff) + (once >>> 16);
}

function sumWords(bytes: Uint8Array, start: number, end: number): number {
  let sum = 0;
  for (let i = start; i < end; i += 2) sum += (bytes[i]! << 8) | (i + 1 < end ? bytes[i + 1]! : 0);
  return fold(sum);
}

/** Fills in all that does not change. @returns the sum of UDP header, payload and pseudo header */
function fillTemplate(bytes: Uint8Array, sourceMac: Uint8Array, destinationMac: Uint8Array): number {
  const put16 = (at: number, value: number): void => {
    bytes[at] = value >>> 8;
    bytes[at + 1] = value;
  };
  bytes.set(destinationMac, 0);
  bytes.set(sourceMac, 6);
  put16(12, 0x0800);
  bytes.set([0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 17, 0, 0, 198, 18, 0, 1, 198, 18, 1, 1], IP_AT);
  put16(IP_AT + 2, bytes.length - IP_AT);
  put16(IP_AT + 10, ~sumWords(bytes, IP_AT, UDP_AT));
  const udpBytes = bytes.length - UDP_AT;
  put16(UDP_AT + 2, 9);
  put16(UDP_AT + 4, udpBytes);
  put16(PAYLOAD_AT, MAGIC >>> 16);
  put16(PAYLOAD_AT + 2, MAGIC);
  for (let i = PATTERN_AT; i < bytes.length; i++) bytes[i] = patternAt(i);
  return fold(sumWords(bytes, UDP_AT, bytes.length) + sumWords(bytes, IP_AT + 12, UDP_AT) + 17 + udpBytes);
}
