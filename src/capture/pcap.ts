/**
 * Capture files in the classic pcap format (draft-ietf-opsawg-pcap): written with nanosecond time stamps, read in both
 * byte orders and resolutions. Frames have no FCS.
 */
import { closeSync, openSync, readFileSync, writeSync } from 'node:fs';
import { type FrameMemory, type Pollable, type Port, UNLIMITED_ROOM } from '../emulator/link.js';
import { NicError } from '../errors.js';

const MAGIC_NS = 0xa1b23c4d;
const MAGIC_US = 0xa1b2c3d4;
const LINKTYPE_ETHERNET = 1;
const FILE_HEADER_BYTES = 24;
const RECORD_HEADER_BYTES = 16;
const MAX_FRAME_BYTES = 65535;
const BUFFER_BYTES = 1 << 18;

/** Writes frames to a file; as a port, all frames that arrive. */
export class PcapWriter implements Port {
  /** Frames written. */
  count = 0;
  readonly #fd: number;
  readonly #nowMs: () => number;
  readonly #buffer = Buffer.alloc(BUFFER_BYTES);
  #used = 0;
  #open = true;

  /**
   * @param nowMs time for the stamps, milliseconds since 1970; the wall clock by default
   * @throws Error of `fs.openSync` where the file cannot be written
   */
  constructor(path: string, nowMs: () => number = () => performance.timeOrigin + performance.now()) {
    this.#fd = openSync(path, 'w');
    this.#nowMs = nowMs;
    const header = this.#buffer;
    header.writeUInt32LE(MAGIC_NS, 0);
    header.writeUInt16LE(2, 4);
    header.writeUInt16LE(4, 6);
    header.writeUInt32LE(MAX_FRAME_BYTES, 16);
    header.writeUInt32LE(LINKTYPE_ETHERNET, 20);
    this.#used = FILE_HEADER_BYTES;
  }

