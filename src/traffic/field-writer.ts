/**
 * Writes one field of a flow that changes from frame to frame, in place, and says what it adds to the checksums over it.
 *
 * Values are 1, 2 or 4 bytes as one number, or whole addresses out of a list. The number may share its bytes with bits that stay
 * (a VLAN number and its priority): `shift` and `fixedBits`.
 */
import { readU16, writeU16, writeU32 } from '../packet/bytes.js';
import { type Field, lowWord } from './field-value.js';
import { nextRandom, unitOf } from './random.js';

/** Where a field lies. */
export interface FieldPlace {
  /** Index of its first byte in the frame. */
  readonly at: number;
  readonly bytes: number;
  readonly shift?: number;
  readonly fixedBits?: number;
  /** The IPv4 header's checksum covers it. */
  readonly inIp?: boolean;
  /** The checksum of UDP, TCP or ICMP covers it. */
  readonly inL4?: boolean;
}

export class FieldWriter {
  readonly inIp: boolean;
  readonly inL4: boolean;
  readonly #at: number;
  /** Bytes that change: 1, 2 or 4 of a range, all of a list. */
  readonly #width: number;
  readonly #shift: number;
  readonly #fixedBits: number;
  readonly #random: boolean;
  readonly #count: number;
  readonly #first: number;
  readonly #step: number;
  /** Values of a list one behind the other; empty for a range. */
  readonly #list: Uint8Array;
  readonly #listSums: Int32Array;
  #next = 0;
  #state: number;

  /** @param seed of this field's random numbers, from `mixSeed` */
  constructor(field: Field, place: FieldPlace, seed: number) {
    this.inIp = place.inIp === true;
    this.inL4 = place.inL4 === true;
    this.#shift = place.shift ?? 0;
    this.#fixedBits = place.fixedBits ?? 0;
    this.#random = field.random;
    this.#count = field.count;
    this.#step = field.step;
    this.#first = lowWord(field.values[0]!);
    this.#state = seed;
    const isWhole = field.kind === 'list' && place.bytes > 4;
    const width = isWhole ? place.bytes : Math.min(4, place.bytes);
    this.#width = width;
    // A range of addresses changes their last four bytes.
    this.#at = isWhole ? place.at : place.at + Math.max(0, place.bytes - 4);
    const values = field.kind === 'list' ? field.values : [];
    this.#list = new Uint8Array(values.length * width);
    this.#listSums = new Int32Array(values.length);
    for (const [i, value] of values.entries()) {
      if (isWhole) this.#list.set(value, i * width);
      else writeNumber(this.#list, i * width, width, bitsOf(lowWord(value), this.#shift, this.#fixedBits));
      this.#listSums[i] = sumAt(this.#list, i * width, width, this.#at);
    }
  }

  /**
   * Writes the next value into a frame. Allocates nothing.
   * @param frameAt index of the frame's first byte
   * @returns what it adds to the sum of 16-bit words
   */
  write(bytes: Uint8Array, frameAt: number): number {
    let index = this.#next;
    if (this.#random) {
      const state = nextRandom(this.#state);
      this.#state = state;
      index = Math.floor(unitOf(state) * this.#count);
    } else {
      this.#next = index + 1 === this.#count ? 0 : index + 1;
    }
    const at = frameAt + this.#at;
    const list = this.#list;
    const width = this.#width;
    if (list.length > 0) {
      const from = index * width;
      for (let i = 0; i < width; i++) bytes[at + i] = list[from + i]!;
      return this.#listSums[index]!;
    }
    const number = this.#first + index * this.#step;
    const value = (this.#shift === 0 ? number : bitsOf(number, this.#shift, this.#fixedBits)) | 0;
    switch (width) {
      case 4:
        writeU32(bytes, at, value);
        return (value >>> 16) + (value & 0xffff);
      case 2:
        writeU16(bytes, at, value);
        return value;
      default:
        bytes[at] = value;
        return (this.#at & 1) === 0 ? value << 8 : value;
    }
  }
}

// No private methods: V8 checks the brand of the object at each call of one.

function bitsOf(value: number, shift: number, fixedBits: number): number {
  return shift === 0 ? value : (value << shift) | fixedBits;
}

function writeNumber(bytes: Uint8Array, at: number, width: number, value: number): void {
  if (width === 4) writeU32(bytes, at, value);
  else if (width === 2) writeU16(bytes, at, value);
  else bytes[at] = value;
}

/** Sum of the words of a value that begins at an even or odd place in its frame. */
function sumAt(bytes: Uint8Array, from: number, width: number, frameAt: number): number {
  if (width === 1) return (frameAt & 1) === 0 ? bytes[from]! << 8 : bytes[from]!;
  let sum = 0;
  for (let i = 0; i < width; i += 2) sum += readU16(bytes, from + i);
  return sum;
}
