/**
 * One line about a frame, in the words of `tcpdump -n -t -S`: addresses and ports as numbers, no time, TCP numbers as they
 * are. Differences: VLAN tags are shown (tcpdump does with -e only), payloads of well-known ports are not decoded, and of
 * protocols that this folder does not know the number is shown.
 *
 * For people who look at some frames; it makes strings.
 */
import { formatIpv4, formatIpv6, formatMac } from './addresses.js';
import { readU16 } from './bytes.js';
import { describeIcmp, describeIcmpv6 } from './describe-icmp.js';
import { describeTcp } from './describe-tcp.js';
import { Layer, PacketView } from './packet-view.js';
import { parse } from './parse.js';
import {
  ArpOperation,
  EtherType,
  extensionHeaderBytes,
  IPV6_BYTES,
  IpProtocol,
  isExtensionHeader,
  MIN_ETHERTYPE,
} from './protocols.js';

/** tcpdump's names of what is cut, in `[|udp]`. */
const CUT_NAMES: Readonly<Record<number, string>> = {
  [Layer.ETHERNET]: 'ether',
  [Layer.VLAN]: 'vlan',
  [Layer.ARP]: 'arp',
  [Layer.IPV4]: 'ip',
  [Layer.IPV6]: 'ip6',
  [Layer.UDP]: 'udp',
  [Layer.TCP]: 'tcp',
  [Layer.ICMP]: 'icmp',
  [Layer.ICMPV6]: 'icmp6',
};

const EXTENSION_NAMES: Readonly<Record<number, string>> = {
  [IpProtocol.HOP_BY_HOP]: 'HBH',
  [IpProtocol.ROUTING]: 'RT',
  [IpProtocol.AH]: 'AH',
  [IpProtocol.DESTINATION_OPTIONS]: 'DSTOPT',
  [IpProtocol.MOBILITY]: 'mobility',
  [IpProtocol.HIP]: 'HIP',
  [IpProtocol.SHIM6]: 'shim6',
};

/**
 * Describes a frame, whatever it is: damage is named in brackets.
 *
 * @param lengthBytes of the frame without FCS
 * @param offset of its first byte, 0 by default
 * @example describeFrame(frame, 60) // 'IP 198.18.0.1.57344 > 198.19.0.1.9: UDP, length 18'
 */
export function describeFrame(bytes: Uint8Array, lengthBytes: number, offset = 0): string {
  const view = new PacketView();
  parse(bytes, offset, lengthBytes, view);
  return describeTags(view) + describeContent(view);
}

function describeTags(view: PacketView): string {
  return [view.vlanTag, view.innerVlanTag]
    .slice(0, view.vlanCount)
    .map((tag) => `vlan ${tag & 0xfff}, p ${tag >>> 13}${(tag & 0x1000) === 0 ? '' : ', DEI'}, `)
    .join('');
}

function describeContent(view: PacketView): string {
  if (view.problemLayer === Layer.VLAN || !view.has(Layer.ETHERNET)) return problemOf(view);
  if (view.etherType === EtherType.IPV4) return describeIpv4(view);
  if (view.etherType === EtherType.IPV6) return describeIpv6(view);
  if (view.etherType === EtherType.ARP) return describeArp(view);
  const { bytes, offset, etherType, lengthBytes } = view;
  const addresses = `${formatMac(bytes, offset + 6)} > ${formatMac(bytes, offset)}`;
  if (etherType < MIN_ETHERTYPE) return `${addresses}, 802.3, length ${etherType}${suffixOf(view)}`;
  const type = etherType.toString(16).padStart(4, '0');
  return `${addresses}, ethertype Unknown (0x${type}), length ${lengthBytes}`;
}

function describeArp(view: PacketView): string {
  if (view.problem === 'header-cut') return problemOf(view);
  if (!view.has(Layer.ARP)) return `ARP, ${problemOf(view)}`;
  const { bytes, l3Offset: at } = view;
  const lengthBytes = view.offset + view.lengthBytes - at;
  const operation = readU16(bytes, at + 6);
  const sender = formatIpv4(bytes, at + 14);
  if (operation === ArpOperation.REPLY)
    return `ARP, Reply ${sender} is-at ${formatMac(bytes, at + 8)}, length ${lengthBytes}`;
  if (operation !== ArpOperation.REQUEST) return `ARP, operation ${operation}, length ${lengthBytes}`;
  const target = formatIpv4(bytes, at + 24);
  const mac = formatMac(bytes, at + 18);
  const known = mac === '00:00:00:00:00:00' ? '' : ` (${mac})`;
  return `ARP, Request who-has ${target}${known} tell ${sender}, length ${lengthBytes}`;
}

