/**
 * A virtqueue as the card sees it: reads descriptors from memory that the driver mapped, and uses no more than what it was
 * notified of.
 */
import type { VirtioCard } from './card.js';
import { CardMemory, type CardRing, type Taken } from './card-ring.js';
import { PackedCardRing } from './packed-card-ring.js';
import { SplitCardRing } from './split-card-ring.js';

const HEADER_BYTES = 12;
const NO_VECTOR = 0xffff;
/** flags, gso_type, hdr_len and so on: something that a driver must not send on. */
const PLAIN_HEADER = [2, 0, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88] as const;
const NEEDS_CSUM = 1;
const CSUM = 0;
const MRG_RXBUF = 15;
const RING_PACKED = 34;
/** Packets that a reversed queue keeps. */
const KEPT = 3;

export class CardQueue {
  readonly number: number;
  size: number;
  vector = NO_VECTOR;
  enabled = false;
  /** Uses packets in the opposite of the order in which they came, and the first of each batch some batches later. */
  isReversed = false;
  /** Asked for one notification, it goes on after that without asking for the next. The test says when it asks again. */
  forgetsToAsk = false;
  /** Notifications so far. */
  notifications = 0;
  readonly #card: VirtioCard;
  /** Descriptor area, driver area, device area. */
  readonly #addresses: [bigint, bigint, bigint] = [0n, 0n, 0n];
  #ring: CardRing | undefined;
  /** Sent and not used yet. */
  readonly #kept: number[] = [];

  constructor(card: VirtioCard, number: number, size: number) {
    this.#card = card;
    this.number = number;
    this.size = size;
  }

  setAddress(which: number, isHigh: boolean, value: number): void {
    const old = this.#addresses[which]!;
    const low = isHigh ? old & 0xffff_ffffn : BigInt(value);
    const high = isHigh ? BigInt(value) : old >> 32n;
    this.#addresses[which] = (high << 32n) | low;
  }

