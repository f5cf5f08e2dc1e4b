/**
 * Plays a capture into a link. The file is looked through once before anything is sent, so that it is known, and said,
 * what of it cannot be played; then it is read again while it is played, so that a file of any length takes the same
 * memory.
 */
import { CaptureReader } from '../../capture/capture-reader.js';
import { checkReadAgain } from '../../capture/files.js';
import type { FrameView } from '../../capture/frame-decoder.js';
import { LINKTYPE_ETHERNET, linkTypeName, notEthernet } from '../../capture/link-types.js';
import { type Clock, systemClock } from '../../clock.js';
import { NicError } from '../../errors.js';
import { ETHERNET_BYTES, MIN_FRAME_BYTES } from '../../packet/protocols.js';
import {
  type FrameMemory,
  frameMemory,
  isReceiving,
  longestFrameBytes,
  type Pollable,
  type Port,
} from '../link.js';
import { LinkEnd } from './link-end.js';

const VLAN_BYTES = 4;
const VLAN_ETHERTYPE = 0x8100;

/** What a capture has in it, from the point of view of somebody who plays it. */
export interface CaptureSurvey {
  /** Frames of all kinds. */
  readonly frames: number;
  /** Frames that can be played. */
  readonly playable: number;
  /** Frames that the capture cut short. */
  readonly cut: number;
  /** Frames that have not even an Ethernet header. */
  readonly short: number;
  /** Frames of other link types: how many of each. */
  readonly foreign: ReadonlyMap<number, number>;
  /** Playable frames by length, VLAN tag not counted. */
  readonly lengths: ReadonlyMap<number, number>;
  /** What is wrong with the file. */
  readonly damage: NicError | undefined;
}

export interface PlayOptions {
  /** Times to play the file; once by default. */
  readonly repeat?: number;
  /** Keep the gaps of the capture; otherwise as fast as the receiver takes frames. Default false. */
  readonly originalTiming?: boolean;
  readonly clock?: Clock;
  /** Told what of the file is not played, or does not arrive, before that is due. */
  readonly onNotice?: (notice: NicError) => void;
}

export interface PlayCounters {
  /** Frames sent. */
  readonly played: number;
  /** Of these, frames longer than the receiver takes. */
  readonly tooLong: number;
  /** Frames not sent: cut by the capture, without a header, or not Ethernet. */
  readonly leftOut: number;
}

/**
 * Sends the frames of a capture, short ones padded to 60 bytes, from the moment when somebody receives. While nobody
 * does it waits.
 */
export class PlayPort extends LinkEnd implements Pollable {
  readonly path: string;
  readonly survey: CaptureSurvey;
  /** Called when frames have been read that `poll` can send. */
  onReadable: (() => void) | undefined;
  #reader: CaptureReader;
  readonly #repeat: number;
  readonly #timing: boolean;
  readonly #clock: Clock;
  readonly #onNotice: (notice: NicError) => void;
  readonly #padded = frameMemory(MIN_FRAME_BYTES);
  #memory: FrameMemory;
  #out: Port | undefined;
  /** `#reader.frame` is the next frame to send. */
  #held = false;
  #reading = false;
  #rounds = 0;
  /** Frames played in earlier rounds. */
  #playedBefore = 0;
  #closed = false;
  /** The limit of the receiver that was told last. */
  #toldLimitBytes = -1;
  /** Time of the clock at which a frame with time 0 would be due, in the original timing; NaN: not known yet. */
  #zeroNs = Number.NaN;
  /** Seconds of the round's first frame: times are counted from there, to be exact. */
  #firstSeconds = 0;
  readonly #counters = { played: 0, tooLong: 0, leftOut: 0 };

  private constructor(reader: CaptureReader, survey: CaptureSurvey, options: PlayOptions) {
    super();
    this.path = reader.name;
    this.survey = survey;
    this.#reader = reader;
    this.#memory = memoryOf(reader);
    this.#repeat = options.repeat ?? 1;
    this.#timing = options.originalTiming ?? false;
    this.#clock = options.clock ?? systemClock;
    this.#onNotice = options.onNotice ?? (() => {});
  }

