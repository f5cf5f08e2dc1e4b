/** Values in filters that are IP addresses and networks. */
import { NicError } from '../../errors.js';
import { parseIp } from '../../packet/addresses.js';

export interface AddressId {
  /** Four or sixteen bytes. */
  readonly address: Uint8Array;
  readonly mask: Uint8Array;
}

/**
 * `10.0.0.1`, `2001:db8::1`; of a net also `10.0.0.0/8`, `10`, `10.1`, and with a mask `10.0.0.0 mask 255.0.0.0`.
 * @throws Error that says what is wrong
 */
export function addressId(text: string, isNet: boolean, mask?: string): AddressId {
  if (!/^[0-9a-f:.]+(\/[0-9]+)?$/i.test(text) || !/[0-9:]/.test(text)) {
    throw new NicError('BAD_OPTION', `"${text}" is no address`, {
      hint: 'Names are not looked up: give the number.',
    });
  }
  const [base = '', prefix] = text.split('/');
  const isShort = isNet && /^[0-9]+(\.[0-9]+){0,2}$/.test(base);
  const address = parseIp(isShort ? base + '.0'.repeat(4 - base.split('.').length) : base);
  const bits = address.length * 8;
  const found = { address, mask: maskOf(address.length, isShort ? 8 * base.split('.').length : bits) };
  if (prefix !== undefined) {
    if (!isNet)
      throw new NicError('BAD_OPTION', `"${text}" is a net, no host`, { hint: `Write: net ${text}` });
    if (Number(prefix) > bits || mask !== undefined)
      throw new NicError('BAD_OPTION', `/${prefix} is no prefix of ${base}`, {
        hint: `Give 0 to ${bits}, and no mask.`,
      });
    found.mask = maskOf(address.length, Number(prefix));
  } else if (mask !== undefined) {
    found.mask = parseIp(mask);
    if (found.mask.length !== 4 || bits !== 32)
      throw new NicError('BAD_OPTION', 'A mask is for IPv4', { hint: 'Give a prefix: net 2001:db8::/32' });
  }
  if (found.address.every((byte, i) => (byte & ~found.mask[i]! & 0xff) === 0)) return found;
  throw new NicError('BAD_OPTION', `"${text}" has bits outside of its mask`, {
    hint: 'Give the first address of the net.',
  });
}

/** Addresses of groups: 224.0.0.0/3 and above as tcpdump takes them, ff00::/8. */
export function multicastIp(version: 'ip' | 'ip6'): AddressId {
  const bytes = version === 'ip' ? 4 : 16;
  const prefix = maskOf(bytes, version === 'ip' ? 3 : 8);
  return { address: prefix, mask: prefix };
}

function maskOf(bytes: number, bits: number): Uint8Array {
  return Uint8Array.from(
    { length: bytes },
    (_, i) => (0xff00 >>> Math.min(Math.max(bits - 8 * i, 0), 8)) & 0xff,
  );
}
