/**
 * Writes captures in the classic pcap format (draft-ietf-opsawg-pcap) with nanoseconds: to a file, or to a pipe that
 * somebody reads while it is written.
 *
 * Recording must not disturb what is recorded: `write` never throws and never waits. A frame that cannot be recorded is
 * counted by its reason (`counters`).
 *
 * - The header is written at once, frames when the buffer is full and at least once a second; to a pipe at the next
 *   turn of the event loop.
 * - A disk that is full (or fails) ends the recording: one error that names the file goes to `onError`, and the file is
 *   cut after its last whole record.
 * - A pipe without a reader takes nothing and holds up nobody; a reader that comes gets a header and all frames from
 *   then on. What a slow reader does not take waits, up to the size of the buffer.
 */
import { closeSync, constants, ftruncateSync, openSync, writeSync } from 'node:fs';
import { type Clock, every, systemClock } from '../clock.js';
import type { NicError } from '../errors.js';
import { get32, MAX_FRAME_BYTES } from './byte-window.js';
import { fileError } from './files.js';
import { LINKTYPE_ETHERNET } from './link-types.js';
import { type OutputOptions, openForWriting } from './output-file.js';
import {
  FILE_HEADER_BYTES,
  MAGIC_NS,
  RECORD_HEADER_BYTES,
  VERSION_MAJOR,
  VERSION_MINOR,
} from './pcap-format.js';

/** Room for the longest frame and more; for a pipe, what may wait for a slow reader. */
const BUFFER_BYTES = 2 * MAX_FRAME_BYTES;
/** How often buffered frames are written to a file. */
const FILE_PERIOD_MS = 1000;
/** How often a pipe is looked at: has a reader come, does it take more? */
const PIPE_PERIOD_MS = 20;
/** How long `drain` looks at a pipe again. */
const DRAIN_STEP_MS = 5;

export interface PcapWriterOptions extends OutputOptions {
  /** Told once when the recording has to end: the disk is full, or the like. Also in `error`. */
  readonly onError?: (error: NicError) => void;
  /** Stamps frames and calls back to write what is buffered. Default: the machine's. */
  readonly clock?: Clock;
  /** Link type of the frames; Ethernet by default. */
  readonly linkType?: number;
  /** In place of `fs.writeSync`, for tests. */
  readonly writeSync?: (fd: number, bytes: Uint8Array, offsetBytes: number, lengthBytes: number) => number;
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
 * const writer = PcapWriter.open('trace.pcap');
 * writer.write(pool.bytes(packet), 0, lengthBytes); // stamped with the time of the call
 * writer.close();
 */
export class PcapWriter {
  readonly path: string;
  /** A pipe, or a device: somebody may read while we write. */
  readonly #live: boolean;
  readonly #options: PcapWriterOptions;
  readonly #clock: Clock;
  readonly #write: NonNullable<PcapWriterOptions['writeSync']>;
  readonly #stopTimer: () => void;
  /** Wall-clock time when `clock.nowNs()` is 0, in two parts that are exact; the nanoseconds may be negative. */
  readonly #epochSeconds: number;
  readonly #epochNanoseconds: number;
  /** -1: nobody reads the pipe, the recording has failed, or all is closed. */
  #fd: number;
  /** An error of `open` is thrown by it; later ones go to `onError`. */
  #opened = false;
  #closed = false;
  #error: NicError | undefined;
  readonly #counters = { written: 0, unread: 0, slow: 0, failed: 0 };

  /** What waits: whole records from `#boundary` to `#end`, of which what precedes `#start` has been written. */
  readonly #buffer = Buffer.alloc(BUFFER_BYTES);
  #boundary = 0;
  #start = 0;
  #end = 0;
  /** The first record in the buffer is the file's header. */
  #headerWaits = false;
  /** Frames in the buffer. */
  #waiting = 0;
  /** Length of the file up to its last whole record. */
  #wholeBytes = 0;
  #flushPlanned = false;

  private constructor(path: string, fd: number, live: boolean, options: PcapWriterOptions) {
    this.path = path;
    this.#fd = fd;
    this.#live = live;
    this.#options = options;
    this.#write = options.writeSync ?? writeSync;
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
    this.#putHeader();
    this.flush();
  }

  /**
   * Opens a file, or a pipe, and writes the header.
   * @throws NicError `BAD_OPTION` where the path cannot be written to, has something in it, or is being read;
   *   `NO_PERMISSION`; `SYSCALL`
   */
  static open(path: string, options: PcapWriterOptions = {}): PcapWriter {
    const { fd, live } = openForWriting(path, options);
    const writer = new PcapWriter(path, fd, live, options);
    writer.#opened = true;
    if (writer.error === undefined) return writer;
    writer.close();
    throw writer.error;
  }

  /** What ended the recording, if something did. */
  get error(): NicError | undefined {
    return this.#error;
  }

