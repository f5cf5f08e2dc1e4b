/**
 * A packed ring (VIRTIO 1.2, 2.8) that packets are received into. A received descriptor goes back at the place where it was
 * found, so the driver is always one lap ahead of the device, and one position serves for both.
 */
import type { RxQueue } from '../device.js';
import { instantiate } from '../instantiate.js';
import { LAYOUT, type PackedRing } from './layout.js';
import { isEventWanted } from './packed-event.js';
import { makePackedReceive } from './packed-rx-loop.js';
import { Found, type RxParts, type RxRing } from './queue-parts.js';
import { NET_HEADER_BYTES } from './registers.js';

const { NEXT, USED_LAP, CALL, FENCE, SKIP, WORD_SHIFT, LENGTH, FLAGS, ID_MASK, DATA_SHIFT } = LAYOUT;
const { PACKED_BOTH, PACKED_AVAIL, PACKED_WRITE, EVENT_FLAGS_SHIFT, EVENT_ENABLE, EVENT_DISABLE } = LAYOUT;
const { EVENT_WRAP_SHIFT } = LAYOUT;

export class PackedRxRing implements RxRing {
  readonly receive: RxQueue['receive'];
  id = 0;
  writtenBytes = 0;
  readonly #ring: PackedRing;
  readonly #parts: RxParts;
  /** Given back by `giveBack`, and not told yet. */
  #unpublished = 0;

  constructor(ring: PackedRing, parts: RxParts) {
    this.#ring = ring;
    this.#parts = parts;
    this.receive = instantiate(makePackedReceive, LAYOUT, ring, parts) as RxQueue['receive'];
  }

  get pending(): boolean {
    const { state } = this.#parts;
    return (this.#ring.descriptors[(state[NEXT]! << WORD_SHIFT) + FLAGS]! & PACKED_BOTH) === state[USED_LAP];
  }

  fill(): void {
    const { slots, state } = this.#parts;
    state[NEXT] = 0;
    // The lap before the first: what is made available then has AVAIL and not USED.
    state[USED_LAP] = 0;
    for (const [id, buffer] of slots.entries()) this.#arm(id, id, buffer);
    state[USED_LAP] = PACKED_BOTH;
    this.setInterrupts(false);
  }

  announce(): void {
    const { notify, queue, state, dataMask } = this.#parts;
    const wrap = state[USED_LAP] === 0 ? 1 : 0;
    notify[0] = queue | (((state[NEXT]! | (wrap << EVENT_WRAP_SHIFT)) & dataMask) << DATA_SHIFT);
  }

  look(): number {
    const { descriptors } = this.#ring;
    const { state, size, calls } = this.#parts;
    const word = state[NEXT]! << WORD_SHIFT;
    const tag = descriptors[word + FLAGS]!;
    if ((tag & PACKED_BOTH) !== state[USED_LAP]) return Found.NOTHING;
    const id = tag & ID_MASK;
    // There is no descriptor to put in this place, and the ring cannot go on without one.
    if (id >= size || calls[id] === state[CALL]) return Found.BROKEN;
    this.id = id;
    this.writtenBytes = descriptors[word + LENGTH]!;
    return Found.DESCRIPTOR;
  }

  giveBack(buffer: number): void {
    const { slots, calls, state } = this.#parts;
    slots[this.id] = buffer;
    calls[this.id] = state[CALL]!;
    this.#arm(state[NEXT]!, this.id, buffer);
    this.#unpublished++;
    this.pass();
  }

  pass(): void {
    const { state, size } = this.#parts;
    const place = state[NEXT]! + 1;
    state[NEXT] = place === size ? 0 : place;
    if (place === size) state[USED_LAP]! ^= PACKED_BOTH;
  }

  publish(): void {
    const count = this.#unpublished;
    if (count === 0) return;
    this.#unpublished = 0;
    const { state, size } = this.#parts;
    // As in the packet loop.
    Atomics.store(state, FENCE, 0);
    const wrap = state[USED_LAP] === 0 ? 1 : 0;
    if (isEventWanted(this.#ring.deviceEvent[0]!, state[NEXT]!, wrap, count, size)) this.announce();
  }

  setInterrupts(on: boolean): void {
    this.#ring.driverEvent[0] = (on ? EVENT_ENABLE : EVENT_DISABLE) << EVENT_FLAGS_SHIFT;
    // 2.8.10: whoever waits looks at the ring once more, and must not do so before this is visible.
    Atomics.store(this.#parts.state, FENCE, 0);
  }

  /** A place that looks used, and a rest to skip: `receive` leaves both to the long way. */
  seal(): void {
    const { state } = this.#parts;
    this.#ring.descriptors[(state[NEXT]! << WORD_SHIFT) + FLAGS] = 0;
    state[USED_LAP] = 0;
    state[SKIP] = 1;
  }

  #arm(place: number, id: number, buffer: number): void {
    const { state, shift, headerIovaLow, iovaHigh, maxBytes } = this.#parts;
    const { descriptors } = this.#ring;
    const word = place << WORD_SHIFT;
    descriptors[word] = (headerIovaLow + (buffer << shift)) | 0;
    descriptors[word + 1] = iovaHigh;
    descriptors[word + LENGTH] = NET_HEADER_BYTES + maxBytes + 1;
    descriptors[word + FLAGS] = id | PACKED_WRITE | (state[USED_LAP]! ^ PACKED_AVAIL);
  }
}
