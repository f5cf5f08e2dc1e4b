/**
 * Checks of what callers pass, in one place and with one kind of message: what was given, of which type, and what is
 * possible. A value of the wrong type is refused like one out of range: '512' is no ring size.
 */
import { NicError } from './errors.js';

/** What a whole number may be. Both ends are included. */
export interface IntegerRange {
  readonly min: number;
  readonly max: number;
  /** Only powers of two. Default false. */
  readonly powerOfTwo?: boolean;
  /** Only multiples of this. Default 1. */
  readonly multipleOf?: number;
}

/** The value, where it is a whole number in the range. @throws NicError `BAD_OPTION` */
export function integerOption(name: string, value: unknown, range: IntegerRange): number {
  const { min, max, powerOfTwo = false, multipleOf = 1 } = range;
  if (
    Number.isInteger(value) &&
    (value as number) >= min &&
    (value as number) <= max &&
    (value as number) % multipleOf === 0 &&
    (!powerOfTwo || Number.isInteger(Math.log2(value as number)))
  ) {
    return value as number;
  }
  throw badOption(name, value, describeRange(range));
}

/** `a power of two from 64 to 4096`. */
export function describeRange({ min, max, powerOfTwo = false, multipleOf = 1 }: IntegerRange): string {
  const limits = max === Number.MAX_SAFE_INTEGER ? `from ${min}` : `from ${min} to ${max}`;
  if (powerOfTwo) return `a power of two ${limits}`;
  return multipleOf === 1 ? `a whole number ${limits}` : `a multiple of ${multipleOf} ${limits}`;
}

/** The value, where it is true or false. @throws NicError `BAD_OPTION` */
export function booleanOption(name: string, value: unknown): boolean {
  if (typeof value === 'boolean') return value;
  throw badOption(name, value, 'true or false');
}

/** The value, where it is one of the choices. @throws NicError `BAD_OPTION` */
export function choiceOption<T extends string>(name: string, value: unknown, choices: readonly T[]): T {
  if ((choices as readonly unknown[]).includes(value)) return value as T;
  throw badOption(name, value, `one of ${choices.join(', ')}`);
}

/** A time in milliseconds: a number from 0, Infinity included. @throws NicError `BAD_OPTION` */
export function millisecondsOption(name: string, value: unknown): number {
  if (typeof value === 'number' && value >= 0) return value;
  throw badOption(name, value, 'a number of milliseconds from 0');
}

/** The value, where it is a function. @throws NicError `BAD_OPTION` */
export function functionOption<T>(name: string, value: T): T {
  if (typeof value === 'function') return value;
  throw badOption(name, value, 'a function');
}

/** The value, where it is an array. @throws NicError `BAD_OPTION` */
export function arrayOption<T extends readonly unknown[]>(name: string, value: T): T {
  if (Array.isArray(value)) return value;
  throw badOption(name, value, 'an array');
}

/** @throws NicError `BAD_OPTION` where the value is no AbortSignal */
export function signalOption(name: string, value: unknown): AbortSignal {
  const signal = value as AbortSignal | null;
  if (typeof signal === 'object' && signal !== null && typeof signal.aborted === 'boolean') return signal;
  throw badOption(name, value, 'an AbortSignal');
}

/**
 * Refuses options that nobody knows: a misspelled one would be ignored silently.
 * @param of what has these options, for the message: `open`
 * @throws NicError `BAD_OPTION`
 */
export function knownOptions(of: string, options: unknown, known: readonly string[]): void {
  if (typeof options !== 'object' || options === null || Array.isArray(options)) {
    throw badOption(`The options parameter of ${of}`, options, 'an object');
  }
  for (const name of Object.keys(options)) {
    if (known.includes(name)) continue;
    throw new NicError('BAD_OPTION', `${of} has no option "${name}"`, {
      hint: `It has ${known.join(', ')}.`,
    });
  }
}

export function badOption(name: string, value: unknown, possible: string): NicError {
  return new NicError('BAD_OPTION', `${name} is ${describeValue(value)}`, { hint: `Give ${possible}.` });
}

/** A value for a message: `"512" (a string)`, `4.5`, `an Array`. */
export function describeValue(value: unknown): string {
  if (typeof value === 'string') return `${JSON.stringify(value.slice(0, 60))} (a string)`;
  if (typeof value === 'bigint') return `${value}n (a bigint)`;
  if (typeof value === 'function') return 'a function';
  if (typeof value === 'object' && value !== null) {
    const name = (value.constructor as { name?: string } | undefined)?.name ?? 'object';
    return `${/^[aeiou]/i.test(name) ? 'an' : 'a'} ${name}`;
  }
  return String(value);
}
