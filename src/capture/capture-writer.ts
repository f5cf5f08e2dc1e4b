/**
 * Writes captures: pcapng, or the classic pcap where the file's name ends in `.pcap`, both with nanoseconds, packed where it
 * ends in `.gz`; to a file, or to a pipe that somebody reads while it is written.
 *
 * Recording must not disturb what is recorded: `write` never throws and never waits. A frame that cannot be recorded is
 * counted by its reason (`counters`).
 *
 * - The header is written at once, frames when the buffer is full and at least once a second; to a pipe at the next
 *   turn of the event loop.
 * - Packed with gzip, what is written at a time is a member of its own: what is there can be read at any time. Packing
 *   happens in `write` when 64 KiB have gathered, and once a second, also to a pipe.
 * - A disk that is full (or fails) ends the recording: one error that names the file goes to `onError`, and the file is
 *   cut after its last whole record, or member.
 * - A pipe without a reader takes nothing and holds up nobody; a reader that comes gets a header and all frames from
 *   then on. What a slow reader does not take waits, up to the size of the buffer.
 */
import { closeSync, constants, ftruncateSync, openSync, writeSync } from 'node:fs';
import { type Clock, every, systemClock } from '../clock.js';
import type { NicError } from '../errors.js';
import { MAX_FRAME_BYTES } from './byte-window.js';
import type { CaptureInterface, InterfaceStatistics } from './capture-interface.js';
import { fileError } from './files.js';
import { LINKTYPE_ETHERNET } from './link-types.js';
import { BUFFER_BYTES, type OutputBuffer, outputBuffer } from './output-buffer.js';
import { type OutputOptions, openForWriting } from './output-file.js';
import { pcapRecords } from './pcap-records.js';
import { pcapngRecords, type SectionDescription } from './pcapng-records.js';
import type { RecordFormat } from './record-format.js';

/** A frame up to this is copied byte by byte: a view of it would cost more. */
const SHORT_BYTES = 128;
/** From so many bytes on a whole view of 2 KiB is copied faster than they are byte by byte: 96 bytes take 0.2 us less. */
const WHOLE_VIEW_BYTES = 64;
/** So much more than the frame is copied from a view that begins with it; no view has to be made then. */
const SPARE_BYTES = 4096;
/** How often buffered frames are written to a file. */
const FILE_PERIOD_MS = 1000;
/** How often a pipe is looked at: has a reader come, does it take more? */
const PIPE_PERIOD_MS = 20;
/** In place of a descriptor while a sink takes what is written. */
const SINK_FD = 0x7fff_ffff;
/** How often `drain` and `ready` look at a pipe again. */
const DRAIN_STEP_MS = 5;
/** More than the record of any frame takes. */
const ROOM_BYTES = BUFFER_BYTES / 2;

export interface CaptureWriterOptions extends OutputOptions {
  /** Told once when the recording has to end: the disk is full, or the like. Also in `error`. */
  readonly onError?: (error: NicError) => void;
  /** Stamps frames and calls back to write what is buffered. Default: the machine's. */
  readonly clock?: Clock;
  /** Default: pcap where the name ends in `.pcap` or `.pcap.gz`, pcapng elsewhere. */
  readonly format?: 'pcap' | 'pcapng';
  /** What the file is packed with. Default: gzip where the name ends in `.gz`, else nothing. */
  readonly packing?: 'gzip';
  /** Link type of the frames; Ethernet by default. */
  readonly linkType?: number;
  /** pcapng: where frames come from; `write` names them by their place in this list. Default: one without a name. */
  readonly interfaces?: readonly CaptureInterface[];
  /** pcapng: what is said of the whole file. */
  readonly section?: SectionDescription;
  /** Most bytes kept of a frame; its length on the wire is kept, too. Default: all. */
  readonly snapBytes?: number;
  /** pcapng: what each interface has counted, asked when the file is closed, and written as its end. */
  readonly statistics?: () => readonly InterfaceStatistics[];
  /** Told when the reader of a pipe has gone. Another may come. */
  readonly onReaderLeft?: () => void;
  /** In place of `fs.writeSync`, for tests. */
  readonly writeSync?: (fd: number, bytes: Uint8Array, offsetBytes: number, lengthBytes: number) => number;
}

/** Where a capture goes that is no file: a connection, say. */
export interface CaptureSink {
  /**
   * Takes some bytes, which may change after the call.
   * @returns how many; 0: none for the moment. Throws an error with code `EPIPE` where nobody reads any more.
   */
  write(bytes: Uint8Array, offsetBytes: number, lengthBytes: number): number;
  /** Nothing more comes. */
  close(): void;
}

