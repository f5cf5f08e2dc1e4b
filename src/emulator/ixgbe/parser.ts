/**
 * What the receive path learns from a frame's headers: VLAN tag, packet type bits of the descriptor (7.1.6.2),
 * where the addresses and ports lie, and whether the checksums are right (7.1.11). Reused for every frame.
 */

import { swap16 } from '../../packet/bytes.js';
import type { FrameMemory } from '../link.js';
import { addSum, crc32c, foldSum } from './checksum.js';

/** Packet type bits as they stand in word 0 of a written-back descriptor. */
export const TYPE = {
  IPV4: 0x10,
  IPV4_OPTIONS: 0x20,
  IPV6: 0x40,
  IPV6_EXTENSIONS: 0x80,
  TCP: 0x100,
  UDP: 0x200,
  SCTP: 0x400,
} as const;

const ETHERTYPE_VLAN = 0x8100;
const ETHERTYPE_IPV4 = 0x0800;
const ETHERTYPE_IPV6 = 0x86dd;
const PROTOCOL_TCP = 6;
const PROTOCOL_UDP = 17;
const PROTOCOL_SCTP = 132;
/** Extension headers walked at most: a frame must not make the model loop. */
const MAX_EXTENSIONS = 8;
const NONE = -1;

export class FrameParser {
  /** VLAN tag control information, -1 without a tag. */
  vlanTag = NONE;
  /** `TYPE` bits. */
  type = 0;
  /** Offset of the IP header from the start of the frame, -1 where there is none. */
  l3 = NONE;
  /** Offset of the TCP, UDP or SCTP header, -1 where there is none (also in fragments). */
  l4 = NONE;
  isIpv6 = false;
  /** The type or length field, behind a VLAN tag. */
  etherType = 0;
  /** Offset of what follows that field. */
  dataAt = 0;
  ipChecksumChecked = false;
  ipChecksumBad = false;
  l4ChecksumChecked = false;
  l4ChecksumBad = false;

  #l3End = 0;
  #l4Protocol = 0;

  /** @param vlanEtherType VLNCTRL.VET */
  parse(memory: FrameMemory, offset: number, lengthBytes: number, vlanEtherType: number): void {
    const bytes = memory.bytes;
    this.vlanTag = NONE;
    this.type = 0;
    this.l3 = NONE;
    this.l4 = NONE;
    this.ipChecksumChecked = false;
    this.ipChecksumBad = false;
    this.l4ChecksumChecked = false;
    this.l4ChecksumBad = false;
    let at = 12;
    let etherType = (bytes[offset + 12]! << 8) | bytes[offset + 13]!;
    if (etherType === vlanEtherType || etherType === ETHERTYPE_VLAN) {
      if (lengthBytes < 18) {
        this.etherType = etherType;
        this.dataAt = lengthBytes;
        return;
      }
      if (etherType === vlanEtherType) this.vlanTag = (bytes[offset + 14]! << 8) | bytes[offset + 15]!;
      at = 16;
      etherType = (bytes[offset + 16]! << 8) | bytes[offset + 17]!;
    }
    this.etherType = etherType;
    this.dataAt = at + 2;
    if (etherType === ETHERTYPE_IPV4) this.#ipv4(memory, offset, lengthBytes, at + 2);
    else if (etherType === ETHERTYPE_IPV6) this.#ipv6(bytes, offset, lengthBytes, at + 2);
  }

