/** A split ring as the card sees it (2.7). */
import type { VirtioCard } from './card.js';
import { type CardMemory, type CardRing, F_NEXT, F_WRITE, type Piece, type Taken } from './card-ring.js';

const NO_INTERRUPT = 1;
const EVENT_IDX = 29;

export class SplitCardRing implements CardRing {
  readonly #card: VirtioCard;
  readonly #memory: CardMemory;
  readonly #size: number;
  readonly #table: DataView;
  readonly #avail: DataView;
  readonly #used: DataView;
  readonly #eventIdx: boolean;
  /** The available index that a notification showed, how far it was used, and the used index. */
  #seen = 0;
  #next = 0;
  #done = 0;
  #polls = false;

  constructor(card: VirtioCard, memory: CardMemory, size: number, addresses: readonly bigint[]) {
    this.#card = card;
    this.#memory = memory;
    this.#size = size;
    this.#table = memory.view(addresses[0]!, 16 * size);
    this.#avail = memory.view(addresses[1]!, 6 + 2 * size);
    this.#used = memory.view(addresses[2]!, 6 + 8 * size);
    this.#eventIdx = card.accepted.has(EVENT_IDX);
  }

  notified(data: number | undefined): void {
    this.#seen = this.#avail.getUint16(2, true);
    if (data !== undefined && data !== this.#seen) this.#card.complain(`a notification says ${data}`);
    this.#askForNotification();
  }

  notifiedInPassing(): void {
    this.#seen = this.#avail.getUint16(2, true);
  }

  startPolling(): void {
    this.#polls = true;
    this.#used.setUint16(0, 1, true);
    this.#askForNotification();
  }

  take(): Taken | undefined {
    if (this.#polls) this.#seen = this.#avail.getUint16(2, true);
    if (((this.#seen - this.#next) & 0xffff) > this.#size) {
      this.#card.complain('more is available than the ring has elements');
      return undefined;
    }
    if (this.#seen === this.#next) return undefined;
    const id = this.#avail.getUint16(4 + 2 * (this.#next % this.#size), true);
    this.#next = (this.#next + 1) & 0xffff;
    const pieces: Piece[] = [];
    for (let at = id; pieces.length < this.#size; ) {
      const flags = this.#table.getUint16(16 * at + 12, true);
      const iova = this.#table.getBigUint64(16 * at, true);
      const bytes = this.#memory.bytes(iova, this.#table.getUint32(16 * at + 8, true));
      pieces.push({ bytes, isWritable: (flags & F_WRITE) !== 0 });
      if ((flags & F_NEXT) === 0) break;
      at = this.#table.getUint16(16 * at + 14, true);
    }
    return { id, pieces };
  }

  mark(): () => void {
    const before = this.#next;
    return () => {
      this.#next = before;
    };
  }

  use(id: number, length: number): void {
    const at = 4 + 8 * (this.#done % this.#size);
    this.#used.setUint32(at, id, true);
    this.#used.setUint32(at + 4, length, true);
    this.skip(1);
  }

  /** Moves the used index. */
  skip(by: number): void {
    this.#done = (this.#done + by) & 0xffff;
    this.#used.setUint16(0, this.#polls ? 1 : 0, true);
    this.#used.setUint16(2, this.#done, true);
  }

  get wantsInterrupt(): boolean {
    if (!this.#eventIdx) return (this.#avail.getUint16(0, true) & NO_INTERRUPT) === 0;
    if (this.#avail.getUint16(0, true) !== 0) this.#card.complain('flags are set with EVENT_IDX');
    return this.#avail.getUint16(4 + 2 * this.#size, true) === ((this.#done - 1) & 0xffff);
  }

  /** 2.7.10: where the next notification is wanted. Polling: at a position that has passed. */
  #askForNotification(): void {
    this.askAt(this.#polls ? this.#seen - 1 : this.#seen);
  }

  askAt(place: number): void {
    this.#used.setUint16(4 + 8 * this.#size, place & 0xffff, true);
  }
}
