/** The made-up family for the conformance of `NetDevice`. */
import { open } from '../../src/driver/registry.js';
import type { MadeUpCard } from '../support/made-up-family/card.js';
import { HEADER_BYTES } from '../support/made-up-family/registers.js';
import { plugIn } from '../support/made-up-family/scheme.js';
import type { Family, Hardware } from './rig.js';

/** Each piece of hardware has a slot of its own. */
let slots = 100;

class MadeUpHardware implements Hardware {
  readonly #slot = slots++;
  readonly #card: MadeUpCard = plugIn(this.#slot);
  readonly #sent: Uint8Array[] = [];
  readonly #end = {
    arrive: (frame: Uint8Array): boolean => {
      this.#sent.push(frame);
      return true;
    },
  };

  constructor() {
    this.#card.automatic = false;
    this.#card.plug(this.#end);
  }

  open(options: Parameters<Hardware['open']>[0]): ReturnType<Hardware['open']> {
    return open(`made-up:${this.#slot}`, options);
  }

  /** The last byte of the source address chooses the queue. */
  frame(number: number, lengthBytes: number, queue = 0): Uint8Array {
    const frame = Uint8Array.from({ length: lengthBytes }, (_, i) => (i * 5 + number * 17) & 0xff);
    frame.set([...this.#card.mac, 0x02, 0, 0, 0, 0, queue, 0x88, 0xb5, number >>> 8, number & 0xff]);
    return frame;
  }

  arrive(frame: Uint8Array): boolean {
    return this.#card.arrive(frame);
  }

  transmit(): Uint8Array[] {
    this.#card.work(Number.POSITIVE_INFINITY);
    return this.#sent.splice(0);
  }

  setLink(up: boolean): void {
    this.#card.plug(up ? this.#end : undefined);
  }

  pullOut(error: Error): void {
    this.#card.pullOut(error);
  }

  /** All that is mapped beside the pool, which is mapped first. */
  sharedMemory(): Int32Array[] {
    return this.#card.memory.windows.slice(1).map(({ words }) => words);
  }

  complaints(): string[] {
    const { violations, memory, claimed } = this.#card;
    return [
      ...violations,
      ...memory.windows.map(({ iova }) => `0x${iova.toString(16)} is still mapped`),
      ...(claimed ? ['the card was not given back'] : []),
    ];
  }
}

export const madeUp: Family = {
  driver: 'made-up',
  device: 'a made-up card',
  backend: 'memory',
  headerBytes: HEADER_BYTES,
  padsToBytes: 0,
  keepsSent: 0,
  hardwareCounters: [],
  ringSize: 33,
  // Powers of two are no multiples of 3.
  refusedRingSizes: [64, 512, 100],
  hasFilters: true,
  makeHardware: () => new MadeUpHardware(),
};
