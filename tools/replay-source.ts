/**
 * What `barewire replay` is to send, read ahead: frames of a capture, chosen, changed, copied into buffers of the pool, each
 * with the time at which it is due. What is left out is counted by its reason.
 */
import { CaptureReader } from '../src/capture/capture-reader.js';
import type { FrameFilter } from '../src/capture/filter/index.js';
import type { FrameView } from '../src/capture/frame-decoder.js';
import { LINKTYPE_ETHERNET, notEthernet } from '../src/capture/link-types.js';
import { type RewriteOptions, Rewriter } from '../src/capture/rewrite.js';
import { NicError } from '../src/errors.js';
import type { PacketPool } from '../src/hugepage/packet-pool.js';
import { ETHERNET_BYTES, MIN_FRAME_BYTES } from '../src/packet/protocols.js';

/** Frames that wait in buffers. Behind them up to 512 KiB of the file wait in the reader. */
const AHEAD = 1024;
/** Where the last frame that is ready is due so soon, what comes next is read at once. */
const SOON_NS = 5e6;
/** So long signals and timers wait at most while the file is read at once. */
const TURN_NS = 2e6;

export interface SourceOptions extends RewriteOptions {
  readonly loops: number;
  /** When frames leave: as captured (times `speed`), at a rate, or at once. */
  readonly pace: { readonly speed: number } | { readonly framesPerSecond: number } | 'burst';
  /** Part of the capture, in seconds from its first frame. With 0 frames that are older than the first are in it. */
  readonly fromS: number;
  readonly toS: number;
  readonly filter: FrameFilter | undefined;
  /** Which port a frame leaves by: 0 or 1. */
  readonly portOf: (frame: FrameView) => number;
  /** Longest frame that the ports send, without FCS. */
  readonly maxFrameBytes: number;
  /** Told the first time that a frame is too long, before those around it are sent. */
  readonly onNotice?: (notice: NicError) => void;
}

export class ReplaySource {
  /** Why frames were left out. */
  readonly leftOut = { filtered: 0, outside: 0, cut: 0, tooShort: 0, tooLong: 0, notEthernet: 0 };
  /** What is wrong with the file. */
  damage: NicError | undefined;
  /** Frames of the capture so far, all rounds. */
  frames = 0;
  readonly packets = new Uint32Array(AHEAD);
  readonly ports = new Uint8Array(AHEAD);
  readonly dueNs = new Float64Array(AHEAD);
  readonly #path: string;
  readonly #pool: PacketPool;
  readonly #options: SourceOptions;
  readonly #rewriter: Rewriter;
  readonly #one = new Uint32Array(1);
  #reader: CaptureReader;
  /** The file opened for the next round, or why it cannot be. */
  #next: CaptureReader | NicError | undefined;
  #opening: Promise<void> = Promise.resolve();
  /** The file of the last round. */
  #closing: Promise<void> = Promise.resolve();
  /** Frames that were taken from the front, and put behind the last; both count on. */
  #taken = 0;
  #put = 0;
  #filling = false;
  /** When the file was first read at once since others had their turn; NaN: not since. */
  #readNowNs = Number.NaN;
  #ended = false;
  #closed = false;
  /** Link type of the first frame that is not Ethernet. */
  #foreignType: number | undefined;
  #rounds = 0;
  #framesBefore = 0;
  /** The capture's first second: times are counted from there, to be exact. */
  #zeroSeconds = Number.NaN;
  #zeroNs = 0;
  /** Time of this round's first frame, of the last frame, both from the start of all. */
  #roundNs = 0;
  #lastNs = 0;
  #putBefore = 0;
  /** When the frame that was put last is due. */
  #putDueNs = 0;

  constructor(reader: CaptureReader, pool: PacketPool, options: SourceOptions) {
    this.#reader = reader;
    this.#path = reader.name;
    this.#pool = pool;
    this.#options = options;
    this.#rewriter = new Rewriter(options);
    this.#openNext();
  }

  /** Frames that are ready. */
  get ready(): number {
    return this.#put - this.#taken;
  }

  /** All has been read and taken. */
  get done(): boolean {
    return this.#ended && this.ready === 0;
  }

  /** As much is ready as can be: sending may begin. */
  get primed(): boolean {
    return this.#ended || this.ready === AHEAD || (this.ready > 0 && this.#pool.available === 0);
  }

