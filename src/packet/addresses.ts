/**
 * MAC, IPv4 and IPv6 addresses: text to bytes and back.
 *
 * IPv6 text is read as RFC 4291 (2.2) defines it and written as RFC 5952 recommends.
 */
import { NicError } from '../errors.js';
import { readU16 } from './bytes.js';

export const MAC_BYTES = 6;
export const IPV4_ADDRESS_BYTES = 4;
export const IPV6_ADDRESS_BYTES = 16;

/** A MAC address as text such as `02:00:00:00:00:01`, or as six bytes. */
export type MacAddress = string | Uint8Array;
/** An IPv4 or IPv6 address as text, or as four or sixteen bytes. */
export type IpAddress = string | Uint8Array;

/**
 * Reads a MAC address: six bytes in hexadecimal, separated by colons or hyphens.
 *
 * @throws NicError `BAD_ADDRESS`
 * @example parseMac('02:00:00:00:00:01')
 */
export function parseMac(text: string): Uint8Array {
  const match = /^[0-9a-f]{2}([:-])(?:[0-9a-f]{2}\1){4}[0-9a-f]{2}$/i.exec(`${text}`);
  if (match === null) throw badAddress('MAC', text, 'Write six bytes, such as 02:00:00:00:00:01.');
  return Uint8Array.from(text.split(match[1]!), (byte) => Number.parseInt(byte, 16));
}

/** `02:00:00:00:00:01` from six bytes, which begin at `at`. */
export function formatMac(bytes: Uint8Array, at = 0): string {
  let text = '';
  for (let i = 0; i < MAC_BYTES; i++) text += `${i > 0 ? ':' : ''}${HEX[bytes[at + i]!]}`;
  return text;
}

const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'));

/**
 * Reads an IPv4 address in dotted decimal. A number with leading zeros is refused: some programs read it as octal.
 *
 * @throws NicError `BAD_ADDRESS`
 */
export function parseIpv4(text: string): Uint8Array {
  const bytes = dottedBytes(`${text}`);
  if (bytes === undefined)
    throw badAddress(
      'IPv4',
      text,
      'Write four numbers from 0 to 255 without leading zeros, such as 10.0.0.1.',
    );
  return bytes;
}

function dottedBytes(text: string): Uint8Array | undefined {
  const parts = text.split('.');
  if (parts.length !== IPV4_ADDRESS_BYTES) return undefined;
  if (!parts.every((part) => /^(0|[1-9][0-9]{0,2})$/.test(part) && Number(part) <= 255)) return undefined;
  return Uint8Array.from(parts, Number);
}

/** `10.0.0.1` from four bytes, which begin at `at`. */
export function formatIpv4(bytes: Uint8Array, at = 0): string {
  return `${bytes[at]}.${bytes[at + 1]}.${bytes[at + 2]}.${bytes[at + 3]}`;
}

/**
 * Reads an IPv6 address (RFC 4291, 2.2): eight groups, `::` for a row of zeros, the last two groups perhaps in dotted
 * decimal. A zone such as `%eth0` is refused: it is a name of this host and in no packet.
 *
 * @throws NicError `BAD_ADDRESS`
 */
export function parseIpv6(text: string): Uint8Array {
  const groups = ipv6Groups(`${text}`);
  if (groups === undefined) {
    const hint = `${text}`.includes('%')
      ? 'Leave the zone out: what follows the % is in no packet.'
      : 'Write eight groups of hexadecimal digits, or :: for a row of zeros, such as 2001:db8::1.';
    throw badAddress('IPv6', text, hint);
  }
  return Uint8Array.from(groups.flatMap((group) => [group >>> 8, group & 0xff]));
}

const GROUPS = 8;

function ipv6Groups(text: string): number[] | undefined {
  const halves = text.split('::');
  if (halves.length > 2) return undefined;
  const [head, tail] = halves as [string, string?];
  const first = groupsOf(head, tail === undefined);
  const last = tail === undefined ? [] : groupsOf(tail, true);
  if (first === undefined || last === undefined) return undefined;
  const zeros = GROUPS - first.length - last.length;
  // `::` stands for one group or more, so seven others leave room for it and eight do not.
  if (tail === undefined ? zeros !== 0 : zeros < 1) return undefined;
  return [...first, ...new Array<number>(zeros).fill(0), ...last];
}

