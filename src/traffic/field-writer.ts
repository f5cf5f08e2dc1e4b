/**
 * Writes one field of a flow that changes from frame to frame, in place, and says what it adds to the checksums over it.
 *
 * Values are 1, 2 or 4 bytes as one number, or whole addresses out of a list. The number may share its bytes with bits that stay
 * (a VLAN number and its priority): `shift` and `fixedBits`.
 */
import { readU16, writeU16, writeU32 } from '../packet/bytes.js';
import { type Field, lowWord } from './field-value.js';
import { nextRandom } from './random.js';

/** Most frames that are written together. */
export const MAX_FIELD_BATCH = 256;
const TWO_32 = 0x1_0000_0000;

/** Of the batch that is being written: which value each frame gets, and what that adds to a sum of 16-bit words. */
const indices = new Uint32Array(MAX_FIELD_BATCH);
const sums = new Int32Array(MAX_FIELD_BATCH);

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
   * Writes the next values into frames, one after the other, and adds what they are to the sums of the frames' checksums: this field
   * in all frames of a batch before the next field, so that each loop has one thing to do. Allocates nothing.
   *
   * @param places index of each frame's first byte
   * @param count frames, at most `MAX_FIELD_BATCH`
   */
  write(bytes: Uint8Array, places: Int32Array, count: number, ipSums: Int32Array, l4Sums: Int32Array): void {
    if (this.#random) this.#drawIndices(count);
    else this.#countIndices(count);
    if (this.#list.length > 0) this.#writeList(bytes, places, count);
    else this.#writeRange(bytes, places, count);
    const added = sums;
    if (this.inIp) for (let i = 0; i < count; i++) ipSums[i]! += added[i]!;
    if (this.inL4) for (let i = 0; i < count; i++) l4Sums[i]! += added[i]!;
  }

  #drawIndices(count: number): void {
    // A product with a power of two is exact: this is `Math.floor(unitOf(state) * count)`.
    const scale = this.#count / TWO_32;
    const drawn = indices;
    let state = this.#state;
    for (let i = 0; i < count; i++) {
      state = nextRandom(state);
      drawn[i] = (state >>> 0) * scale;
    }
    this.#state = state;
  }

  #countIndices(count: number): void {
    const values = this.#count;
    const counted = indices;
    let next = this.#next;
    for (let i = 0; i < count; i++) {
      counted[i] = next;
      next = next + 1 === values ? 0 : next + 1;
    }
    this.#next = next;
  }

  #writeList(bytes: Uint8Array, places: Int32Array, count: number): void {
    const width = this.#width;
    const list = this.#list;
    const listSums = this.#listSums;
    const offset = this.#at;
    for (let k = 0; k < count; k++) {
      const index = indices[k]!;
      const from = index * width;
      const at = places[k]! + offset;
      for (let i = 0; i < width; i++) bytes[at + i] = list[from + i]!;
      sums[k] = listSums[index]!;
    }
  }

  #writeRange(bytes: Uint8Array, places: Int32Array, count: number): void {
    const first = this.#first | 0;
    const step = this.#step | 0;
    const shift = this.#shift;
    const fixedBits = this.#fixedBits;
    const offset = this.#at;
    const chosen = indices;
    const added = sums;
    if (this.#width === 4) {
      for (let i = 0; i < count; i++) {
        const value = (first + Math.imul(chosen[i]!, step)) | 0;
        writeU32(bytes, places[i]! + offset, value);
        added[i] = (value >>> 16) + (value & 0xffff);
      }
    } else if (this.#width === 2) {
      for (let i = 0; i < count; i++) {
        const value = ((first + Math.imul(chosen[i]!, step)) << shift) | fixedBits;
        writeU16(bytes, places[i]! + offset, value);
        added[i] = value;
      }
    } else {
      const place = (offset & 1) === 0 ? 8 : 0;
      for (let i = 0; i < count; i++) {
        const value = ((first + Math.imul(chosen[i]!, step)) << shift) | fixedBits;
        bytes[places[i]! + offset] = value;
        added[i] = value << place;
      }
    }
  }
}

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
