/**
 * Takes what a port receives and gives it to a checker; without a checker it only counts and throws away. Frames that are nobody's test
 * frames may be looked at, and answered, one by one.
 */
import { type Clock, sharedOffsetNs } from '../clock.js';
import type { NetDevice } from '../driver/device.js';
import { NicError } from '../errors.js';
import { PacketView } from '../packet/packet-view.js';
import { parse } from '../packet/parse.js';
import type { TrafficChecker } from './checker.js';
import type { TrafficObserver } from './observer.js';
import type { FlowSender } from './sender.js';

const BATCH = 64;

/** A frame that is no test frame, while a callback looks at it: afterwards the object is another frame's. */
export interface ForeignFrame {
  readonly device: NetDevice;
  /** The frame without FCS. A view of memory that is used again: copy what is to be kept. */
  readonly bytes: Uint8Array;
  /** Its headers. */
  readonly packet: PacketView;
  /** Time of arrival on the run's clock. */
  readonly nowNs: number;
  /**
   * Sends a frame by the port that this one came by.
   * @param frame from the destination address on, without FCS; it is copied
   * @returns false where neither ring nor pool had room: it is not sent, and counted as `repliesDropped`
   */
  reply(frame: Uint8Array): boolean;
}

export interface ReceiverOptions {
  readonly checker?: TrafficChecker;
  /** Those that send out of the same pool: their buffers are overwritten by what comes. */
  readonly senders?: readonly FlowSender[];
  /** Called for each frame that is no test frame of the checker's; without a checker for every frame. */
  readonly onFrame?: (frame: ForeignFrame) => void;
  readonly observer?: TrafficObserver;
}

export class TrafficReceiver {
  readonly device: NetDevice;
  /** Frames that were taken, and those of them that a checker found to be test frames, damaged or not. */
  frames = 0;
  testFrames = 0;
  /** Frames that `reply` sent, and those that found no room. */
  replies = 0;
  repliesDropped = 0;
  readonly #checker: TrafficChecker | undefined;
  readonly #senders: readonly FlowSender[];
  readonly #onFrame: ((frame: ForeignFrame) => void) | undefined;
  readonly #observer: TrafficObserver | undefined;
  readonly #clock: Clock;
  readonly #offsetNs: number;
  readonly #bufs = new Uint32Array(BATCH);
  /** Of these, the buffers whose frames are no test frames. */
  readonly #others = new Uint32Array(BATCH);
  readonly #one = new Uint32Array(1);
  readonly #words: Int32Array | undefined;
  readonly #view = new PacketView();

  constructor(device: NetDevice, clock: Clock, options: ReceiverOptions = {}) {
    this.device = device;
    this.#checker = options.checker;
    this.#senders = options.senders ?? [];
    this.#onFrame = options.onFrame;
    this.#observer = options.observer;
    this.#clock = clock;
    this.#offsetNs = sharedOffsetNs(clock);
    const { frames } = device.pool;
    const isAligned = (frames.byteOffset & 3) === 0;
    this.#words = isAligned
      ? new Int32Array(frames.buffer, frames.byteOffset, frames.length >>> 2)
      : undefined;
  }

  /** Takes one batch of each queue; returns how many frames came. Allocates nothing where nobody looks at frames. */
  poll(): number {
    let total = 0;
    const { pool, rxQueues } = this.device;
    const bufs = this.#bufs;
    for (let q = 0; q < rxQueues.length; q++) {
      const count = rxQueues[q]!.receive(bufs);
      if (count === 0) continue;
      this.#observer?.received(this.device, bufs, count, this.#clock.nowNs());
      if (this.#checker !== undefined || this.#onFrame !== undefined) this.#look(count);
      for (let s = 0; s < this.#senders.length; s++) this.#senders[s]!.forget(bufs, count);
      pool.release(bufs, count);
      total += count;
    }
    this.frames += total;
    return total;
  }

  #look(count: number): void {
    const { frames, bufferShift, lengths } = this.device.pool;
    const checker = this.#checker;
    const nowNs = this.#clock.nowNs();
    const stampNs = nowNs + this.#offsetNs;
    const shown = checker === undefined ? this.#bufs : this.#others;
    const others = checker?.checkBatch(
      frames,
      this.#words,
      this.#bufs,
      count,
      bufferShift,
      lengths,
      stampNs,
      shown,
    );
    if (others !== undefined) this.testFrames += count - others;
    if (this.#onFrame === undefined) return;
    const shownCount = others ?? count;
    for (let i = 0; i < shownCount; i++) {
      const buffer = shown[i]!;
      this.#show(buffer << bufferShift, lengths[buffer]!, nowNs, this.#onFrame);
    }
  }

  #show(at: number, lengthBytes: number, nowNs: number, onFrame: (frame: ForeignFrame) => void): void {
    const bytes = this.device.pool.frames.subarray(at, at + lengthBytes);
    parse(bytes, 0, lengthBytes, this.#view);
    onFrame({
      device: this.device,
      bytes,
      packet: this.#view,
      nowNs,
      reply: (frame) => this.#reply(frame),
    });
  }

  #reply(frame: Uint8Array): boolean {
    const { device } = this;
    const { pool, limits, maxFrameBytes } = device;
    const [queue] = device.txQueues;
    const one = this.#one;
    if (frame.length < limits.minFrameBytes || frame.length > maxFrameBytes)
      throw new NicError('BAD_ARGUMENT', `${device.address} cannot send a frame of ${frame.length} bytes`, {
        hint: `Reply with ${limits.minFrameBytes} to ${maxFrameBytes} bytes, from the destination address on, without FCS.`,
      });
    if (pool.allocate(one, 1) === 0) queue.reclaim();
    else return this.#sendOne(frame);
    if (pool.allocate(one, 1) === 1) return this.#sendOne(frame);
    this.repliesDropped++;
    return false;
  }

  /** Sends a frame in the buffer that `#one` names. */
  #sendOne(frame: Uint8Array): boolean {
    const { pool, txQueues } = this.device;
    const buffer = this.#one[0]!;
    pool.bytes(buffer).set(frame);
    pool.lengths[buffer] = frame.length;
    for (const sender of this.#senders) sender.forget(this.#one, 1);
    if (txQueues[0].send(this.#one, 1) === 1) {
      this.replies++;
      this.#observer?.sent(this.device, this.#one, 1, this.#clock.nowNs());
      return true;
    }
    pool.release(this.#one, 1);
    this.repliesDropped++;
    return false;
  }
}
