/**
 * The part of a capture that is in memory while it is decoded: a buffer of fixed size that moves along the file, so
 * that a capture of any length takes the same memory. Decoders take bytes at its front, the reader adds bytes at its
 * end.
 */

/** Longest frame that a capture may hold; the limit of libpcap and Wireshark (MAXIMUM_SNAPLEN). */
export const MAX_FRAME_BYTES = 262_144;

/** Two of the longest frames, so that there is always room to read while a frame is incomplete. */
const WINDOW_BYTES = 2 * MAX_FRAME_BYTES;

export class ByteWindow {
  /** The memory; what is in the window lies at `start` to `end`. Its size is a multiple of 4. */
  readonly bytes = new Uint8Array(WINDOW_BYTES);
  start = 0;
  end = 0;
  /** Where `bytes[0]` comes from in the file. */
  #fileOffset: number;

  /** @param fileOffset where in the file the first byte comes from */
  constructor(fileOffset = 0) {
    this.#fileOffset = fileOffset;
  }

  /** Bytes in the window. */
  get sizeBytes(): number {
    return this.end - this.start;
  }

  /** Where the first byte of the window lies in the file. */
  get startOffset(): number {
    return this.#fileOffset + this.start;
  }

  /** Where the byte after the last one of the window lies in the file. */
  get endOffset(): number {
    return this.#fileOffset + this.end;
  }

  /** Moves what is left to the front of the memory, and returns the free memory behind it. */
  space(): Uint8Array {
    if (this.start > 0) {
      this.bytes.copyWithin(0, this.start, this.end);
      this.#fileOffset += this.start;
      this.end -= this.start;
      this.start = 0;
    }
    return this.bytes.subarray(this.end);
  }
}

/** Number of 32 bits at `at`. */
export function get32(bytes: Uint8Array, at: number, littleEndian: boolean): number {
  const [a, b, c, d] = [bytes[at]!, bytes[at + 1]!, bytes[at + 2]!, bytes[at + 3]!];
  return (littleEndian ? a | (b << 8) | (c << 16) | (d << 24) : d | (c << 8) | (b << 16) | (a << 24)) >>> 0;
}

/** Number of 16 bits at `at`. */
export function get16(bytes: Uint8Array, at: number, littleEndian: boolean): number {
  const [a, b] = [bytes[at]!, bytes[at + 1]!];
  return littleEndian ? a | (b << 8) : b | (a << 8);
}

/** Writes 32 bits, least significant byte first. A number above 2^31 - 1 is given as a negative one: no number object is made then. */
export function put32(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value;
  bytes[at + 1] = value >>> 8;
  bytes[at + 2] = value >>> 16;
  bytes[at + 3] = value >>> 24;
}
