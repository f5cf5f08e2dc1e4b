/** What the two kinds of rings are to the card, and the descriptors that it takes from them. */
import type { VirtioCard } from './card.js';

export const F_NEXT = 1;
export const F_WRITE = 2;

export interface Piece {
  readonly bytes: Uint8Array;
  readonly isWritable: boolean;
}

/** A list of descriptors that the driver made available. */
export interface Taken {
  readonly id: number;
  readonly pieces: readonly Piece[];
}

export interface CardRing {
  /** A notification: what is available now the card sees from now on. `data` where it carries a position. */
  notified(data: number | undefined): void;
  /** As `notified`, but the card does not say anew at which position it wants to be told the next time. */
  notifiedInPassing(): void;
  /** Asks to be told at this position, true or not; packed rings alone have a counter of the lap. */
  askAt(place: number, wrap: 0 | 1): void;
  /** Asks the driver not to notify: the card looks by itself from now on. */
  startPolling(): void;
  take(): Taken | undefined;
  /** Puts back what was taken since `mark`. */
  mark(): () => void;
  /** Writes a used element, true or not, of so many descriptors. */
  use(id: number, length: number, descriptors: number): void;
  /** Whether the driver wants an interrupt for what was used last. */
  readonly wantsInterrupt: boolean;
}

/** Memory that the driver mapped, as the card sees it. */
export class CardMemory {
  readonly #card: VirtioCard;
  readonly #mappings = new Map<bigint, ArrayBuffer>();

  constructor(card: VirtioCard) {
    this.#card = card;
  }

  view(iova: bigint, sizeBytes: number): DataView {
    return new DataView(this.#card.mapper.memoryAt(iova, sizeBytes));
  }

  /** A view on a whole mapping is made once: it takes long. */
  bytes(iova: bigint, sizeBytes: number): Uint8Array {
    for (const [start, mappedBytes] of this.#card.mapper.mapped) {
      const offset = Number(iova - start);
      if (offset < 0 || offset + sizeBytes > mappedBytes) continue;
      const memory = this.#mappings.get(start) ?? this.#card.mapper.memoryAt(start, mappedBytes);
      this.#mappings.set(start, memory);
      return new Uint8Array(memory, offset, sizeBytes);
    }
    throw new Error(`nothing is mapped at 0x${iova.toString(16)}`);
  }
}
