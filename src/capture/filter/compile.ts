/**
 * Makes one function of a filter. It allocates nothing and reads nothing outside of the frame: a test that would need a
 * byte that is not there (the capture cut it) is not met. A test of a port takes about 5 ns.
 */

import { readU16 } from '../../packet/bytes.js';
import {
  ETHERNET_BYTES,
  EtherType,
  IPV4_BYTES,
  IPV6_BYTES,
  IpProtocol,
  isVlanType,
  VLAN_BYTES,
} from '../../packet/protocols.js';
import { SCTP } from './names.js';
import { parseFilter } from './parse.js';
import type {
  AddressTest,
  Direction,
  EtherTypeTest,
  Filter,
  LengthTest,
  MacTest,
  PortTest,
  Primitive,
  ProtocolTest,
  VlanTest,
} from './syntax.js';

/**
 * Whether a frame is wanted.
 * @param bytes memory that the frame lies in
 * @param offset of its first byte
 * @param lengthBytes of what is there, without FCS
 * @param wireBytes its length on the wire, without FCS
 */
export type FrameFilter = (
  bytes: Uint8Array,
  offset: number,
  lengthBytes: number,
  wireBytes: number,
) => boolean;

/**
 * Compiles a filter.
 * @throws NicError `BAD_OPTION` as `parseFilter`
 * @example
 * const isDns = compileFilter('udp port 53');
 * if (isDns(frame, 0, frame.length, frame.length)) console.log('a question or an answer');
 */
export function compileFilter(filter: string | Filter): FrameFilter {
  const tree = typeof filter === 'string' ? parseFilter(filter) : filter;
  switch (tree.kind) {
    case 'and': {
      const [left, right] = [compileFilter(tree.left), compileFilter(tree.right)];
      return (bytes, at, length, wire) => left(bytes, at, length, wire) && right(bytes, at, length, wire);
    }
    case 'or': {
      const [left, right] = [compileFilter(tree.left), compileFilter(tree.right)];
      return (bytes, at, length, wire) => left(bytes, at, length, wire) || right(bytes, at, length, wire);
    }
    case 'not': {
      const operand = compileFilter(tree.operand);
      return (bytes, at, length, wire) => !operand(bytes, at, length, wire);
    }
    default:
      return compileTest(tree);
  }
}

function compileTest(test: Primitive): FrameFilter {
  switch (test.kind) {
    case 'ether-type':
      return etherType(test);
    case 'protocol':
      return protocol(test);
    case 'address':
      return address(test);
    case 'port':
      return port(test);
    case 'mac':
      return mac(test);
    case 'mac-group':
      return (bytes, at, length) => length > 0 && (bytes[at]! & 1) === 1;
    case 'vlan':
      return vlan(test);
    case 'length':
      return lengthBetween(test);
  }
}

/** Bytes in front of layer 3. */
function linkBytes({ vlanTags }: { readonly vlanTags: number }): number {
  return ETHERNET_BYTES + vlanTags * VLAN_BYTES;
}

function etherType(test: EtherTypeTest): FrameFilter {
  const l3 = linkBytes(test);
  const wanted = test.etherType;
  return (bytes, at, length) => length >= l3 && readU16(bytes, at + l3 - 2) === wanted;
}

function protocol(test: ProtocolTest): FrameFilter {
  const l3 = linkBytes(test);
  const { protocol: wanted, ipVersion } = test;
  return (bytes, at, length) => {
    if (length < l3 + IPV4_BYTES) return false;
    const type = readU16(bytes, at + l3 - 2);
    const ip = at + l3;
    if (type === EtherType.IPV4) return ipVersion !== 6 && bytes[ip + 9] === wanted;
    if (type !== EtherType.IPV6 || ipVersion === 4) return false;
    if (bytes[ip + 6] === wanted) return true;
    return (
      bytes[ip + 6] === IpProtocol.FRAGMENT && length > l3 + IPV6_BYTES && bytes[ip + IPV6_BYTES] === wanted
    );
  };
}

