/** A packed ring (VIRTIO 1.2, 2.8) that packets are sent from. */
import type { TxQueue } from '../device.js';
import { instantiate } from '../instantiate.js';
import { LAYOUT, type PackedRing } from './layout.js';
import { isEventWanted } from './packed-event.js';
import { makePackedReclaim, makePackedSend } from './packed-tx-loop.js';
import type { TxParts, TxRing } from './queue-parts.js';
import { NET_HEADER_BYTES } from './registers.js';

const { NEXT, AVAIL, FREE, FENCE, USED_LAP, AVAIL_LAP, WORD_SHIFT, LENGTH, FLAGS } = LAYOUT;
const { PACKED_AVAIL, PACKED_BOTH, EVENT_DISABLE, EVENT_FLAGS_SHIFT, EVENT_WRAP_SHIFT } = LAYOUT;
const { PACKETS, BYTES, DATA_SHIFT } = LAYOUT;

export class PackedTxRing implements TxRing {
  readonly ids: Int32Array;
  readonly send: TxQueue['send'];
  readonly reclaim: () => void;
  readonly #ring: PackedRing;
  readonly #parts: TxParts;
  /** Queued by `put`, and not told yet. */
  #unpublished = 0;

  constructor(ring: PackedRing, parts: TxParts) {
    this.#ring = ring;
    this.#parts = parts;
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

  put(buffer: number, lengthBytes: number): void {
    const { descriptors } = this.#ring;
    const { slots, state, size, shift, headerIovaLow, iovaHigh, counters } = this.#parts;
    const place = state[AVAIL]!;
    const id = this.ids[place]!;
    const word = place << WORD_SHIFT;
    slots[id] = buffer;
    descriptors[word] = (headerIovaLow + (buffer << shift)) | 0;
    descriptors[word + 1] = iovaHigh;
    descriptors[word + LENGTH] = lengthBytes + NET_HEADER_BYTES;
    // 2.8.21: flags last; x86 keeps the order of stores.
    descriptors[word + FLAGS] = id | state[AVAIL_LAP]!;
    state[FREE]! -= 1;
    state[AVAIL] = place + 1 === size ? 0 : place + 1;
    if (place + 1 === size) state[AVAIL_LAP]! ^= PACKED_BOTH;
    counters[PACKETS]! += 1;
    counters[BYTES]! += lengthBytes;
    this.#unpublished++;
  }

  publish(): void {
    const count = this.#unpublished;
    if (count === 0) return;
    this.#unpublished = 0;
    const { state, size, notify, queue, dataMask } = this.#parts;
    // As in the packet loop.
    Atomics.store(state, FENCE, 0);
    const wrap = state[AVAIL_LAP] === PACKED_AVAIL ? 1 : 0;
    const place = state[AVAIL]!;
    const { deviceEvent, descriptors } = this.#ring;
    if (!isEventWanted(deviceEvent[0]!, place, wrap, count, size, descriptors)) return;
    notify[0] = queue | (((place | (wrap << EVENT_WRAP_SHIFT)) & dataMask) << DATA_SHIFT);
  }

  /** Used places follow each other from where the thread has reclaimed up to. */
  unused(state: Int32Array): number {
    const { size } = this.#parts;
    let [place, lap] = [state[NEXT]!, state[USED_LAP]!];
    const isSameLap = (lap === PACKED_BOTH) === (state[AVAIL_LAP] === PACKED_AVAIL);
    let count = state[AVAIL]! - place + (isSameLap ? 0 : size);
    for (; count > 0; count--) {
      if ((this.#ring.descriptors[(place << WORD_SHIFT) + FLAGS]! & PACKED_BOTH) !== lap) break;
      place = place + 1 === size ? 0 : place + 1;
      if (place === 0) lap ^= PACKED_BOTH;
    }
    return count;
  }

  seal(): void {
    const { state } = this.#parts;
    this.#ring.descriptors[(state[NEXT]! << WORD_SHIFT) + FLAGS] = 0;
    state[USED_LAP] = 0;
    state[FREE] = 0;
  }
}
