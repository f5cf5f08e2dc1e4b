/**
 * Virtqueues in memory, and what the packet loops use of them (VIRTIO 1.2, 2.7). A split ring of N elements:
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
 */
import { DmaRegion, type PageSize } from '../../hugepage/dma-region.js';
import { STATE_LENGTH } from '../instantiate.js';

const DESCRIPTOR_BYTES = 16;
/** Every area begins on a cache line that no other shares (2.7 asks for 16, 2 and 4 bytes). */
const ALIGNMENT = 128;

/** Frozen: a loop is compiled from its source text and cannot see this module (see instantiate.ts). */
export const LAYOUT = Object.freeze({
  WORD_SHIFT: 2,
  LENGTH: 2,
  FLAGS: 3,
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

  // Elements of the queues' state: next position of the used ring to look at, next of the available ring to fill.
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

  // Elements of the counters. The first two are the same for receive and transmit.
  PACKETS: 0,
  BYTES: 1,
  ERRORS: 2,
  NO_BUFFER: 3,
  TOO_LONG: 4,
  DAMAGED: 5,
} as const);

export type Layout = typeof LAYOUT;

/** A split ring. Offsets are in the region; add its I/O address for the device's view. */
export interface SplitRing {
  readonly size: number;
  readonly descriptors: Int32Array;
  readonly avail: Uint16Array;
  readonly used: Int32Array;
  /** The used ring's first word in halves: flags and idx. */
  readonly usedHead: Uint16Array;
  readonly descriptorsOffset: number;
  readonly availOffset: number;
  readonly usedOffset: number;
}

/** The rings of a device in one region of DMA memory, and the buffers of its control queue. */
export class RingMemory {
  readonly region: DmaRegion;
  readonly rings: readonly SplitRing[];
  /** What the control queue sends and gets: `CONTROL_BYTES` of them. */
  readonly control: Uint8Array;
  readonly controlOffset: number;

  /** @param sizes elements of each ring @throws NicError `NO_MEMORY` */
  constructor(sizes: readonly number[], controlBytes: number, pageSize: PageSize) {
    let end = 0;
    const take = (bytes: number): number => {
      const offset = end;
      end += Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;
      return offset;
    };
    this.controlOffset = take(controlBytes);
    const offsets = sizes.map((size) => ({
      size,
      descriptorsOffset: take(size * DESCRIPTOR_BYTES),
      availOffset: take(6 + 2 * size),
      usedOffset: take(8 + 8 * size),
    }));
    this.region = new DmaRegion({ sizeBytes: end, pageSize, name: 'rings' });
    const { buffer } = this.region;
    this.control = new Uint8Array(buffer, this.controlOffset, controlBytes);
    this.rings = offsets.map((at) => ({
      ...at,
      descriptors: new Int32Array(buffer, at.descriptorsOffset, at.size * (DESCRIPTOR_BYTES / 4)),
      avail: new Uint16Array(buffer, at.availOffset, at.size + 3),
      used: new Int32Array(buffer, at.usedOffset, 2 * at.size + 2),
      usedHead: new Uint16Array(buffer, at.usedOffset, 2),
    }));
  }
}

export function newState(): Int32Array {
  return new Int32Array(STATE_LENGTH);
}
