/**
 * Gaps that are frames: a line that is never idle has its own clock, a byte for each byte time. Between two frames go others whose length
 * is the gap, with a wrong FCS, so that the receiver's hardware drops them (Emmerich et al., "MoonGen: A Scriptable High-Speed Packet
 * Generator", IMC 2015, section 8).
 */
import { crc32 } from 'node:zlib';
import { FCS_BYTES } from './frame-size.js';
import { PREAMBLE_AND_GAP_BYTES } from './rate.js';

/** Shortest and longest frame with FCS that every receiver takes for a frame. */
const MIN_FRAME_BYTES = 64;
const MAX_FRAME_BYTES = 1518;
/** The shortest gap that is not none, on the wire. */
export const MIN_FILLER_BYTES: number = MIN_FRAME_BYTES + PREAMBLE_AND_GAP_BYTES;

/**
 * The next filler for a gap, in bytes on the wire; 0 where none is nearer to the gap than the shortest. To be asked again for what is
 * left of the gap.
 * @param gapBytes byte times until the next frame is due; negative where it is late
 * @param longestBytes of a filler on the wire, at least twice the shortest
 */
export function fillerFor(gapBytes: number, longestBytes: number): number {
  if (gapBytes < MIN_FILLER_BYTES / 2) return 0;
  if (gapBytes < MIN_FILLER_BYTES) return MIN_FILLER_BYTES;
  if (gapBytes <= longestBytes) return Math.round(gapBytes);
  // So much that a filler fits what is left.
  return gapBytes < longestBytes + MIN_FILLER_BYTES ? Math.round(gapBytes / 2) : longestBytes;
}

/** Where a line that is never idle has come to, by what was given to it. Whole bytes are counted, so that no error adds up. */
export class LinePosition {
  readonly byteNs: number;
  #originNs: number;
  #bytes = 0;

  /** @param lineBitsPerS its speed @param nowNs when it begins */
  constructor(lineBitsPerS: number, nowNs: number) {
    this.byteNs = 8e9 / lineBitsPerS;
    this.#originNs = nowNs;
  }

  /** When the next byte that is given to the line is on it. */
  get ns(): number {
    return this.#originNs + this.#bytes * this.byteNs;
  }

  /** Byte times from the next byte on until then. */
  bytesUntil(ns: number): number {
    return (ns - this.#originNs) / this.byteNs - this.#bytes;
  }

  /** A frame was given to it. @param wireBytes with preamble, FCS and gap */
  take(wireBytes: number): void {
    this.#bytes += wireBytes;
  }

  /** It had nothing to send until then. */
  idleUntil(ns: number): void {
    this.#originNs = ns;
    this.#bytes = 0;
  }
}

/** Writes fillers: one frame, cut to length, with the FCS that it should have turned over. */
export class FillerFrame {
  /** On the wire. */
  readonly longestBytes: number;
  readonly #bytes: Uint8Array;
  /** By length with FCS: what must not be the FCS, inverted. */
  readonly #wrongFcs: Int32Array;
  /** By buffer: where the FCS of the last filler in it ends; 0 where something else is in it. */
  readonly #lastEnds: Uint16Array;

  /**
   * @param sourceMac six bytes @param buffers of the pool
   * @param maxFrameBytes longest frame that the port sends, its own FCS counted
   */
  constructor(sourceMac: Uint8Array, buffers: number, maxFrameBytes: number) {
    const longest = Math.min(MAX_FRAME_BYTES, maxFrameBytes);
    this.longestBytes = longest + PREAMBLE_AND_GAP_BYTES;
    this.#bytes = new Uint8Array(longest);
    // Bridges forward nothing to this group (IEEE 802.1Q, 8.6.3); local experimental EtherType (IEEE 802, 9.2.4).
    this.#bytes.set([0x01, 0x80, 0xc2, 0x00, 0x00, 0x0e]);
    this.#bytes.set(sourceMac, 6);
    this.#bytes.set([0x88, 0xb5], 12);
    this.#wrongFcs = new Int32Array(longest + 1);
    for (let length = MIN_FRAME_BYTES; length <= longest; length++)
      this.#wrongFcs[length] = ~crc32(this.#bytes.subarray(0, length - FCS_BYTES));
    this.#lastEnds = new Uint16Array(buffers);
  }

  /**
   * Writes a filler into a buffer. Allocates nothing but where the buffer held something else.
   * @param at index of the frame's first byte @param wireBytes from `fillerFor`
   * @returns its length with FCS
   */
  write(frames: Uint8Array, buffer: number, at: number, wireBytes: number): number {
    const length = wireBytes - PREAMBLE_AND_GAP_BYTES;
    const lastEnd = this.#lastEnds[buffer]!;
    if (lastEnd === 0) frames.set(this.#bytes, at);
    else frames.fill(0, at + lastEnd - FCS_BYTES, at + lastEnd);
    const fcs = this.#wrongFcs[length]!;
    const end = at + length;
    for (let i = 0; i < FCS_BYTES; i++) frames[end - FCS_BYTES + i] = fcs >>> (8 * i);
    this.#lastEnds[buffer] = length;
    return length;
  }

  /** Something else is written to a buffer. */
  forget(buffer: number): void {
    this.#lastEnds[buffer] = 0;
  }
}
