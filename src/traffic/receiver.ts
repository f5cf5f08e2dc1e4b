/** Takes what a port receives and gives it to a checker; without a checker it only counts and throws away. */
import { type Clock, sharedOffsetNs } from '../clock.js';
import type { NetDevice } from '../driver/device.js';
import type { TrafficChecker } from './checker.js';
import type { TrafficSender } from './sender.js';

const BATCH = 64;

export class TrafficReceiver {
  readonly device: NetDevice;
  /** Frames that were taken. */
  frames = 0;
  readonly #checker: TrafficChecker | undefined;
  readonly #senders: readonly TrafficSender[];
  readonly #clock: Clock;
  readonly #offsetNs: number;
  readonly #bufs = new Uint32Array(BATCH);
  readonly #words: Int32Array | undefined;

  /** @param senders those that send out of the same pool: their buffers are overwritten by what comes */
  constructor(
    device: NetDevice,
    clock: Clock,
    checker?: TrafficChecker,
    senders: readonly TrafficSender[] = [],
  ) {
    this.device = device;
    this.#checker = checker;
    this.#senders = senders;
    this.#clock = clock;
    this.#offsetNs = sharedOffsetNs(clock);
    const { frames } = device.pool;
    const isAligned = (frames.byteOffset & 3) === 0;
    this.#words = isAligned
      ? new Int32Array(frames.buffer, frames.byteOffset, frames.length >>> 2)
      : undefined;
  }

  /** Takes one batch of each queue; returns how many frames came. */
  poll(): number {
    let total = 0;
    const { pool, rxQueues } = this.device;
    const bufs = this.#bufs;
    for (let q = 0; q < rxQueues.length; q++) {
      const count = rxQueues[q]!.receive(bufs);
      if (count === 0) continue;
      if (this.#checker !== undefined) {
        const nowNs = this.#clock.nowNs() + this.#offsetNs;
        for (let i = 0; i < count; i++) {
          const buffer = bufs[i]!;
          this.#checker.check(
            pool.frames,
            this.#words,
            buffer << pool.bufferShift,
            pool.lengths[buffer]!,
            nowNs,
          );
        }
      }
      for (const sender of this.#senders) for (let i = 0; i < count; i++) sender.forget(bufs[i]!);
      pool.release(bufs, count);
      total += count;
    }
    this.frames += total;
    return total;
  }
}
