/** virtio-net on a card with split rings, and on one with packed rings, for the conformance of `NetDevice`. */
import type { NetDevice, OpenOptions } from '../../src/driver/device.js';
import { ALL_FEATURES, F, VirtioCard } from '../support/virtio/card.js';
import { openCard } from '../support/virtio/with-card.js';
import type { Family, Hardware } from './rig.js';

class VirtioHardware implements Hardware {
  readonly #features: readonly number[];
  #card: VirtioCard;

  constructor(features: readonly number[]) {
    this.#features = features;
    this.#card = new VirtioCard({ features });
  }

  async open(options: OpenOptions): Promise<NetDevice> {
    // A device that was closed has no regions any more: the next opening finds a new one.
    if (this.#card.closed) this.#card = new VirtioCard({ features: this.#features });
    const card = this.#card;
    const nic = await openCard(card, options);
    if (card.accepted.has(F.RING_PACKED) !== this.#features.includes(F.RING_PACKED))
      throw new Error('these are not the rings that are to be tested');
    return nic;
  }

  /** The card has no hash here: the last byte of the source address chooses the queue. */
  frame(number: number, lengthBytes: number, queue = 0): Uint8Array {
    const frame = Uint8Array.from({ length: lengthBytes }, (_, i) => (i * 5 + number * 17) & 0xff);
    frame.set([...this.#card.mac, 0x02, 0, 0, 0, 0, queue, 0x88, 0xb5, number >>> 8, number & 0xff]);
    return frame;
  }

  arrive(frame: Uint8Array): boolean {
    return this.#card.arrive(frame, frame[11]);
  }

  transmit(): Uint8Array[] {
    return this.#card.transmit();
  }

  setLink(up: boolean): void {
    this.#card.setLink(up);
  }

  pullOut(error: Error): void {
    this.#card.pullOut(error);
  }

  /** All that is mapped beside the pool, which is mapped first. */
  sharedMemory(): Int32Array[] {
    return this.#card.mapper.views().slice(1);
  }

  complaints(): string[] {
    const { complaints, closed, busMaster, eventfds, mapper } = this.#card;
    return [
      ...complaints,
      ...(closed ? [] : ['the device is open']),
      ...(busMaster ? ['bus mastering is on'] : []),
      ...(eventfds.length > 0 ? ['interrupts are connected'] : []),
      ...Array.from(mapper.mapped.keys(), (iova) => `0x${iova.toString(16)} is still mapped`),
    ];
  }
}

function family(rings: string, features: readonly number[]): Family {
  return {
    driver: 'virtio',
    device: `a card with ${rings} rings`,
    backend: 'memory',
    headerBytes: 12,
    padsToBytes: 0,
    keepsSent: 0,
    hardwareCounters: [],
    ringSize: 128,
    refusedRingSizes: [99, 96, 200],
    hasFilters: true,
    makeHardware: () => new VirtioHardware(features),
  };
}

/** Plain notifications as well: these are the oldest devices. */
const SPLIT_ONLY: readonly number[] = [F.RING_PACKED, F.EVENT_IDX, F.NOTIFICATION_DATA];

export const virtioSplit = family(
  'split',
  ALL_FEATURES.filter((bit) => !SPLIT_ONLY.includes(bit)),
);
export const virtioPacked = family('packed', ALL_FEATURES);
