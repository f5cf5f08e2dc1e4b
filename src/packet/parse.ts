/**
 * Finds the headers of a frame: Ethernet II (IEEE 802.3), VLAN tags (802.1Q, 802.1ad), ARP (RFC 826), IPv4 (RFC 791),
 * IPv6 with extension headers (RFC 8200), UDP (RFC 768), TCP (RFC 9293), ICMP (RFC 792), ICMPv6 (RFC 4443).
 *
 * A frame may be anything. Nothing is read outside of it, nothing is thrown, and the work is bounded by constants; what is
 * wrong with it stands in the view. Checksums are not looked at: see checksums.ts.
 */
import { readU16, readU32 } from './bytes.js';
import { Layer, type LayerBit, type PacketProblem, type PacketView } from './packet-view.js';
import {
  ARP_BYTES,
  ETHERNET_BYTES,
  EtherType,
  extensionHeaderBytes,
  ICMP_BYTES,
  IPV4_BYTES,
  IPV6_BYTES,
  IpProtocol,
  isExtensionHeader,
  isVlanType,
  MIN_ETHERTYPE,
  TCP_BYTES,
  UDP_BYTES,
  VLAN_BYTES,
} from './protocols.js';

export const MAX_VLAN_TAGS = 2;
/** Extension headers followed in one packet. RFC 8200 (4.1) foresees seven; a longer row is an attack. */
export const MAX_EXTENSION_HEADERS = 8;

/** Hardware type Ethernet, protocol IPv4, address lengths 6 and 4 (RFC 826), as two words. */
const ARP_ETHERNET_IPV4 = 0x0001_0800;
const ARP_LENGTHS = 0x0604;
/** In a fragment the lengths of the whole packet's headers cannot be compared with what is there. */
const NO_LIMIT = 0x7fff_ffff;

/**
 * Parses one frame into a view that the caller keeps.
 *
 * @param bytes memory the frame lies in
 * @param offset index of its first byte
 * @param lengthBytes its length without FCS; what would lie behind the end of `bytes` counts as cut off
 * @param into overwritten; what it says is valid until the memory changes
 * @returns whether the frame is sound: `into.problem` is `none`
 * @example
 * const view = new PacketView(); // once
 * const start = packet << pool.bufferShift;
 * if (parse(pool.frames, start, lengthBytes, view) && view.has(Layer.UDP)) console.log(view.destinationPort);
 */
export function parse(bytes: Uint8Array, offset: number, lengthBytes: number, into: PacketView): boolean {
  const start = startOf(bytes, offset);
  const end = endOf(bytes, start, lengthBytes);
  into.reset(bytes, start, end - start);
  if (end - start < ETHERNET_BYTES)
    return fail(into, 'header-cut', Layer.ETHERNET, start + ETHERNET_BYTES - end);
  into.layers = Layer.ETHERNET;
  const at = parseTags(into, start + ETHERNET_BYTES, end);
  if (at < 0) return false;
  setPayload(into, at, end);
  const etherType = into.etherType;
  if (etherType === EtherType.IPV4) return parseIpv4(into, at, end);
  if (etherType === EtherType.IPV6) return parseIpv6(into, at, end);
  if (etherType === EtherType.ARP) return parseArp(into, at, end);
  if (etherType < MIN_ETHERTYPE) return parseLength(into, at, end);
  return true;
}

/**
 * Parses an IP packet that has no Ethernet header before it: from a TUN device, or what an ICMP error quotes. As `parse`
 * otherwise; the version in the first byte decides.
 */
export function parsePacket(
  bytes: Uint8Array,
  offset: number,
  lengthBytes: number,
  into: PacketView,
): boolean {
  const start = startOf(bytes, offset);
  const end = endOf(bytes, start, lengthBytes);
  into.reset(bytes, start, end - start);
  const isIpv6 = start < end && bytes[start]! >>> 4 === 6;
  into.etherType = isIpv6 ? EtherType.IPV6 : EtherType.IPV4;
  return isIpv6 ? parseIpv6(into, start, end) : parseIpv4(into, start, end);
}

/** Reads the type field before `at` and the tags that follow. @returns where the tags end; -1 after a problem */
function parseTags(view: PacketView, at: number, end: number): number {
  const { bytes } = view;
  let next = at;
  let etherType = readU16(bytes, next - 2);
  view.etherType = etherType;
  while (isVlanType(etherType)) {
    setPayload(view, next, end);
    if (view.vlanCount === MAX_VLAN_TAGS) return failTags(view, 'too-many-headers', 0);
    if (end - next < VLAN_BYTES) return failTags(view, 'header-cut', next + VLAN_BYTES - end);
    if (view.vlanCount === 0) view.vlanTag = readU16(bytes, next);
    else view.innerVlanTag = readU16(bytes, next);
    view.vlanCount++;
    view.layers |= Layer.VLAN;
    etherType = readU16(bytes, next + 2);
    view.etherType = etherType;
    next += VLAN_BYTES;
  }
  return next;
}