  get counters(): RecordCounters {
    return { ...this.#counters };
  }

  /** Records a frame that is now on the wire. The memory may be used again at once. */
  write(bytes: Uint8Array, offsetBytes: number, lengthBytes: number): void {
    const ns = this.#epochNanoseconds + this.#clock.nowNs();
    const seconds = Math.floor(ns / 1e9);
    this.writeRecord(bytes, offsetBytes, lengthBytes, {
      seconds: this.#epochSeconds + seconds,
      nanoseconds: Math.floor(ns - seconds * 1e9),
      originalBytes: lengthBytes,
    });
  }

  /**
   * Records a frame with a time and a length on the wire of its own, as a copy of another capture has them. What is
   * longer than 262,144 bytes is cut to that.
   */
  writeRecord(
    bytes: Uint8Array,
    offsetBytes: number,
    lengthBytes: number,
    record: { readonly seconds: number; readonly nanoseconds: number; readonly originalBytes: number },
  ): void {
    const keptBytes = Math.min(lengthBytes, MAX_FRAME_BYTES);
    if (!this.#makeRoom(RECORD_HEADER_BYTES + keptBytes)) return;
    const buffer = this.#buffer;
    const at = this.#end;
    buffer.writeUInt32LE(record.seconds >>> 0, at);
    buffer.writeUInt32LE(record.nanoseconds, at + 4);
    buffer.writeUInt32LE(keptBytes, at + 8);
    buffer.writeUInt32LE(Math.max(record.originalBytes, lengthBytes), at + 12);
    buffer.set(bytes.subarray(offsetBytes, offsetBytes + keptBytes), at + RECORD_HEADER_BYTES);
    this.#end = at + RECORD_HEADER_BYTES + keptBytes;
    this.#waiting++;
    if (this.#live && !this.#flushPlanned) {
      this.#flushPlanned = true;
      setImmediate(() => {
        this.#flushPlanned = false;
        this.flush();
      }).unref();
    }
  }

  /** Writes what is buffered, as much as is taken without waiting. */
  flush(): void {
    while (this.#fd >= 0 && this.#start < this.#end) {
      try {
        this.#advance(this.#write(this.#fd, this.#buffer, this.#start, this.#end - this.#start));
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
  async drain(timeoutMs: number): Promise<void> {
    const deadlineNs = this.#clock.nowNs() + timeoutMs * 1e6;
    for (this.flush(); this.#waiting > 0 && this.#clock.nowNs() < deadlineNs; this.flush())
      await new Promise<void>((resolve) => this.#clock.after(DRAIN_STEP_MS, resolve));
  }

  /** Writes what is taken without waiting, and closes. Frames that were not taken are counted. May be called twice. */
  close(): void {
    if (this.#closed) return;
    this.flush();
    this.#closed = true;
    this.#stopTimer();
    this.#counters.slow += this.#dropBuffer();
    this.#closeFile();
  }

  /** For `using`: closes. */
  [Symbol.dispose](): void {
    this.close();
  }

  #tick(): void {
    if (this.#live && this.#fd < 0 && this.#error === undefined) this.#lookForReader();
    this.flush();
  }

  /** @returns false where the frame cannot be recorded; it has been counted then */
  #makeRoom(sizeBytes: number): boolean {
    if (this.#end + sizeBytes > BUFFER_BYTES) this.flush();
    if (this.#fd < 0) {
      if (this.#error !== undefined || this.#closed) this.#counters.failed++;
      else this.#counters.unread++;
      return false;
    }
    if (this.#end + sizeBytes > BUFFER_BYTES && this.#boundary > 0) {
      this.#buffer.copyWithin(0, this.#boundary, this.#end);
      this.#start -= this.#boundary;
      this.#end -= this.#boundary;
      this.#boundary = 0;
    }
    if (this.#end + sizeBytes <= BUFFER_BYTES) return true;
    this.#counters.slow++;
    return false;
  }

  #putHeader(): void {
    const buffer = this.#buffer;
    buffer.fill(0, 0, FILE_HEADER_BYTES);
    buffer.writeUInt32LE(MAGIC_NS, 0);
    buffer.writeUInt16LE(VERSION_MAJOR, 4);
    buffer.writeUInt16LE(VERSION_MINOR, 6);
    buffer.writeUInt32LE(MAX_FRAME_BYTES, 16);
    buffer.writeUInt32LE(this.#options.linkType ?? LINKTYPE_ETHERNET, 20);
    this.#end = FILE_HEADER_BYTES;
    this.#headerWaits = true;
  }

  /** So many bytes more have been written: counts the records that are whole now. */
  #advance(sizeBytes: number): void {
    this.#start += sizeBytes;
    while (this.#boundary < this.#start) {
      const recordBytes = this.#headerWaits
        ? FILE_HEADER_BYTES
        : RECORD_HEADER_BYTES + get32(this.#buffer, this.#boundary + 8, true);
      if (this.#boundary + recordBytes > this.#start) return;
      this.#boundary += recordBytes;
      this.#wholeBytes += recordBytes;
      if (this.#headerWaits) {
        this.#headerWaits = false;
      } else {
        this.#waiting--;
        this.#counters.written++;
      }
    }
    if (this.#start === this.#end) {
      this.#boundary = 0;
      this.#start = 0;
      this.#end = 0;
    }
  }

  /** Forgets what waits. @returns how many frames that were */
  #dropBuffer(): number {
    const dropped = this.#waiting;
    this.#waiting = 0;
    this.#boundary = 0;
    this.#start = 0;
    this.#end = 0;
    this.#headerWaits = false;
    return dropped;
  }

  #readerLeft(): void {
    this.#counters.unread += this.#dropBuffer();
    this.#closeFile();
  }

  #lookForReader(): void {
    try {
      this.#fd = openSync(this.path, constants.O_WRONLY | constants.O_NONBLOCK);
      this.#putHeader();
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENXIO') this.#fail(error);
    }
  }

  #fail(cause: unknown): void {
    this.#counters.failed += this.#dropBuffer();
    if (!this.#live) {
      try {
        ftruncateSync(this.#fd, this.#wholeBytes);
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
      closeSync(fd);
    } catch (error) {
      // Some file systems say only now that the disk is full.
      if (this.#error === undefined)
        this.#report(fileError(`${this.path}: what was recorded may not all be there`, error, this.path));
    }
  }
}
