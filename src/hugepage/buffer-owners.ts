/**
 * Book-keeping of `debug` pools: which buffers the application owns, where it gave the others away, and whether it wrote
 * to one after it had sent it.
 */
import { NicError } from '../errors.js';

export class BufferOwners {
  /** 1 where the application owns the buffer. */
  readonly #owned: Uint8Array;
  readonly #givenAwayAt: (Error | undefined)[];
  /** Hash of each sent frame, and its length; -1 where the buffer is not sent. */
  readonly #sentHashes: Uint32Array;
  readonly #sentLengths: Int32Array;
  readonly #frames: Uint8Array;
  readonly #lengths: Uint16Array;
  readonly #shift: number;

  /**
   * @param frames the pool's memory from the first frame on
   * @param lengths of the pool
   * @param shift log2 of the buffer size
   */
  constructor(frames: Uint8Array, lengths: Uint16Array, shift: number) {
    const buffers = lengths.length;
    this.#owned = new Uint8Array(buffers);
    this.#givenAwayAt = new Array<Error | undefined>(buffers);
    this.#sentHashes = new Uint32Array(buffers);
    this.#sentLengths = new Int32Array(buffers).fill(-1);
    this.#frames = frames;
    this.#lengths = lengths;
    this.#shift = shift;
  }

  /** The application was given these: by `allocate`, `receive`. @throws NicError `OWNERSHIP` if it had one already */
  taken(bufs: Uint32Array, count: number, start = 0): void {
    for (let i = start; i < start + count; i++) {
      const index = bufs[i]!;
      if (this.#owned[index] !== 0) {
        throw new NicError('OWNERSHIP', `Buffer ${index} was handed out while the application owned it`);
      }
      this.#owned[index] = 1;
    }
  }

  /** @throws NicError `OWNERSHIP` where the application does not own one of these */
  released(bufs: Uint32Array, count: number, start = 0): void {
    this.#giveAway(bufs, count, start, 'given back to the pool');
  }

  /** @throws NicError `OWNERSHIP` where the application does not own one of these */
  sent(bufs: Uint32Array, count: number, start = 0): void {
    this.#giveAway(bufs, count, start, 'sent');
    for (let i = start; i < start + count; i++) {
      const index = bufs[i]!;
      this.#sentLengths[index] = this.#lengths[index]!;
      this.#sentHashes[index] = this.#hash(index, this.#lengths[index]!);
    }
  }

  /** The hardware is done with a sent buffer. True where its bytes are not those that were sent. */
  isChanged(index: number): boolean {
    const length = this.#sentLengths[index]!;
    if (length < 0) return false;
    this.#sentLengths[index] = -1;
    return this.#hash(index, length) !== this.#sentHashes[index];
  }

  /** What to throw for a buffer that `isChanged`. */
  changedError(index: number): NicError {
    return new NicError('OWNERSHIP', `Buffer ${index} was written to after it was sent`, {
      hint: 'Where it was sent: see cause. The wire may have carried the old or the new bytes.',
      cause: this.#givenAwayAt[index],
    });
  }

  /** The buffer goes back without having been sent: its device closes. */
  returned(index: number): void {
    this.#sentLengths[index] = -1;
  }

  /** The application has the buffer while `action` runs. Returns what that returns. */
  during<T>(index: number, action: () => T): T {
    this.#owned[index] = 1;
    try {
      return action();
    } finally {
      this.#owned[index] = 0;
    }
  }

  /** @param attempt what is to be done to it, for the message @throws NicError `OWNERSHIP` unless the application owns it */
  check(index: number, attempt: string): void {
    if (this.#owned[index] === 1) return;
    const before = this.#givenAwayAt[index];
    throw new NicError(
      'OWNERSHIP',
      `Buffer ${index} is to be ${attempt}, but the application does not own it`,
      {
        hint:
          before === undefined
            ? 'It was never received or allocated.'
            : `It was ${before.message} before; see cause.`,
        cause: before,
      },
    );
  }

  #giveAway(bufs: Uint32Array, count: number, start: number, what: string): void {
    // All before any: a call that throws has changed nothing.
    for (let i = start; i < start + count; i++) this.check(bufs[i]!, what);
    const where = new Error(what);
    for (let i = start; i < start + count; i++) {
      const index = bufs[i]!;
      // The same buffer twice in one call: the second finds it no longer owned.
      this.check(index, what);
      this.#owned[index] = 0;
      this.#givenAwayAt[index] = where;
    }
  }

  /** FNV-1a over the frame's bytes (32 bits). */
  #hash(index: number, lengthBytes: number): number {
    const start = index << this.#shift;
    let hash = 0x811c_9dc5;
    for (let i = start; i < start + lengthBytes; i++) hash = Math.imul(hash ^ this.#frames[i]!, 0x0100_0193);
    return hash >>> 0;
  }
}