function port(test: PortTest): FrameFilter {
  const l3 = linkBytes(test);
  const { protocol: wanted, first, last, direction } = test;
  return (bytes, at, length) => {
    if (length < l3 + IPV4_BYTES) return false;
    const type = readU16(bytes, at + l3 - 2);
    const ip = at + l3;
    let l4 = ip + IPV6_BYTES;
    let carried = 0;
    if (type === EtherType.IPV4) {
      carried = bytes[ip + 9]!;
      // Later fragments have no ports.
      if ((bytes[ip + 6]! & 0x1f) !== 0 || bytes[ip + 7] !== 0) return false;
      l4 = ip + (bytes[ip]! & 0x0f) * 4;
    } else if (type === EtherType.IPV6) carried = bytes[ip + 6]!;
    else return false;
    if (wanted === 0) {
      if (carried !== IpProtocol.UDP && carried !== IpProtocol.TCP && carried !== SCTP) return false;
    } else if (carried !== wanted) return false;
    if (l4 + 4 > at + length) return false;
    const from = readU16(bytes, l4);
    const to = readU16(bytes, l4 + 2);
    return meets(direction, from >= first && from <= last, to >= first && to <= last);
  };
}

function address(test: AddressTest): FrameFilter {
  const l3 = linkBytes(test);
  const { direction, inIpv4, inArp } = test;
  const sizeBytes = test.address.length;
  const wanted = wordsOf(test.address);
  const mask = wordsOf(test.mask);
  const isIpv6 = sizeBytes === 16;
  return (bytes, at, length) => {
    if (length < l3) return false;
    const type = readU16(bytes, at + l3 - 2);
    let from = at + l3;
    let to = from;
    if (type === EtherType.IPV4 && inIpv4) {
      from += 12;
      to += 16;
    } else if (type === EtherType.ARP && inArp) {
      from += 14;
      to += 24;
    } else if (type === EtherType.IPV6 && isIpv6) {
      from += 8;
      to += 24;
    } else return false;
    if (to + sizeBytes > at + length) return false;
    return meets(direction, equals(bytes, from, wanted, mask), equals(bytes, to, wanted, mask));
  };
}

/** Compares words of 32 bits, from the last to the first: the first differ least. Lengths are multiples of 4. */
function equals(bytes: Uint8Array, at: number, wanted: Int32Array, mask: Int32Array): boolean {
  for (let i = wanted.length - 1; i >= 0; i--) {
    if ((word(bytes, at + 4 * i) & mask[i]!) !== wanted[i]) return false;
  }
  return true;
}

/** Four bytes as a number of either sign: no number outside of the engine's small integers is made of it. */
function word(bytes: Uint8Array, at: number): number {
  return (bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!;
}

function wordsOf(bytes: Uint8Array): Int32Array {
  return Int32Array.from({ length: bytes.length / 4 }, (_, i) => word(bytes, 4 * i));
}

function mac(test: MacTest): FrameFilter {
  const { direction } = test;
  const vendor = word(test.address, 0);
  const rest = readU16(test.address, 4);
  return (bytes, at, length) =>
    length >= 12 &&
    meets(
      direction,
      readU16(bytes, at + 10) === rest && word(bytes, at + 6) === vendor,
      readU16(bytes, at + 4) === rest && word(bytes, at) === vendor,
    );
}

function vlan(test: VlanTest): FrameFilter {
  const l3 = linkBytes(test);
  const { id } = test;
  return (bytes, at, length) => {
    if (length < l3 || !isVlanType(readU16(bytes, at + l3 - 2))) return false;
    return id === undefined || (length >= l3 + 2 && (readU16(bytes, at + l3) & 0xfff) === id);
  };
}

function lengthBetween({ minBytes, maxBytes }: LengthTest): FrameFilter {
  return (_bytes, _at, _length, wireBytes) => wireBytes >= minBytes && wireBytes <= maxBytes;
}

function meets(direction: Direction, source: boolean, destination: boolean): boolean {
  if (direction === 'either') return source || destination;
  if (direction === 'src') return source;
  return direction === 'dst' ? destination : source && destination;
}
