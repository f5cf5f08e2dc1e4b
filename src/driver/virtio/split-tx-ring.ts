/** A split ring (VIRTIO 1.2, 2.7) that packets are sent from. */
import type { TxQueue } from '../device.js';
import { instantiate } from '../instantiate.js';
import { LAYOUT, type SplitRing } from './layout.js';
import type { TxParts, TxRing } from './queue-parts.js';
import { AVAIL_NO_INTERRUPT } from './registers.js';
import { makeSplitReclaim, makeSplitSend } from './split-tx-loop.js';

const { NEXT, FREE, IDX_HALF, FLAGS_HALF, WORD_SHIFT } = LAYOUT;

export class SplitTxRing implements TxRing {
  readonly ids: Int32Array;
  readonly send: TxQueue['send'];
  readonly reclaim: () => void;
  readonly #ring: SplitRing;
  readonly #state: Int32Array;

  constructor(ring: SplitRing, parts: TxParts) {
    this.#ring = ring;
    this.#state = parts.state;
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

  seal(): void {
    this.#ring.usedHalves[IDX_HALF] = 0;
    this.#state[NEXT] = 1;
    this.#state[FREE] = 0;
  }
}
