/**
 * A virtqueue as the card sees it (2.7): reads descriptors from memory that the driver mapped, and uses no more than what it
 * was notified of.
 */
import type { VirtioCard } from './card.js';

const HEADER_BYTES = 12;
const NO_VECTOR = 0xffff;
const F_NEXT = 1;
const F_WRITE = 2;
const NO_INTERRUPT = 1;
const MRG_RXBUF = 15;

interface Piece {
  readonly bytes: Uint8Array;
  readonly isWritable: boolean;
}

export class CardQueue {
  readonly number: number;
  size: number;
  vector = NO_VECTOR;
  enabled = false;
  /** True: sets NO_NOTIFY and looks at the index by itself. */
  polls = false;
  readonly #card: VirtioCard;
  /** Descriptor table, available ring, used ring. */
  readonly #addresses: [bigint, bigint, bigint] = [0n, 0n, 0n];
  readonly #mappings = new Map<bigint, ArrayBuffer>();
  readonly #views: (DataView | undefined)[] = [];
  /** The available index that a notification showed, how far it was used, and the used index. */
  #seen = 0;
  #next = 0;
  #used = 0;

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
    for (const [which, alignment] of [16n, 2n, 4n].entries()) {
      if (this.#addresses[which]! % alignment !== 0n) this.#card.complain(`area ${which} is not aligned`);
    }
    this.enabled = true;
  }

  notified(): void {
    if (!this.enabled) this.#card.complain(`queue ${this.number} is notified and not enabled`);
    else this.#seen = this.#avail().getUint16(2, true);
  }

  /** 5.1.6.4: the header in front, and where MRG_RXBUF was accepted as many buffers as it takes, each full but the last. */
  receive(frame: Uint8Array): boolean {
    const bytes = new Uint8Array(HEADER_BYTES + frame.length);
    // flags, gso_type, hdr_len and so on: something that a driver must not send on.
    bytes.set([2, 0, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88]);
    bytes.set(frame, HEADER_BYTES);
    const before = this.#next;
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
        this.#next = before;
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
    for (let taken = this.#take(); taken !== undefined; taken = this.#take()) {
      if (taken.pieces.some(({ isWritable }) => isWritable))
        this.#card.complain('a packet that can be written');
      const bytes = Uint8Array.from(taken.pieces.flatMap((piece) => [...piece.bytes]));
      if (bytes.subarray(0, HEADER_BYTES).some((byte) => byte !== 0)) {
        this.#card.complain(`a header asks for what was not negotiated: ${bytes.subarray(0, HEADER_BYTES)}`);
      }
      frames.push(bytes.slice(HEADER_BYTES));
      this.use(taken.id, 0);
    }
    return frames;
  }

  answer(obey: (command: Uint8Array) => boolean): void {
    for (let taken = this.#take(); taken !== undefined; taken = this.#take()) {
      const last = taken.pieces.at(-1);
      if (taken.pieces.length !== 2 || last?.bytes.length !== 1 || !last.isWritable) {
        this.#card.complain('a control command is not a command and a byte for the answer');
        return;
      }
      last.bytes[0] = obey(taken.pieces[0]!.bytes) ? 0 : 1;
      this.use(taken.id, 1);
    }
  }

  /** Says of the next descriptor that so many bytes were written, which is not true. */
  useFalsely(length: number): void {
    this.use(this.#take()!.id, length);
  }

  /** Writes a used element, true or not, moves the index, and interrupts where that is wanted. */
  use(id: number, length: number): void {
    const used = this.#usedRing();
    const at = 4 + 8 * (this.#used % this.size);
    used.setUint32(at, id, true);
    used.setUint32(at + 4, length, true);
    this.skip(1);
  }

  /** Moves the used index. */
  skip(by: number): void {
    this.#used = (this.#used + by) & 0xffff;
    const used = this.#usedRing();
    used.setUint16(0, this.polls ? 1 : 0, true);
    used.setUint16(2, this.#used, true);
    const wanted = (this.#avail().getUint16(0, true) & NO_INTERRUPT) === 0;
    if (wanted && this.vector !== NO_VECTOR) this.#card.interrupt(this.vector);
  }

  /** The driver need not notify from now on. */
  startPolling(): void {
    this.polls = true;
    this.#usedRing().setUint16(0, 1, true);
  }

  /** The next chain of descriptors; undefined where there is none. */
  #take(): { readonly id: number; readonly pieces: readonly Piece[] } | undefined {
    if (!this.enabled || !this.#card.busMaster) return undefined;
    const avail = this.#avail();
    if (this.polls) this.#seen = avail.getUint16(2, true);
    if (((this.#seen - this.#next) & 0xffff) > this.size) {
      this.#card.complain(`queue ${this.number} has more available than it has elements`);
      return undefined;
    }
    if (this.#seen === this.#next) return undefined;
    const id = avail.getUint16(4 + 2 * (this.#next % this.size), true);
    this.#next = (this.#next + 1) & 0xffff;
    const pieces: Piece[] = [];
    const table = this.#view(0, 16 * this.size);
    for (let at = id; pieces.length < this.size; ) {
      const flags = table.getUint16(16 * at + 12, true);
      const bytes = this.#bytes(table.getBigUint64(16 * at, true), table.getUint32(16 * at + 8, true));
      pieces.push({ bytes, isWritable: (flags & F_WRITE) !== 0 });
      if ((flags & F_NEXT) === 0) break;
      at = table.getUint16(16 * at + 14, true);
    }
    return { id, pieces };
  }

  #avail(): DataView {
    return this.#view(1, 6 + 2 * this.size);
  }

  #usedRing(): DataView {
    return this.#view(2, 6 + 8 * this.size);
  }

  #view(which: number, sizeBytes: number): DataView {
    const view =
      this.#views[which] ?? new DataView(this.#card.mapper.memoryAt(this.#addresses[which]!, sizeBytes));
    this.#views[which] = view;
    return view;
  }

  /** A view on a whole mapping is made once: it takes long. */
  #bytes(iova: bigint, sizeBytes: number): Uint8Array {
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