function failTags(view: PacketView, problem: PacketProblem, missingBytes: number): -1 {
  fail(view, problem, Layer.VLAN, missingBytes);
  return -1;
}

/** IEEE 802.3 with a length in place of the type: the payload is LLC. */
function parseLength(view: PacketView, at: number, end: number): boolean {
  const payloadEnd = at + view.etherType;
  setPayload(view, at, Math.min(payloadEnd, end));
  if (payloadEnd > end) return fail(view, 'payload-cut', Layer.ETHERNET, payloadEnd - end);
  view.trailerBytes = end - payloadEnd;
  return true;
}

function parseArp(view: PacketView, at: number, end: number): boolean {
  const { bytes } = view;
  view.l3Offset = at;
  if (end - at < 8) return fail(view, 'header-cut', Layer.ARP, at + 8 - end);
  if (readU32(bytes, at) !== ARP_ETHERNET_IPV4 || readU16(bytes, at + 4) !== ARP_LENGTHS)
    return fail(view, 'unsupported', Layer.ARP, 0);
  if (end - at < ARP_BYTES) return fail(view, 'header-cut', Layer.ARP, at + ARP_BYTES - end);
  view.layers |= Layer.ARP;
  view.l3HeaderBytes = ARP_BYTES;
  view.payloadOffset = at + ARP_BYTES;
  view.payloadBytes = 0;
  view.trailerBytes = end - at - ARP_BYTES;
  return true;
}

function parseIpv4(view: PacketView, at: number, frameEnd: number): boolean {
  const { bytes } = view;
  view.l3Offset = at;
  if (frameEnd - at < IPV4_BYTES) return fail(view, 'header-cut', Layer.IPV4, at + IPV4_BYTES - frameEnd);
  const first = bytes[at]!;
  if (first >>> 4 !== 4) return fail(view, 'bad-version', Layer.IPV4, 0);
  const headerBytes = (first & 0x0f) * 4;
  const totalBytes = readU16(bytes, at + 2);
  if (headerBytes < IPV4_BYTES || totalBytes < headerBytes) return fail(view, 'bad-length', Layer.IPV4, 0);
  const headerEnd = at + headerBytes;
  if (headerEnd > frameEnd) return fail(view, 'header-cut', Layer.IPV4, headerEnd - frameEnd);
  const packetEnd = at + totalBytes;
  const end = Math.min(packetEnd, frameEnd);
  view.layers |= Layer.IPV4;
  view.l3HeaderBytes = headerBytes;
  view.protocol = bytes[at + 9]!;
  const fragment = readU16(bytes, at + 6);
  view.fragmentOffsetBytes = (fragment & 0x1fff) * 8;
  view.moreFragments = (fragment & 0x2000) !== 0;
  setPayload(view, headerEnd, end);
  if (packetEnd > frameEnd) fail(view, 'payload-cut', Layer.IPV4, packetEnd - frameEnd);
  else view.trailerBytes = frameEnd - packetEnd;
  if (view.fragmentOffsetBytes > 0) return view.problem === 'none';
  return parseTransport(view, headerEnd, end, view.moreFragments ? NO_LIMIT : packetEnd);
}

function parseIpv6(view: PacketView, at: number, frameEnd: number): boolean {
  const { bytes } = view;
  view.l3Offset = at;
  if (frameEnd - at < IPV6_BYTES) return fail(view, 'header-cut', Layer.IPV6, at + IPV6_BYTES - frameEnd);
  if (bytes[at]! >>> 4 !== 6) return fail(view, 'bad-version', Layer.IPV6, 0);
  const packetEnd = at + IPV6_BYTES + readU16(bytes, at + 4);
  const end = Math.min(packetEnd, frameEnd);
  view.layers |= Layer.IPV6;
  view.l3HeaderBytes = IPV6_BYTES;
  view.protocol = bytes[at + 6]!;
  setPayload(view, at + IPV6_BYTES, end);
  if (packetEnd > frameEnd) fail(view, 'payload-cut', Layer.IPV6, packetEnd - frameEnd);
  else view.trailerBytes = frameEnd - packetEnd;
  if (isExtensionHeader(view.protocol) && !parseExtensions(view, end, packetEnd)) return false;
  if (view.fragmentOffsetBytes > 0) return view.problem === 'none';
  return parseTransport(view, view.payloadOffset, end, view.moreFragments ? NO_LIMIT : packetEnd);
}

