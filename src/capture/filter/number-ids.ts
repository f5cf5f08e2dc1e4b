/** Values in filters that are numbers, or stand for one: ports, protocols, lengths. */
import { NicError } from '../../errors.js';
import { MIN_ETHERTYPE } from '../../packet/protocols.js';
import { SERVICES } from './names.js';

const MAX_PORT = 0xffff;

/** A whole number, in decimal or `0x` hexadecimal. @throws Error that says what is wrong */
export function numberId(text: string, max: number): number {
  const value = /^(0|[1-9][0-9]*|0x[0-9a-f]+)$/i.test(text) ? Number(text) : Number.NaN;
  if (value <= max) return value;
  throw new NicError('BAD_OPTION', `"${text}" is no number from 0 to ${max}`, {
    hint: 'Give such a number.',
  });
}

/** A protocol by number or name. @param names those that are known @throws Error */
export function protocolId(text: string, names: ReadonlyMap<string, number>, max: number): number {
  const named = names.get(text);
  if (named !== undefined) return named;
  if (!/^[0-9]/.test(text)) {
    const known = `Give a number, or one of ${[...names.keys()].join(', ')}.`;
    throw new NicError('BAD_OPTION', `"${text}" is no protocol that is known here`, { hint: known });
  }
  const value = numberId(text, max);
  if (max <= 0xff || value >= MIN_ETHERTYPE) return value;
  throw new NicError('BAD_OPTION', `${text} is a length, no type of Ethernet`, {
    hint: `Types begin at ${MIN_ETHERTYPE} (0x600).`,
  });
}

/** `53`, `domain`, and as a range `1000-2000`. @throws Error */
export function portRange(text: string, mayBeRange: boolean): readonly [number, number] {
  const dash = mayBeRange ? /^([0-9]+)-([0-9]+)$/.exec(text) : null;
  if (dash === null) return [port(text), port(text)];
  const [first, last] = [port(dash[1]!), port(dash[2]!)];
  return first <= last ? [first, last] : [last, first];
}

function port(text: string): number {
  const named = SERVICES.get(text);
  if (named !== undefined) return named;
  if (/^[0-9]+$/.test(text)) return numberId(text, MAX_PORT);
  const hint = /^[0-9]+-[0-9]+$/.test(text) ? `Write: portrange ${text}` : 'Give its number.';
  throw new NicError('BAD_OPTION', `"${text}" is no port that is known here`, { hint });
}
