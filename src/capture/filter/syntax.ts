/**
 * What a filter says, as a tree: the result of `parseFilter`, for compilers of any kind. The language is the core of
 * pcap-filter(7). Names are resolved (`tcp` is protocol 6), lists are expanded (`port 53 or 67` has two nodes), and each
 * primitive knows how many VLAN tags precede the header that it looks at.
 */

export type Filter =
  | { readonly kind: 'and' | 'or'; readonly left: Filter; readonly right: Filter }
  | { readonly kind: 'not'; readonly operand: Filter }
  | Primitive;

export type Primitive =
  | EtherTypeTest
  | ProtocolTest
  | AddressTest
  | PortTest
  | MacTest
  | MacGroupTest
  | VlanTest
  | LengthTest;

/** Which of two fields is compared: the source's, the destination's, either, or both. */
export type Direction = 'src' | 'dst' | 'either' | 'both';

interface Place {
  /** Tags in front of what is looked at: as many `vlan` as stand before it in the text. */
  readonly vlanTags: number;
  /** Where it stands in the text, from 0. */
  readonly at: number;
}

/** `ip`, `ip6`, `arp`, `ether proto 0x88cc`: the type behind the tags. */
export interface EtherTypeTest extends Place {
  readonly kind: 'ether-type';
  readonly etherType: number;
}

/** `tcp`, `udp`, `icmp`, `proto 47`: the protocol in IPv4, or in IPv6 (there also behind one fragment header). */
export interface ProtocolTest extends Place {
  readonly kind: 'protocol';
  /** Of which IP; 0: of both. */
  readonly ipVersion: 0 | 4 | 6;
  readonly protocol: number;
}

/** `host`, `net`, `ip multicast`: an address of IPv4, ARP (sender and target) or IPv6 under a mask. */
export interface AddressTest extends Place {
  readonly kind: 'address';
  readonly direction: Direction;
  /** Four or sixteen bytes; bits outside of the mask are 0. */
  readonly address: Uint8Array;
  readonly mask: Uint8Array;
  /** An address of four bytes: where it may stand. Both false for one of sixteen. */
  readonly inIpv4: boolean;
  readonly inArp: boolean;
}

/** `port`, `portrange`: of first fragments and whole packets. */
export interface PortTest extends Place {
  readonly kind: 'port';
  readonly direction: Direction;
  /** TCP (6), UDP (17), SCTP (132), or 0: any of these. */
  readonly protocol: number;
  readonly first: number;
  readonly last: number;
}

/** `ether host`. */
export interface MacTest extends Place {
  readonly kind: 'mac';
  readonly direction: Direction;
  /** Six bytes. */
  readonly address: Uint8Array;
}

/** `ether multicast`: the destination is a group (broadcast included). */
export interface MacGroupTest extends Place {
  readonly kind: 'mac-group';
}

/** `vlan`, `vlan 7`: a tag (0x8100, 0x88a8 or 0x9100) follows the tags that precede it. */
export interface VlanTest extends Place {
  readonly kind: 'vlan';
  /** Undefined: any. */
  readonly id: number | undefined;
}

/** `less`, `greater`: length on the wire without FCS, both ends included. */
export interface LengthTest extends Place {
  readonly kind: 'length';
  readonly minBytes: number;
  readonly maxBytes: number;
}
