/**
 * Reads the values of command line options: numbers, rates, times. Each function refuses what it cannot read, and says
 * what it takes.
 */
import { InvalidArgumentError } from 'commander';
import { MAX_TIMER_MS } from '../src/clock.js';
import { NicError } from '../src/errors.js';
import { parseMac } from '../src/packet/addresses.js';

/** Option value: a whole number from 1. */
export function positiveInteger(text: string): number {
  return integerBetween(1, Number.MAX_SAFE_INTEGER)(text);
}

/** Option value: a whole number in a range, both ends included. */
export function integerBetween(min: number, max: number): (text: string) => number {
  const range = max === Number.MAX_SAFE_INTEGER ? `from ${min}` : `from ${min} to ${max}`;
  return (text) => {
    const value = /^[0-9]+$/.test(text) ? Number(text) : Number.NaN;
    if (!(value >= min && value <= max))
      throw new InvalidArgumentError(`It must be a whole number ${range}.`);
    return value;
  };
}

/** Option value: a rate per second above 0, with an optional suffix k, M or G (powers of 1000): `14.88M`. */
export function rate(text: string): number {
  const match = /^([0-9]+(?:\.[0-9]+)?)([kKMG]?)$/.exec(text);
  const value = match === null ? Number.NaN : Number(match[1]) * (scales[match[2]!] ?? 1);
  if (!(value > 0 && value <= Number.MAX_SAFE_INTEGER)) {
    throw new InvalidArgumentError('It must be a number above 0, such as 1000, 250k or 14.88M.');
  }
  // 1.1 * 1e6 is 1100000.0000000002.
  return Number(value.toPrecision(12));
}

const scales: Readonly<Record<string, number>> = { k: 1e3, K: 1e3, M: 1e6, G: 1e9 };

/** Option value: a MAC address, `02:00:00:00:00:01`, as six bytes. */
export function macAddress(text: string): Uint8Array {
  try {
    return parseMac(text);
  } catch (error) {
    if (!(error instanceof NicError)) throw error;
    throw new InvalidArgumentError('It must be a MAC address such as 02:00:00:00:00:01.');
  }
}

/** Option value: the MAC address of one station, not of a group. */
export function stationMac(text: string): Uint8Array {
  const mac = macAddress(text);
  if ((mac[0]! & 1) !== 0 || mac.every((byte) => byte === 0)) {
    throw new InvalidArgumentError(
      'It must be the address of one station: the lowest bit of the first byte 0, and not all bytes.',
    );
  }
  return mac;
}

/** Option value: a time above 0 in seconds, or with the unit ms, s or m: `10`, `0.5`, `250ms`. In milliseconds. */
export function durationMs(text: string): number {
  const match = /^([0-9]+(?:\.[0-9]+)?)(ms|s|m)?$/.exec(text);
  const unitMs = match?.[2] === 'ms' ? 1 : match?.[2] === 'm' ? 60_000 : 1000;
  const value =
    match === null
      ? Number.NaN
      : Math.max(Number(match[1]) > 0 ? 1 : 0, Math.round(Number(match[1]) * unitMs));
  if (!(value > 0 && value <= MAX_TIMER_MS)) {
    throw new InvalidArgumentError(
      'It must be a time above 0 and up to 24 days, such as 10 (seconds), 250ms or 5m.',
    );
  }
  return value;
}
