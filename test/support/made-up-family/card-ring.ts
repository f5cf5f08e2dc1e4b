/** The card's side of one ring: it takes descriptors in order, and writes what is done over them, in any order. */
import { DESCRIPTOR_WORDS, LENGTH_MASK, OWNED } from './registers.js';

export class CardRing {
  readonly size: number;
  readonly #words: Int32Array;
  #next = 0;
  #done = 0;
  /** Taken, and not given back. */
  #held = 0;

  constructor(words: Int32Array) {
    this.#words = words;
    this.size = words.length / DESCRIPTOR_WORDS;
  }

  /** Descriptors that `take` would find. */
  get ready(): number {
    let count = 0;
    while (this.#held + count < this.size && this.#owns((this.#next + count) % this.size)) count++;
    return count;
  }

  /** Takes the next descriptor: number and length of its buffer. */
  take(): { readonly buffer: number; readonly lengthBytes: number } | undefined {
    if (this.#held === this.size || !this.#owns(this.#next)) return undefined;
    const at = this.#next * DESCRIPTOR_WORDS;
    this.#next = (this.#next + 1) % this.size;
    this.#held++;
    return { buffer: this.#words[at]! >>> 0, lengthBytes: this.#words[at + 1]! & LENGTH_MASK };
  }

  /** Gives a descriptor back, flags last. */
  give(buffer: number, lengthBytes: number, flags: number): void {
    const at = this.#done * DESCRIPTOR_WORDS;
    this.#done = (this.#done + 1) % this.size;
    this.#held--;
    this.#words[at] = buffer | 0;
    this.#words[at + 1] = flags | lengthBytes;
  }

  #owns(slot: number): boolean {
    return (this.#words[slot * DESCRIPTOR_WORDS + 1]! & OWNED) !== 0;
  }
}
