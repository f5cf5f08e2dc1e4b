/** `union bpf_attr` of bpf(2): fields of 32 bits and pointers, at the offsets that linux/bpf.h gives them. */
import { addressOf } from '../../syscalls/memory.js';

export type Field = readonly [offset: number, value: number];

/** Memory of less is in the engine's heap, where it moves. */
const STILL_BYTES = 128;

/** @param sizeBytes of the part that the command reads @param pointers to memory that does not move: see `still` */
export function bpfAttributes(
  sizeBytes: number,
  fields: readonly Field[],
  pointers: readonly (readonly [offset: number, bytes: Uint8Array])[] = [],
): Uint8Array {
  const view = new DataView(new ArrayBuffer(Math.max(sizeBytes, STILL_BYTES)));
  for (const [offset, value] of fields) view.setUint32(offset, value, true);
  for (const [offset, bytes] of pointers) view.setBigUint64(offset, addressOf(bytes), true);
  return new Uint8Array(view.buffer);
}

/** A copy whose memory does not move. */
export function still(array: Uint8Array | Uint32Array): Uint8Array {
  const copy = new Uint8Array(new ArrayBuffer(Math.max(array.byteLength, STILL_BYTES)));
  copy.set(new Uint8Array(array.buffer, array.byteOffset, array.byteLength));
  return copy;
}
