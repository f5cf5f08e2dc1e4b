/**
 * A capture in several files, one after the other: a new one is begun when the current one is large or old enough, and
 * where only so many are kept, the oldest goes. Only files that this ring has made are ever removed.
 */
import { unlinkSync } from 'node:fs';
import { extname } from 'node:path';
import { type Clock, systemClock } from '../clock.js';
import type { NicError } from '../errors.js';
import { CaptureWriter, type CaptureWriterOptions, type RecordCounters } from './capture-writer.js';
import { type FileKey, fileKey } from './file-key.js';

export interface FileRingOptions {
  /** A file that has so many bytes ends when the next frame comes: bytes of the file, so of a packed one packed. */
  readonly fileBytes?: number | undefined;
  /** So old a file is ended when the next frame comes. */
  readonly fileMs?: number | undefined;
  /** Most files kept; all by default. */
  readonly files?: number | undefined;
}

export class FileRing {
  readonly #path: string;
  readonly #limits: FileRingOptions;
  readonly #options: CaptureWriterOptions;
  readonly #clock: Clock;
  #writer: CaptureWriter;
  #begunNs = 0;
  #made = 0;
  /** Those that are kept, the oldest first. */
  readonly #kept: { readonly path: string; readonly key: FileKey | undefined }[] = [];
  /** Of files that are closed. */
  readonly #before = { written: 0, unread: 0, slow: 0, failed: 0 };

  /** Begins the first file. @param path its name gets number and time: `trace_00001_20261127140500.pcapng` */
  constructor(path: string, limits: FileRingOptions, options: CaptureWriterOptions) {
    this.#path = path;
    this.#limits = limits;
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#writer = this.#open();
  }

  /** The file that is written to. */
  get path(): string {
    return this.#writer.path;
  }

  get error(): NicError | undefined {
    return this.#writer.error;
  }

  /** Of all files. Frames of files that have been removed were written. */
  get counters(): RecordCounters {
    const { written, unread, slow, failed } = this.#writer.counters;
    const before = this.#before;
    return {
      written: before.written + written,
      unread: before.unread + unread,
      slow: before.slow + slow,
      failed: before.failed + failed,
    };
  }

  /** As `CaptureWriter.write`. */
  write(
    bytes: Uint8Array,
    offsetBytes: number,
    lengthBytes: number,
    interfaceId = 0,
    nowNs = this.#clock.nowNs(),
  ): void {
    const { fileBytes, fileMs } = this.#limits;
    const isFull = fileBytes !== undefined && this.#writer.sizeBytes >= fileBytes;
    const isOld = fileMs !== undefined && nowNs - this.#begunNs >= fileMs * 1e6;
    if ((isFull || isOld) && this.#writer.error === undefined) this.#next();
    this.#writer.write(bytes, offsetBytes, lengthBytes, interfaceId, nowNs);
  }

  /** Ends this file and begins the next. Where that cannot be opened, the last one stays closed, and says why. */
  #next(): void {
    const last = this.#writer;
    last.close();
    try {
      this.#writer = this.#open();
    } catch (error) {
      last.fail(error as NicError);
      return;
    }
    const { written, unread, slow, failed } = last.counters;
    this.#before.written += written;
    this.#before.unread += unread;
    this.#before.slow += slow;
    this.#before.failed += failed;
  }

  #open(): CaptureWriter {
    const writer = CaptureWriter.open(this.#nextPath(), this.#options);
    this.#begunNs = this.#clock.nowNs();
    this.#kept.push({ path: writer.path, key: fileKey(writer.path) });
    while (this.#kept.length > (this.#limits.files ?? Number.POSITIVE_INFINITY)) this.#removeOldest();
    return writer;
  }

  #removeOldest(): void {
    const { path, key } = this.#kept.shift()!;
    // Somebody may have put another file in its place.
    if (key === undefined || fileKey(path) !== key) return;
    try {
      unlinkSync(path);
    } catch {
      // Somebody has taken it away already.
    }
  }

  #nextPath(): string {
    const extension = /\.pcap(ng)?\.gz$/.exec(this.#path)?.[0] ?? extname(this.#path);
    const base = this.#path.slice(0, this.#path.length - extension.length);
    const time = new Date(this.#clock.wallMs()).toISOString().replace(/\..*$/, '').replace(/[-:T]/g, '');
    return `${base}_${String(++this.#made).padStart(5, '0')}_${time}${extension}`;
  }

  /** Ends the last file. May be called twice. */
  close(): void {
    this.#writer.close();
  }
}
