/** Two made-up cards with a cable between them, in virtual time: each step moves the clock on, then cards and cable work. */
import { ManualClock } from '../../src/clock.js';
import type { NetDevice, OpenOptions } from '../../src/driver/device.js';
import { open } from '../../src/driver/registry.js';
import { connect, type FrameMemory, frameMemory, type Port } from '../../src/emulator/link.js';
import { Cable, type CableOptions } from '../../src/emulator/links/cable.js';
import type { MadeUpCard } from './made-up-family/card.js';
import { plugIn } from './made-up-family/scheme.js';

const LONGEST_BYTES = 16_384;

export interface VirtualLink extends AsyncDisposable {
  readonly devices: readonly [NetDevice, NetDevice];
  readonly cards: readonly [MadeUpCard, MadeUpCard];
  readonly cable: Cable;
  readonly clock: ManualClock;
  /** Moves the clock on, and lets cards and cable work. */
  step(ns: number): void;
}

/** @param slot of the first card; the second has the next one */
export async function virtualLink(
  slot: number,
  faults: Omit<CableOptions, 'clock'>,
  options: OpenOptions = {},
): Promise<VirtualLink> {
  const clock = new ManualClock();
  const cable = new Cable({ ...faults, clock });
  const cards = [plugIn(slot), plugIn(slot + 1)] as const;
  const devices = [
    await open(`made-up:${slot}`, { promiscuous: true, ...options }),
    await open(`made-up:${slot + 1}`, { promiscuous: true, ...options }),
  ] as const;
  const memory = frameMemory(LONGEST_BYTES);
  for (const [card, end] of [
    [cards[0], cable.a],
    [cards[1], cable.b],
  ] as const) {
    card.automatic = false;
    connect(end, new CardEnd(card));
    card.plug({
      arrive(frame) {
        memory.bytes.set(frame);
        return end.deliver(memory, 0, frame.length);
      },
    });
  }
  return {
    devices,
    cards,
    cable,
    clock,
    step(ns) {
      clock.advanceNs(ns);
      // As many as the cable takes: the others wait in the ring, as with hardware.
      while (cable.a.room() > 0 && cards[0].work(1) > 0);
      while (cable.b.room() > 0 && cards[1].work(1) > 0);
      cable.poll(256);
    },
    async [Symbol.asyncDispose]() {
      for (const card of cards) card.automatic = true;
      for (const device of devices) await device.close();
    },
  };
}

/** A card as the far end of a cable. */
class CardEnd implements Port {
  readonly #card: MadeUpCard;

  constructor(card: MadeUpCard) {
    this.#card = card;
  }

  plug(): void {}

  deliver(memory: FrameMemory, offset: number, lengthBytes: number): boolean {
    return this.#card.arrive(memory.bytes.slice(offset, offset + lengthBytes));
  }

  damaged(): void {
    this.#card.arriveDamaged();
  }

  flush(): void {}

  room(): number {
    return this.#card.room();
  }

  carrier(): void {}

  receiving(): boolean {
    return true;
  }

  maxFrameBytes(): number {
    return LONGEST_BYTES;
  }
}