  #ipv4(memory: FrameMemory, offset: number, lengthBytes: number, l3: number): void {
    if (lengthBytes < l3 + 20) return;
    const bytes = memory.bytes;
    const at = offset + l3;
    const first = bytes[at]!;
    const headerBytes = (first & 0xf) * 4;
    if (first >>> 4 !== 4 || headerBytes < 20 || lengthBytes < l3 + headerBytes) return;
    this.isIpv6 = false;
    this.l3 = l3;
    this.type = headerBytes === 20 ? TYPE.IPV4 : TYPE.IPV4 | TYPE.IPV4_OPTIONS;
    this.ipChecksumChecked = true;
    this.ipChecksumBad = addSum(memory, at, headerBytes, 0) !== 0xffff;
    const totalBytes = (bytes[at + 2]! << 8) | bytes[at + 3]!;
    const fragment = ((bytes[at + 6]! << 8) | bytes[at + 7]!) & 0x3fff;
    if (fragment !== 0 || totalBytes < headerBytes || l3 + totalBytes > lengthBytes) return;
    this.#transport(bytes[at + 9]!, l3 + headerBytes, l3 + totalBytes);
  }

  #ipv6(bytes: Uint8Array, offset: number, lengthBytes: number, l3: number): void {
    if (lengthBytes < l3 + 40 || bytes[offset + l3]! >>> 4 !== 6) return;
    this.isIpv6 = true;
    this.l3 = l3;
    this.type = TYPE.IPV6;
    const end = l3 + 40 + ((bytes[offset + l3 + 4]! << 8) | bytes[offset + l3 + 5]!);
    if (end > lengthBytes) return;
    let next = bytes[offset + l3 + 6]!;
    let at = l3 + 40;
    // Hop-by-hop 0, routing 43, destination options 60; a fragment header (44) ends the walk.
    for (let i = 0; i < MAX_EXTENSIONS && (next === 0 || next === 43 || next === 60); i++) {
      if (at + 8 > end) return;
      this.type = TYPE.IPV6 | TYPE.IPV6_EXTENSIONS;
      next = bytes[offset + at]!;
      at += (bytes[offset + at + 1]! + 1) * 8;
    }
    if (next === 44) this.type = TYPE.IPV6 | TYPE.IPV6_EXTENSIONS;
    this.#transport(next, at, end);
  }

  #transport(protocol: number, l4: number, end: number): void {
    const minimum =
      protocol === PROTOCOL_TCP ? 20 : protocol === PROTOCOL_UDP ? 8 : protocol === PROTOCOL_SCTP ? 12 : 0;
    if (minimum === 0 || l4 + minimum > end) return;
    this.type |= protocol === PROTOCOL_TCP ? TYPE.TCP : protocol === PROTOCOL_UDP ? TYPE.UDP : TYPE.SCTP;
    this.l4 = l4;
    this.#l3End = end;
    this.#l4Protocol = protocol;
  }

  /**
   * Checks the TCP, UDP or SCTP checksum. Separate from `parse`, because it touches the whole frame.
   * UDP over IPv4 without a checksum is not checked. Neither are packets with IPv6 extension headers: with a routing
   * header the address to sum is not the one in the IP header (assumed to be what hardware does).
   */
  checkTransport(memory: FrameMemory, offset: number): void {
    const l4 = this.l4;
    if (l4 < 0 || (this.type & TYPE.IPV6_EXTENSIONS) !== 0) return;
    const bytes = memory.bytes;
    const protocol = this.#l4Protocol;
    const lengthBytes = this.#l3End - l4;
    if (protocol === PROTOCOL_SCTP) {
      this.l4ChecksumChecked = true;
      this.l4ChecksumBad = !sctpIsRight(bytes, offset + l4, lengthBytes);
      return;
    }
    if (protocol === PROTOCOL_UDP) {
      const field = offset + l4 + 6;
      if (bytes[field] === 0 && bytes[field + 1] === 0) {
        this.l4ChecksumChecked = this.isIpv6;
        this.l4ChecksumBad = this.isIpv6;
        return;
      }
    }
    const addresses = offset + this.l3 + (this.isIpv6 ? 8 : 12);
    let sum = addSum(memory, addresses, this.isIpv6 ? 32 : 8, (protocol << 8) + swap16(lengthBytes));
    sum = addSum(memory, offset + l4, lengthBytes, sum);
    this.l4ChecksumChecked = true;
    this.l4ChecksumBad = foldSum(sum) !== 0xffff;
  }
}

/** The checksum field (bytes 8-11) counts as 0. Rare, so it is taken over a copy. */
function sctpIsRight(bytes: Uint8Array, offset: number, lengthBytes: number): boolean {
  const copy = bytes.slice(offset, offset + lengthBytes);
  const stored = copy[8]! | (copy[9]! << 8) | (copy[10]! << 16) | (copy[11]! << 24);
  copy.fill(0, 8, 12);
  return crc32c(copy, 0, copy.length) === stored;
}