  enable(): void {
    const isPacked = this.#card.accepted.has(RING_PACKED);
    for (const [which, alignment] of (isPacked ? [16n, 4n, 4n] : [16n, 2n, 4n]).entries()) {
      if (this.#addresses[which]! % alignment !== 0n) this.#card.complain(`area ${which} is not aligned`);
    }
    const Ring = isPacked ? PackedCardRing : SplitCardRing;
    this.#ring = new Ring(this.#card, new CardMemory(this.#card), this.size, this.#addresses);
    this.enabled = true;
  }

  /** @param data what a notification carries beside the queue's number */
  notified(data: number | undefined): void {
    this.notifications++;
    if (this.#ring === undefined) this.#card.complain(`queue ${this.number} is notified and not enabled`);
    else if (this.forgetsToAsk) this.#ring.notifiedInPassing();
    else this.#ring.notified(data);
  }

  askAt(place: number, wrap: 0 | 1): void {
    this.#ring?.askAt(place, wrap);
  }

  /** 5.1.6.4: the header in front, and where MRG_RXBUF was accepted as many buffers as it takes, each full but the last. */
  receive(frame: Uint8Array, header: readonly number[] = PLAIN_HEADER): boolean {
    const bytes = new Uint8Array(HEADER_BYTES + frame.length);
    bytes.set(header);
    bytes.set(frame, HEADER_BYTES);
    const putBack = this.#ring?.mark();
    const buffers: { readonly id: number; readonly into: Uint8Array; readonly part: Uint8Array }[] = [];
    for (let done = 0; done < bytes.length; ) {
      const taken = this.#take();
      const [piece, ...more] = taken?.pieces ?? [];
      if (taken !== undefined && (piece === undefined || more.length > 0 || !piece.isWritable)) {
        this.#card.complain('a receive buffer is not one piece that can be written');
      }
      const fits =
        piece !== undefined && (this.#card.accepted.has(MRG_RXBUF) || bytes.length <= piece.bytes.length);
      if (taken === undefined || !fits) {
        // Dropped: what it would have filled is there for the next.
        putBack?.();
        return taken !== undefined;
      }
      buffers.push({
        id: taken.id,
        into: piece.bytes,
        part: bytes.subarray(done, done + piece.bytes.length),
      });
      done += piece.bytes.length;
    }
    bytes[10] = buffers.length;
    for (const { into, part } of buffers) into.set(part);
    for (const { id, part } of buffers) this.use(id, part.length);
    return true;
  }

  transmit(): Uint8Array[] {
    const frames: Uint8Array[] = [];
    const ids: number[] = [];
    for (let taken = this.#take(); taken !== undefined; taken = this.#take()) {
      if (taken.pieces.some(({ isWritable }) => isWritable))
        this.#card.complain('a packet that can be written');
      const bytes = Uint8Array.from(taken.pieces.flatMap((piece) => [...piece.bytes]));
      frames.push(this.#checksummed(bytes));
      ids.push(taken.id);
    }
    for (const id of this.isReversed ? this.#reverse(ids) : ids) this.use(id, 0);
    return frames;
  }

  /** 5.1.6.2: does what a header asks for, and lets it ask for no more than checksums, where CSUM was accepted. */
  #checksummed(bytes: Uint8Array): Uint8Array {
    const header = new DataView(bytes.buffer, bytes.byteOffset, HEADER_BYTES);
    const frame = bytes.slice(HEADER_BYTES);
    const [start, offset] = [header.getUint16(6, true), header.getUint16(8, true)];
    const asks = bytes[0] === NEEDS_CSUM && this.#card.accepted.has(CSUM);
    const rest = bytes.subarray(0, HEADER_BYTES).filter((_, i) => !asks || (i !== 0 && (i < 6 || i > 9)));
    if (rest.some((byte) => byte !== 0) || (asks && start + offset + 2 > frame.length)) {
      this.#card.complain(`a header asks for what was not negotiated: ${bytes.subarray(0, HEADER_BYTES)}`);
      return frame;
    }
    if (!asks) return frame;
    let sum = 0;
    for (let i = start; i < frame.length; i++) sum += (i - start) % 2 === 0 ? frame[i]! << 8 : frame[i]!;
    while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
    new DataView(frame.buffer).setUint16(start + offset, ~sum & 0xffff);
    return frame;
  }

  #reverse(ids: number[]): number[] {
    const [first, ...rest] = ids;
    if (first !== undefined) this.#kept.push(first);
    return [...rest.reverse(), ...(this.#kept.length > KEPT ? this.#kept.splice(0, 1) : [])];
  }

  answer(obey: (command: Uint8Array) => boolean): void {
    for (let taken = this.#take(); taken !== undefined; taken = this.#take()) {
      const last = taken.pieces.at(-1);
      if (taken.pieces.length !== 2 || last?.bytes.length !== 1 || !last.isWritable) {
        this.#card.complain('a control command is not a command and a byte for the answer');
        return;
      }
      last.bytes[0] = obey(taken.pieces[0]!.bytes) ? 0 : 1;
      this.use(taken.id, 1, taken.pieces.length);
    }
  }

  /** Says of the next descriptor that so many bytes were written, which is not true. */
  useFalsely(length: number): void {
    this.use(this.#take()!.id, length);
  }

  /** Writes a used element, true or not, and interrupts where that is wanted. */
  use(id: number, length: number, descriptors = 1): void {
    this.#ring!.use(id, length, descriptors);
    this.#interrupt();
  }

  /** Split only: moves the used index. */
  skip(by: number): void {
    (this.#ring as SplitCardRing).skip(by);
    this.#interrupt();
  }

  /** The driver need not notify from now on. */
  startPolling(): void {
    this.#ring!.startPolling();
  }

  #interrupt(): void {
    const { vector } = this;
    // A queue without a vector: flags would tell the driver's mistakes only.
    if (this.#ring!.wantsInterrupt && vector !== NO_VECTOR) this.#card.interrupt(vector);
  }

  #take(): Taken | undefined {
    return this.enabled && this.#card.busMaster ? this.#ring!.take() : undefined;
  }
}
