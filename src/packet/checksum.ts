/**
 * The Internet checksum (RFC 1071) of IPv4, UDP, TCP, ICMP and ICMPv6, and how to keep it right when a field changes
 * (RFC 1624).
 *
 * A checksum is made in two steps: sums of 16-bit words, which may be added up in any order and number, and then
 * `checksumOf`, which folds the carries back in and inverts. A sum stays exact far beyond the longest packet, so it is
 * folded only once, at the end. Nothing here allocates.
 */
import { readU16, readU32, writeU16, writeU32 } from './bytes.js';

/**
 * Adds up the big-endian 16-bit words of a range. An odd last byte counts as the high half of a word.
 *
 * Sums of ranges that follow each other may be added where all but the last have even lengths.
 *
 * @param from index of the first byte
 * @param to index behind the last byte
 * @param sum to start with
 * @returns the sum, not folded: 0 to 2^53
 */
export function sumOf(bytes: Uint8Array, from: number, to: number, sum = 0): number {
  let total = sum;
  let i = from;
  for (; i + 1 < to; i += 2) total += (bytes[i]! << 8) | bytes[i + 1]!;
  return i < to ? total + (bytes[i]! << 8) : total;
}

/** Adds the carries back in until 16 bits are left. @returns 0 only for 0 */
export function fold(sum: number): number {
  let folded = sum;
  // A sum above 32 bits would lose its upper part in a shift.
  while (folded > 0xffff_ffff) folded = (folded % 0x1_0000) + Math.floor(folded / 0x1_0000);
  while (folded > 0xffff) folded = (folded & 0xffff) + (folded >>> 16);
  return folded;
}

/** The checksum of data with this sum. Over data that contains its right checksum it is 0. */
export function checksumOf(sum: number): number {
  return ~fold(sum) & 0xffff;
}

/**
 * As `checksumOf`, for UDP: there a checksum of 0 says that there is none, so 0 is sent as 0xffff, which has the same
 * value in one's complement (RFC 768).
 */
export function udpChecksumOf(sum: number): number {
  return checksumOf(sum) || 0xffff;
}

/** The checksum of a range, its own field taken as 0 or not part of it. @param sum of what else is covered */
export function internetChecksum(bytes: Uint8Array, from: number, to: number, sum = 0): number {
  return checksumOf(sumOf(bytes, from, to, sum));
}

/**
 * Sum of the pseudo header that UDP and TCP cover besides their own bytes: addresses, protocol, length (RFC 768).
 *
 * @param ipv4At where the IPv4 header begins
 * @param lengthBytes of the UDP or TCP packet, header included
 */
export function pseudoSumIpv4(
  bytes: Uint8Array,
  ipv4At: number,
  protocol: number,
  lengthBytes: number,
): number {
  return sumOf(bytes, ipv4At + 12, ipv4At + 20) + protocol + lengthBytes;
}

/**
 * Sum of IPv6's pseudo header, which UDP, TCP and ICMPv6 cover (RFC 8200, 8.1).
 *
 * @param ipv6At where the IPv6 header begins; its destination must be the packet's last one, so no routing header with
 *   addresses still to be visited
 * @param protocol of the packet itself, not an extension header's
 */
export function pseudoSumIpv6(
  bytes: Uint8Array,
  ipv6At: number,
  protocol: number,
  lengthBytes: number,
): number {
  return sumOf(bytes, ipv6At + 8, ipv6At + 40) + protocol + lengthBytes;
}

/**
 * The checksum after some of the covered words have changed (RFC 1624, equation 3), without a look at the others.
 *
 * @param checksum as it was
 * @param removed sum of the words that were there: one 16-bit value, or several added up
 * @param added sum of the words that took their places
 */
export function updateChecksum(checksum: number, removed: number, added: number): number {
  return ~fold((~checksum & 0xffff) + (~fold(removed) & 0xffff) + fold(added)) & 0xffff;
}

/** As `updateChecksum`, for UDP over IPv4: 0, which means "no checksum", stays 0, and none becomes 0. */
export function updateUdpChecksum(checksum: number, removed: number, added: number): number {
  return checksum === 0 ? 0 : updateChecksum(checksum, removed, added) || 0xffff;
}

/**
 * Writes a 16-bit field and mends the checksum that covers it, not UDP's.
 *
 * @param at of the field, an even number of bytes from where the covered data begins
 * @example replaceU16(frame, 14 + 8, readU16(frame, 14 + 8) - 0x100, 14 + 10); // IPv4 behind Ethernet: one hop further
 */
export function replaceU16(bytes: Uint8Array, at: number, value: number, checksumAt: number): void {
  const checksum = updateChecksum(readU16(bytes, checksumAt), readU16(bytes, at), value & 0xffff);
  writeU16(bytes, at, value);
  writeU16(bytes, checksumAt, checksum);
}

/** As `replaceU16`, for a 32-bit field such as an IPv4 address. */
export function replaceU32(bytes: Uint8Array, at: number, value: number, checksumAt: number): void {
  const before = readU32(bytes, at);
  const removed = (before >>> 16) + (before & 0xffff);
  const checksum = updateChecksum(readU16(bytes, checksumAt), removed, (value >>> 16) + (value & 0xffff));
  writeU32(bytes, at, value);
  writeU16(bytes, checksumAt, checksum);
}