  /**
   * Looks the file through and opens it for playing.
   * @throws NicError `BAD_OPTION` where it is no capture, or has no frame that can be played; `NO_PERMISSION`, `SYSCALL`
   */
  static async open(path: string, options: PlayOptions = {}): Promise<PlayPort> {
    const survey = await surveyCapture(path);
    for (const notice of noticesOf(path, survey)) options.onNotice?.(notice);
    return new PlayPort(await CaptureReader.open(path), survey, options);
  }

  get counters(): PlayCounters {
    return { ...this.#counters };
  }

  /** Frames to be played or left out in all. */
  get total(): number {
    return this.survey.frames * this.#repeat;
  }

  /** Everything has been sent. */
  get done(): boolean {
    return this.#rounds >= this.#repeat;
  }

  /** More of the file is being read: `onReadable` will be called. */
  get reading(): boolean {
    return this.#reading;
  }

  poll(budget: number): number {
    const out = this.#out;
    if (out === undefined || this.done || this.#reading || this.#closed) return 0;
    if (!isReceiving(out)) {
      // The gaps of the capture count on from where it was left.
      this.#zeroNs = Number.NaN;
      return 0;
    }
    this.#tellTooLong(out);
    const limit = Math.min(budget, out.room());
    const nowNs = this.#timing ? this.#clock.nowNs() : 0;
    let count = 0;
    while (count < limit && (this.#held || this.#pull())) {
      if (this.#timing && !this.#isDue(nowNs)) break;
      this.#send(out);
      count++;
    }
    if (count > 0) out.flush();
    return count;
  }

  /** Goes on to the next frame to be played. False where none is in memory: more is being read, or that was all. */
  #pull(): boolean {
    while (this.#reader.next()) {
      if (kindOf(this.#reader.frame) === 'playable') {
        this.#held = true;
        return true;
      }
      this.#counters.leftOut++;
    }
    this.#fill();
    return false;
  }

  #send(out: Port): void {
    const { offsetBytes, lengthBytes } = this.#reader.frame;
    this.#held = false;
    this.#counters.played++;
    if (lengthBytes > this.#toldLimitBytes && untaggedBytes(this.#reader.frame) > this.#toldLimitBytes)
      this.#counters.tooLong++;
    if (lengthBytes >= MIN_FRAME_BYTES) {
      out.deliver(this.#memory, offsetBytes, lengthBytes);
      return;
    }
    const { bytes } = this.#padded;
    bytes.fill(0);
    for (let i = 0; i < lengthBytes; i++) bytes[i] = this.#memory.bytes[offsetBytes + i]!;
    out.deliver(this.#padded, 0, MIN_FRAME_BYTES);
  }

  #isDue(nowNs: number): boolean {
    const { seconds, nanoseconds } = this.#reader.frame;
    if (Number.isNaN(this.#zeroNs)) {
      this.#firstSeconds = seconds;
      this.#zeroNs = nowNs - nanoseconds;
    }
    return nowNs >= this.#zeroNs + (seconds - this.#firstSeconds) * 1e9 + nanoseconds;
  }

  /** Reads on, and over the end of the file on to its next round. */
  #fill(): void {
    if (this.#reading || this.#closed) return;
    this.#reading = true;
    void this.#reader.fill().then(async (more) => {
      if (!more) await this.#endRound();
      this.#reading = false;
      if (!this.#closed) this.onReadable?.();
    });
  }

  async #endRound(): Promise<void> {
    const { damage } = this.#reader;
    // What is wrong with the file has been said before, unless it has changed since.
    const isNew = damage !== undefined && damage.message !== this.survey.damage?.message;
    if (isNew && !this.#closed) this.#onNotice(damage);
    await this.#reader.close();
    // A file that has become empty is not played on and on.
    this.#rounds = this.#counters.played > this.#playedBefore ? this.#rounds + 1 : this.#repeat;
    this.#playedBefore = this.#counters.played;
    this.#zeroNs = Number.NaN;
    if (this.done || this.#closed) return;
    try {
      this.#reader = await CaptureReader.open(this.path);
      this.#memory = memoryOf(this.#reader);
      await this.#reader.fill();
    } catch (error) {
      this.#rounds = this.#repeat;
      this.#onNotice(error as NicError);
    }
    if (this.#closed) await this.#reader.close();
  }

  /** Says once for each limit of a receiver how many frames are longer. */
  #tellTooLong(out: Port): void {
    const limitBytes = longestFrameBytes(out);
    if (limitBytes === this.#toldLimitBytes) return;
    this.#toldLimitBytes = limitBytes;
    const { lengths, frames } = this.survey;
    let longer = 0;
    let longestBytes = 0;
    for (const [lengthBytes, count] of lengths) {
      if (lengthBytes <= limitBytes) continue;
      longer += count;
      longestBytes = Math.max(longestBytes, lengthBytes);
    }
    if (longer === 0) return;
    const what = `too long for the port: ${longer} of ${frames} frames, up to ${longestBytes} bytes; it takes ${limitBytes}`;
    this.#onNotice(
      new NicError('BAD_FILE', `${this.path}: ${what}`, {
        path: this.path,
        hint: 'The port counts them as errors. Its driver sets the limit (MTU).',
      }),
    );
  }

  override plug(out: Port | undefined): void {
    this.#out = out;
  }

  /** Closes the file. May be called twice. */
  close(): void {
    this.#closed = true;
    void this.#reader.close();
  }
}

/** Reads a whole capture to say what of it can be played. @throws NicError as `CaptureReader.open` */
export async function surveyCapture(path: string): Promise<CaptureSurvey> {
  checkReadAgain(path);
  const reader = await CaptureReader.open(path);
  const counts = { playable: 0, cut: 0, short: 0 };
  const foreign = new Map<number, number>();
  const lengths = new Map<number, number>();
  const add = (map: Map<number, number>, key: number): void => {
    map.set(key, (map.get(key) ?? 0) + 1);
  };
  try {
    if (reader.linkType !== undefined && reader.linkType !== LINKTYPE_ETHERNET)
      throw notEthernet(path, reader.linkType);
    do {
      while (reader.next()) {
        const kind = kindOf(reader.frame);
        if (kind === 'foreign') {
          add(foreign, reader.frame.linkType);
          continue;
        }
        counts[kind]++;
        if (kind === 'playable') add(lengths, untaggedBytes(reader.frame));
      }
    } while (await reader.fill());
    const survey = { frames: reader.frames, ...counts, foreign, lengths, damage: reader.damage };
    if (counts.playable === 0) throw nothingToPlay(path, survey);
    return survey;
  } finally {
    await reader.close();
  }
}

function kindOf(frame: FrameView): 'playable' | 'cut' | 'short' | 'foreign' {
  if (frame.linkType !== LINKTYPE_ETHERNET) return 'foreign';
  if (frame.originalBytes > frame.lengthBytes) return 'cut';
  return frame.lengthBytes < ETHERNET_BYTES ? 'short' : 'playable';
}

function untaggedBytes({ bytes, offsetBytes, lengthBytes }: FrameView): number {
  const etherType = (bytes[offsetBytes + 12]! << 8) | bytes[offsetBytes + 13]!;
  return etherType === VLAN_ETHERTYPE ? lengthBytes - VLAN_BYTES : lengthBytes;
}

function memoryOf(reader: CaptureReader): FrameMemory {
  return { bytes: reader.memory, words: new Int32Array(reader.memory.buffer) };
}

/** What of a capture is not going to be played, and why. */
function noticesOf(path: string, survey: CaptureSurvey): NicError[] {
  const { frames, cut, short, foreign, damage } = survey;
  const leftOut = (count: number, why: string, hint?: string): NicError =>
    new NicError('BAD_FILE', `${path}: left out ${count} of ${frames} frames: ${why}`, { path, hint });
  return [
    ...(cut === 0 ? [] : [leftOut(cut, 'cut by the capture', 'Capture whole frames (tcpdump -s 0).')]),
    ...(short === 0 ? [] : [leftOut(short, 'shorter than an Ethernet header')]),
    ...Array.from(foreign, ([type, count]) => leftOut(count, `of link type ${linkTypeName(type)}`)),
    ...(damage === undefined ? [] : [damage]),
  ];
}

function nothingToPlay(path: string, survey: CaptureSurvey): NicError {
  const [linkType] = survey.foreign.keys();
  if (linkType !== undefined && survey.cut + survey.short === 0) return notEthernet(path, linkType);
  const [first] = noticesOf(path, survey);
  if (first === undefined || survey.frames === 0)
    return new NicError('BAD_OPTION', `${first?.message ?? `${path} has no frames`}`, {
      path,
      hint: 'There is nothing to play. Capture again.',
    });
  return new NicError('BAD_OPTION', `${first.message}; no frame is left to play`, { path, hint: first.hint });
}
