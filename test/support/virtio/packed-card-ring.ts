/** A packed ring as the card sees it (2.8). */
import type { VirtioCard } from './card.js';
import { type CardMemory, type CardRing, F_NEXT, F_WRITE, type Piece, type Taken } from './card-ring.js';

const F_AVAIL = 1 << 7;
const F_USED = 1 << 15;
const ENABLE = 0;
const DISABLE = 1;
const AT_OFFSET = 2;
const EVENT_IDX = 29;

/** A place in the ring, and the counter of the lap. */
interface Position {
  readonly place: number;
  readonly wrap: 0 | 1;
}

export class PackedCardRing implements CardRing {
  readonly #card: VirtioCard;
  readonly #memory: CardMemory;
  readonly #size: number;
  readonly #table: DataView;
  readonly #driverEvent: DataView;
  readonly #deviceEvent: DataView;
  #next: Position = { place: 0, wrap: 1 };
  /** How many descriptors from there on a notification has shown. */
  #seen = 0;
  #used: Position = { place: 0, wrap: 1 };
  /** Place of the last used descriptor, and how many it stood for. */
  #last = { ...this.#used, descriptors: 1 };
  #polls = false;

  constructor(card: VirtioCard, memory: CardMemory, size: number, addresses: readonly bigint[]) {
    this.#card = card;
    this.#memory = memory;
    this.#size = size;
    this.#table = memory.view(addresses[0]!, 16 * size);
    this.#driverEvent = memory.view(addresses[1]!, 4);
    this.#deviceEvent = memory.view(addresses[2]!, 4);
  }

  notified(data: number | undefined): void {
    this.#see();
    const { place, wrap } = this.#after(this.#next, this.#seen);
    if (data !== undefined && data !== (place | (wrap << 15))) {
      this.#card.complain(`a notification says place ${data & 0x7fff}, wrap counter ${data >>> 15}`);
    }
    this.#askForNotification();
  }

  notifiedInPassing(): void {
    this.#see();
  }

  startPolling(): void {
    this.#polls = true;
    this.#see();
    this.#askForNotification();
  }

  take(): Taken | undefined {
    if (this.#polls) this.#see();
    if (this.#seen === 0) return undefined;
    const pieces: Piece[] = [];
    for (;;) {
      const at = 16 * this.#next.place;
      const flags = this.#table.getUint16(at + 14, true);
      const id = this.#table.getUint16(at + 12, true);
      if (this.#seen === 0 || !this.#isAvailable(this.#next)) {
        this.#card.complain(`the list at ${this.#next.place} is not whole`);
        return undefined;
      }
      const iova = this.#table.getBigUint64(at, true);
      const bytes = this.#memory.bytes(iova, this.#table.getUint32(at + 8, true));
      pieces.push({ bytes, isWritable: (flags & F_WRITE) !== 0 });
      this.#next = this.#after(this.#next, 1);
      this.#seen--;
      if ((flags & F_NEXT) === 0) return { id, pieces };
    }
  }

  mark(): () => void {
    const [next, seen] = [this.#next, this.#seen];
    return () => {
      this.#next = next;
      this.#seen = seen;
    };
  }

  /** One used descriptor at the place of the first of a list, and nothing at the others (2.8.7). */
  use(id: number, length: number, descriptors: number): void {
    const { place, wrap } = this.#used;
    const at = 16 * place;
    // 2.8.5: the address of a used descriptor is unused, so anything may be there.
    this.#table.setBigUint64(at, 0xdead_beef_dead_beefn, true);
    this.#table.setUint32(at + 8, length, true);
    this.#table.setUint16(at + 12, id, true);
    this.#table.setUint16(at + 14, wrap === 1 ? F_AVAIL | F_USED : 0, true);
    this.#last = { place, wrap, descriptors };
    this.#used = this.#after(this.#used, descriptors);
  }

  get wantsInterrupt(): boolean {
    const flags = this.#driverEvent.getUint16(2, true);
    if (flags === AT_OFFSET) {
      const word = this.#driverEvent.getUint16(0, true);
      const { place, wrap, descriptors } = this.#last;
      return (word & 0x7fff) - place < descriptors && (word & 0x7fff) >= place && word >>> 15 === wrap;
    }
    if (flags > AT_OFFSET) this.#card.complain(`event flags of ${flags}`);
    return flags === ENABLE;
  }

  /** 2.8.1: available where AVAIL is the counter of the lap, and USED is not. */
  #isAvailable({ place, wrap }: Position): boolean {
    const flags = this.#table.getUint16(16 * place + 14, true);
    return ((flags & F_AVAIL) !== 0) === (wrap === 1) && ((flags & F_USED) !== 0) !== (wrap === 1);
  }

  #see(): void {
    let at = this.#after(this.#next, this.#seen);
    while (this.#seen < this.#size && this.#isAvailable(at)) {
      this.#seen++;
      at = this.#after(at, 1);
    }
  }

  #after({ place, wrap }: Position, count: number): Position {
    const next = place + count;
    return next < this.#size ? { place: next, wrap } : { place: next - this.#size, wrap: wrap === 1 ? 0 : 1 };
  }

  /** 2.8.10: with EVENT_IDX at the first place that was not seen, else always; polling: never. */
  #askForNotification(): void {
    const { place, wrap } = this.#after(this.#next, this.#seen);
    this.askAt(place, wrap);
  }

  askAt(place: number, wrap: 0 | 1): void {
    this.#deviceEvent.setUint16(0, place | (wrap << 15), true);
    const flags = this.#card.accepted.has(EVENT_IDX) ? AT_OFFSET : ENABLE;
    this.#deviceEvent.setUint16(2, this.#polls ? DISABLE : flags, true);
  }
}