  /** Place of the i-th ready frame in `packets`, `ports` and `dueNs`. */
  at(i: number): number {
    return (this.#taken + i) % AHEAD;
  }

  /** The first so many have been sent: their buffers belong to the ring. */
  take(count: number): void {
    this.#taken += count;
  }

  /**
   * Reads ahead as far as there is room and data in memory; what must be waited for comes by itself.
   * @param elapsedNs since the time from which frames are due; NaN where that is not known yet
   */
  load(elapsedNs: number): void {
    let mayRead = true;
    while (this.#mayLoad) {
      if (this.#reader.next()) {
        this.frames++;
        this.#consider(this.#reader.frame);
        continue;
      }
      if (!mayRead) return;
      mayRead = false;
      const more = this.#isSoon(elapsedNs) ? this.#reader.fillNow() : undefined;
      if (more === undefined) this.#fill();
      else if (!more) this.#endRound();
    }
  }

  get #mayLoad(): boolean {
    const ends = this.#filling || this.#ended || this.#closed;
    return !ends && this.ready < AHEAD && this.#pool.available > 0;
  }

  /**
   * Whether the next frames are due before the system has read them in its own time. Reading at once keeps others from their
   * turn, so they get it now and then.
   */
  #isSoon(elapsedNs: number): boolean {
    if (!(this.#putDueNs - elapsedNs < SOON_NS) || elapsedNs - this.#readNowNs > TURN_NS) return false;
    if (Number.isNaN(this.#readNowNs)) {
      this.#readNowNs = elapsedNs;
      setImmediate(() => {
        this.#readNowNs = Number.NaN;
      });
    }
    return true;
  }

  #consider(frame: FrameView): void {
    const { leftOut } = this;
    const { lengthBytes, originalBytes, offsetBytes, bytes } = frame;
    const { filter, fromS, toS, maxFrameBytes } = this.#options;
    const timeNs = this.#timeOf(frame);
    if ((fromS > 0 && timeNs < fromS * 1e9) || timeNs >= toS * 1e9) leftOut.outside++;
    else if (frame.linkType !== LINKTYPE_ETHERNET) {
      this.#foreignType ??= frame.linkType;
      leftOut.notEthernet++;
    } else if (filter !== undefined && !filter(bytes, offsetBytes, lengthBytes, originalBytes))
      leftOut.filtered++;
    else if (originalBytes > lengthBytes) leftOut.cut++;
    else if (lengthBytes < ETHERNET_BYTES) leftOut.tooShort++;
    else if (lengthBytes + this.#rewriter.growthBytes > maxFrameBytes) this.#leaveTooLong(lengthBytes);
    else this.#add(frame, timeNs - fromS * 1e9);
  }

  #leaveTooLong(lengthBytes: number): void {
    if (this.leftOut.tooLong++ > 0) return;
    const { maxFrameBytes, onNotice } = this.#options;
    const what = `frame ${this.frames} has ${lengthBytes} bytes, and the port sends up to ${maxFrameBytes}`;
    onNotice?.(
      new NicError('BAD_FILE', `${this.#path}: ${what}; frames that are too long are left out`, {
        path: this.#path,
        hint: 'A larger --mtu lets the port send longer frames.',
      }),
    );
  }

  /** Why nothing has been sent, when all has been read. */
  nothingToSend(): NicError {
    const { frames, leftOut } = this;
    const path = this.#path;
    if (frames > 0 && leftOut.notEthernet === frames) return notEthernet(path, this.#foreignType ?? 0);
    const what = frames === 0 ? 'has no frames' : `has no frame to send of ${frames}${leftOutText(leftOut)}`;
    const hint =
      leftOut.cut > 0 ? 'Capture whole frames (tcpdump -s 0).' : 'Give another file, or take more of it.';
    return new NicError('BAD_OPTION', `${path} ${what}`, { path, hint });
  }

  #timeOf({ seconds, nanoseconds }: FrameView): number {
    if (Number.isNaN(this.#zeroSeconds)) {
      this.#zeroSeconds = seconds;
      this.#zeroNs = nanoseconds;
    }
    return (seconds - this.#zeroSeconds) * 1e9 + nanoseconds - this.#zeroNs;
  }

  #add(frame: FrameView, timeNs: number): void {
    const pool = this.#pool;
    pool.allocate(this.#one, 1);
    const packet = this.#one[0]!;
    const start = packet << pool.bufferShift;
    const { bytes, offsetBytes } = frame;
    pool.frames.set(bytes.subarray(offsetBytes, offsetBytes + frame.lengthBytes), start);
    const lengthBytes = this.#rewriter.rewrite(pool.frames, start, frame.lengthBytes);
    const sizeBytes = Math.max(lengthBytes, MIN_FRAME_BYTES);
    for (let i = start + lengthBytes; i < start + sizeBytes; i++) pool.frames[i] = 0;
    pool.lengths[packet] = sizeBytes;
    const slot = this.#put % AHEAD;
    this.packets[slot] = packet;
    this.ports[slot] = this.#options.portOf(frame);
    this.#putDueNs = this.#due(timeNs);
    this.dueNs[slot] = this.#putDueNs;
    this.#put++;
  }

  #due(timeNs: number): number {
    const { pace } = this.#options;
    if (pace === 'burst') return 0;
    if ('framesPerSecond' in pace) return (this.#put * 1e9) / pace.framesPerSecond;
    // A time before the one of the frame before it: captures of several ports have such. The order stays.
    this.#lastNs = Math.max(this.#lastNs, this.#roundNs + timeNs / pace.speed);
    return this.#lastNs;
  }

  #fill(): void {
    this.#filling = true;
    void this.#reader.fill().then((more) => {
      this.#filling = false;
      if (!more) this.#endRound();
    });
  }

