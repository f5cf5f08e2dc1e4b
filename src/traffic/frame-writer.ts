/**
 * Writes the frames of one flow, one after the other: the whole frame once into each buffer, then only what differs from frame to
 * frame. Checksums are sums of what does not change, made once, and of what was just written.
 */
import { writeU16 } from '../packet/bytes.js';
import { stampTestFields } from '../packet/test-frame.js';
import type { FieldWriter } from './field-writer.js';
import type { CheckedFlow } from './flow.js';
import { SizeSequence } from './frame-size.js';
import { type FrameTemplate, makeTemplate } from './frame-template.js';

const TWO_32 = 0x1_0000_0000;

export class FrameWriter {
  readonly averageBytes: number;
  readonly maxBytes: number;
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
  /** Frames have one size: their lengths are in the template, and what the checksums say of them in these sums. */
  readonly #isFixed: boolean;
  readonly #ipBase: number;
  readonly #l4Base: number;
  /** Where checksums lie that differ from frame to frame; -1 where there is none. */
  readonly #ipChecksumAt: number;
  readonly #l4ChecksumAt: number;
  /** All frames are the template. */
  readonly #isConstant: boolean;

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
    this.#isFixed = sizes.round.length === 1;
    const packetBytes = sizes.maxBytes - template.paddingBytes;
    this.#ipBase = template.ipSum + packetBytes - template.ipLengthLess;
    this.#l4Base = template.l4Sums[sizes.maxBytes]! + template.l4LengthTimes * (packetBytes - template.l4At);
    const hasIpFields = fields.some(({ inIp }) => inIp);
    const hasL4Fields = this.numbered || fields.some(({ inL4 }) => inL4);
    this.#ipChecksumAt = hasIpFields ? template.ipChecksumAt : -1;
    this.#l4ChecksumAt = hasL4Fields ? template.l4ChecksumAt : -1;
    this.#isConstant = this.#isFixed && fields.length === 0 && !this.numbered;
    if (this.#isFixed && template.l4ChecksumAt >= 0)
      finish(template, bytes, 0, packetBytes, template.ipSum, template.l4Sums[sizes.maxBytes]!);
  }

  /** Makes a buffer one that `write` may write frames of this flow to. @param at index of the frame's first byte */
  prepare(bytes: Uint8Array, at: number): void {
    bytes.set(this.#t.bytes, at);
  }

  /**
   * Writes the next frame of the flow into a buffer that was prepared. Allocates nothing.
   *
   * @param at index of the frame's first byte
   * @param sequence number of the frame, below 2^53
   * @param time the sender's clock in nanoseconds, modulo 2^32, as a 32-bit integer
   * @returns the length of the frame without FCS
   */
  write(bytes: Uint8Array, at: number, sequence: number, time: number): number {
    if (this.#isConstant) return this.maxBytes;
    const isFixed = this.#isFixed;
    const lengthBytes = isFixed ? this.maxBytes : this.#sizes.next();
    let ipSum = isFixed ? this.#ipBase : this.#t.ipSum;
    let l4Sum = isFixed ? this.#l4Base : this.#t.l4Sums[lengthBytes]!;
    const fields = this.#fields;
    for (let i = 0; i < fields.length; i++) {
      const field = fields[i]!;
      const sum = field.write(bytes, at);
      if (field.inIp) ipSum += sum;
      if (field.inL4) l4Sum += sum;
    }
    if (this.#testAt >= 0) {
      const high = sequence < TWO_32 ? 0 : (sequence / TWO_32) | 0;
      l4Sum += stampTestFields(
        bytes,
        at + this.#testAt,
        sequence | 0,
        high,
        this.#flow,
        this.#hasTime ? time : 0,
        this.#versionByte,
      );
    }
    if (isFixed) {
      if (this.#ipChecksumAt >= 0) writeU16(bytes, at + this.#ipChecksumAt, ~foldSum(ipSum));
      if (this.#l4ChecksumAt >= 0) writeL4(bytes, at + this.#l4ChecksumAt, l4Sum, this.#isUdp);
    } else if (this.#t.l4ChecksumAt >= 0) {
      finish(this.#t, bytes, at, lengthBytes - this.#t.paddingBytes, ipSum, l4Sum);
    }
    return lengthBytes;
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
