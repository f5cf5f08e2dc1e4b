/**
 * A ring that is shared with the kernel: one side stores entries and moves `producer`, the other takes them and moves
 * `consumer`. Both indices count up for ever, modulo 2^32; an index's slot is its low bits. x86-64 keeps stores in order
 * and loads in order, so plain ones will do; only a store that must be seen before a following load needs Atomics.
 *
 *     entry of rx and tx:            words 0, 1: address   word 2: length   word 3: options
 *     entry of fill and completion:  words 0, 1: address
 *
 * Specification: Documentation/networking/af_xdp.rst; linux/if_xdp.h (`struct xdp_desc`).
 */
import {
  MAP_POPULATE,
  MAP_SHARED,
  type Mapping,
  mmap,
  PROT_READ,
  PROT_WRITE,
} from '../../syscalls/memory.js';

/** Words of an entry of rx and tx, as a shift; fill and completion have half of it. */
export const DESCRIPTOR_SHIFT = 2;
export const ADDRESS_SHIFT = 1;

/** The numbers of words in `words`. */
export interface KernelRing {
  /** Number of entries, a power of two. */
  readonly size: number;
  readonly words: Int32Array;
  readonly producer: number;
  readonly consumer: number;
  readonly flags: number;
  /** First word of entry 0. */
  readonly entries: number;
}

/** Where a ring's parts lie in its mapping, in bytes. */
export interface RingOffsets {
  readonly producer: number;
  readonly consumer: number;
  readonly descriptors: number;
  readonly flags: number;
}

/** Parses `struct xdp_mmap_offsets`: those of rx, tx, fill, completion. */
export function parseOffsets(bytes: Uint8Array): readonly RingOffsets[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const at = (index: number): number => Number(view.getBigUint64(8 * index, true));
  return [0, 4, 8, 12].map((first) => ({
    producer: at(first),
    consumer: at(first + 1),
    descriptors: at(first + 2),
    flags: at(first + 3),
  }));
}

/** The ring in memory that holds it. */
export function ringIn(buffer: ArrayBuffer, offsets: RingOffsets, size: number): KernelRing {
  return {
    size,
    words: new Int32Array(buffer),
    producer: offsets.producer / 4,
    consumer: offsets.consumer / 4,
    flags: offsets.flags / 4,
    entries: offsets.descriptors / 4,
  };
}

/** Maps a ring of a socket. @throws NicError `SYSCALL` */
export function mapRing(
  fd: number,
  pageOffset: number,
  offsets: RingOffsets,
  size: number,
  entryShift: number,
): { readonly ring: KernelRing; readonly mapping: Mapping } {
  const sizeBytes = offsets.descriptors + size * (4 << entryShift);
  const mapping = mmap(fd, sizeBytes, pageOffset, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE);
  return { ring: ringIn(mapping.buffer, offsets, size), mapping };
}
