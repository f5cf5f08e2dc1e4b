/**
 * Reads captures, frame by frame, in memory that does not grow with the file: pcap and pcapng, also packed with gzip
 * or zstd.
 *
 * A file that is damaged or ends early gives all its whole frames first, then one error that says where and what.
 */
import { NicError } from '../errors.js';
import {
  type ByteSource,
  FileSource,
  PrefixedSource,
  StreamSource,
  UnpackSource,
  unpackerOf,
} from './byte-source.js';
import { ByteWindow } from './byte-window.js';
import type { FileKey } from './file-key.js';
import { fileError, openForReading } from './files.js';
import type { FrameDecoder, FrameView } from './frame-decoder.js';
import { type CaptureFormat, IDENTIFY_BYTES, identify, type Packing } from './identify.js';
import { PcapDecoder } from './pcap-decoder.js';
import { PcapngDecoder } from './pcapng-decoder.js';

/** A frame of a capture, in memory of its own. */
export interface CapturedFrame {
  /** What was captured, without FCS. */
  readonly bytes: Uint8Array;
  /** Length on the wire; more than `bytes` has where the capture cut the frame. */
  readonly originalBytes: number;
  /** Nanoseconds since 1970. */
  readonly timeNs: bigint;
  /** LINKTYPE_*: 1 is Ethernet. */
  readonly linkType: number;
}

/**
 * An open capture. Either iterate over it, which copies each frame, or pull: `next` gives frames that are in memory,
 * without waiting and without making anything, `fill` brings more.
 *
 * @example
 * for await (const frame of await CaptureReader.open('trace.pcapng')) console.log(frame.timeNs, frame.bytes.length);
 * @example
 * const reader = await CaptureReader.open('trace.pcapng');
 * let bytes = 0;
 * do {
 *   while (reader.next()) bytes += reader.frame.lengthBytes;
 * } while (await reader.fill());
 * if (reader.damage !== undefined) throw reader.damage;
 */
export class CaptureReader implements AsyncIterable<CapturedFrame> {
  /** Path, or what the caller called the stream. */
  readonly name: string;
  readonly format: CaptureFormat;
  /** What the capture was packed with, if it was. */
  readonly packing: Packing | undefined;
  /** Names the file; undefined for a stream or a pipe, which can be read only once. */
  readonly key: FileKey | undefined;
  readonly #source: ByteSource;
  readonly #decoder: FrameDecoder;
  readonly #window = new ByteWindow();
  #frames = 0;
  #damage: NicError | undefined;
  /** `next` has found all that is in the window. */
  #drained = true;
  #ended = false;
  #filling: Promise<boolean> | undefined;
  #closed = false;

  private constructor(name: string, key: FileKey | undefined, source: ByteSource, kind: Kind) {
    this.name = name;
    this.key = key;
    this.#source = source;
    this.format = kind.format;
    this.packing = kind.packing;
    this.#decoder = kind.format === 'pcap' ? new PcapDecoder() : new PcapngDecoder();
  }

  /**
   * Opens a capture and reads its beginning.
   * @param from path of a file or a pipe (of which it waits for the writer), or the bytes of a capture as a stream
   * @param name what messages call a stream
   * @throws NicError `BAD_OPTION` where there is no file, or none that can be read as a capture; `NO_PERMISSION`; `SYSCALL`
   */
  static async open(from: string | AsyncIterable<Uint8Array>, name = 'the capture'): Promise<CaptureReader> {
    if (typeof from !== 'string') return CaptureReader.#start(new StreamSource(from), name, undefined);
    const opened = await openForReading(from);
    if ('pipe' in opened) return CaptureReader.#start(new StreamSource(opened.pipe), from, undefined);
    return CaptureReader.#start(new FileSource(opened.handle), from, opened.key);
  }