  #endRound(): void {
    this.damage ??= this.#reader.damage;
    this.#rounds++;
    const empty = this.frames === this.#framesBefore || this.#put === this.#putBefore;
    if (this.#rounds >= this.#options.loops || empty || this.#closed) {
      this.#ended = true;
      return;
    }
    // The next round follows after a gap of this one's mean length.
    const gapNs = (this.#lastNs - this.#roundNs) / Math.max(this.#put - this.#putBefore - 1, 1);
    this.#roundNs = this.#lastNs + gapNs;
    this.#framesBefore = this.frames;
    this.#putBefore = this.#put;
    this.#zeroSeconds = Number.NaN;
    this.#filling = this.#next === undefined;
    if (this.#filling) void this.#opening.then(() => this.#beginRound());
    else this.#beginRound();
  }

  /** Opens the file once more, where there is another round: it is there then when this one ends. */
  #openNext(): void {
    if (this.#rounds + 1 >= this.#options.loops) return;
    this.#opening = CaptureReader.open(this.#path).then(
      (reader) => {
        this.#next = reader;
      },
      (error: NicError) => {
        this.#next = error;
      },
    );
  }

  #beginRound(): void {
    this.#filling = false;
    if (this.#closed) return;
    if (this.#next instanceof CaptureReader) {
      this.#closing = this.#reader.close().catch(() => {
        // All that it had has been read.
      });
      this.#reader = this.#next;
      this.#next = undefined;
      this.#openNext();
    } else {
      this.damage ??= this.#next;
      this.#ended = true;
    }
  }

  /** Reads no more, and gives back the buffers of frames that were not sent, while the pool is still there. */
  end(): void {
    this.#closed = true;
    for (; this.ready > 0; this.#taken++) this.#pool.release(this.packets, 1, this.at(0));
  }

  /** Closes the file. */
  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all([this.#opening, this.#closing]);
    if (this.#next instanceof CaptureReader) await this.#next.close();
    await this.#reader.close();
  }
}

const LEFT_OUT: Readonly<Record<keyof ReplaySource['leftOut'], string>> = {
  filtered: 'by the filter',
  outside: 'outside of --from and --to',
  cut: 'cut by the capture',
  tooShort: 'shorter than an Ethernet header',
  tooLong: 'too long for the port',
  notEthernet: 'not Ethernet',
};

/** `; left out 5 cut by the capture, 1 not Ethernet`; nothing where nothing was. */
export function leftOutText(leftOut: ReplaySource['leftOut']): string {
  const parts = Object.entries(LEFT_OUT).flatMap(([reason, text]) => {
    const count = leftOut[reason as keyof typeof leftOut];
    return count === 0 ? [] : [`${count} ${text}`];
  });
  return parts.length === 0 ? '' : `; left out ${parts.join(', ')}`;
}
