/**
 * What a field of a flow may be: one value, a range that is counted through, values drawn from a range, or a list. As text
 * (a command line) or as data (a program):
 *
 *     10.0.0.1                    always this
 *     10.0.0.1-10.0.0.254         counting up, and from the start again; counting down where the first is the larger
 *     10.0.0.1-10.0.0.254/2       every second one
 *     10.0.0.1-10.0.0.254~        random
 *     10.0.0.1,10.0.0.7           one after the other; with a ~ at the end: random
 *
 * Of an address a range covers the last 32 bits.
 */
import { NicError } from '../errors.js';
import { describeValue } from '../options.js';
import { macBytes, parseIp } from '../packet/addresses.js';
import { readU32 } from '../packet/bytes.js';

/** Values from `from` to `to`, both included. */
export interface ValueRange<T> {
  readonly from: T;
  readonly to: T;
  /** Distance of two values that follow each other, from 1; 1 by default. */
  readonly step?: number;
  /** Drawn at random, not in turn. Default false. */
  readonly random?: boolean;
}

/** Values of a list, in turn or drawn at random. */
export interface ValueList<T> {
  readonly list: readonly T[];
  readonly random?: boolean;
}

/** A field: a value, text as above, a list in turn, or a range or list as data. */
export type FieldValue<T> = T | string | readonly T[] | ValueRange<T> | ValueList<T>;

/**
 * A field that was read. `values` are the whole values of a list (one alone: a fixed field), each as bytes in network order; a
 * range has its first value there, and the numbers say what follows.
 */
export interface Field {
  readonly kind: 'list' | 'range';
  readonly random: boolean;
  readonly values: readonly Uint8Array[];
  /** Number of values. */
  readonly count: number;
  /** What is added to the last 32 bits from one value to the next. */
  readonly step: number;
}

/** Reads one value. */
type Reader = (value: unknown) => Uint8Array;

/** A field of integers. @param bytes 1, 2 or 4 @throws NicError `BAD_OPTION` */
export function numberField(name: string, value: FieldValue<number>, max: number, bytes: 1 | 2 | 4): Field {
  const read = (given: unknown): Uint8Array => {
    const number =
      typeof given === 'string' && /^(0x[0-9a-f]+|[0-9]+)$/i.test(given.trim()) ? Number(given) : given;
    if (!(Number.isInteger(number) && (number as number) >= 0 && (number as number) <= max))
      throw bad(name, describeValue(given), `a whole number from 0 to ${max}`);
    const field = new Uint8Array(bytes);
    for (let i = 0; i < bytes; i++) field[i] = ((number as number) / 2 ** (8 * (bytes - 1 - i))) & 0xff;
    return field;
  };
  return readField(name, value, read, '1000, 1000-1999, 1000-1999/2, 1000-1999~ (random) or 53,123');
}

/** A field of IPv4 or IPv6 addresses. @throws NicError `BAD_OPTION`, `BAD_ADDRESS` */
export function ipField(name: string, value: FieldValue<string | Uint8Array>): Field {
  const read: Reader = (given) => (given instanceof Uint8Array ? given : parseIp(String(given).trim()));
  return readField(name, value, read, '10.0.0.1, 10.0.0.1-10.0.0.254, the same with ~ (random), or a list');
}

/** A field of MAC addresses. @throws NicError `BAD_OPTION`, `BAD_ADDRESS` */
export function macField(name: string, value: FieldValue<string | Uint8Array>): Field {
  const read: Reader = (given) => macBytes(given instanceof Uint8Array ? given : String(given).trim());
  return readField(
    name,
    value,
    read,
    '02:00:00:00:00:01, or a range such as 02:00:00:00:00:01-02:00:00:00:00:ff',
  );
}

function readField<T>(name: string, value: FieldValue<T>, read: Reader, examples: string): Field {
  if (typeof value === 'string') return readText(name, value, read, examples);
  if (value instanceof Uint8Array) return listOf(name, [read(value)], false);
  if (Array.isArray(value)) return listOf(name, value.map(read), false);
  if (typeof value === 'object' && value !== null) {
    if ('list' in value) return listOf(name, value.list.map(read), value.random === true);
    const { from, to, step = 1, random = false } = value as ValueRange<T>;
    return rangeOf(name, read(from), read(to), step, random);
  }
  return listOf(name, [read(value)], false);
}

function readText(name: string, given: string, read: Reader, examples: string): Field {
  const random = given.endsWith('~');
  const text = random ? given.slice(0, -1) : given;
  if (text.trim() === '') throw bad(name, describeValue(given), examples);
  if (text.includes(',')) return listOf(name, text.split(',').map(read), random);
  // A MAC address may be written with hyphens itself.
  const [, from, to, step] = /^([^-/]+)-([^-/]+)(?:\/([0-9]+))?$/.exec(text) ?? [];
  if (from === undefined || to === undefined) {
    if (random) throw bad(name, describeValue(given), `a range or a list before the ~: ${examples}`);
    return listOf(name, [read(text)], false);
  }
  return rangeOf(name, read(from), read(to), step === undefined ? 1 : Number(step), random);
}

function listOf(name: string, values: readonly Uint8Array[], random: boolean): Field {
  if (values.length === 0) throw bad(name, 'an empty list', 'one value at least');
  if (values.some(({ length }) => length !== values[0]!.length))
    throw bad(name, 'a list of addresses of different kinds', 'only IPv4 or only IPv6 addresses');
  return { kind: 'list', random, values, count: values.length, step: 0 };
}

function rangeOf(name: string, from: Uint8Array, to: Uint8Array, step: number, random: boolean): Field {
  if (from.length !== to.length)
    throw bad(name, 'a range between addresses of different kinds', 'two IPv4 or two IPv6 addresses');
  const fixedBytes = Math.max(0, from.length - 4);
  if (from.subarray(0, fixedBytes).some((byte, i) => byte !== to[i]))
    throw bad(
      name,
      'a range over more than the last 32 bits',
      'two addresses that differ in the last 32 bits',
    );
  const [first, last] = [lowWord(from), lowWord(to)];
  const distance = Math.abs(last - first);
  if (!(Number.isInteger(step) && step >= 1)) throw bad(name, `a step of ${step}`, 'a whole number from 1');
  if (distance > 0 && step > distance)
    throw bad(name, `a step of ${step} in a range of ${distance + 1} values`, 'a smaller step, or one value');
  const count = Math.floor(distance / step) + 1;
  return { kind: 'range', random, values: [from], count, step: last < first ? -step : step };
}

/** The last 32 bits, or all where there are fewer. */
export function lowWord(bytes: Uint8Array): number {
  if (bytes.length >= 4) return readU32(bytes, bytes.length - 4);
  return bytes.reduce((value, byte) => value * 256 + byte, 0);
}

function bad(name: string, what: string, possible: string): NicError {
  return new NicError('BAD_OPTION', `${name} is ${what}`, { hint: `Give ${possible}.` });
}
