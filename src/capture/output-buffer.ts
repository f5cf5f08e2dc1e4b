/**
 * What a recording has made and not written yet. Whole records gather in memory; they leave as they are, or packed, each
 * load as a member of its own of a gzip file (RFC 1952, 2.2: members follow each other). So a packed file that ends
 * between two members is a whole one, and what is in it can be read while the recording goes on.
 */
import { constants, gzipSync } from 'node:zlib';
import { MAX_FRAME_BYTES } from './byte-window.js';
import type { RecordFormat } from './record-format.js';

/** Room for the longest frame and more; for a pipe, what may wait for a slow reader. */
export const BUFFER_BYTES = 2 * MAX_FRAME_BYTES;
/**
 * So much is packed at a time, and the poll waits meanwhile: about a millisecond. Members of twice the size are smaller by 1 to 4
 * percent, those of half the size larger by 2 to 8. Packing harder (level 6) takes twice as long, for 9 percent.
 */
const MEMBER_BYTES = 64 * 1024;
/** What becomes no smaller than this part of itself is not worth its packing, which takes longest then: encrypted payload. */
const WORTHWHILE = 0.9;
/** So many members behind such a one are stored as they are, in a hundredth of the time; then it is tried again. */
const STORED_MEMBERS = 15;

export abstract class OutputBuffer {
  /** Where records are made; the next one begins at `end`. */
  readonly bytes = Buffer.alloc(BUFFER_BYTES);
  end = 0;
  /** Frames that are not, or not wholly, written. */
  frames = 0;
  /** Length of the file up to the last place where it can end. */
  wholeBytes = 0;
  /** When so much has gathered, it is to be written. */
  readonly fullBytes: number = Number.POSITIVE_INFINITY;

  /** Length of the file, with what waits as far as its length is known. */
  abstract readonly sizeBytes: number;
  /** What is to be written next lies in `out`, from `outStart` to `outEnd`. */
  abstract readonly out: Uint8Array;
  abstract readonly outStart: number;
  abstract readonly outEnd: number;

  /** Puts what is no frame behind what is there: a header, an end. There must be room. */
  abstract put(bytes: Uint8Array): void;
  /** Whether a record of this size fits; moves what waits to the front for it. */
  abstract makeRoom(sizeBytes: number): boolean;
  /** Whether something is to be written. @param pack whether what has gathered is packed for it now */
  abstract prepare(pack: boolean): boolean;
  /** So many bytes more have been written. @returns how many frames are whole in the file by that */
  abstract advance(sizeBytes: number): number;
  /** Forgets what waits. @returns how many frames that were */
  abstract drop(): number;
}

/** @param packing undefined: records leave as they are */
export function outputBuffer(format: RecordFormat, packing: 'gzip' | undefined): OutputBuffer {
  return packing === undefined ? new PlainBuffer(format) : new GzipBuffer();
}

/** What waits: whole records from `#boundary` to `end`, of which what precedes `outStart` has been written. */
class PlainBuffer extends OutputBuffer {
  readonly #format: RecordFormat;
  #boundary = 0;
  outStart = 0;
  /** Length of what lies at the boundary and is no frame: the file's header, say. */
  #headBytes = 0;

  constructor(format: RecordFormat) {
    super();
    this.#format = format;
  }

  get sizeBytes(): number {
    return this.wholeBytes + this.end - this.#boundary;
  }

  get out(): Uint8Array {
    return this.bytes;
  }

  get outEnd(): number {
    return this.end;
  }

  put(bytes: Uint8Array): void {
    if (this.end === 0) this.#headBytes = bytes.length;
    this.bytes.set(bytes, this.end);
    this.end += bytes.length;
  }

  makeRoom(sizeBytes: number): boolean {
    if (this.end + sizeBytes > BUFFER_BYTES && this.#boundary > 0) {
      this.bytes.copyWithin(0, this.#boundary, this.end);
      this.outStart -= this.#boundary;
      this.end -= this.#boundary;
      this.#boundary = 0;
    }
    return this.end + sizeBytes <= BUFFER_BYTES;
  }

  prepare(): boolean {
    return this.outStart < this.end;
  }

  advance(sizeBytes: number): number {
    const { frames } = this;
    this.outStart += sizeBytes;
    while (this.#boundary < this.outStart) {
      const recordBytes =
        this.#headBytes > 0 ? this.#headBytes : this.#format.sizeAt(this.bytes, this.#boundary);
      if (this.#boundary + recordBytes > this.outStart) break;
      this.#boundary += recordBytes;
      this.wholeBytes += recordBytes;
      if (this.#headBytes > 0) this.#headBytes = 0;
      // Behind the frames stands what the file ends with.
      else if (this.frames > 0) this.frames--;
    }
    const written = frames - this.frames;
    if (this.outStart === this.end) this.#clear();
    return written;
  }

  drop(): number {
    const { frames } = this;
    this.frames = 0;
    this.#headBytes = 0;
    this.#clear();
    return frames;
  }

  #clear(): void {
    this.#boundary = 0;
    this.outStart = 0;
    this.end = 0;
  }
}

const NOTHING = new Uint8Array(0);

/** What waits: a member that is being written, and records behind it. */
class GzipBuffer extends OutputBuffer {
  override readonly fullBytes = MEMBER_BYTES;
  out: Uint8Array = NOTHING;
  outStart = 0;
  /** Frames in the member. */
  #packed = 0;
  /** Members that will be stored. */
  #toStore = 0;

  get sizeBytes(): number {
    return this.wholeBytes + this.out.length;
  }

  get outEnd(): number {
    return this.out.length;
  }

  put(bytes: Uint8Array): void {
    this.bytes.set(bytes, this.end);
    this.end += bytes.length;
  }

  makeRoom(sizeBytes: number): boolean {
    return this.end + sizeBytes <= BUFFER_BYTES;
  }

  prepare(pack: boolean): boolean {
    if (this.out.length > 0) return true;
    if (!pack || this.end === 0) return false;
    const { Z_BEST_SPEED, Z_NO_COMPRESSION } = constants;
    const level = this.#toStore > 0 ? Z_NO_COMPRESSION : Z_BEST_SPEED;
    this.out = gzipSync(this.bytes.subarray(0, this.end), { level });
    if (this.#toStore > 0) this.#toStore--;
    else if (this.end >= MEMBER_BYTES && this.out.length > WORTHWHILE * this.end)
      this.#toStore = STORED_MEMBERS;
    this.#packed = this.frames;
    this.end = 0;
    return true;
  }

  advance(sizeBytes: number): number {
    this.outStart += sizeBytes;
    if (this.outStart < this.out.length) return 0;
    const written = this.#packed;
    this.wholeBytes += this.out.length;
    this.frames -= written;
    this.#clear();
    return written;
  }

  drop(): number {
    const { frames } = this;
    this.frames = 0;
    this.end = 0;
    this.#clear();
    return frames;
  }

  #clear(): void {
    this.out = NOTHING;
    this.outStart = 0;
    this.#packed = 0;
  }
}
