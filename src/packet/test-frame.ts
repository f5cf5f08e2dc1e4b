/**
 * The frame that everything here sends to test a path: generator, checker, and the traffic of emulated links. UDP over
 * Ethernet and IPv4 or IPv6, with right checksums, numbered, and with a pattern that shows damage.
 *
 * UDP payload, big-endian; in a frame with IPv4 and without a VLAN tag it begins at byte 42, and the shortest frame of 60
 * bytes has room for all fields and none of the pattern:
 *
 *     0   magic             2   "BW"
 *     2   version           4 bits, 1
 *         flags             4 bits: bit 0, the time stamp is valid; the others are 0
 *     3   check             1   exclusive or of the bytes 2 and 4 to 17
 *     4   sequence number   8   below 2^53; counted over all flows of a sender or in each, as both ends agree
 *     12  flow              2   from 0
 *     14  time stamp        4   the sender's clock in nanoseconds modulo 2^32 (4.29 s); 0 where it is not valid
 *     18  pattern               byte i is (7 i + 3) modulo 256, to the end
 *
 * What lies before the payload, UDP's length apart, may be rewritten on the way. The check byte keeps a damaged number from being taken for a
 * jump; everything else that no sender writes (upper bits, flags) is damage as well.
 *
 * Flow f has UDP source port 57,344 + f by default: no port of 57,344 and above is decoded by tcpdump 4.99 or tshark 4.0,
 * so a capture shows the payload as data.
 */

import { NicError } from '../errors.js';
import { choiceOption, integerOption } from '../options.js';
import { readU16, readU32, swap16, writeU16, writeU32 } from './bytes.js';
import { checksumOf } from './checksum.js';
import { Layer, PacketView } from './packet-view.js';
import { parse } from './parse.js';
import { UDP_BYTES } from './protocols.js';
import { buildUdp, type UdpOptions } from './transport-builder.js';

const MAGIC = 0x4257; // "BW"
/** The magic as it stands in the upper half of a word, whose first byte is the lowest. */
const MAGIC_WORD = 0x5742;
const VERSION = 1;
const FLAG_TIME_STAMP = 1;
const VERSION_AT = 2;
const CHECK_AT = 3;
const SEQUENCE_AT = 4;
const FLOW_AT = 12;
const TIME_AT = 14;
const PATTERN_AT = 18;
/** Fields of the payload: its shortest length. */
export const TEST_PAYLOAD_BYTES = PATTERN_AT;
/** Where the payload begins behind Ethernet, IPv4 and UDP headers. */
export const TEST_PAYLOAD_OFFSET = 42;
/** Words from version to time stamp. */
const FIELD_WORDS = 4;
/** The first of them in a frame that begins on a word and whose payload begins at `TEST_PAYLOAD_OFFSET`. */
const FIELDS_WORD = (TEST_PAYLOAD_OFFSET + VERSION_AT) >>> 2;
const UDP_LENGTH_AT = 4;
const UDP_CHECKSUM_AT = 6;
const TWO_32 = 0x1_0000_0000;

/** Addresses for benchmarks (RFC 2544, C.2.2), a locally administered MAC address, the discard port (RFC 863). */
export const TEST_FRAME_DEFAULTS = {
  sourceMac: '02:00:00:00:00:02',
  destinationMac: '02:00:00:00:00:01',
  sourceIp: '198.18.0.1',
  destinationIp: '198.19.0.1',
  sourcePort: 57_344,
  destinationPort: 9,
} as const;

export interface TestFrameOptions extends Partial<Omit<UdpOptions, 'payload' | 'minBytes'>> {
  /** Length without FCS: 60 at least, a little more with VLAN tags or IPv6. */
  readonly sizeBytes: number;
  /** Number of flows, 1 by default; `stamp` chooses one for each frame. */
  readonly flows?: number;
  /**
   * What differs between flows: the UDP source port (default) or the last 32 bits of the source address. Flow f has the
   * given one plus f.
   */
  readonly flowsBy?: 'port' | 'address';
  /** Whether `stamp` writes time stamps. Default false. */
  readonly timeStamps?: boolean;
}

/**
 * Writes test frames: the whole frame once into each buffer, then only what differs from frame to frame.
 *
 * @example
 * const frame = new TestFrame({ sizeBytes: 60, sourceMac: nic.mac });
 * frame.fill(pool.frames, packet << pool.bufferShift); // once for each buffer
 * frame.stamp(pool.frames, packet << pool.bufferShift, 1); // before each send, with its number
 */
