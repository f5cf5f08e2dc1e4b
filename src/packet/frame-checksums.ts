/**
 * Checks and writes the checksums of a frame that `parse` has looked at: IPv4 header, UDP, TCP, ICMP, ICMPv6.
 */
import { readU16, writeU16 } from './bytes.js';
import { checksumOf, internetChecksum, pseudoSumIpv4, pseudoSumIpv6, sumOf } from './checksum.js';
import { Layer, type PacketView } from './packet-view.js';

/**
 * - `good`, `bad`
 * - `absent`: there is none: no such header, or a UDP checksum of 0 over IPv4 (RFC 768)
 * - `unknown`: it cannot be told from this frame: a fragment, a frame that is cut, or one with a routing header that
 *   hides the final destination
 */
export type ChecksumState = 'good' | 'bad' | 'absent' | 'unknown';

/** Checks the header checksum of IPv4. IPv6 has none. */
export function ipv4ChecksumState(view: PacketView): ChecksumState {
  if (!view.has(Layer.IPV4)) return 'absent';
  const end = view.l3Offset + view.l3HeaderBytes;
  return internetChecksum(view.bytes, view.l3Offset, end) === 0 ? 'good' : 'bad';
}

/** Checks the checksum of UDP, TCP, ICMP or ICMPv6. */
export function l4ChecksumState(view: PacketView): ChecksumState {
  const checksumAt = l4ChecksumAt(view);
  if (checksumAt < 0) return view.l4Offset < 0 && !view.isFragment ? 'absent' : 'unknown';
  if (view.has(Layer.UDP) && readU16(view.bytes, checksumAt) === 0)
    return view.has(Layer.IPV4) ? 'absent' : 'bad'; // IPv6 forbids it (RFC 8200, 8.1)
  return checksumOf(l4Sum(view)) === 0 ? 'good' : 'bad';
}

/**
 * Writes the checksums that the headers need: after changes to any fields but lengths. For single fields
 * `updateChecksum` is faster.
 *
 * @param view as `parse` filled it; the changes must not have moved a header
 * @returns false where the checksum of layer 4 stays as it was since it cannot be told (see `ChecksumState`)
 */
export function writeChecksums(view: PacketView): boolean {
  const { bytes } = view;
  if (view.has(Layer.IPV4)) {
    const at = view.l3Offset;
    writeU16(bytes, at + 10, 0);
    writeU16(bytes, at + 10, internetChecksum(bytes, at, at + view.l3HeaderBytes));
  }
  const checksumAt = l4ChecksumAt(view);
  if (checksumAt < 0) return view.l4Offset < 0 && !view.isFragment;
  writeU16(bytes, checksumAt, 0);
  const checksum = checksumOf(l4Sum(view));
  writeU16(bytes, checksumAt, checksum === 0 && view.has(Layer.UDP) ? 0xffff : checksum);
  return true;
}

/** Where the checksum of layer 4 lies; -1 where there is none or not all that it covers is known. */
function l4ChecksumAt(view: PacketView): number {
  if (view.problem !== 'none' || view.isFragment || view.isRouted || view.l4Offset < 0) return -1;
  if (view.has(Layer.UDP)) return view.l4Offset + 6;
  return view.l4Offset + (view.has(Layer.TCP) ? 16 : 2);
}

function l4Sum(view: PacketView): number {
  const { bytes, l3Offset, l4Offset, protocol } = view;
  const end = view.payloadOffset + view.payloadBytes;
  const sum = sumOf(bytes, l4Offset, end);
  // ICMP for IPv4 is the only one without a pseudo header (RFC 792).
  if (view.has(Layer.ICMP)) return sum;
  const pseudo = view.has(Layer.IPV4) ? pseudoSumIpv4 : pseudoSumIpv6;
  return sum + pseudo(bytes, l3Offset, protocol, end - l4Offset);
}