/** What became of the frames. Those that wait in the buffer are in none of the counts yet. */
export interface RecordCounters {
  /** Frames that are in the file, or that the pipe has taken. */
  readonly written: number;
  /** Frames that came while nobody read the pipe. */
  readonly unread: number;
  /** Frames that the reader of the pipe was too slow for. */
  readonly slow: number;
  /** Frames lost to the error that ended the recording, and all after it. */
  readonly failed: number;
}

/**
 * @example
 * const writer = CaptureWriter.open('trace.pcap');
 * writer.write(pool.bytes(packet), 0, lengthBytes); // stamped with the time of the call
 * writer.close();
 */
export class CaptureWriter {
  readonly path: string;
  /** A pipe, a device or a sink: somebody may read while we write. */
  readonly #live: boolean;
  readonly #sink: CaptureSink | undefined;
  readonly #options: CaptureWriterOptions;
  readonly #clock: Clock;
  readonly #format: RecordFormat;
  readonly #packed: boolean;
  readonly #snapBytes: number;
  readonly #write: NonNullable<CaptureWriterOptions['writeSync']>;
  readonly #stopTimer: () => void;
  /** Wall-clock time when `clock.nowNs()` is 0, in two parts that are exact; the nanoseconds may be negative. */
  readonly #epochSeconds: number;
  readonly #epochNanoseconds: number;
  /** The clock's time of the frames that are written, and the same in the words of the format. */
  #timeNs = Number.NaN;
  readonly #time = new Int32Array(2);
  /** -1: nobody reads the pipe, the recording has failed, or all is closed. */
  #fd: number;
  /** An error of `open` is thrown by it; later ones go to `onError`. */
  #opened = false;
  #closed = false;
  #error: NicError | undefined;
  readonly #counters = { written: 0, unread: 0, slow: 0, failed: 0 };

  readonly #output: OutputBuffer;
  /** The clock's time when what had gathered was last written, or packed. */
  #flushedNs = 0;
  #flushPlanned = false;

  private constructor(
    path: string,
    fd: number,
    live: boolean,
    options: CaptureWriterOptions,
    sink?: CaptureSink,
  ) {
    this.path = path;
    this.#sink = sink;
    this.#fd = fd;
    this.#live = live;
    this.#options = options;
    this.#format = formatOf(path, options);
    this.#packed = (options.packing ?? (path.endsWith('.gz') ? 'gzip' : undefined)) === 'gzip';
    this.#output = outputBuffer(this.#format, this.#packed ? 'gzip' : undefined);
    this.#snapBytes = Math.min(options.snapBytes ?? MAX_FRAME_BYTES, MAX_FRAME_BYTES);
    this.#write =
      sink === undefined
        ? (options.writeSync ?? writeSync)
        : (_fd, bytes, offsetBytes, lengthBytes) => sink.write(bytes, offsetBytes, lengthBytes);
    this.#clock = options.clock ?? systemClock;
    // From here on the monotonic clock counts: the wall clock may be set while we record.
    const wallMs = this.#clock.wallMs();
    const wholeMs = Math.floor(wallMs);
    this.#epochSeconds = Math.floor(wholeMs / 1000);
    this.#epochNanoseconds =
      (wholeMs % 1000) * 1e6 + Math.floor((wallMs - wholeMs) * 1e6) - this.#clock.nowNs();
    const periodMs = live ? PIPE_PERIOD_MS : FILE_PERIOD_MS;
    this.#stopTimer = every(this.#clock, periodMs, () => this.#tick(), false);
    if (fd < 0) return;
    this.#output.put(this.#format.header);
    this.flush();
  }

  /**
   * Opens a file, or a pipe, and writes the header.
   * @throws NicError `BAD_OPTION` where the path cannot be written to, has something in it, or is being read;
   *   `NO_PERMISSION`; `SYSCALL`
   */
  static open(path: string, options: CaptureWriterOptions = {}): CaptureWriter {
    const { fd, live } = openForWriting(path, options);
    const writer = new CaptureWriter(path, fd, live, options);
    writer.#opened = true;
    if (writer.error === undefined) return writer;
    writer.close();
    throw writer.error;
  }

  /** Writes to a sink as to a pipe, but its reader comes only once. @param name what messages call it */
  static onto(sink: CaptureSink, name: string, options: CaptureWriterOptions = {}): CaptureWriter {
    const writer = new CaptureWriter(name, SINK_FD, true, options, sink);
    writer.#opened = true;
    return writer;
  }

  /** What ended the recording, if something did. */
  get error(): NicError | undefined {
    return this.#error;
  }

