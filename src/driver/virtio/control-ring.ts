/**
 * The control queue's ring (VIRTIO 1.2, 2.7 and 2.8), with room for one command: two descriptors in a row, one for what the
 * device reads and one for the byte with its answer.
 */
import { LAYOUT, type PackedRing, type SplitRing } from './layout.js';
import { AVAIL_NO_INTERRUPT, DESC_NEXT, DESC_WRITE } from './registers.js';

const { IDX_HALF, FLAGS_HALF, RING_HALF, RING_WORD, IDX_MASK, WORD_SHIFT, LENGTH } = LAYOUT;
const { PACKED_WRITE, PACKED_AVAIL, PACKED_BOTH, FLAGS, EVENT_FLAGS_SHIFT, EVENT_DISABLE } = LAYOUT;
const { EVENT_WRAP_SHIFT } = LAYOUT;
const ANSWER_WORD = 1 << WORD_SHIFT;
const PACKED_NEXT = DESC_NEXT << 16;

/** Elements of such a ring. */
export const CONTROL_RING = 2;

/** Where commands and answers are. */
export interface ControlBuffers {
  readonly iovaHigh: number;
  readonly commandLow: number;
  readonly answerLow: number;
}

export interface ControlRing {
  /** Makes a command of so many bytes available. Returns the position for a notification that carries it. */
  submit(commandBytes: number): number;
  /** True when the command has been answered, undefined before. False where the device answered what it was not asked. */
  answered(): boolean | undefined;
}

export function makeControlRing(
  ring: SplitRing | PackedRing,
  buffers: ControlBuffers,
  eventIdx: boolean,
): ControlRing {
  return ring.kind === 'split'
    ? new SplitControlRing(ring, buffers, eventIdx)
    : new PackedControlRing(ring, buffers);
}

class SplitControlRing implements ControlRing {
  readonly #ring: SplitRing;
  /** Position of the next command in both rings. */
  #next = 0;

  constructor(ring: SplitRing, { iovaHigh, commandLow, answerLow }: ControlBuffers, eventIdx: boolean) {
    this.#ring = ring;
    // The queue has no vector: with EVENT_IDX, where the flag must be 0 (2.7.7.1), nothing interrupts either.
    ring.avail[FLAGS_HALF] = eventIdx ? 0 : AVAIL_NO_INTERRUPT;
    ring.descriptors.set([commandLow | 0, iovaHigh | 0, 0, DESC_NEXT | (1 << 16)], 0);
    ring.descriptors.set([answerLow | 0, iovaHigh | 0, 1, DESC_WRITE], ANSWER_WORD);
  }

  submit(commandBytes: number): number {
    const { descriptors, avail, size } = this.#ring;
    descriptors[LENGTH] = commandBytes;
    avail[(this.#next & (size - 1)) + RING_HALF] = 0;
    this.#next = (this.#next + 1) & IDX_MASK;
    avail[IDX_HALF] = this.#next;
    return this.#next;
  }

  answered(): boolean | undefined {
    const { used, usedHalves, size } = this.#ring;
    const position = (this.#next - 1) & IDX_MASK;
    const idx = usedHalves[IDX_HALF]!;
    if (idx === position) return undefined;
    return idx === this.#next && used[((position & (size - 1)) << 1) + RING_WORD] === 0;
  }
}

/** A command takes the whole ring, so each is a lap. */
class PackedControlRing implements ControlRing {
  readonly #ring: PackedRing;
  readonly #buffers: ControlBuffers;
  /** AVAIL and USED of a descriptor that is available, for the next command. */
  #lap: number = PACKED_AVAIL;

  constructor(ring: PackedRing, buffers: ControlBuffers) {
    this.#ring = ring;
    this.#buffers = buffers;
    ring.driverEvent[0] = EVENT_DISABLE << EVENT_FLAGS_SHIFT;
  }

  submit(commandBytes: number): number {
    const { descriptors } = this.#ring;
    const { commandLow, answerLow, iovaHigh } = this.#buffers;
    const lap = this.#lap;
    // 2.8.6: the id, 0 here, is in the last descriptor of the list. The flags of the first come last.
    descriptors.set([answerLow | 0, iovaHigh | 0, 1, PACKED_WRITE | lap], ANSWER_WORD);
    descriptors.set([commandLow | 0, iovaHigh | 0, commandBytes], 0);
    descriptors[FLAGS] = PACKED_NEXT | lap;
    this.#lap = lap ^ PACKED_BOTH;
    return this.#lap === PACKED_AVAIL ? 1 << EVENT_WRAP_SHIFT : 0;
  }

  answered(): boolean | undefined {
    const tag = this.#ring.descriptors[FLAGS]!;
    // Used in the lap of the command: `submit` has gone on to the next.
    const used = this.#lap === PACKED_AVAIL ? 0 : PACKED_BOTH;
    if ((tag & PACKED_BOTH) !== used) return undefined;
    return (tag & LAYOUT.ID_MASK) === 0;
  }
}
