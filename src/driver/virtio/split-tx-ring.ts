/** A split ring (VIRTIO 1.2, 2.7) that packets are sent from. */
import type { TxQueue } from '../device.js';
import { instantiate } from '../instantiate.js';
import { LAYOUT, type SplitRing } from './layout.js';
import type { TxParts, TxRing } from './queue-parts.js';
import { AVAIL_NO_INTERRUPT, NET_HEADER_BYTES } from './registers.js';
import { makeSplitReclaim, makeSplitSend } from './split-tx-loop.js';

const { NEXT, AVAIL, FREE, FENCE, IDX_HALF, FLAGS_HALF, RING_HALF, IDX_MASK, WORD_SHIFT, LENGTH } = LAYOUT;
const { PACKETS, BYTES, NO_NOTIFY, DATA_SHIFT } = LAYOUT;

export class SplitTxRing implements TxRing {
  readonly ids: Int32Array;
  readonly send: TxQueue['send'];
  readonly reclaim: () => void;
  readonly #ring: SplitRing;
  readonly #parts: TxParts;

  constructor(ring: SplitRing, parts: TxParts) {
    this.#ring = ring;
    this.#parts = parts;
    const { size, iovaHigh, state, eventIdx } = parts;
    state[FREE] = size;
    this.ids = Int32Array.from({ length: size }, (_, i) => size - 1 - i);
    // The high word of the address is the same for all buffers, and no flag is ever set.
    ring.descriptors.fill(0);
    for (let id = 0; id < size; id++) ring.descriptors[(id << WORD_SHIFT) + 1] = iovaHigh;
    // The queue has no vector: with EVENT_IDX, where the flag must be 0 (2.7.7.1), nothing interrupts either.
    ring.avail[FLAGS_HALF] = eventIdx ? 0 : AVAIL_NO_INTERRUPT;
    this.reclaim = instantiate(makeSplitReclaim, LAYOUT, ring, parts, this.ids);
    this.send = instantiate(makeSplitSend, LAYOUT, ring, parts, this.ids);
  }

  put(buffer: number, lengthBytes: number): void {
    const { descriptors, avail } = this.#ring;
    const { slots, state, size, shift, headerIovaLow, counters } = this.#parts;
    const id = this.ids[--state[FREE]!]!;
    descriptors[id << WORD_SHIFT] = (headerIovaLow + (buffer << shift)) | 0;
    descriptors[(id << WORD_SHIFT) + LENGTH] = lengthBytes + NET_HEADER_BYTES;
    slots[id] = buffer;
    avail[(state[AVAIL]! & (size - 1)) + RING_HALF] = id;
    state[AVAIL] = (state[AVAIL]! + 1) & IDX_MASK;
    counters[PACKETS]! += 1;
    counters[BYTES]! += lengthBytes;
  }

  publish(): void {
    const { avail, usedHalves } = this.#ring;
    const { state, size, eventIdx, notify, queue, dataMask } = this.#parts;
    const filled = state[AVAIL]!;
    const count = (filled - avail[IDX_HALF]!) & IDX_MASK;
    if (count === 0) return;
    avail[IDX_HALF] = filled;
    // As in the packet loop.
    Atomics.store(state, FENCE, 0);
    const isWanted = eventIdx
      ? ((filled - usedHalves[4 * size + 2]! - 1) & IDX_MASK) < count
      : (usedHalves[FLAGS_HALF]! & NO_NOTIFY) === 0;
    if (isWanted) notify[0] = queue | ((filled & dataMask) << DATA_SHIFT);
  }

  unused(_state: Int32Array): number {
    return (this.#ring.avail[IDX_HALF]! - this.#ring.usedHalves[IDX_HALF]!) & IDX_MASK;
  }

  seal(): void {
    this.#ring.usedHalves[IDX_HALF] = 0;
    this.#parts.state[NEXT] = 1;
    this.#parts.state[FREE] = 0;
  }
}