  get counters(): RecordCounters {
    return { ...this.#counters };
  }

  /** Length of the file, with what waits to be written; of a packed file without what waits to be packed. */
  get sizeBytes(): number {
    return this.#output.sizeBytes;
  }

  /** Takes no more frames: what was to go on after this file cannot, and `error` says why. Told to `onError`. */
  fail(error: NicError): void {
    this.#report(error);
  }

  /**
   * Records a frame that is now on the wire. The memory may be used again at once.
   * @param interfaceId its place in the option `interfaces`
   * @param nowNs the clock's time; given where it has been asked already
   */
  write(
    bytes: Uint8Array,
    offsetBytes: number,
    lengthBytes: number,
    interfaceId = 0,
    nowNs = this.#clock.nowNs(),
  ): void {
    if (nowNs !== this.#timeNs) this.#setTime(nowNs);
    this.#put(bytes, offsetBytes, lengthBytes, lengthBytes, interfaceId);
  }

  /**
   * Records a frame with a time and a length on the wire of its own, as a copy of another capture has them. What is
   * longer than 262,144 bytes is cut to that.
   */
  writeRecord(
    bytes: Uint8Array,
    offsetBytes: number,
    lengthBytes: number,
    record: {
      readonly seconds: number;
      readonly nanoseconds: number;
      readonly originalBytes: number;
      readonly interfaceId?: number;
    },
  ): void {
    const { seconds, nanoseconds, originalBytes, interfaceId = 0 } = record;
    this.#timeNs = Number.NaN;
    this.#format.time(seconds, nanoseconds, this.#time);
    this.#put(bytes, offsetBytes, lengthBytes, originalBytes, interfaceId);
  }

  /** Frames of one batch have one time: it is put into words once. */
  #setTime(nowNs: number): void {
    this.#timeNs = nowNs;
    const ns = this.#epochNanoseconds + nowNs;
    const seconds = Math.floor(ns / 1e9);
    this.#format.time(this.#epochSeconds + seconds, Math.floor(ns - seconds * 1e9), this.#time);
  }

  #put(
    bytes: Uint8Array,
    offsetBytes: number,
    lengthBytes: number,
    originalBytes: number,
    interfaceId: number,
  ): void {
    const keptBytes = Math.min(lengthBytes, this.#snapBytes);
    const recordBytes = this.#format.recordBytes(keptBytes);
    if (!this.#makeRoom(recordBytes)) return;
    const output = this.#output;
    const buffer = output.bytes;
    const at = output.end;
    const frameAt = at + this.#format.recordHeaderBytes;
    const isView = offsetBytes === 0 && bytes.length - keptBytes < SPARE_BYTES;
    if (isView && keptBytes > WHOLE_VIEW_BYTES && frameAt + bytes.length <= BUFFER_BYTES) {
      // What is copied too much is overwritten by the rest of the record and by the next one.
      buffer.set(bytes, frameAt);
    } else if (keptBytes <= SHORT_BYTES) {
      for (let i = 0; i < keptBytes; i++) buffer[frameAt + i] = bytes[offsetBytes + i]!;
    } else buffer.set(bytes.subarray(offsetBytes, offsetBytes + keptBytes), frameAt);
    const wireBytes = Math.max(originalBytes, lengthBytes);
    this.#format.frame(buffer, at, keptBytes, wireBytes, this.#time, interfaceId);
    output.end = at + recordBytes;
    output.frames++;
    if (this.#live && !this.#packed && !this.#flushPlanned) this.#planFlush();
    else if (at < output.fullBytes && output.end >= output.fullBytes) this.flush();
  }

  #planFlush(): void {
    this.#flushPlanned = true;
    setImmediate(() => {
      this.#flushPlanned = false;
      this.flush();
    }).unref();
  }

  /** Writes what is buffered, as much as is taken without waiting. */
  flush(): void {
    this.#flushedNs = this.#clock.nowNs();
    this.#writeOut(true);
  }

  /** @param pack whether what has gathered is packed, too; else only what is packed already is written */
  #writeOut(pack: boolean): void {
    const output = this.#output;
    while (this.#fd >= 0 && output.prepare(pack)) {
      try {
        const { out, outStart, outEnd } = output;
        const taken = this.#write(this.#fd, out, outStart, outEnd - outStart);
        if (taken === 0) return;
        this.#counters.written += output.advance(taken);
      } catch (error) {
        const { code } = error as NodeJS.ErrnoException;
        if (code === 'EINTR') continue;
        if (code === 'EAGAIN' && this.#live) return;
        if (code === 'EPIPE' && this.#live) this.#readerLeft();
        else this.#fail(error);
      }
    }
  }

  /** Waits until all is written: at most `timeoutMs`, where the reader of a pipe does not take it. */
  drain(timeoutMs: number): Promise<void> {
    return this.#flushUntil(() => this.#output.frames === 0, timeoutMs);
  }

  /** Whether a frame of any length is taken now: a pipe has a reader, and there is room. */
  get isReady(): boolean {
    return this.#fd >= 0 && this.#output.end <= BUFFER_BYTES - ROOM_BYTES;
  }

  /** Waits until `isReady`, or the recording has ended: at most `timeoutMs`. */
  ready(timeoutMs: number): Promise<void> {
    return this.#flushUntil(() => this.isReady || this.#error !== undefined, timeoutMs);
  }

  async #flushUntil(isEnough: () => boolean, timeoutMs: number): Promise<void> {
    const deadlineNs = this.#clock.nowNs() + timeoutMs * 1e6;
    for (this.flush(); !isEnough() && this.#clock.nowNs() < deadlineNs; this.flush())
      await new Promise<void>((resolve) => this.#clock.after(DRAIN_STEP_MS, resolve));
  }

  /** Writes what is taken without waiting, and closes. Frames that were not taken are counted. May be called twice. */
  close(): void {
    if (this.#closed) return;
    this.flush();
    this.#putEnd();
    this.#closed = true;
    this.#stopTimer();
    this.#counters.slow += this.#output.drop();
    this.#closeFile();
  }

  /** For `using`: closes. */
  [Symbol.dispose](): void {
    this.close();
  }

  #tick(): void {
    const mayReturn = this.#live && this.#sink === undefined;
    if (mayReturn && this.#fd < 0 && this.#error === undefined) this.#lookForReader();
    // Into a packed pipe goes a second's frames at a time: each alone would take more than it does unpacked.
    const waits = this.#live && this.#packed && this.#clock.nowNs() - this.#flushedNs < FILE_PERIOD_MS * 1e6;
    if (waits) this.#writeOut(this.#output.end >= this.#output.fullBytes);
    else this.flush();
  }

  /** @returns false where the frame cannot be recorded; it has been counted then */
  #makeRoom(sizeBytes: number): boolean {
    if (this.#output.end + sizeBytes > BUFFER_BYTES) this.flush();
    if (this.#fd < 0) {
      if (this.#error !== undefined || this.#closed) this.#counters.failed++;
      else this.#counters.unread++;
      return false;
    }
    if (this.#output.makeRoom(sizeBytes)) return true;
    this.#counters.slow++;
    return false;
  }

  /** Puts what the file ends with behind its frames. */
  #putEnd(): void {
    const ns = this.#epochNanoseconds + this.#clock.nowNs();
    const seconds = Math.floor(ns / 1e9);
    const statistics = this.#options.statistics?.() ?? [];
    const end = this.#format.end(statistics, this.#epochSeconds + seconds, Math.floor(ns - seconds * 1e9));
    if (this.#fd < 0 || this.#output.end + end.length > BUFFER_BYTES) return;
    this.#output.put(end);
    this.flush();
  }

  #readerLeft(): void {
    this.#counters.unread += this.#output.drop();
    this.#closeFile();
    this.#options.onReaderLeft?.();
  }

  #lookForReader(): void {
    try {
      this.#fd = openSync(this.path, constants.O_WRONLY | constants.O_NONBLOCK);
      this.#output.put(this.#format.header);
      this.flush();
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENXIO') this.#fail(error);
    }
  }

  #fail(cause: unknown): void {
    this.#counters.failed += this.#output.drop();
    if (!this.#live) {
      try {
        ftruncateSync(this.#fd, this.#output.wholeBytes);
      } catch {
        // The error that is about to be told is the one that matters.
      }
    }
    this.#closeFile();
    const { written } = this.#counters;
    this.#report(fileError(`${this.path}: the recording ends after ${written} frames`, cause, this.path));
  }

  #report(error: NicError): void {
    this.#error = error;
    if (this.#opened) this.#options.onError?.(error);
  }

  #closeFile(): void {
    if (this.#fd < 0) return;
    const fd = this.#fd;
    this.#fd = -1;
    try {
      if (this.#sink === undefined) closeSync(fd);
      else this.#sink.close();
    } catch (error) {
      // Some file systems say only now that the disk is full.
      if (this.#error === undefined)
        this.#report(fileError(`${this.path}: what was recorded may not all be there`, error, this.path));
    }
  }
}

function formatOf(path: string, options: CaptureWriterOptions): RecordFormat {
  const {
    format = /\.pcap(\.gz)?$/.test(path) ? 'pcap' : 'pcapng',
    linkType = LINKTYPE_ETHERNET,
    snapBytes,
  } = options;
  if (format === 'pcap') return pcapRecords(options.interfaces?.[0]?.linkType ?? linkType, snapBytes);
  return pcapngRecords(options.interfaces ?? [{ linkType }], options.section, snapBytes);
}