function describeIpv4(view: PacketView): string {
  const { bytes, l3Offset: at } = view;
  if (!view.has(Layer.IPV4)) {
    if (view.problem === 'bad-version') return `IP${bytes[at]! >>> 4} (invalid)`;
    if (view.problem !== 'bad-length') return `IP ${problemOf(view)}`;
    const headerBytes = (bytes[at]! & 0x0f) * 4;
    return headerBytes < 20 ? `IP bad-hlen ${headerBytes}` : `IP bad-len ${readU16(bytes, at + 2)}`;
  }
  const packetBytes = readU16(bytes, at + 2);
  const missing = at + packetBytes - (view.offset + view.lengthBytes);
  const cut = missing > 0 ? `truncated-ip - ${missing} bytes missing! ` : '';
  const from = formatIpv4(bytes, at + 12);
  const to = formatIpv4(bytes, at + 16);
  const l4Bytes = packetBytes - view.l3HeaderBytes;
  if (view.fragmentOffsetBytes > 0) return `IP ${cut}${from} > ${to}: ip-proto-${view.protocol}`;
  return `IP ${cut}${from}${portOf(view.sourcePort)} > ${to}${portOf(view.destinationPort)}: ${describeL4(view, l4Bytes)}`;
}

function describeIpv6(view: PacketView): string {
  const { bytes, l3Offset: at } = view;
  if (!view.has(Layer.IPV6)) {
    if (view.problem === 'bad-version') return `IP6, wrong link-layer encapsulation (invalid)`;
    return problemOf(view);
  }
  const payloadBytes = readU16(bytes, at + 4);
  const missing = at + IPV6_BYTES + payloadBytes - (view.offset + view.lengthBytes);
  const cut = missing > 0 ? `truncated-ip6 - ${missing} bytes missing!` : '';
  const from = formatIpv6(bytes, at + 8);
  const to = formatIpv6(bytes, at + 24);
  const l4Bytes = IPV6_BYTES + payloadBytes - view.l3HeaderBytes;
  const extensions = describeExtensions(view, l4Bytes);
  if (view.fragmentOffsetBytes > 0) return `IP6 ${cut}${from} > ${to}: ${extensions.trimEnd()}`;
  const content = describeL4(view, l4Bytes);
  // Behind extension headers tcpdump shows the ports without the addresses.
  if (extensions !== '') {
    const ports = view.sourcePort < 0 ? '' : `${view.sourcePort} > ${view.destinationPort}: `;
    return `IP6 ${cut}${from} > ${to}: ${extensions}${ports}${content}`;
  }
  return `IP6 ${cut}${from}${portOf(view.sourcePort)} > ${to}${portOf(view.destinationPort)}: ${content}`;
}

/** @param l4Bytes length of what follows the extension headers */
function describeExtensions(view: PacketView, l4Bytes: number): string {
  const { bytes, l3Offset } = view;
  const end = l3Offset + view.l3HeaderBytes;
  let type = bytes[l3Offset + 6]!;
  let text = '';
  for (let at = l3Offset + IPV6_BYTES; at < end && isExtensionHeader(type); ) {
    const fragment = `frag (${view.fragmentOffsetBytes}|${l4Bytes})`;
    text += `${type === IpProtocol.FRAGMENT ? fragment : EXTENSION_NAMES[type]} `;
    const next = bytes[at]!;
    at += extensionHeaderBytes(type, bytes[at + 1]!);
    type = next;
  }
  return text;
}

function portOf(port: number): string {
  return port < 0 ? '' : `.${port}`;
}

/** @param l4Bytes as the IP header says, whether they are there or not */
function describeL4(view: PacketView, l4Bytes: number): string {
  if (view.has(Layer.UDP)) return `UDP, length ${readU16(view.bytes, view.l4Offset + 4) - 8}`;
  if (view.has(Layer.TCP)) return describeTcp(view, l4Bytes - view.l4HeaderBytes);
  if (view.has(Layer.ICMP)) return `ICMP ${describeIcmp(view)}, length ${l4Bytes}`;
  if (view.has(Layer.ICMPV6)) return `ICMP6, ${describeIcmpv6(view)}, length ${l4Bytes}`;
  if (view.problem !== 'none' && view.problem !== 'payload-cut') return problemOf(view);
  if (view.protocol === IpProtocol.NO_NEXT_HEADER) return 'no next header';
  return ` ip-proto-${view.protocol} ${l4Bytes}`;
}

function problemOf(view: PacketView): string {
  if (view.problem === 'header-cut') return ` [|${CUT_NAMES[view.problemLayer]}]`;
  return `[${view.problemText}]`;
}

function suffixOf(view: PacketView): string {
  return view.problem === 'none' ? '' : ` [${view.problemText}]`;
}