/** @param mayEndInIpv4 the end of this half is the end of the address */
function groupsOf(half: string, mayEndInIpv4: boolean): number[] | undefined {
  if (half === '') return [];
  const parts = half.split(':');
  const groups: number[] = [];
  for (const [i, part] of parts.entries()) {
    if (/^[0-9a-f]{1,4}$/i.test(part)) {
      groups.push(Number.parseInt(part, 16));
      continue;
    }
    const ipv4 = mayEndInIpv4 && i === parts.length - 1 ? dottedBytes(part) : undefined;
    if (ipv4 === undefined) return undefined;
    groups.push(readU16(ipv4, 0), readU16(ipv4, 2));
  }
  return groups;
}

/**
 * RFC 5952: lower case, no leading zeros, `::` for the longest row of two or more zero groups, the first of equals. An
 * IPv4-mapped address ends in dotted decimal (section 5).
 *
 * @param at where the sixteen bytes begin
 */
export function formatIpv6(bytes: Uint8Array, at = 0): string {
  const groups = Array.from({ length: GROUPS }, (_, i) => readU16(bytes, at + 2 * i));
  const isMapped = groups.slice(0, 5).every((group) => group === 0) && groups[5] === 0xffff;
  if (isMapped) return `::ffff:${formatIpv4(bytes, at + 12)}`;
  const { start, length } = longestZeros(groups);
  const hex = (part: readonly number[]): string => part.map((group) => group.toString(16)).join(':');
  if (length < 2) return hex(groups);
  return `${hex(groups.slice(0, start))}::${hex(groups.slice(start + length))}`;
}

function longestZeros(groups: readonly number[]): { start: number; length: number } {
  let best = { start: 0, length: 0 };
  for (let start = 0; start < GROUPS; start++) {
    let length = 0;
    while (groups[start + length] === 0) length++;
    if (length > best.length) best = { start, length };
  }
  return best;
}

/** Reads an IPv4 or IPv6 address: four or sixteen bytes. @throws NicError `BAD_ADDRESS` */
export function parseIp(text: string): Uint8Array {
  return `${text}`.includes(':') ? parseIpv6(text) : parseIpv4(text);
}

/** IPv4 or IPv6 text, by the number of bytes. */
export function formatIp(bytes: Uint8Array): string {
  return bytes.length === IPV4_ADDRESS_BYTES ? formatIpv4(bytes) : formatIpv6(bytes);
}

/** @throws NicError `BAD_ADDRESS` where it is neither MAC address text nor six bytes */
export function macBytes(address: MacAddress): Uint8Array {
  if (!(address instanceof Uint8Array)) return parseMac(address);
  if (address.length === MAC_BYTES) return address;
  throw badAddress('MAC', `${address.length} bytes`, 'A MAC address has six bytes.');
}

/** @throws NicError `BAD_ADDRESS` where it is neither IPv4 address text nor four bytes */
export function ipv4Bytes(address: IpAddress): Uint8Array {
  if (!(address instanceof Uint8Array)) return parseIpv4(address);
  if (address.length === IPV4_ADDRESS_BYTES) return address;
  throw badAddress('IPv4', `${address.length} bytes`, 'An IPv4 address has four bytes.');
}

/** @throws NicError `BAD_ADDRESS` where it is neither IPv6 address text nor sixteen bytes */
export function ipv6Bytes(address: IpAddress): Uint8Array {
  if (!(address instanceof Uint8Array)) return parseIpv6(address);
  if (address.length === IPV6_ADDRESS_BYTES) return address;
  throw badAddress('IPv6', `${address.length} bytes`, 'An IPv6 address has sixteen bytes.');
}

/** @throws NicError `BAD_ADDRESS` where it is neither IP address text nor four or sixteen bytes */
export function ipBytes(address: IpAddress): Uint8Array {
  if (!(address instanceof Uint8Array)) return parseIp(address);
  if (address.length === IPV4_ADDRESS_BYTES || address.length === IPV6_ADDRESS_BYTES) return address;
  throw badAddress(
    'IP',
    `${address.length} bytes`,
    'An IPv4 address has four bytes, an IPv6 address sixteen.',
  );
}

function badAddress(kind: 'MAC' | 'IPv4' | 'IPv6' | 'IP', value: unknown, hint: string): NicError {
  const shown = typeof value === 'string' ? JSON.stringify(value.slice(0, 60)) : String(value);
  return new NicError('BAD_ADDRESS', `${shown} is no ${kind} address`, { hint });
}
