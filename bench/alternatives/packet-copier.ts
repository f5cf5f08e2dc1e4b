/** A hook for forwarders that copies each packet, and can tell whether it did. */

import { instantiate, STATE_LENGTH } from '../../src/driver/instantiate.js';
import type { PacketHook } from '../../src/driver/queue-link.js';
import type { PacketPool } from '../../src/hugepage/packet-pool.js';

/** Copies that `check` looks at. */
const CHECKED = 32;

export class PacketCopier {
  readonly onPacket: PacketHook;
  readonly #pool: PacketPool;
  readonly #targets: Uint32Array;
  /** Packets that the targets have copies of, and their lengths. */
  readonly #sources: Uint32Array;
  readonly #lengths: Uint32Array;
  /** Element 0: packets copied, modulo 2^30. */
  readonly #state = new Int32Array(STATE_LENGTH);

  /** @param targets buffers of the pool to copy to in turn, a power of two of them, 32 or more */
  constructor(pool: PacketPool, targets: Uint32Array) {
    this.#pool = pool;
    this.#targets = targets;
    this.#sources = new Uint32Array(targets.length);
    this.#lengths = new Uint32Array(targets.length);
    this.onPacket = instantiate(makeCopy, null, {
      frames: pool.frames,
      words: new Int32Array(pool.frames.buffer, pool.frames.byteOffset, pool.frames.length >>> 2),
      shift: pool.bufferShift,
      targets,
      sources: this.#sources,
      lengths: this.#lengths,
      state: this.#state,
    });
  }

  /** The last copies, as long as their packets have not been used again, are what was sent. @throws Error */
  check(): void {
    const { bufferShift, frames } = this.#pool;
    const count = this.#state[0]!;
    for (let i = Math.max(0, count - CHECKED); i < count; i++) {
      const at = i & (this.#targets.length - 1);
      const from = this.#sources[at]! << bufferShift;
      const to = this.#targets[at]! << bufferShift;
      for (let byte = 0; byte < this.#lengths[at]!; byte++) {
        if (frames[from + byte] !== frames[to + byte]) throw new Error(`copy ${i} differs at byte ${byte}`);
      }
    }
  }
}

interface Copy {
  readonly frames: Uint8Array;
  readonly words: Int32Array;
  readonly shift: number;
  readonly targets: Uint32Array;
  readonly sources: Uint32Array;
  readonly lengths: Uint32Array;
  readonly state: Int32Array;
}

/** A factory for `instantiate`: it uses nothing of its module but types. */
function makeCopy(_layout: null, copies: Copy): PacketHook {
  const { frames, words, shift, targets, sources, lengths, state } = copies;
  /** Up to here a loop over words copies faster than a call does. */
  const LOOP_LIMIT_BYTES = 128;
  const mask = targets.length - 1;
  return function copy(packet: number, lengthBytes: number): number {
    const next = state[0]! & mask;
    const from = packet << shift;
    const to = targets[next]! << shift;
    if (lengthBytes > LOOP_LIMIT_BYTES) {
      frames.copyWithin(to, from, from + lengthBytes);
    } else {
      const end = (from + lengthBytes + 3) >>> 2;
      let target = to >>> 2;
      for (let source = from >>> 2; source < end; source++) words[target++] = words[source]!;
    }
    sources[next] = packet;
    lengths[next] = lengthBytes;
    state[0] = (state[0]! + 1) & 0x3fff_ffff;
    return lengthBytes;
  };
}