export class TestFrame {
  readonly sizeBytes: number;
  readonly flows: number;
  readonly #template: Uint8Array;
  readonly #udpAt: number;
  readonly #versionByte: number;
  /** Nothing but the low word of the number differs from frame to frame, and neither has anything else until now. */
  #isPlain: boolean;
  readonly #hasTime: boolean;
  /** UDP source port of flow 0 where flows differ by it, else -1. */
  readonly #basePort: number;
  /** Where the last 32 bits of the source address lie, -1 where flows do not differ by it, and their value in flow 0. */
  readonly #addressAt: number;
  readonly #baseAddress: number;
  /** Where IPv4's header checksum lies; -1 where flows do not change it. */
  readonly #ipChecksumAt: number;
  /** Sums of what the checksums cover, without the fields that `stamp` writes. */
  readonly #udpSum: number;
  readonly #ipSum: number;

  /** @throws NicError `BAD_OPTION`, `BAD_ADDRESS` */
  constructor(options: TestFrameOptions) {
    this.flows = integerOption('flows', options.flows ?? 1, { min: 1, max: 0x1_0000 });
    const isByAddress = choiceOption('flowsBy', options.flowsBy ?? 'port', ['port', 'address']) === 'address';
    this.#hasTime = options.timeStamps === true;
    this.#isPlain = this.flows === 1 && !this.#hasTime;
    const { frame, versionByte } = buildTemplate(options, this.#hasTime);
    this.#versionByte = versionByte;
    const view = new PacketView();
    parse(frame, 0, frame.length, view);
    this.sizeBytes = frame.length;
    this.#template = frame;
    this.#udpAt = view.l4Offset;
    this.#basePort = this.flows > 1 && !isByAddress ? view.sourcePort : -1;
    if (this.#basePort + this.flows > 0x1_0000) {
      throw new NicError('BAD_OPTION', `${this.flows} flows from source port ${this.#basePort} on`, {
        hint: `Give sourcePort ${0x1_0000 - this.flows} or lower, or flowsBy 'address'.`,
      });
    }
    const isIpv4 = view.has(Layer.IPV4);
    const ipAt = view.l3Offset;
    const hasAddresses = this.flows > 1 && isByAddress;
    this.#addressAt = hasAddresses ? ipAt + (isIpv4 ? 12 : 20) : -1;
    this.#baseAddress = hasAddresses ? readU32(frame, this.#addressAt) : 0;
    this.#ipChecksumAt = hasAddresses && isIpv4 ? ipAt + 10 : -1;
    // The template's checksums are right, so they tell the sums of all covered words.
    const addressSum = halvesOf(this.#baseAddress);
    this.#udpSum = sumWithout(readU16(frame, view.l4Offset + 6), addressSum);
    this.#ipSum = isIpv4 ? sumWithout(readU16(frame, ipAt + 10), addressSum) : 0;
  }

  /** Writes the whole frame with number 0 of flow 0. @param at index of its first byte */
  fill(bytes: Uint8Array, at: number): void {
    bytes.set(this.#template, at);
    this.stamp(bytes, at, 0);
  }

  /**
   * Makes the frame that this object's `fill` wrote the one with this number, flow and time. Allocates nothing.
   *
   * @param at index of the frame's first byte
   * @param sequence 0 to 2^53 - 1
   * @param flow below `flows`
   * @param timeNs any clock in nanoseconds; used with `timeStamps` only
   */
  stamp(bytes: Uint8Array, at: number, sequence: number, flow = 0, timeNs = 0): void {
    const low = sequence | 0;
    const udpAt = at + this.#udpAt;
    writeU32(bytes, udpAt + UDP_BYTES + SEQUENCE_AT + 4, low);
    // Most senders have one flow and no time stamps. All fields take twice as long.
    if (this.#isPlain && sequence < TWO_32)
      finishStamp(bytes, udpAt, low ^ this.#versionByte, halvesOf(low) + this.#udpSum);
    else this.#stampAll(bytes, at, low, (sequence / TWO_32) | 0, flow, timeNs | 0);
  }

  /** All arguments are 32-bit integers: V8 may make a heap number of a larger one at a call. */
  #stampAll(bytes: Uint8Array, at: number, low: number, high: number, flow: number, timeNs: number): void {
    this.#isPlain = false; // from now on buffers may have an upper word that is not 0
    const udpAt = at + this.#udpAt;
    const time = this.#hasTime ? timeNs : 0;
    const fields = stampTestFields(bytes, udpAt + UDP_BYTES, low, high, flow, time, this.#versionByte);
    writeUdpChecksum(bytes, udpAt, fields + this.#setFlow(bytes, at, flow) + this.#udpSum);
  }

  /** Writes what tells flows apart, and IPv4's checksum. @returns what this adds to the sum of UDP's checksum */
  #setFlow(bytes: Uint8Array, at: number, flow: number): number {
    if (this.#basePort >= 0) {
      writeU16(bytes, at + this.#udpAt, this.#basePort + flow);
      return flow;
    }
    if (this.#addressAt < 0) return 0;
    const address = (this.#baseAddress + flow) | 0;
    const sum = halvesOf(address);
    writeU32(bytes, at + this.#addressAt, address);
    if (this.#ipChecksumAt >= 0) writeU16(bytes, at + this.#ipChecksumAt, checksumOf(this.#ipSum + sum));
    return sum;
  }
}

/**
 * Writes check byte and UDP checksum. No private method: V8 checks the brand of the object at each call of one.
 *
 * @param fields exclusive or of all fields that the check byte covers, as words
 * @param sum of all that the checksum covers but the check byte, below 2^20
 */
function finishStamp(bytes: Uint8Array, udpAt: number, fields: number, sum: number): void {
  const check = foldToByte(fields);
  bytes[udpAt + UDP_BYTES + CHECK_AT] = check;
  writeUdpChecksum(bytes, udpAt, sum + check);
}

/**
 * Writes the fields of a test payload that another writer has made with `initTestPayload`. Allocates nothing.
 *
 * @param at where the payload begins, an even number of bytes from where its checksum's data begins
 * @param low bits 31 to 0 of the sequence number, as a 32-bit integer; `high` the others
 * @param time 32-bit integer; 0 where the frame has no time stamp
 * @param versionByte what `initTestPayload` returned
 * @returns what the fields that were written add to the sum of the checksum
 */
export function stampTestFields(
  bytes: Uint8Array,
  at: number,
  low: number,
  high: number,
  flow: number,
  time: number,
  versionByte: number,
): number {
  const check = foldToByte(low ^ high ^ time ^ (flow << 16) ^ versionByte);
  bytes[at + CHECK_AT] = check;
  writeU32(bytes, at + SEQUENCE_AT, high);
  writeU32(bytes, at + SEQUENCE_AT + 4, low);
  writeU16(bytes, at + FLOW_AT, flow);
  writeU32(bytes, at + TIME_AT, time);
  return halvesOf(low) + halvesOf(high) + halvesOf(time) + flow + check;
}

/**
 * Like `stampTestFields`, in a batch of frames with numbers that follow each other, flow and time being the same. Flows, and the
 * upper words of numbers below 2^32, are in the frames already: `stampTestFields` wrote them once. Allocates nothing.
 *
 * @param places index of each frame's first byte
 * @param payloadOffset where the payload begins in each
 * @param sequence number of the first, below 2^53
 * @param sums what the fields add to each frame's checksum is added here
 */
export function stampTestBatch(
  bytes: Uint8Array,
  places: Int32Array,
  count: number,
  payloadOffset: number,
  sequence: number,
  flow: number,
  time: number,
  versionByte: number,
  sums: Int32Array,
): void {
  if (sequence + count > TWO_32) {
    for (let i = 0; i < count; i++) {
      const number = sequence + i;
      const high = Math.floor(number / TWO_32);
      const at = places[i]! + payloadOffset;
      sums[i]! += stampTestFields(bytes, at, number | 0, high, flow, time, versionByte);
    }
    return;
  }
  const first = sequence | 0;
  const others = time ^ (flow << 16) ^ versionByte;
  const otherSum = halvesOf(time) + flow;
  for (let i = 0; i < count; i++) {
    const low = (first + i) | 0;
    const at = places[i]! + payloadOffset;
    const check = foldToByte(low ^ others);
    bytes[at + CHECK_AT] = check;
    writeU32(bytes, at + SEQUENCE_AT + 4, low);
    writeU32(bytes, at + TIME_AT, time);
    sums[i]! += halvesOf(low) + otherSum + check;
  }
}

/**
 * Makes a range the payload of a test frame with number 0 of flow 0; its check byte is left 0.
 * @returns the byte of version and flags, for `stampTestFields`
 */
export function initTestPayload(bytes: Uint8Array, at: number, end: number, timeStamps: boolean): number {
  const versionByte = (VERSION << 4) | (timeStamps ? FLAG_TIME_STAMP : 0);
  bytes.fill(0, at, at + PATTERN_AT);
  writeU16(bytes, at, MAGIC);
  bytes[at + VERSION_AT] = versionByte;
  for (let i = at + PATTERN_AT; i < end; i++) bytes[i] = patternAt(i - at - PATTERN_AT);
  return versionByte;
}

/** @param sum of all that the checksum covers, below 2^20 */
function writeUdpChecksum(bytes: Uint8Array, udpAt: number, sum: number): void {
  // Adding the carries twice is enough for such a sum; `udpChecksumOf` is for any sum, and slower.
  let folded = sum;
  folded = (folded & 0xffff) + (folded >>> 16);
  folded = (folded & 0xffff) + (folded >>> 16);
  writeU16(bytes, udpAt + UDP_CHECKSUM_AT, folded === 0xffff ? 0xffff : ~folded);
}

/** What a right checksum says about the sum, less what is taken out of it: below 2^17, not folded. */
function sumWithout(checksum: number, removed: number): number {
  return (~checksum & 0xffff) + checksumOf(removed);
}

/** Sum of the two halves of a 32-bit word. */
function halvesOf(word: number): number {
  return (word >>> 16) + (word & 0xffff);
}

/** Exclusive or of the four bytes of a word. */
function foldToByte(word: number): number {
  const halves = word ^ (word >>> 16);
  return (halves ^ (halves >>> 8)) & 0xff;
}

/** A frame with all fields that `stamp` writes being 0, and checksums that fit. */
function buildTemplate(
  options: TestFrameOptions,
  hasTime: boolean,
): { frame: Uint8Array; versionByte: number } {
  const { sizeBytes, flows, flowsBy, timeStamps, ...given } = options;
  const fields = { ...TEST_FRAME_DEFAULTS, ...given, minBytes: 0 };
  const headersBytes = buildUdp(fields).length;
  integerOption('sizeBytes', sizeBytes, {
    min: Math.max(60, headersBytes + TEST_PAYLOAD_BYTES),
    max: 0xffff,
  });
  const payload = new Uint8Array(sizeBytes - headersBytes);
  const versionByte = initTestPayload(payload, 0, payload.length, hasTime);
  return { frame: buildUdp({ ...fields, payload }), versionByte };
}

/**
 * - `good`: a test frame without damage
 * - `bad-payload`: the pattern is damaged, or the frame is shorter or longer than its UDP length says; the fields are whole,
 *   so number, flow and time can be believed
 * - `bad-fields`: magic and version are those of a test frame, and the fields are damaged
 * - `foreign`: something else
 */
export type TestFrameVerdict = 'good' | 'bad-payload' | 'bad-fields' | 'foreign';

/** Checks test frames. Its fields are those of the last frame that was `good` or had a `bad-payload`. */
export class TestFrameChecker {
  sequence = 0;
  flow = 0;
  /** The sender's clock in nanoseconds modulo 2^32; -1 where the frame has no time stamp. */
  timeNs = -1;

  /**
   * Looks at every byte of the payload of one frame. Allocates nothing.
   *
   * @param bytes memory the frame lies in
   * @param words the same memory as 32-bit words (`words[0]` is `bytes[0..3]`), or undefined; frames that begin on a word
   *   are checked three times as fast with it
   * @param offset index of the frame's first byte
   * @param lengthBytes its length without FCS
   * @param payloadOffset where the UDP payload begins in the frame, 42 without VLAN tags and with IPv4
   */
  check(
    bytes: Uint8Array,
    words: Int32Array | undefined,
    offset: number,
    lengthBytes: number,
    payloadOffset = TEST_PAYLOAD_OFFSET,
  ): TestFrameVerdict {
    const at = offset + payloadOffset;
    const end = offset + lengthBytes;
    if (at + PATTERN_AT > end || end > bytes.length || readU16(bytes, at) !== MAGIC) return 'foreign';
    if (bytes[at + VERSION_AT]! >>> 4 !== VERSION) return 'foreign';
    // By words where the fields behind the magic lie on them, as they do in a frame that begins on one.
    const isAligned = words !== undefined && ((at + VERSION_AT) & 3) === 0;
    const hasFields = isAligned
      ? readFields(this, words, (at + VERSION_AT) >>> 2)
      : readFields(this, loadFields(bytes, at + VERSION_AT), 0);
    if (!hasFields) return 'bad-fields';
    if (readU16(bytes, at - UDP_BYTES + UDP_LENGTH_AT) !== end - at + UDP_BYTES) return 'bad-payload';
    return hasPattern(bytes, isAligned ? words : undefined, at + PATTERN_AT, end) ? 'good' : 'bad-payload';
  }

  /**
   * How long the last frame was under way. @param nowNs the clock that stamped it; right up to 4.29 s
   */
  ageNs(nowNs: number): number {
    return ((nowNs >>> 0) - this.timeNs) >>> 0;
  }
}

/** What `readTestFrames` reads, an element for each frame. */
export interface TestFrameBatch {
  /** 1 where the frame is a good test frame whose payload begins at `TEST_PAYLOAD_OFFSET`; 0 where `check` has to tell. */
  readonly isGood: Uint8Array;
  readonly sequence: Float64Array;
  readonly flow: Uint16Array;
  /** 1 where the frame has a time stamp, and the stamp. */
  readonly isTimed: Uint8Array;
  readonly timeNs: Uint32Array;
}

/** Memory for a batch. */
export function testFrameBatch(frames: number): TestFrameBatch {
  return {
    isGood: new Uint8Array(frames),
    sequence: new Float64Array(frames),
    flow: new Uint16Array(frames),
    isTimed: new Uint8Array(frames),
    timeNs: new Uint32Array(frames),
  };
}

/**
 * Reads a batch of frames by words, where they are what they are as a rule: good, behind Ethernet, IPv4 and UDP headers, with a number
 * below 2^32. All others are left to `TestFrameChecker.check`. Looks at every byte of the payloads, and allocates nothing.
 *
 * @param words memory the frames lie in
 * @param shift buffer i begins at byte i << shift, which is a multiple of four
 * @param lengths of the frame in each buffer
 */
export function readTestFrames(
  words: Int32Array,
  bufs: Uint32Array,
  count: number,
  shift: number,
  lengths: Uint16Array,
  into: TestFrameBatch,
): void {
  const { isGood, sequence, flow, isTimed, timeNs } = into;
  for (let i = 0; i < count; i++) {
    const buffer = bufs[i]!;
    const lengthBytes = lengths[buffer]!;
    const first = (buffer << shift) >>> 2;
    isGood[i] = 0;
    if (lengthBytes < TEST_PAYLOAD_OFFSET + PATTERN_AT) continue;
    const a = words[first + FIELDS_WORD]!;
    const b = words[first + FIELDS_WORD + 1]!;
    const c = words[first + FIELDS_WORD + 2]!;
    const time = words[first + FIELDS_WORD + 3]!;
    const udpLength = swap16(words[first + FIELDS_WORD - 2]! >>> 16);
    const differences =
      ((words[first + FIELDS_WORD - 1]! >>> 16) ^ MAGIC_WORD) |
      ((a & 0xfe) ^ (VERSION << 4)) |
      (udpLength ^ (lengthBytes - TEST_PAYLOAD_OFFSET + UDP_BYTES)) |
      foldToByte(a ^ b ^ c ^ time) |
      (a >>> 16) |
      (b & 0xffff);
    const hasTime = a & FLAG_TIME_STAMP;
    if (differences !== 0 || (hasTime === 0 && time !== 0)) continue;
    if (lengthBytes > TEST_PAYLOAD_OFFSET + PATTERN_AT && !hasPatternAt(words, first, lengthBytes)) continue;
    isGood[i] = 1;
    sequence[i] = swap32((b >>> 16) | (c << 16)) >>> 0;
    flow[i] = swap16(c >>> 16);
    isTimed[i] = hasTime;
    timeNs[i] = swap32(time);
  }
}

/** Whether the pattern fills a frame from behind the fields to its end. @param first its first word */
function hasPatternAt(words: Int32Array, first: number, lengthBytes: number): boolean {
  const patternBytes = lengthBytes - TEST_PAYLOAD_OFFSET - PATTERN_AT;
  const from = first + FIELDS_WORD + FIELD_WORDS;
  const end = patternBytes >>> 2;
  const fours = end & ~3;
  let differences = 0;
  for (let i = 0; i < fours; i += 4) {
    const [word, p] = [from + i, i & 63];
    differences |=
      (words[word]! ^ PATTERN_WORDS[p]!) |
      (words[word + 1]! ^ PATTERN_WORDS[p + 1]!) |
      (words[word + 2]! ^ PATTERN_WORDS[p + 2]!) |
      (words[word + 3]! ^ PATTERN_WORDS[p + 3]!);
  }
  for (let i = fours; i < end; i++) differences |= words[from + i]! ^ PATTERN_WORDS[i & 63]!;
  const bits = (patternBytes & 3) << 3;
  // Bytes in front, which are the low ones of the last word.
  if (bits > 0) differences |= (words[from + end]! ^ PATTERN_WORDS[end & 63]!) & ((1 << bits) - 1);
  return differences === 0;
}

const loadedFields = new Int32Array(FIELD_WORDS);

/** The bytes of the fields as words, the first byte lowest. */
function loadFields(bytes: Uint8Array, at: number): Int32Array {
  for (let i = 0; i < FIELD_WORDS; i++) {
    const byte = at + 4 * i;
    loadedFields[i] =
      bytes[byte]! | (bytes[byte + 1]! << 8) | (bytes[byte + 2]! << 16) | (bytes[byte + 3]! << 24);
  }
  return loadedFields;
}

/**
 * Takes the fields from four words: version, check, number 0-1 | number 2-5 | number 6-7, flow | time stamp. The first
 * byte is the lowest of its word.
 *
 * @returns whether they are whole
 */
function readFields(into: TestFrameChecker, words: Int32Array, first: number): boolean {
  const a = words[first]!;
  const b = words[first + 1]!;
  const c = words[first + 2]!;
  const time = words[first + 3]!;
  // The check byte is one of them, so the exclusive or of all bytes is 0.
  if (foldToByte(a ^ b ^ c ^ time) !== 0) return false;
  const high = (a >>> 16) | (b << 16);
  const flags = a & 0x0f;
  const low = swap32((b >>> 16) | (c << 16)) >>> 0;
  if (high === 0) {
    into.sequence = low;
  } else {
    if (swap32(high) >>> 21 !== 0) return false;
    into.sequence = swap32(high) * TWO_32 + low;
  }
  into.flow = ((c >>> 8) & 0xff00) | (c >>> 24);
  if (flags === FLAG_TIME_STAMP) {
    into.timeNs = swap32(time) >>> 0;
    return true;
  }
  into.timeNs = -1;
  return flags === 0 && time === 0;
}

/** Turns the order of a word's bytes round. */
function swap32(word: number): number {
  return (word << 24) | ((word & 0xff00) << 8) | ((word >>> 8) & 0xff00) | (word >>> 24);
}

function patternAt(index: number): number {
  return (index * 7 + 3) & 0xff;
}

/** The pattern repeats after 256 bytes. */
const PATTERN_WORDS = new Int32Array(Uint8Array.from({ length: 256 }, (_, i) => patternAt(i)).buffer);

/**
 * Whether the pattern fills the range. By words where it begins on one, four at a time: one at a time takes 1.6 times as
 * long, bytes four times.
 */
function hasPattern(bytes: Uint8Array, words: Int32Array | undefined, start: number, end: number): boolean {
  let at = start;
  let differences = 0;
  if (words !== undefined && (start & 3) === 0) {
    let word = start >>> 2;
    const fours = (end - start) >>> 4;
    for (let i = 0; i < fours; i++, word += 4) {
      const p = (i << 2) & 63;
      differences |=
        (words[word]! ^ PATTERN_WORDS[p]!) |
        (words[word + 1]! ^ PATTERN_WORDS[p + 1]!) |
        (words[word + 2]! ^ PATTERN_WORDS[p + 2]!) |
        (words[word + 3]! ^ PATTERN_WORDS[p + 3]!);
    }
    at = start + (fours << 4);
  }
  for (; at < end; at++) differences |= bytes[at]! ^ patternAt(at - start);
  return differences === 0;
}