  static async #start(opened: ByteSource, name: string, key: FileKey | undefined): Promise<CaptureReader> {
    let source = opened;
    let packing: Packing | undefined;
    try {
      let [first, kind] = await peek(source, name);
      source = new PrefixedSource(first, source);
      if ('packed' in kind) {
        packing = kind.packed;
        const unpacker = unpackerOf(packing);
        if (unpacker === undefined) {
          const hint = `Unpack it with: ${packing} -d ${name}; or read it with Node.js 22.15 or later.`;
          throw refused(name, `is packed with ${packing}`, hint);
        }
        source = new UnpackSource(source, unpacker);
        [first, kind] = await peek(source, name);
        source = new PrefixedSource(first, source);
        if ('packed' in kind)
          throw refused(
            name,
            `is packed twice, with ${packing} and ${kind.packed}`,
            `Unpack it once: ${packing} -d ${name}`,
          );
      }
      const reader = new CaptureReader(name, key, source, { format: kind.format, packing });
      await reader.#begin();
      return reader;
    } catch (error) {
      await source.close();
      throw error instanceof NicError ? error : readError(error, name, packing, 0);
    }
  }

  /** Link type of all frames, where the file's header says so (pcap); undefined where each frame says it (pcapng). */
  get linkType(): number | undefined {
    return this.#decoder.linkType;
  }

  /** The frame that `next` found, until the next call of `next` or `fill`. */
  get frame(): FrameView {
    return this.#decoder.frame;
  }

  /** Memory that all frames lie in: `frame.bytes` is always this. Its size is a multiple of 4. */
  get memory(): Uint8Array {
    return this.#window.bytes;
  }

  /** Frames found so far. */
  get frames(): number {
    return this.#frames;
  }

  /** No more will come: `next` has given all. */
  get ended(): boolean {
    return this.#ended;
  }

  /** What is wrong with the file, once all before it has been given: `BAD_FILE`, or `SYSCALL` where reading failed. */
  get damage(): NicError | undefined {
    return this.#damage;
  }

  /** Goes on to the next frame that is in memory. False where there is none: `fill` may bring more. */
  next(): boolean {
    if (this.#filling !== undefined) return false;
    if (!this.#decoder.next(this.#window)) {
      this.#drained = true;
      return false;
    }
    this.#frames++;
    return true;
  }

  /**
   * Reads on, when `next` has given all that was in memory. Resolves to false where the capture has ended, see `damage`.
   * Never rejects.
   */
  fill(): Promise<boolean> {
    this.#filling ??= this.#fill().finally(() => {
      this.#filling = undefined;
    });
    return this.#filling;
  }

  /**
   * As `fill`, at once: for who can do nothing else meanwhile. Never throws.
   * @returns undefined where the capture comes through a pipe, or is packed, or `fill` is under way: it must be waited for
   */
  fillNow(): boolean | undefined {
    if (this.#filling !== undefined) return undefined;
    try {
      return this.#filled() ?? this.#take(this.#source.readNow(this.#window.space()));
    } catch (error) {
      return this.#failed(error);
    }
  }

  async #fill(): Promise<boolean> {
    try {
      return this.#filled() ?? this.#take(await this.#source.read(this.#window.space()));
    } catch (error) {
      return this.#failed(error);
    }
  }

  /** What `fill` says where nothing has to be read for it; else undefined. */
  #filled(): boolean | undefined {
    if (this.#ended || this.#closed) return false;
    if (!this.#drained) return true;
    return this.#decoder.damage === undefined ? undefined : this.#end(this.#decoder.damage);
  }

  /** So many bytes have been read behind those in the window. */
  #take(count: number): boolean;
  #take(count: number | undefined): boolean | undefined;
  #take(count: number | undefined): boolean | undefined {
    if (count === undefined) return undefined;
    this.#window.end += count;
    this.#drained = count === 0;
    return count > 0 || this.#end(this.#decoder.unfinished(this.#window));
  }

  #failed(error: unknown): false {
    return this.#end(readError(error, this.name, this.packing, this.#window.endOffset));
  }

  #end(damage: string | NicError | undefined): false {
    this.#ended = true;
    if (typeof damage !== 'string') this.#damage = damage;
    else this.#damage = new NicError('BAD_FILE', `${this.name} ${damage}`, { path: this.name });
    return false;
  }

  /** Reads the header, so that what is wrong with it is an error of `open`. */
  async #begin(): Promise<void> {
    while (!this.#decoder.begin(this.#window)) {
      this.#drained = true;
      if (await this.fill()) continue;
      const wrong = this.#damage!;
      if (wrong.code !== 'BAD_FILE') throw wrong;
      throw new NicError('BAD_OPTION', wrong.message, {
        path: this.name,
        hint: 'Is it a capture, and was it copied to its end?',
      });
    }
  }

  /** Copies of all frames, then the error `damage` where there is one. Closes the capture. */
  async *[Symbol.asyncIterator](): AsyncGenerator<CapturedFrame> {
    try {
      do {
        while (this.next()) yield copyOf(this.frame);
      } while (await this.fill());
      if (this.#damage !== undefined) throw this.#damage;
    } finally {
      await this.close();
    }
  }

  /** For `await using`: closes the file. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** Closes the file. May be called twice. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#source.close();
  }
}

interface Kind {
  readonly format: CaptureFormat;
  readonly packing: Packing | undefined;
}

/** @param unpackedBytes how much came out of gzip or zstd before the fault in it */
function readError(
  error: unknown,
  name: string,
  packing: Packing | undefined,
  unpackedBytes: number,
): NicError {
  const code = (error as NodeJS.ErrnoException).code ?? '';
  if (packing === undefined || !/^Z(STD)?_/.test(code))
    return fileError(`Cannot read on in ${name}`, error, name);
  const what = code === 'Z_BUF_ERROR' ? `ends inside its ${packing} data` : `has damaged ${packing} data`;
  return new NicError('BAD_FILE', `${name} ${what}, ${unpackedBytes} unpacked bytes after its beginning`, {
    path: name,
    cause: error,
  });
}

function copyOf(frame: FrameView): CapturedFrame {
  const { bytes, offsetBytes, lengthBytes, originalBytes, seconds, nanoseconds, linkType } = frame;
  return {
    bytes: bytes.slice(offsetBytes, offsetBytes + lengthBytes),
    originalBytes,
    timeNs: BigInt(seconds) * 1_000_000_000n + BigInt(nanoseconds),
    linkType,
  };
}

/** Reads the first bytes and tells what they mean. @throws NicError `BAD_OPTION` where that is nothing to be read */
async function peek(
  source: ByteSource,
  name: string,
): Promise<[Uint8Array, { format: CaptureFormat } | { packed: Packing }]> {
  const first = new Uint8Array(IDENTIFY_BYTES);
  let count = 0;
  for (let more = 1; count < first.length && more > 0; count += more)
    more = await source.read(first.subarray(count));
  const kind = identify(first.subarray(0, count));
  if (count === 0) throw refused(name, 'is empty', 'Is the capture finished?');
  if (kind === undefined) {
    throw refused(name, 'is not a capture', 'Save captures as pcap or pcapng, of Ethernet frames.');
  }
  if ('refused' in kind) {
    throw refused(name, `is ${kind.refused}`, kind.hint.replace('FILE', name).replace('OLD', name));
  }
  return [first.subarray(0, count), kind];
}

function refused(name: string, what: string, hint: string): NicError {
  return new NicError('BAD_OPTION', `${name} ${what}`, { path: name, hint });
}
