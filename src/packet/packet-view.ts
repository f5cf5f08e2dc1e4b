/** What `parse` found in a frame: where each header and the payload lie, and what is wrong. */

/** Headers that a frame may have, as bits of `PacketView.layers`. */
export const Layer = {
  ETHERNET: 0x001,
  VLAN: 0x002,
  ARP: 0x004,
  IPV4: 0x008,
  IPV6: 0x010,
  UDP: 0x020,
  TCP: 0x040,
  ICMP: 0x080,
  ICMPV6: 0x100,
} as const;

export type LayerBit = (typeof Layer)[keyof typeof Layer];

/**
 * What is wrong with a frame:
 *
 * - `header-cut`: the frame ends inside a header
 * - `payload-cut`: all headers are there, but the frame is shorter than its IP or UDP header says
 * - `bad-version`: an IP header of another version than its EtherType says
 * - `bad-length`: a length field is impossible, or a header does not fit into the length that the one around it gives
 * - `too-many-headers`: more VLAN tags or IPv6 extension headers than are followed
 * - `unsupported`: an ARP packet that is not for Ethernet and IPv4
 */
export type PacketProblem =
  | 'none'
  | 'header-cut'
  | 'payload-cut'
  | 'bad-version'
  | 'bad-length'
  | 'too-many-headers'
  | 'unsupported';

const LAYER_NAMES: Readonly<Record<number, string>> = {
  [Layer.ETHERNET]: 'Ethernet header',
  [Layer.VLAN]: 'VLAN tag',
  [Layer.ARP]: 'ARP packet',
  [Layer.IPV4]: 'IPv4 header',
  [Layer.IPV6]: 'IPv6 header',
  [Layer.UDP]: 'UDP header',
  [Layer.TCP]: 'TCP header',
  [Layer.ICMP]: 'ICMP header',
  [Layer.ICMPV6]: 'ICMPv6 header',
};

const NO_BYTES = new Uint8Array(0);

/**
 * Filled by `parse`, once per frame and again and again: it owns no memory of a frame and allocates none. All offsets
 * are absolute, in `bytes`. A number that a frame does not have is -1, a length 0.
 */
export class PacketView {
  /** The memory that was parsed, not a copy. It must not change while the view is used. */
  bytes: Uint8Array = NO_BYTES;
  /** Where the frame begins. */
  offset = 0;
  /** The frame's length without FCS, as far as `bytes` reaches. */
  lengthBytes = 0;

  /** Bits of `Layer`: the headers that are complete and sound. */
  layers = 0;
  problem: PacketProblem = 'none';
  /** The header that `problem` is about; 0 where there is none. */
  problemLayer: LayerBit | 0 = 0;
  /** With `header-cut` and `payload-cut`: how many bytes more the frame would need. */
  missingBytes = 0;

  /** Type field behind the VLAN tags. Below 0x600 it is a length of IEEE 802.3. */
  etherType = -1;
  /** VLAN tags found, 0 to 2. */
  vlanCount = 0;
  /** Tag control information of the first (outer) tag: priority (3 bits), drop eligible (1), VLAN number (12). */
  vlanTag = -1;
  /** The same of the second tag. */
  innerVlanTag = -1;

  /** ARP, IPv4 or IPv6 header. */
  l3Offset = -1;
  /** IPv4 options and IPv6 extension headers included. */
  l3HeaderBytes = 0;
  /** IP protocol of what the packet carries, behind all extension headers. */
  protocol = -1;
  /** Where the fragment belongs in the whole packet; 0 for the first and for whole packets. */
  fragmentOffsetBytes = 0;
  /** False for the last fragment and for whole packets. */
  moreFragments = false;
  /** An IPv6 routing header names further stops: the destination address is not the packet's last one. */
  isRouted = false;

  /** UDP, TCP, ICMP or ICMPv6 header. Of fragments only the first has one. */
  l4Offset = -1;
  /** TCP options included. */
  l4HeaderBytes = 0;
  sourcePort = -1;
  destinationPort = -1;
  /** Bits of `TcpFlag`; 0 for other protocols. */
  tcpFlags = 0;

  /** What follows the last header that was understood. */
  payloadOffset = 0;
  /** As much of it as is there. */
  payloadBytes = 0;
  /** Bytes behind the packet that Ethernet's or IP's length says: padding. */
  trailerBytes = 0;

  /** Whether the header is there, complete and sound. @param layer one bit of `Layer` */
  has(layer: LayerBit): boolean {
    return (this.layers & layer) !== 0;
  }

  get isFragment(): boolean {
    return this.moreFragments || this.fragmentOffsetBytes > 0;
  }

  /** The problem in words, such as `IPv4 header cut: 12 bytes are missing`; undefined where there is none. */
  get problemText(): string | undefined {
    if (this.problem === 'none') return undefined;
    const name = LAYER_NAMES[this.problemLayer] ?? 'frame';
    const missing = `${this.missingBytes} ${this.missingBytes === 1 ? 'byte is' : 'bytes are'} missing`;
    switch (this.problem) {
      case 'header-cut':
        return `${name} cut: ${missing}`;
      case 'payload-cut':
        return `frame shorter than its ${name} says: ${missing}`;
      case 'bad-version':
        return `${name} has another version than its EtherType`;
      case 'bad-length':
        return `${name} has an impossible length`;
      case 'too-many-headers':
        return this.problemLayer === Layer.VLAN
          ? 'more than two VLAN tags'
          : `${name} has too many extensions`;
    }
    return `${name} is not for Ethernet and IPv4`;
  }

  /** Forgets the last frame; `parse` does so itself. */
  reset(bytes: Uint8Array, offset: number, lengthBytes: number): void {
    this.bytes = bytes;
    this.offset = offset;
    this.lengthBytes = lengthBytes;
    this.layers = 0;
    this.problem = 'none';
    this.problemLayer = 0;
    this.missingBytes = 0;
    this.etherType = -1;
    this.vlanCount = 0;
    this.vlanTag = -1;
    this.innerVlanTag = -1;
    this.l3Offset = -1;
    this.l3HeaderBytes = 0;
    this.protocol = -1;
    this.fragmentOffsetBytes = 0;
    this.moreFragments = false;
    this.isRouted = false;
    this.l4Offset = -1;
    this.l4HeaderBytes = 0;
    this.sourcePort = -1;
    this.destinationPort = -1;
    this.tcpFlags = 0;
    this.payloadOffset = offset;
    this.payloadBytes = lengthBytes;
    this.trailerBytes = 0;
  }
}
