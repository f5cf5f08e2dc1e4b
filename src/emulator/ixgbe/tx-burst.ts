/**
 * Sends the usual frames many at a time: each in one advanced descriptor that asks for no offload and has no mistake. What it
 * does for a frame is what `Transmitter` does one by one, check by check; a descriptor about which anything is different is
 * left to that.
 */
import { type DmaChannel, TWO_32 } from '../device/dma.js';
import type { RegisterFile } from '../device/register-file.js';
import { FrameBurst, MAX_BURST } from '../link.js';
import { C, type Statistics, sizeClass } from './statistics.js';
import { DD, PLAIN, PLAIN_MASK, POPTS, RS } from './tx-descriptor.js';
import type { TxQueue } from './tx-queue.js';

const FCS_BYTES = 4;
/** Offsets in a memory are kept as 32-bit integers. */
const MAX_OFFSET = 0x7fff0000;

export class TxBurst {
  /** The frames that `gather` found. */
  readonly frames = new FrameBurst();
  readonly #registers: RegisterFile;
  readonly #statistics: Statistics;
  readonly #rings: DmaChannel;
  readonly #buffers: DmaChannel;
  readonly #writeHead: (iova: number, head: number) => void;
  /** Memory of the ring, and where it begins. */
  #ring: Int32Array = new Int32Array(0);
  #ringWord = 0;

  /** @param writeHead writes a queue's head to memory */
  constructor(
    registers: RegisterFile,
    statistics: Statistics,
    rings: DmaChannel,
    buffers: DmaChannel,
    writeHead: (iova: number, head: number) => void,
  ) {
    this.#registers = registers;
    this.#statistics = statistics;
    this.#rings = rings;
    this.#buffers = buffers;
    this.#writeHead = writeHead;
  }

  /**
   * Finds the frames from the queue's head on, up to a descriptor that is not usual.
   * @param limit how many at most
   * @param shortest of the frames, without FCS; `longest` as well
   * @returns how many
   */
  gather(queue: TxQueue, limit: number, shortest: number, longest: number): number {
    const rings = this.#rings;
    const ringAt = rings.locate(queue.ringIova, queue.count * 16);
    if (ringAt < 0 || ringAt > MAX_OFFSET) return 0;
    const ring = rings.memory.words;
    this.#ring = ring;
    this.#ringWord = ringAt >>> 2;
    const { frames } = this;
    const { offsets, lengths } = frames;
    const buffers = this.#buffers;
    const firstWord = (ringAt >>> 2) + queue.head * 4;
    const firstIova = (ring[firstWord + 1]! >>> 0) * TWO_32 + (ring[firstWord]! >>> 0);
    if (buffers.locate(firstIova, ring[firstWord + 2]! & 0xffff) < 0) return 0;
    frames.memory = buffers.memory;
    const { base } = buffers;
    const sizeBytes = Math.min(buffers.sizeBytes, MAX_OFFSET);
    const most = Math.min(limit, MAX_BURST);
    const needed = queue.batchesWriteBack ? RS : 0;
    const { count } = queue;
    let slot = queue.head;
    let found = 0;
    for (; found < most; found++) {
      const d = (ringAt >>> 2) + slot * 4;
      const command = ring[d + 2]!;
      const options = ring[d + 3]!;
      if ((command & PLAIN_MASK) !== PLAIN || (options & POPTS) !== 0 || (command & needed) !== needed) break;
      const lengthBytes = command & 0xffff;
      if (options >>> 14 !== lengthBytes || lengthBytes < shortest || lengthBytes > longest) break;
      const iova = (ring[d + 1]! >>> 0) * TWO_32 + (ring[d]! >>> 0);
      const at = iova - base;
      if (iova === 0 || at < 0 || at + lengthBytes > sizeBytes) break;
      offsets[found] = at;
      lengths[found] = lengthBytes;
      slot = slot + 1 === count ? 0 : slot + 1;
    }
    frames.count = found;
    return found;
  }

  /** Counts the frames found. */
  count(queue: TxQueue): void {
    const { counters, txSet } = this.#statistics;
    const { memory, offsets, lengths, count } = this.frames;
    const { bytes } = memory;
    let octets = 0;
    let length = 0;
    let counted = 0;
    for (let i = 0; i < count; i++) {
      if (lengths[i] !== length) {
        if (i > counted) counters[C.PTC64 + sizeClass(length + FCS_BYTES)]! += i - counted;
        counted = i;
        length = lengths[i]!;
      }
      octets += length;
      if ((bytes[offsets[i]!]! & 1) !== 0) counters[isBroadcast(bytes, offsets[i]!) ? C.BPTC : C.MPTC]!++;
    }
    counters[C.PTC64 + sizeClass(length + FCS_BYTES)]! += count - counted;
    octets += count * FCS_BYTES;
    const set = txSet[queue.index]!;
    counters[C.TPT]! += count;
    counters[C.QPTC + set]! += count;
    counters[C.QBTC + set]! += octets;
    counters[C.GPTC]! += count;
    counters[C.GOTC]! += octets;
    counters[C.TXDGPC]! += count;
    counters[C.TXDGBC]! += octets;
  }

  /**
   * Moves the head past the frames, and marks the descriptors done that ask for it: the driver takes their buffers back, so
   * the frames have been delivered.
   * @returns whether any asked
   */
  complete(queue: TxQueue): boolean {
    const writeBackIova = queue.headWriteBackIova();
    const ring = this.#ring;
    const ringWord = this.#ringWord;
    const { count } = queue;
    const first = queue.head;
    const next = (first + this.frames.count) % count;
    queue.head = next;
    this.#registers.words[queue.headWord] = next;
    let reported = false;
    for (let slot = first; slot !== next; ) {
      const d = ringWord + slot * 4;
      slot = slot + 1 === count ? 0 : slot + 1;
      if ((ring[d + 2]! & RS) === 0) continue;
      reported = true;
      // What else a written-back descriptor holds is reserved; the model leaves it as it was.
      if (writeBackIova < 0) ring[d + 3] = (ring[d + 3]! & ~0xf) | DD;
      else this.#writeHead(writeBackIova, slot);
    }
    return reported;
  }
}

export function isBroadcast(bytes: Uint8Array, offset: number): boolean {
  for (let i = 0; i < 6; i++) if (bytes[offset + i] !== 0xff) return false;
  return true;
}
