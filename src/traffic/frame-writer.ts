/**
 * Writes the frames of one flow in batches: the whole frame once into each buffer, then only what differs from frame to frame, one
 * field after the other. Checksums are sums of what does not change, made once, and of what was just written.
 */
import { writeU16 } from '../packet/bytes.js';
import { stampTestBatch, stampTestFields } from '../packet/test-frame.js';
import { type FieldWriter, MAX_FIELD_BATCH } from './field-writer.js';
import type { CheckedFlow } from './flow.js';
import { SizeSequence } from './frame-size.js';
import { type FrameTemplate, makeTemplate } from './frame-template.js';

/** Most frames that are written together. */
export const MAX_BATCH = MAX_FIELD_BATCH;

/** Of the batch that is being written: what each frame's checksums cover. */
const ipSums = new Int32Array(MAX_BATCH);
const l4Sums = new Int32Array(MAX_BATCH);

export class FrameWriter {
  readonly averageBytes: number;
  readonly maxBytes: number;
  /** Whether all frames have one length, which is `maxBytes`. */
  readonly hasOneLength: boolean;
  /** Whether all frames are the same: once in its buffer, a frame needs nothing. */
  readonly isConstant: boolean;
  /** Whether frames carry numbers. */
  readonly numbered: boolean;
  readonly #t: FrameTemplate;
  readonly #fields: readonly FieldWriter[];
  readonly #sizes: SizeSequence;
  readonly #flow: number;
  readonly #hasTime: boolean;
  readonly #testAt: number;
  readonly #versionByte: number;
  readonly #isUdp: boolean;
  /** Of frames with one length, which is in the template: what the checksums say of it is in these sums. */
  readonly #ipBase: number;
  readonly #l4Base: number;
  /** Where checksums lie that differ from frame to frame; -1 where there is none. */
  readonly #ipChecksumAt: number;
  readonly #l4ChecksumAt: number;

  /**
   * @param index of the flow, which its frames carry: 0 to 65,535
   * @param sourceMac where the flow names none
   * @throws NicError `BAD_OPTION`, `BAD_ADDRESS`
   */
  constructor(flow: CheckedFlow, index: number, sourceMac: string | Uint8Array) {
    const template = makeTemplate(flow, sourceMac);
    const { fields, sizes, testAt, bytes } = template;
    this.#t = template;
    this.#fields = fields;
    this.#sizes = new SizeSequence(sizes, flow.seed);
    this.#flow = index;
    this.#hasTime = flow.timeStamps;
    this.#testAt = testAt;
    this.#versionByte = template.versionByte;
    this.#isUdp = template.isUdp;
    this.averageBytes = sizes.averageBytes;
    this.maxBytes = sizes.maxBytes;
    this.numbered = testAt >= 0;
    this.hasOneLength = sizes.round.length === 1;
    const packetBytes = sizes.maxBytes - template.paddingBytes;
    this.#ipBase = template.ipSum + packetBytes - template.ipLengthLess;
    this.#l4Base = template.l4Sums[sizes.maxBytes]! + template.l4LengthTimes * (packetBytes - template.l4At);
    const hasIpFields = fields.some(({ inIp }) => inIp);
    const hasL4Fields = this.numbered || fields.some(({ inL4 }) => inL4);
    this.#ipChecksumAt = hasIpFields ? template.ipChecksumAt : -1;
    this.#l4ChecksumAt = hasL4Fields ? template.l4ChecksumAt : -1;
    this.isConstant = this.hasOneLength && fields.length === 0 && !this.numbered;
    // The sums are without what is stamped, the flow included.
    if (this.numbered) stampTestFields(bytes, testAt, 0, 0, index, 0, template.versionByte);
    if (this.hasOneLength && template.l4ChecksumAt >= 0)
      finish(template, bytes, 0, packetBytes, template.ipSum, template.l4Sums[sizes.maxBytes]!);
  }

