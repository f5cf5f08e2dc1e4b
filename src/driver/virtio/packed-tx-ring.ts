/** A packed ring (VIRTIO 1.2, 2.8) that packets are sent from. */
import type { TxQueue } from '../device.js';
import { instantiate } from '../instantiate.js';
import { LAYOUT, type PackedRing } from './layout.js';
import { makePackedReclaim, makePackedSend } from './packed-tx-loop.js';
import type { TxParts, TxRing } from './queue-parts.js';

const { NEXT, FREE, USED_LAP, AVAIL_LAP, WORD_SHIFT, FLAGS, PACKED_AVAIL, PACKED_BOTH } = LAYOUT;
const { EVENT_DISABLE, EVENT_FLAGS_SHIFT } = LAYOUT;

export class PackedTxRing implements TxRing {
  readonly ids: Int32Array;
  readonly send: TxQueue['send'];
  readonly reclaim: () => void;
  readonly #ring: PackedRing;
  readonly #state: Int32Array;

  constructor(ring: PackedRing, parts: TxParts) {
    this.#ring = ring;
    this.#state = parts.state;
    const { size, state } = parts;
    state[FREE] = size;
    // 2.8.1: both wrap counters begin with 1, in a table of zeros.
    state[USED_LAP] = PACKED_BOTH;
    state[AVAIL_LAP] = PACKED_AVAIL;
    ring.descriptors.fill(0);
    ring.driverEvent[0] = EVENT_DISABLE << EVENT_FLAGS_SHIFT;
    this.ids = Int32Array.from({ length: size }, (_, i) => i);
    this.reclaim = instantiate(makePackedReclaim, LAYOUT, ring, parts, this.ids);
    this.send = instantiate(makePackedSend, LAYOUT, ring, parts, this.ids);
  }

  seal(): void {
    const state = this.#state;
    this.#ring.descriptors[(state[NEXT]! << WORD_SHIFT) + FLAGS] = 0;
    state[USED_LAP] = 0;
    state[FREE] = 0;
  }
}
