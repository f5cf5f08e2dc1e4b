/**
 * Virtqueues in memory, and what the packet loops use of them. A split ring of N elements (VIRTIO 1.2, 2.7):
 *
 *     descriptor table, 16 bytes each, as Int32Array
 *       0  buffer address 31:0
 *       1  buffer address 63:32
 *       2  length
 *       3  flags 15:0 (NEXT 0, WRITE 1), next 31:16
 *     available ring, written by the driver, as Uint16Array
 *       0  flags    1  idx    2..  ids of descriptors    2 + N  used_event
 *     used ring, written by the device, as Int32Array: two words an element behind the first
 *       0  flags 15:0, idx 31:16    1 + 2i  id    2 + 2i  length written    1 + 2N  avail_event
 *
 * `idx` counts modulo 65536; an element's place is its position modulo N.
 *
 * A packed ring (2.8) is one table, which driver and device both write, and two words beside it:
 *
 *     descriptors, 16 bytes each, as Int32Array
 *       0  buffer address 31:0
 *       1  buffer address 63:32
 *       2  length: of the buffer, or what the device wrote
 *       3  id 15:0, flags 31:16 (NEXT 16, WRITE 17, AVAIL 23, USED 31)
 *     driver's and device's event suppression, one word each
 *       0  offset 14:0 and wrap counter 15, flags 31:16: 0 enable, 1 disable, 2 at that offset
 *
 * Both sides go around the table and flip a wrap counter, 1 in the first lap, at its end. A descriptor is available where AVAIL
 * equals the driver's counter and USED does not; it is used where both equal the device's. Used descriptors come in the device's
 * order: what a place holds then is the id.
 */
import { DmaRegion, type PageSize } from '../../hugepage/dma-region.js';
import { STATE_LENGTH } from '../instantiate.js';

const DESCRIPTOR_BYTES = 16;
/** Event suppression of a packed ring. */
const EVENT_BYTES = 4;
/** Every area begins on a cache line that no other shares (2.7 asks for 16, 2 and 4 bytes). */
const ALIGNMENT = 128;

/** Frozen: a loop is compiled from its source text and cannot see this module (see instantiate.ts). */
export const LAYOUT = Object.freeze({
  WORD_SHIFT: 2,
  LENGTH: 2,
  /** Available ring: elements of a Uint16Array. */
  FLAGS_HALF: 0,
  IDX_HALF: 1,
  RING_HALF: 2,
  /** Used ring: first element of an Int32Array. */
  RING_WORD: 1,
  IDX_MASK: 0xffff,
  /** Packets have this many bytes in front of them. */
  HEADER_BYTES: 12,
  NO_NOTIFY: 1,

  // Packed: word 3 of a descriptor.
  FLAGS: 3,
  ID_MASK: 0xffff,
  PACKED_WRITE: 1 << 17,
  PACKED_AVAIL: 1 << 23,
  PACKED_USED: 1 << 31,
  /** Where both are equal to a wrap counter. */
  PACKED_BOTH: (1 << 31) | (1 << 23),
  /** Event suppression. */
  EVENT_FLAGS_SHIFT: 16,
  EVENT_FLAGS_MASK: 3,
  EVENT_ENABLE: 0,
  EVENT_DISABLE: 1,
  EVENT_OFFSET_MASK: 0x7fff,
  EVENT_WRAP_SHIFT: 15,
  /** What a notification says beside the queue's number: an index or an offset, and above it the wrap counter. */
  DATA_SHIFT: 16,

  // Elements of the queues' state: next position of the used ring to look at, next of the available ring to fill. Packed:
  // places in the table.
  NEXT: 0,
  AVAIL: 1,
  /** Receive: number of the call, so that an id which comes twice in one is found out. */
  CALL: 2,
  /** Transmit: descriptors that are free. */
  FREE: 2,
  /** Written by nobody else: a locked store to it is the fence between `idx` and the device's flags. */
  FENCE: 3,
  /** Receive: elements to come that belong to a frame which was dropped. */
  SKIP: 4,
  /** Packed: AVAIL and USED as a used descriptor has them, in the lap of NEXT. */
  USED_LAP: 5,
  /** Packed, transmit: AVAIL and USED as an available descriptor has them, in the lap of AVAIL. */
  AVAIL_LAP: 6,

  // Elements of the counters. The first two are the same for receive and transmit.
  PACKETS: 0,
  BYTES: 1,
  ERRORS: 2,
  NO_BUFFER: 3,
  TOO_LONG: 4,
  DAMAGED: 5,
} as const);

export type Layout = typeof LAYOUT;

/** What a ring is to its device. Offsets are in the region; add its I/O address for the device's view. */
interface RingAreas {
  readonly size: number;
  /** Descriptor table or packed ring; what the driver writes beside it; what the device writes. */
  readonly areas: readonly [descriptors: number, driver: number, device: number];
  readonly descriptors: Int32Array;
}

export interface SplitRing extends RingAreas {
  readonly kind: 'split';
  readonly avail: Uint16Array;
  readonly used: Int32Array;
  /** The used ring in halves: flags and idx in front, avail_event at the end. */
  readonly usedHalves: Uint16Array;
}

export interface PackedRing extends RingAreas {
  readonly kind: 'packed';
  /** Event suppression: one word each. */
  readonly driverEvent: Int32Array;
  readonly deviceEvent: Int32Array;
}

export type Ring = SplitRing | PackedRing;

/** The rings of a device in one region of DMA memory, and the buffers of its control queue. */
export class RingMemory {
  readonly region: DmaRegion;
  readonly rings: readonly Ring[];
  /** What the control queue sends and gets: `CONTROL_BYTES` of them. */
  readonly control: Uint8Array;
  readonly controlOffset: number;

  /** @param sizes elements of each ring @throws NicError `NO_MEMORY` */
  constructor(kind: Ring['kind'], sizes: readonly number[], controlBytes: number, pageSize: PageSize) {
    let end = 0;
    const take = (bytes: number): number => {
      const offset = end;
      end += Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;
      return offset;
    };
    this.controlOffset = take(controlBytes);
    const rings = sizes.map((size) => {
      const driverBytes = kind === 'split' ? 6 + 2 * size : EVENT_BYTES;
      const deviceBytes = kind === 'split' ? 8 + 8 * size : EVENT_BYTES;
      return { size, areas: [take(size * DESCRIPTOR_BYTES), take(driverBytes), take(deviceBytes)] as const };
    });
    this.region = new DmaRegion({ sizeBytes: end, pageSize, name: 'rings' });
    const { buffer } = this.region;
    this.control = new Uint8Array(buffer, this.controlOffset, controlBytes);
    this.rings = rings.map(({ size, areas }) => viewRing(kind, buffer, size, areas));
  }
}

/** Views over a ring in a buffer. */
export function viewRing(
  kind: Ring['kind'],
  buffer: ArrayBuffer,
  size: number,
  areas: RingAreas['areas'],
): Ring {
  const [table, driver, device] = areas;
  const descriptors = new Int32Array(buffer, table, size * (DESCRIPTOR_BYTES / 4));
  if (kind === 'packed') {
    const driverEvent = new Int32Array(buffer, driver, 1);
    return { kind, size, areas, descriptors, driverEvent, deviceEvent: new Int32Array(buffer, device, 1) };
  }
  return {
    ...{ kind, size, areas, descriptors },
    avail: new Uint16Array(buffer, driver, size + 3),
    used: new Int32Array(buffer, device, 2 * size + 2),
    usedHalves: new Uint16Array(buffer, device, 4 * size + 4),
  };
}

export function newState(): Int32Array {
  return new Int32Array(STATE_LENGTH);
}
