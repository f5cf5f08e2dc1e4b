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

  /**
   * @param index of the flow, which its frames carry: 0 to 65,535
   * @param sourceMac where the flow names none
   * @throws NicError `BAD_OPTION`, `BAD_ADDRESS`
   */
  constructor(flow: CheckedFlow, index: number, sourceMac: string | Uint8Array) {
    const template = makeTemplate(flow, sourceMac);
    this.#t = template;
    this.#fields = template.fields;
    this.#sizes = new SizeSequence(template.sizes, flow.seed);
    this.#flow = index;
    this.#hasTime = flow.timeStamps;
    this.averageBytes = template.sizes.averageBytes;
    this.maxBytes = template.sizes.maxBytes;
    this.numbered = template.testAt >= 0;
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
    const t = this.#t;
    const lengthBytes = this.#sizes.next();
    let ipSum = t.ipSum;
    let l4Sum = t.l4Sums[lengthBytes]!;
    const fields = this.#fields;
    for (let i = 0; i < fields.length; i++) {
      const field = fields[i]!;
      const sum = field.write(bytes, at);
      if (field.inIp) ipSum += sum;
      if (field.inL4) l4Sum += sum;
    }
    if (t.testAt >= 0) {
      const high = sequence < TWO_32 ? 0 : (sequence / TWO_32) | 0;
      l4Sum += stampTestFields(
        bytes,
        at + t.testAt,
        sequence | 0,
        high,
        this.#flow,
        this.#hasTime ? time : 0,
        t.versionByte,
      );
    }
    if (t.l4ChecksumAt >= 0) finish(t, bytes, at, lengthBytes - t.paddingBytes, ipSum, l4Sum);
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
  const folded = foldSum(l4Sum + t.l4LengthTimes * l4Length);
  // UDP's checksum of 0 would say that there is none (RFC 768).
  writeU16(bytes, at + t.l4ChecksumAt, t.isUdp && folded === 0xffff ? 0xffff : ~folded);
}

/** Adding the carries twice is enough below 2^32. */
function foldSum(sum: number): number {
  const once = (sum & 0xffff) + (sum >>> 16);
  return (once & 0xffff) + (once >>> 16);
}
