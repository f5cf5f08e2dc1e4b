/**
 * Has the hardware space the frames of a flow, by the rate of its transmit queue (`TxQueue.setRate`). The ring is kept full, and the
 * hardware sends from it; how far it has come is asked when all has been given to it.
 */
import type { Clock } from '../clock.js';
import type { NetDevice, TxQueue } from '../driver/device.js';
import { NicError } from '../errors.js';
import { absoluteRate, describeRate, frameBits, packetsPerSecond, type Rate } from './rate.js';
import type { SendingFlow } from './sending-flow.js';

/** Between two looks at the ring. */
const LOOK_NS = 200_000;
/** A ring that moves nothing for so long will not: its link is down. */
const STUCK_NS = 500e6;
/** The shortest frame on the wire without FCS: shorter ones are padded. */
const MIN_FRAME_BYTES = 60;

export class HardwarePacing {
  /** All that was given to the ring has left it, or cannot, and the queue has no rate any more. */
  drained = false;
  readonly #device: NetDevice;
  readonly #queue: TxQueue;
  readonly #flow: SendingFlow;
  readonly #clock: Clock;
  readonly #lineBitsPerS: number;
  #nextLookNs = 0;
  #inRing = -1;
  #movedNs = 0;

  /**
   * Sets the rate.
   * @throws NicError `BAD_OPTION` where the device, or its hardware, cannot space this flow; `NO_LINK`
   */
  constructor(device: NetDevice, flows: readonly SendingFlow[], lineBitsPerS: number, clock: Clock) {
    const [queue] = device.txQueues;
    const [flow] = flows;
    if (device.capabilities.txRate === undefined || queue.setRate === undefined)
      throw refused(
        `${device.address} (${device.model}) cannot space frames by itself`,
        'Leave the pacing to software; docs/traffic.md tells which cards can.',
      );
    if (flow === undefined || flows.length > 1)
      throw refused(
        `${flows.length} flows on ${device.address} with one rate in hardware`,
        'Give each flow a port of its own, or leave the pacing to software.',
      );
    const { name, poisson, burst, burstGapMs } = flow.options;
    if (poisson || burst > 1 || burstGapMs > 0)
      throw refused(
        `${name}: the hardware spaces frames evenly, with neither bursts nor chance`,
        'Leave them out, or leave the pacing to software.',
      );
    this.#device = device;
    this.#queue = queue;
    this.#flow = flow;
    this.#clock = clock;
    this.#lineBitsPerS = lineBitsPerS;
    flow.setHardwareRate = (rate) => this.#setRate(rate);
    this.#setRate(flow.options.rate!);
  }

  #setRate(given: Rate): void {
    const { name } = this.#flow.options;
    const { hasOneLength, averageBytes } = this.#flow.writer;
    const rate = absoluteRate(given, this.#lineBitsPerS);
    if (!hasOneLength && rate.unit !== 'frame-bits')
      throw refused(
        `${name}: the hardware spaces frames of several sizes by their bits, not at ${describeRate(rate)}`,
        'Give a rate of frames with FCS, such as 800MbitL2, or one size.',
      );
    const bytes = hasOneLength ? Math.max(averageBytes, MIN_FRAME_BYTES) : averageBytes;
    const pps = packetsPerSecond(rate, averageBytes);
    const bitsPerS = rate.unit === 'frame-bits' && !hasOneLength ? rate.value : pps * frameBits(bytes);
    this.#flow.hardwarePps = (pps * this.#queue.setRate!(bitsPerS)) / bitsPerS;
  }

  /** To be called when no more will be given to the ring, until `drained`. */
  look(): void {
    const nowNs = this.#clock.nowNs();
    if (this.drained || nowNs < this.#nextLookNs) return;
    this.#queue.reclaim();
    const { txInRing: inRing = 0 } = this.#device.stats();
    const seenNs = this.#clock.nowNs();
    this.#nextLookNs = seenNs + LOOK_NS;
    if (inRing !== this.#inRing) {
      // An empty ring may have been empty for a while.
      if (inRing > 0 || this.#inRing < 0) this.#flow.noteLeft(this.#flow.taken - inRing, seenNs);
      this.#inRing = inRing;
      this.#movedNs = seenNs;
    }
    if (inRing > 0 && seenNs - this.#movedNs < STUCK_NS) return;
    this.#queue.setRate!(0);
    this.drained = true;
  }
}

function refused(message: string, hint: string): NicError {
  return new NicError('BAD_OPTION', message, { hint });
}
