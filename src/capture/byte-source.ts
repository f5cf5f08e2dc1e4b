/** Where the bytes of a capture come from: a file, a stream, or what gzip or zstd make of either. */
import { readSync } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import type { Transform } from 'node:stream';
import * as zlib from 'node:zlib';
import type { Packing } from './identify.js';

export interface ByteSource {
  /** Reads what comes next, up to the length of `into`. Resolves to the number of bytes; 0 at the end. */
  read(into: Uint8Array): Promise<number>;
  /** The same at once. @returns undefined where what comes next has to be waited for */
  readNow(into: Uint8Array): number | undefined;
  close(): Promise<void>;
}

const CHUNK_BYTES = 1 << 16;

/** A file, from its beginning to its end; of any length, since the kernel keeps the position. */
export class FileSource implements ByteSource {
  readonly #handle: FileHandle;

  constructor(handle: FileHandle) {
    this.#handle = handle;
  }

  async read(into: Uint8Array): Promise<number> {
    return (await this.#handle.read(into, 0, into.length, null)).bytesRead;
  }

  readNow(into: Uint8Array): number {
    return readSync(this.#handle.fd, into, 0, into.length, null);
  }

  async close(): Promise<void> {
    await this.#handle.close();
  }
}

/** Pieces of a stream; a piece that does not fit waits for the next `read`. */
export class StreamSource implements ByteSource {
  readonly #pieces: AsyncIterator<Uint8Array>;
  #piece: Uint8Array = new Uint8Array(0);

  constructor(pieces: AsyncIterable<Uint8Array>) {
    this.#pieces = pieces[Symbol.asyncIterator]();
  }

  async read(into: Uint8Array): Promise<number> {
    while (this.#piece.length === 0) {
      const { value, done } = await this.#pieces.next();
      if (done === true) return 0;
      this.#piece = value;
    }
    const taken = this.#piece.subarray(0, into.length);
    into.set(taken);
    this.#piece = this.#piece.subarray(taken.length);
    return taken.length;
  }

  readNow(): undefined {}

  async close(): Promise<void> {
    await this.#pieces.return?.();
  }
}

/** A source of which some bytes have been read already. */
export class PrefixedSource implements ByteSource {
  readonly #source: ByteSource;
  #prefix: Uint8Array;

  constructor(prefix: Uint8Array, source: ByteSource) {
    this.#prefix = prefix;
    this.#source = source;
  }

  async read(into: Uint8Array): Promise<number> {
    return this.#prefix.length === 0 ? this.#source.read(into) : this.#take(into);
  }

  readNow(into: Uint8Array): number | undefined {
    return this.#prefix.length === 0 ? this.#source.readNow(into) : this.#take(into);
  }

  #take(into: Uint8Array): number {
    const taken = this.#prefix.subarray(0, into.length);
    into.set(taken);
    this.#prefix = this.#prefix.subarray(taken.length);
    return taken.length;
  }

  close(): Promise<void> {
    return this.#source.close();
  }
}

// One piece at a time: a piece that waits in the stream would be lost when the next one fails.
const UNPACKER_OPTIONS = { chunkSize: CHUNK_BYTES, readableHighWaterMark: 1 } as object;

/** Makes the stream that unpacks; undefined where this Node.js cannot (zstd came with 22.15 and 23.8). */
export function unpackerOf(packing: Packing): Transform | undefined {
  if (packing === 'gzip') return zlib.createGunzip(UNPACKER_OPTIONS);
  const { createZstdDecompress } = zlib as { createZstdDecompress?: (options: object) => Transform };
  return createZstdDecompress?.(UNPACKER_OPTIONS);
}

/** Packed bytes that are unpacked at a time: a thousand times as much, at most, comes of them. */
const PACKED_BYTES = 16_384;

/**
 * Unpacks gzip or zstd. What comes before a fault in the packed data is all handed over, then `read` throws. A Transform drops what
 * it holds when it fails; so it flows all the time, which leaves nothing in it, and gets its next bytes when all that
 * came of those before has been read.
 */
export class UnpackSource implements ByteSource {
  readonly #source: ByteSource;
  readonly #unpacker: Transform;
  readonly #packed = new Uint8Array(PACKED_BYTES);
  #pieces: Uint8Array[] = [];
  #ended = false;
  /** Packed bytes that the source gave, all and the last time. */
  #fedBytes = 0;
  #lastBytes = 0;
  /** The source has no more. */
  #isWhole = false;
  #error: unknown;
  #wake: (() => void) | undefined;

  /** @param unpacker as `unpackerOf` makes it */
  constructor(source: ByteSource, unpacker: Transform) {
    this.#source = source;
    this.#unpacker = unpacker;
    unpacker.on('data', (piece: Uint8Array) => this.#pieces.push(piece));
    unpacker.on('end', () => {
      this.#ended = true;
      this.#wake?.();
    });
    unpacker.on('error', (error) => {
      this.#error ??= error;
      this.#wake?.();
    });
    // Where others close it while it works.
    unpacker.on('close', () => this.#wake?.());
  }

  async read(into: Uint8Array): Promise<number> {
    while (this.#pieces.length === 0) {
      if (this.#error !== undefined) throw this.#error;
      if (this.#ended) await this.#checkRest();
      if (this.#ended || this.#unpacker.destroyed) return 0;
      await this.#feed();
    }
    const piece = this.#pieces[0]!;
    const taken = piece.subarray(0, into.length);
    into.set(taken);
    if (taken.length === piece.length) this.#pieces.shift();
    else this.#pieces[0] = piece.subarray(taken.length);
    return taken.length;
  }

  /** Unpacks the next bytes, or finds that there are none. */
  async #feed(): Promise<void> {
    const count = await this.#source.read(this.#packed);
    this.#fedBytes += count;
    this.#lastBytes = count;
    this.#isWhole = count === 0;
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
      if (count === 0) this.#unpacker.end();
      else this.#unpacker.write(this.#packed.subarray(0, count), () => resolve());
    });
  }

  /**
   * zlib takes whatever follows the last member for the end where its first byte is 0. Zeros up to the end of the file are padding;
   * before other bytes they are a hole, as a disk leaves it that lost its power. @throws Error where there is one
   */
  async #checkRest(): Promise<void> {
    if (this.#isWhole) return;
    this.#isWhole = true;
    const leftBytes = this.#fedBytes - (this.#unpacker as zlib.Gunzip).bytesWritten;
    let rest = this.#packed.subarray(Math.max(0, this.#lastBytes - leftBytes), this.#lastBytes);
    while (rest.every((byte) => byte === 0)) {
      const count = await this.#source.read(this.#packed);
      if (count === 0) return;
      rest = this.#packed.subarray(0, count);
    }
    this.#error = Object.assign(new Error('a hole of zeros'), { code: 'Z_DATA_ERROR' });
    throw this.#error;
  }

  readNow(): undefined {}

  async close(): Promise<void> {
    this.#unpacker.destroy();
    await this.#source.close();
  }
}