/** Walks IPv6 extension headers from the payload on, and makes them part of the layer-3 header. */
function parseExtensions(view: PacketView, end: number, packetEnd: number): boolean {
  const { bytes } = view;
  let limit = packetEnd;
  for (let count = 0; isExtensionHeader(view.protocol); count++) {
    const at = view.payloadOffset;
    if (count === MAX_EXTENSION_HEADERS) return fail(view, 'too-many-headers', Layer.IPV6, 0);
    // The shortest is eight bytes long.
    if (!fits(view, Layer.IPV6, at + 8, end, limit)) return false;
    const type = view.protocol;
    const next = at + extensionHeaderBytes(type, bytes[at + 1]!);
    if (!fits(view, Layer.IPV6, next, end, limit)) return false;
    view.protocol = bytes[at]!;
    view.l3HeaderBytes = next - view.l3Offset;
    setPayload(view, next, end);
    if (type === IpProtocol.ROUTING && bytes[at + 3]! > 0) view.isRouted = true;
    if (type !== IpProtocol.FRAGMENT) continue;
    const fragment = readU16(bytes, at + 2);
    view.fragmentOffsetBytes = fragment & 0xfff8;
    view.moreFragments = view.moreFragments || (fragment & 1) !== 0;
    if (view.moreFragments) limit = NO_LIMIT;
    // What follows in a later fragment is the middle of something.
    if (view.fragmentOffsetBytes > 0) return true;
  }
  return true;
}

/**
 * @param at where the header begins
 * @param end of what is there
 * @param limit end of the packet according to its IP header
 */
function parseTransport(view: PacketView, at: number, end: number, limit: number): boolean {
  const isIpv4 = view.has(Layer.IPV4);
  switch (view.protocol) {
    case IpProtocol.UDP:
      return parseUdp(view, at, end, limit);
    case IpProtocol.TCP:
      return parseTcp(view, at, end, limit);
    case IpProtocol.ICMP:
      return isIpv4 ? parseIcmp(view, Layer.ICMP, at, end, limit) : view.problem === 'none';
    case IpProtocol.ICMPV6:
      return isIpv4 ? view.problem === 'none' : parseIcmp(view, Layer.ICMPV6, at, end, limit);
    default:
      return view.problem === 'none';
  }
}

function parseUdp(view: PacketView, at: number, end: number, limit: number): boolean {
  const { bytes } = view;
  view.l4Offset = at;
  if (!fits(view, Layer.UDP, at + UDP_BYTES, end, limit)) return false;
  const udpBytes = readU16(bytes, at + 4);
  if (udpBytes < UDP_BYTES || at + udpBytes > limit) return fail(view, 'bad-length', Layer.UDP, 0);
  view.layers |= Layer.UDP;
  view.l4HeaderBytes = UDP_BYTES;
  view.sourcePort = readU16(bytes, at);
  view.destinationPort = readU16(bytes, at + 2);
  setPayload(view, at + UDP_BYTES, Math.min(at + udpBytes, end));
  return view.problem === 'none';
}

function parseTcp(view: PacketView, at: number, end: number, limit: number): boolean {
  const { bytes } = view;
  view.l4Offset = at;
  if (!fits(view, Layer.TCP, at + TCP_BYTES, end, limit)) return false;
  const headerBytes = (bytes[at + 12]! >>> 4) * 4;
  if (headerBytes < TCP_BYTES) return fail(view, 'bad-length', Layer.TCP, 0);
  if (!fits(view, Layer.TCP, at + headerBytes, end, limit)) return false;
  view.layers |= Layer.TCP;
  view.l4HeaderBytes = headerBytes;
  view.sourcePort = readU16(bytes, at);
  view.destinationPort = readU16(bytes, at + 2);
  view.tcpFlags = bytes[at + 13]!;
  setPayload(view, at + headerBytes, end);
  return view.problem === 'none';
}

function parseIcmp(view: PacketView, layer: LayerBit, at: number, end: number, limit: number): boolean {
  view.l4Offset = at;
  if (!fits(view, layer, at + ICMP_BYTES, end, limit)) return false;
  view.layers |= layer;
  view.l4HeaderBytes = ICMP_BYTES;
  setPayload(view, at + ICMP_BYTES, end);
  return view.problem === 'none';
}

/** Whether a header that ends at `headerEnd` is there; a problem where it is not. */
function fits(view: PacketView, layer: LayerBit, headerEnd: number, end: number, limit: number): boolean {
  if (headerEnd <= end) return true;
  if (headerEnd > limit) return fail(view, 'bad-length', layer, 0);
  return fail(view, 'header-cut', layer, headerEnd - end);
}

/** A place in `bytes`, its end where the offset lies outside. */
function startOf(bytes: Uint8Array, offset: number): number {
  return offset >= 0 && offset <= bytes.length ? offset : bytes.length;
}

function endOf(bytes: Uint8Array, start: number, lengthBytes: number): number {
  return lengthBytes >= 0 ? Math.min(start + lengthBytes, bytes.length) : start;
}

function setPayload(view: PacketView, from: number, to: number): void {
  view.payloadOffset = from;
  view.payloadBytes = to - from;
}

function fail(view: PacketView, problem: PacketProblem, layer: LayerBit, missingBytes: number): false {
  view.problem = problem;
  view.problemLayer = layer;
  view.missingBytes = missingBytes;
  return false;
}
