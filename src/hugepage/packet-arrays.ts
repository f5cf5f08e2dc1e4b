/** Checks of the arrays of packets that callers pass. */
import { types } from 'node:util';
import { NicError } from '../errors.js';
import { describeValue } from '../options.js';

/** The usual case of `checkRange`, quickly; false says nothing yet. */
export function isRange(bufs: Uint32Array, count: number, start: number): boolean {
  return (
    bufs instanceof Uint32Array &&
    count >>> 0 === count &&
    start >>> 0 === start &&
    start + count <= bufs.length
  );
}

/**
 * Checks a range of an array of packets: `count` elements from `start` on.
 * @throws NicError `BAD_ARGUMENT`
 */
export function checkRange(bufs: unknown, count: unknown, start: unknown = 0): void {
  const { length } = packetArray(bufs);
  if (!Number.isInteger(start) || (start as number) < 0 || (start as number) > length) {
    throw new NicError('BAD_ARGUMENT', `start is ${describeValue(start)}`, {
      hint: `Give a whole number from 0 to ${length}: the array has so many elements.`,
    });
  }
  const most = length - (start as number);
  if (!Number.isInteger(count) || (count as number) < 0 || (count as number) > most) {
    throw new NicError('BAD_ARGUMENT', `count is ${describeValue(count)}`, {
      hint: `Say how many packets: a whole number from 0 to ${most}.`,
    });
  }
}

/** The array itself, where it is a Uint32Array of any realm. @throws NicError `BAD_ARGUMENT` */
export function packetArray(bufs: unknown): Uint32Array {
  if (bufs instanceof Uint32Array || types.isUint32Array(bufs)) return bufs;
  throw new NicError('BAD_ARGUMENT', `The packets are ${describeValue(bufs)}, not a Uint32Array`, {
    hint: 'Packets are buffer indices in a Uint32Array: const bufs = new Uint32Array(32).',
  });
}
