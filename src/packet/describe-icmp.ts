/** ICMP and ICMPv6 messages in tcpdump's words. Types and codes: RFC 792, RFC 1812 (5.2.7), RFC 4443, RFC 4861. */
import { formatIpv4, formatIpv6 } from './addresses.js';
import { readU16, readU32 } from './bytes.js';
import { Layer, PacketView } from './packet-view.js';
import { parsePacket } from './parse.js';
import { IcmpType, Icmpv6Type, IpProtocol } from './protocols.js';
import { IcmpView } from './transport-views.js';

/** Type of a report of multicast groups (RFC 3810), which every host sends when its interface comes up. */
const MULTICAST_LISTENER_REPORT_V2 = 143;

/** Unreachable, by code; `%` is the address. Those that need more have a function of their own below. */
const UNREACHABLE: Readonly<Record<number, string>> = {
  0: 'net % unreachable',
  1: 'host % unreachable',
  5: '% unreachable - source route failed',
  6: 'net % unreachable - unknown',
  7: 'host % unreachable - unknown',
  8: '% unreachable - source host isolated',
  9: 'net % unreachable - admin prohibited',
  10: 'host % unreachable - admin prohibited',
  11: 'net % unreachable - tos prohibited',
  12: 'host % unreachable - tos prohibited',
  13: 'host % unreachable - admin prohibited filter',
  14: 'host % unreachable - host precedence violation',
  15: 'host % unreachable - precedence cutoff',
};

/** Redirects, by code. */
const REDIRECTS = [
  ['redirect', 'to net'],
  ['redirect', 'to host'],
  ['redirect-tos', 'to net'],
  ['redirect-tos', 'to host'],
] as const;

export function describeIcmp(view: PacketView): string {
  const { bytes, l4Offset } = view;
  const icmp = new IcmpView().at(bytes, l4Offset);
  const { type, code } = icmp;
  switch (type) {
    case IcmpType.ECHO_REQUEST:
    case IcmpType.ECHO_REPLY: {
      const name = type === IcmpType.ECHO_REQUEST ? 'request' : 'reply';
      return `echo ${name}, id ${icmp.identifier}, seq ${icmp.sequence}`;
    }
    case IcmpType.UNREACHABLE:
      return describeUnreachable(quoted(view), code, icmp.sequence);
    case IcmpType.REDIRECT: {
      const [name, to] = REDIRECTS[code] ?? [`redirect-#${code}`, 'to'];
      return `${name} ${destinationOf(quoted(view))} ${to} ${formatIpv4(bytes, l4Offset + 4)}`;
    }
    case IcmpType.TIME_EXCEEDED:
      if (code === 0) return 'time exceeded in-transit';
      return code === 1 ? 'ip reassembly time exceeded' : `time exceeded-#${code}`;
    default:
      return `type-#${type}`;
  }
}

function describeUnreachable(packet: PacketView, code: number, mtu: number): string {
  const address = destinationOf(packet);
  if (code === 2) return `${address} protocol ${packet.protocol} unreachable`;
  if (code === 3) return `${address} ${portOf(packet)} unreachable`;
  if (code === 4) return `${address} unreachable - need to frag${mtu === 0 ? '' : ` (mtu ${mtu})`}`;
  return (UNREACHABLE[code] ?? `% unreachable - #${code}`).replace('%', address);
}

export function describeIcmpv6(view: PacketView): string {
  const { bytes, l4Offset } = view;
  const icmp = new IcmpView().at(bytes, l4Offset);
  switch (icmp.type) {
    case Icmpv6Type.ECHO_REQUEST:
    case Icmpv6Type.ECHO_REPLY: {
      const name = icmp.type === Icmpv6Type.ECHO_REQUEST ? 'request' : 'reply';
      return `echo ${name}, id ${icmp.identifier}, seq ${icmp.sequence}`;
    }
    case Icmpv6Type.UNREACHABLE:
      return `destination unreachable, ${unreachableV6(quoted(view), icmp.code)}`;
    case Icmpv6Type.PACKET_TOO_BIG:
      return `packet too big, mtu ${readU32(bytes, l4Offset + 4)}`;
    case Icmpv6Type.TIME_EXCEEDED:
      return icmp.code === 0
        ? `time exceeded in-transit for ${destinationOf(quoted(view))}`
        : 'time exceeded in-transit (reassembly)';
    case Icmpv6Type.ROUTER_SOLICITATION:
      return 'router solicitation';
    case Icmpv6Type.ROUTER_ADVERTISEMENT:
      return 'router advertisement';
    case Icmpv6Type.NEIGHBOR_SOLICITATION:
      return `neighbor solicitation, who has ${targetOf(view)}`;
    case Icmpv6Type.NEIGHBOR_ADVERTISEMENT:
      return `neighbor advertisement, tgt is ${targetOf(view)}`;
    case MULTICAST_LISTENER_REPORT_V2:
      return `multicast listener report v2, ${readU16(bytes, l4Offset + 6)} group record(s)`;
    default:
      return `type-#${icmp.type}`;
  }
}

function unreachableV6(packet: PacketView, code: number): string {
  const address = destinationOf(packet);
  switch (code) {
    case 0:
      return `unreachable route ${address}`;
    case 1:
      return ` unreachable prohibited ${address}`;
    case 3:
      return `unreachable address ${address}`;
    case 4:
      return `unreachable port, ${address} ${portOf(packet)}`;
    default:
      return `unknown unreach code (${code})`;
  }
}

/** The packet that an error message is about; its beginning follows the header. */
function quoted(view: PacketView): PacketView {
  const packet = new PacketView();
  parsePacket(view.bytes, view.payloadOffset, view.payloadBytes, packet);
  return packet;
}

function destinationOf(packet: PacketView): string {
  const { bytes, l3Offset } = packet;
  if (packet.has(Layer.IPV4)) return formatIpv4(bytes, l3Offset + 16);
  return packet.has(Layer.IPV6) ? formatIpv6(bytes, l3Offset + 24) : '?';
}

function portOf(packet: PacketView): string {
  // An error may quote eight bytes of a TCP header: enough for the ports, too little for `parse`.
  const { bytes, l4Offset, protocol } = packet;
  const hasPorts = l4Offset >= 0 && l4Offset + 4 <= packet.offset + packet.lengthBytes;
  if (!hasPorts) return 'port ?';
  const port = readU16(bytes, l4Offset + 2);
  if (protocol === IpProtocol.UDP) return `udp port ${port}`;
  return protocol === IpProtocol.TCP ? `tcp port ${port}` : `protocol ${protocol} port ${port}`;
}

/** Target address of neighbor discovery, 16 bytes behind the header. */
function targetOf(view: PacketView): string {
  return view.payloadBytes < 16 ? '[|icmp6]' : formatIpv6(view.bytes, view.payloadOffset);
}