  /** Makes a buffer one that `write` may write frames of this flow to. @param at index of the frame's first byte */
  prepare(bytes: Uint8Array, at: number): void {
    bytes.set(this.#t.bytes, at);
  }

  /** Length of the next frame without FCS: to be asked for once for each, in order, before it is written. Allocates nothing. */
  nextLength(): number {
    return this.hasOneLength ? this.maxBytes : this.#sizes.next();
  }

  /**
   * Writes the next frames of the flow into buffers that were prepared. Allocates nothing.
   *
   * @param places index of each frame's first byte
   * @param lengths of each, as `nextLength` said
   * @param count frames, at most `MAX_BATCH`
   * @param sequence number of the first frame, below 2^53; those behind it follow
   * @param time the sender's clock in nanoseconds, modulo 2^32, as a 32-bit integer
   */
  write(
    bytes: Uint8Array,
    places: Int32Array,
    lengths: Uint16Array,
    count: number,
    sequence: number,
    time: number,
  ): void {
    if (this.isConstant) return;
    this.#startSums(lengths, count);
    const fields = this.#fields;
    for (let i = 0; i < fields.length; i++) fields[i]!.write(bytes, places, count, ipSums, l4Sums);
    if (this.#testAt >= 0)
      stampTestBatch(
        bytes,
        places,
        count,
        this.#testAt,
        sequence,
        this.#flow,
        this.#hasTime ? time : 0,
        this.#versionByte,
        l4Sums,
      );
    if (this.hasOneLength) this.#writeChecksums(bytes, places, count);
    else if (this.#t.l4ChecksumAt >= 0) this.#finishAll(bytes, places, lengths, count);
  }

  #startSums(lengths: Uint16Array, count: number): void {
    if (this.hasOneLength) {
      const ip = ipSums;
      const l4 = l4Sums;
      const ipBase = this.#ipBase;
      const l4Base = this.#l4Base;
      for (let i = 0; i < count; i++) {
        ip[i] = ipBase;
        l4[i] = l4Base;
      }
      return;
    }
    const { ipSum, l4Sums: byLength } = this.#t;
    for (let i = 0; i < count; i++) {
      ipSums[i] = ipSum;
      l4Sums[i] = byLength[lengths[i]!]!;
    }
  }

  #writeChecksums(bytes: Uint8Array, places: Int32Array, count: number): void {
    const ipAt = this.#ipChecksumAt;
    const l4At = this.#l4ChecksumAt;
    const isUdp = this.#isUdp;
    const ip = ipSums;
    const l4 = l4Sums;
    if (ipAt >= 0) for (let i = 0; i < count; i++) writeU16(bytes, places[i]! + ipAt, ~foldSum(ip[i]!));
    if (l4At >= 0) for (let i = 0; i < count; i++) writeL4(bytes, places[i]! + l4At, l4[i]!, isUdp);
  }

  #finishAll(bytes: Uint8Array, places: Int32Array, lengths: Uint16Array, count: number): void {
    const t = this.#t;
    for (let i = 0; i < count; i++)
      finish(t, bytes, places[i]!, lengths[i]! - t.paddingBytes, ipSums[i]!, l4Sums[i]!);
  }
}

/** Writes lengths and checksums. @param packetBytes length of the frame without padding */
function finish(
  t: FrameTemplate,
  bytes: Uint8Array,
  at: number,
  packetBytes: number,
  ipSum: number,
  l4Sum: number,
): void {
  const ipLength = packetBytes - t.ipLengthLess;
  const l4Length = packetBytes - t.l4At;
  writeU16(bytes, at + t.ipLengthAt, ipLength);
  if (t.ipChecksumAt >= 0) writeU16(bytes, at + t.ipChecksumAt, ~foldSum(ipSum + ipLength));
  if (t.udpLengthAt >= 0) writeU16(bytes, at + t.udpLengthAt, l4Length);
  writeL4(bytes, at + t.l4ChecksumAt, l4Sum + t.l4LengthTimes * l4Length, t.isUdp);
}

function writeL4(bytes: Uint8Array, at: number, sum: number, isUdp: boolean): void {
  const folded = foldSum(sum);
  // UDP's checksum of 0 would say that there is none (RFC 768).
  writeU16(bytes, at, isUdp && folded === 0xffff ? 0xffff : ~folded);
}

/** Adding the carries twice is enough below 2^32. */
function foldSum(sum: number): number {
  const once = (sum & 0xffff) + (sum >>> 16);
  return (once & 0xffff) + (once >>> 16);
}
