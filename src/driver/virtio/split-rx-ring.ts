/** A split ring (VIRTIO 1.2, 2.7) that packets are received into. */
import type { RxQueue } from '../device.js';
import { instantiate } from '../instantiate.js';
import { LAYOUT, type SplitRing } from './layout.js';
import { Found, type RxParts, type RxRing } from './queue-parts.js';
import { AVAIL_NO_INTERRUPT, DESC_WRITE, NET_HEADER_BYTES } from './registers.js';
import { makeSplitReceive } from './split-rx-loop.js';

const { NEXT, AVAIL, CALL, FENCE, IDX_HALF, FLAGS_HALF, RING_HALF, RING_WORD, IDX_MASK, WORD_SHIFT } = LAYOUT;
const { NO_NOTIFY, DATA_SHIFT } = LAYOUT;
/** Position in a closed ring whose idx is 0: ahead by more elements than any ring has. */
const SEALED = 0x8000;

export class SplitRxRing implements RxRing {
  readonly receive: RxQueue['receive'];
  id = 0;
  writtenBytes = 0;
  readonly #ring: SplitRing;
  readonly #parts: RxParts;

  constructor(ring: SplitRing, parts: RxParts) {
    this.#ring = ring;
    this.#parts = parts;
    this.receive = instantiate(makeSplitReceive, LAYOUT, ring, parts) as RxQueue['receive'];
  }

  get pending(): boolean {
    return this.#ring.usedHalves[IDX_HALF] !== this.#parts.state[NEXT];
  }

  fill(): void {
    const { descriptors, avail } = this.#ring;
    const { size, slots, state, shift, headerIovaLow, iovaHigh, maxBytes } = this.#parts;
    for (let id = 0; id < size; id++) {
      const addressLow = (headerIovaLow + (slots[id]! << shift)) | 0;
      descriptors.set([addressLow, iovaHigh, NET_HEADER_BYTES + maxBytes + 1, DESC_WRITE], id << WORD_SHIFT);
      avail[id + RING_HALF] = id;
    }
    state[AVAIL] = size & IDX_MASK;
    avail[IDX_HALF] = size & IDX_MASK;
    this.setInterrupts(false);
  }

  announce(): void {
    const { notify, queue, state, dataMask } = this.#parts;
    notify[0] = queue | ((state[AVAIL]! & dataMask) << DATA_SHIFT);
  }

  look(): number {
    const { used, usedHalves } = this.#ring;
    const { size, state, calls } = this.#parts;
    const next = state[NEXT]!;
    const ready = (usedHalves[IDX_HALF]! - next) & IDX_MASK;
    if (ready === 0) return Found.NOTHING;
    if (ready > size) return Found.BROKEN;
    const element = ((next & (size - 1)) << 1) + RING_WORD;
    const id = used[element]! >>> 0;
    // Which buffer the device is done with then nobody knows: it has all of them still.
    if (id >= size || calls[id] === state[CALL]) return Found.FALSE;
    this.id = id;
    this.writtenBytes = used[element + 1]!;
    return Found.DESCRIPTOR;
  }

  giveBack(buffer: number): void {
    const { descriptors, avail } = this.#ring;
    const { slots, calls, state, size, shift, headerIovaLow } = this.#parts;
    const { id } = this;
    slots[id] = buffer;
    calls[id] = state[CALL]!;
    descriptors[id << WORD_SHIFT] = (headerIovaLow + (buffer << shift)) | 0;
    avail[(state[AVAIL]! & (size - 1)) + RING_HALF] = id;
    state[AVAIL] = (state[AVAIL]! + 1) & IDX_MASK;
    this.pass();
  }

  pass(): void {
    const { state } = this.#parts;
    state[NEXT] = (state[NEXT]! + 1) & IDX_MASK;
  }

  publish(): void {
    const { avail, usedHalves } = this.#ring;
    const { state, size, eventIdx } = this.#parts;
    const filled = state[AVAIL]!;
    const count = (filled - avail[IDX_HALF]!) & IDX_MASK;
    if (count === 0) return;
    avail[IDX_HALF] = filled;
    // As in the packet loop.
    Atomics.store(state, FENCE, 0);
    const isWanted = eventIdx
      ? ((filled - usedHalves[4 * size + 2]! - 1) & IDX_MASK) < count
      : (usedHalves[FLAGS_HALF]! & NO_NOTIFY) === 0;
    if (isWanted) this.announce();
  }

  setInterrupts(on: boolean): void {
    const { avail } = this.#ring;
    const { state, size, eventIdx } = this.#parts;
    // 2.7.7.1: flags stay 0 with EVENT_IDX. Off is the position just passed, which comes again after 65536 elements.
    if (eventIdx) avail[RING_HALF + size] = (state[NEXT]! - Number(!on)) & IDX_MASK;
    else avail[FLAGS_HALF] = on ? 0 : AVAIL_NO_INTERRUPT;
    // 2.7.7: whoever waits looks at the ring once more, and must not do so before this is visible.
    Atomics.store(state, FENCE, 0);
  }

  seal(): void {
    this.#ring.usedHalves[IDX_HALF] = 0;
    this.#parts.state[NEXT] = SEALED;
  }
}
