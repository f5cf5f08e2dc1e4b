/** Frames that wait, first in, first out, in memory of a fixed size: receive packet buffers, lanes of a cable. */
import { copyBytes, type FrameMemory, frameMemory } from '../link.js';

/** Frames held at most. 512 KiB of 64-byte frames is as many. */
export const MAX_FRAMES = 8192;

export class FrameQueue {
  /** Memory the frames lie in, at `frontOffset`. */
  memory: FrameMemory = frameMemory(0);
  #sizeBytes = 0;
  #writeAt = 0;
  #usedBytes = 0;
  readonly #offsets = new Int32Array(MAX_FRAMES);
  readonly #lengths = new Int32Array(MAX_FRAMES);
  #first = 0;
  #count = 0;

  get count(): number {
    return this.#count;
  }

  /** Bytes taken by frames. */
  get usedBytes(): number {
    return this.#usedBytes;
  }

  get frontOffset(): number {
    return this.#offsets[this.#first]!;
  }

  get frontLength(): number {
    return this.#lengths[this.#first]!;
  }

  /** Bytes free for frames; one frame may need more than its length, because it is kept in one piece. */
  get freeBytes(): number {
    return this.#count === MAX_FRAMES ? 0 : this.#sizeBytes - this.#usedBytes;
  }

  /** Slot number of the front frame, for what callers keep beside the frames. */
  get frontSlot(): number {
    return this.#first;
  }

  /** Slot number that the next `push` fills. */
  get nextSlot(): number {
    return (this.#first + this.#count) % MAX_FRAMES;
  }

  /** Sets the size and drops what is inside. Memory is taken when the first frame needs it. */
  reset(sizeBytes: number): void {
    this.#sizeBytes = sizeBytes & ~3;
    this.clear();
  }

  clear(): void {
    this.#first = 0;
    this.#count = 0;
    this.#writeAt = 0;
    this.#usedBytes = 0;
  }

  /** Stores a copy of the frame. @returns false where it does not fit */
  push(from: FrameMemory, offset: number, lengthBytes: number): boolean {
    const paddedBytes = (lengthBytes + 3) & ~3;
    if (this.#count === MAX_FRAMES) return false;
    if (this.memory.bytes.length < this.#sizeBytes) this.memory = frameMemory(this.#sizeBytes);
    // A frame is kept in one piece; the rest at the end of the memory counts as used until the front passes it.
    const tailBytes = this.#sizeBytes - this.#writeAt;
    const wraps = paddedBytes > tailBytes;
    const skipBytes = wraps ? tailBytes : 0;
    if (this.#usedBytes + skipBytes + paddedBytes > this.#sizeBytes) return false;
    const at = wraps ? 0 : this.#writeAt;
    copyBytes(from, offset, this.memory, at, lengthBytes);
    const slot = (this.#first + this.#count) % MAX_FRAMES;
    this.#offsets[slot] = at;
    this.#lengths[slot] = lengthBytes;
    this.#count++;
    this.#usedBytes += skipBytes + paddedBytes;
    this.#writeAt = at + paddedBytes;
    return true;
  }

  /** Forgets the front frame. */
  pop(): void {
    const at = this.frontOffset;
    const end = at + ((this.frontLength + 3) & ~3);
    this.#first = (this.#first + 1) % MAX_FRAMES;
    this.#count--;
    if (this.#count === 0) {
      this.clear();
      return;
    }
    const next = this.frontOffset;
    this.#usedBytes -= next >= end ? next - at : this.#sizeBytes - at + next;
  }
}