  write(memory: FrameMemory, offsetBytes: number, lengthBytes: number): void {
    if (!this.#open) return;
    const kept = Math.min(lengthBytes, MAX_FRAME_BYTES);
    if (this.#used + RECORD_HEADER_BYTES + kept > BUFFER_BYTES) this.save();
    const buffer = this.#buffer;
    const at = this.#used;
    const nowMs = this.#nowMs();
    const seconds = Math.floor(nowMs / 1000);
    buffer.writeUInt32LE(seconds >>> 0, at);
    buffer.writeUInt32LE(Math.floor((nowMs - seconds * 1000) * 1e6), at + 4);
    buffer.writeUInt32LE(kept, at + 8);
    buffer.writeUInt32LE(lengthBytes, at + 12);
    buffer.set(memory.bytes.subarray(offsetBytes, offsetBytes + kept), at + RECORD_HEADER_BYTES);
    this.#used = at + RECORD_HEADER_BYTES + kept;
    this.count++;
  }

  /** Writes what is buffered to the file. */
  save(): void {
    for (let done = 0; done < this.#used; )
      done += writeSync(this.#fd, this.#buffer, done, this.#used - done);
    this.#used = 0;
  }

  close(): void {
    if (!this.#open) return;
    this.save();
    this.#open = false;
    closeSync(this.#fd);
  }

  plug(): void {}

  deliver(memory: FrameMemory, offsetBytes: number, lengthBytes: number): boolean {
    this.write(memory, offsetBytes, lengthBytes);
    return true;
  }

  damaged(): void {}
  flush(): void {}
  carrier(): void {}

  room(): number {
    return UNLIMITED_ROOM;
  }
}

export interface CapturedFrame {
  readonly bytes: Uint8Array;
  /** Time since the first frame. */
  readonly timeNs: number;
}

/**
 * Reads a capture file. Frames cut short by the capture are left out.
 * @throws NicError `BAD_OPTION` where the file is not a pcap file of Ethernet frames, or ends inside a record
 */
export function readPcap(path: string): CapturedFrame[] {
  const file = readFileSync(path);
  const bad = (message: string): NicError =>
    new NicError('BAD_OPTION', `${path}: ${message}`, {
      path,
      hint: 'save captures as pcap (not pcapng) of Ethernet frames',
    });
  if (file.length < FILE_HEADER_BYTES) throw bad('too short for a pcap file');
  const magic = file.readUInt32LE(0);
  const swapped = file.readUInt32BE(0);
  const littleEndian = magic === MAGIC_NS || magic === MAGIC_US;
  if (!littleEndian && swapped !== MAGIC_NS && swapped !== MAGIC_US) throw bad('not a pcap file');
  const unitNs = magic === MAGIC_US || swapped === MAGIC_US ? 1000 : 1;
  const word = (at: number): number => (littleEndian ? file.readUInt32LE(at) : file.readUInt32BE(at));
  if ((word(20) & 0xffff) !== LINKTYPE_ETHERNET) throw bad('frames are not Ethernet');
  const frames: CapturedFrame[] = [];
  let firstNs = -1;
  for (let at = FILE_HEADER_BYTES; at < file.length; ) {
    if (at + RECORD_HEADER_BYTES > file.length) throw bad('ends inside a record');
    const kept = word(at + 8);
    const start = at + RECORD_HEADER_BYTES;
    if (kept > MAX_FRAME_BYTES || start + kept > file.length) throw bad('ends inside a record');
    const timeNs = word(at) * 1e9 + word(at + 4) * unitNs;
    if (firstNs < 0) firstNs = timeNs;
    if (kept === word(at + 12))
      frames.push({ bytes: Uint8Array.from(file.subarray(start, start + kept)), timeNs: timeNs - firstNs });
    at = start + kept;
  }
  return frames;
}

export interface PcapSourceOptions {
  /** Times to play the file; once by default. */
  readonly repeat?: number;
  /** Keep the gaps of the capture; otherwise as fast as the receiver takes frames. Default false. */
  readonly originalTiming?: boolean;
  readonly nowNs?: () => number;
}

/** Plays frames of a capture into the link, short ones padded to 60 bytes. */
export class PcapSource implements Port, Pollable {
  sent = 0;
  readonly #frames: readonly { memory: FrameMemory; lengthBytes: number; timeNs: number }[];
  readonly #repeat: number;
  readonly #timing: boolean;
  readonly #nowNs: () => number;
  #out: Port | undefined;
  #next = 0;
  #rounds = 0;
  #startNs = -1;

  constructor(frames: readonly CapturedFrame[], options: PcapSourceOptions = {}) {
    this.#frames = frames.map((frame) => {
      const lengthBytes = Math.max(frame.bytes.length, 60);
      const buffer = new ArrayBuffer((lengthBytes + 3) & ~3);
      const memory = { bytes: new Uint8Array(buffer), words: new Int32Array(buffer) };
      memory.bytes.set(frame.bytes);
      return { memory, lengthBytes, timeNs: frame.timeNs };
    });
    this.#repeat = frames.length === 0 ? 0 : (options.repeat ?? 1);
    this.#timing = options.originalTiming ?? false;
    this.#nowNs = options.nowNs ?? (() => performance.now() * 1e6);
  }

  get done(): boolean {
    return this.#rounds >= this.#repeat;
  }

  poll(budget: number): number {
    const out = this.#out;
    if (out === undefined || this.done) return 0;
    const limit = Math.min(budget, out.room());
    const nowNs = this.#timing ? this.#nowNs() : 0;
    if (this.#timing && this.#startNs < 0) this.#startNs = nowNs;
    let count = 0;
    while (count < limit && !this.done) {
      const frame = this.#frames[this.#next]!;
      if (this.#timing && nowNs - this.#startNs < frame.timeNs) break;
      out.deliver(frame.memory, 0, frame.lengthBytes);
      count++;
      this.#next++;
      if (this.#next === this.#frames.length) {
        this.#next = 0;
        this.#rounds++;
        this.#startNs = nowNs;
      }
    }
    this.sent += count;
    if (count > 0) out.flush();
    return count;
  }

  plug(out: Port | undefined): void {
    this.#out = out;
  }

  deliver(): boolean {
    return true;
  }

  damaged(): void {}
  flush(): void {}
  carrier(): void {}

  room(): number {
    return UNLIMITED_ROOM;
  }
}
