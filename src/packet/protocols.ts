/** Numbers that name protocols, and the sizes of their headers. Sources beside them; the registries are IANA's. */

/** Ethernet header without tags (IEEE 802.3, 3.1.1): two addresses and a type. */
export const ETHERNET_BYTES = 14;
/** A VLAN tag (IEEE 802.1Q, 9.4): type and tag control information. */
export const VLAN_BYTES = 4;
/** Shortest frame without FCS (IEEE 802.3, 4A.4.2). */
export const MIN_FRAME_BYTES = 60;
/** ARP for Ethernet and IPv4 (RFC 826). */
export const ARP_BYTES = 28;
/** IPv4 header without options (RFC 791). */
export const IPV4_BYTES = 20;
/** IPv6 header without extension headers (RFC 8200). */
export const IPV6_BYTES = 40;
/** RFC 768. */
export const UDP_BYTES = 8;
/** TCP header without options (RFC 9293). */
export const TCP_BYTES = 20;
/** ICMP and ICMPv6: type, code, checksum, and four bytes whose meaning depends on the type (RFC 792, RFC 4443). */
export const ICMP_BYTES = 8;

/** Values of an Ethernet header's type field. Values below `MIN_ETHERTYPE` are a length instead (IEEE 802.3, 3.2.6). */
export const EtherType = {
  IPV4: 0x0800,
  ARP: 0x0806,
  /** Customer tag (IEEE 802.1Q). */
  VLAN: 0x8100,
  IPV6: 0x86dd,
  /** Service tag, the outer one of two (IEEE 802.1ad). */
  QINQ: 0x88a8,
  /** What switches sent for an outer tag before 802.1ad. */
  QINQ_9100: 0x9100,
} as const;

export const MIN_ETHERTYPE = 0x0600;

/** Values of IPv4's protocol and IPv6's next-header field. */
export const IpProtocol = {
  HOP_BY_HOP: 0,
  ICMP: 1,
  TCP: 6,
  UDP: 17,
  ROUTING: 43,
  FRAGMENT: 44,
  ESP: 50,
  AH: 51,
  ICMPV6: 58,
  NO_NEXT_HEADER: 59,
  DESTINATION_OPTIONS: 60,
  MOBILITY: 135,
  HIP: 139,
  SHIM6: 140,
} as const;

/** Bits of a TCP header's flags byte (RFC 9293, 3.1). */
export const TcpFlag = {
  FIN: 0x01,
  SYN: 0x02,
  RST: 0x04,
  PSH: 0x08,
  ACK: 0x10,
  URG: 0x20,
  ECE: 0x40,
  CWR: 0x80,
} as const;

/** Values of an ARP packet's operation field (RFC 826). */
export const ArpOperation = { REQUEST: 1, REPLY: 2 } as const;

/** Types of ICMP messages (RFC 792). */
export const IcmpType = {
  ECHO_REPLY: 0,
  UNREACHABLE: 3,
  REDIRECT: 5,
  ECHO_REQUEST: 8,
  TIME_EXCEEDED: 11,
} as const;

/** Types of ICMPv6 messages (RFC 4443, RFC 4861). */
export const Icmpv6Type = {
  UNREACHABLE: 1,
  PACKET_TOO_BIG: 2,
  TIME_EXCEEDED: 3,
  PARAMETER_PROBLEM: 4,
  ECHO_REQUEST: 128,
  ECHO_REPLY: 129,
  ROUTER_SOLICITATION: 133,
  ROUTER_ADVERTISEMENT: 134,
  NEIGHBOR_SOLICITATION: 135,
  NEIGHBOR_ADVERTISEMENT: 136,
} as const;

export function isVlanType(etherType: number): boolean {
  return etherType === EtherType.VLAN || etherType === EtherType.QINQ || etherType === EtherType.QINQ_9100;
}

/** Whether the number is an IPv6 extension header that says its own length (RFC 7045, section 4). ESP does not. */
export function isExtensionHeader(protocol: number): boolean {
  switch (protocol) {
    case IpProtocol.HOP_BY_HOP:
    case IpProtocol.ROUTING:
    case IpProtocol.FRAGMENT:
    case IpProtocol.AH:
    case IpProtocol.DESTINATION_OPTIONS:
    case IpProtocol.MOBILITY:
    case IpProtocol.HIP:
    case IpProtocol.SHIM6:
      return true;
    default:
      return false;
  }
}

/** Bytes of an IPv6 extension header, from its second byte. @param lengthField that byte */
export function extensionHeaderBytes(protocol: number, lengthField: number): number {
  if (protocol === IpProtocol.FRAGMENT) return 8;
  // AH counts in words of four bytes, less two (RFC 4302, 2.2); the others in units of eight, less one (RFC 8200, 4.2).
  if (protocol === IpProtocol.AH) return (lengthField + 2) * 4;
  return (lengthField + 1) * 8;
}
