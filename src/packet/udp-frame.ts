/**
 * The frames that `pktgen` sends: Ethernet II, IPv4, UDP, and a payload that starts with a magic number and a sequence
 * number. All checksums are right.
 *
 *     0   destination MAC, source MAC, 0x0800          14 bytes
 *     14  IPv4 header without options (RFC 791)        20
 *     34  UDP header (RFC 768)                          8
 *     42  "BWGN"                                        4
 *     46  sequence number, big-endian                   8
 *     54  filler: byte i of the frame is i & 0xff
 */

const ETHERNET_BYTES = 14;
const IPV4_BYTES = 20;
const UDP_OFFSET = ETHERNET_BYTES + IPV4_BYTES;
const UDP_BYTES = 8;
const UDP_CHECKSUM_OFFSET = UDP_OFFSET + 6;
const MAGIC_OFFSET = UDP_OFFSET + UDP_BYTES;
export const SEQUENCE_OFFSET = MAGIC_OFFSET + 4;
/** Ethernet's shortest frame without FCS; the sequence number fits. */
export const MIN_FRAME_BYTES = 60;

const ETHERTYPE_IPV4 = 0x0800;
const PROTOCOL_UDP = 17;
const TTL = 64;

export interface UdpFrameOptions {
  /** Length without FCS, 60 to 1514. */
  readonly sizeBytes: number;
  readonly destinationMac: Uint8Array;
  readonly sourceMac: Uint8Array;
  /** Four bytes. */
  readonly sourceIp: Uint8Array;
  readonly destinationIp: Uint8Array;
  readonly sourcePort: number;
  readonly destinationPort: number;
}

/** Writes frames into buffers: the whole frame once, then only what changes from packet to packet. */
export class UdpFrame {
  readonly #bytes: Uint8Array;
  /** One's complement sum over UDP pseudo header, header and payload with sequence number 0; not folded. */
  readonly #udpSum: number;

  constructor(options: UdpFrameOptions) {
    const { sizeBytes } = options;
    const bytes = new Uint8Array(sizeBytes);
    for (let i = SEQUENCE_OFFSET + 8; i < sizeBytes; i++) bytes[i] = i & 0xff;
    const view = new DataView(bytes.buffer);
    bytes.set(options.destinationMac, 0);
    bytes.set(options.sourceMac, 6);
    view.setUint16(12, ETHERTYPE_IPV4);
    view.setUint8(14, 0x45);
    view.setUint16(16, sizeBytes - ETHERNET_BYTES);
    view.setUint8(22, TTL);
    view.setUint8(23, PROTOCOL_UDP);
    bytes.set(options.sourceIp, 26);
    bytes.set(options.destinationIp, 30);
    view.setUint16(24, foldedChecksum(sum16(view, ETHERNET_BYTES, UDP_OFFSET)));
    const udpLength = sizeBytes - UDP_OFFSET;
    view.setUint16(UDP_OFFSET, options.sourcePort);
    view.setUint16(UDP_OFFSET + 2, options.destinationPort);
    view.setUint16(UDP_OFFSET + 4, udpLength);
    bytes.set([0x42, 0x57, 0x47, 0x4e], MAGIC_OFFSET);
    // Pseudo header: both addresses, protocol, UDP length (RFC 768).
    this.#udpSum =
      sum16(view, 26, UDP_OFFSET) + PROTOCOL_UDP + udpLength + sum16(view, UDP_OFFSET, sizeBytes);
    this.#bytes = bytes;
  }

  get sizeBytes(): number {
    return this.#bytes.length;
  }

  /** Writes the whole frame, with sequence number 0 and its checksum. */
  fill(memory: Uint8Array, offset: number): void {
    memory.set(this.#bytes, offset);
    this.setSequence(memory, offset, 0);
  }

  /** Writes the sequence number (below 2^53) and the UDP checksum. Allocates nothing. */
  setSequence(memory: Uint8Array, offset: number, sequence: number): void {
    const low = sequence >>> 0;
    const high = (sequence / 0x1_0000_0000) >>> 0;
    const at = offset + SEQUENCE_OFFSET;
    memory[at] = high >>> 24;
    memory[at + 1] = high >>> 16;
    memory[at + 2] = high >>> 8;
    memory[at + 3] = high;
    memory[at + 4] = low >>> 24;
    memory[at + 5] = low >>> 16;
    memory[at + 6] = low >>> 8;
    memory[at + 7] = low;
    const sum = this.#udpSum + (high >>> 16) + (high & 0xffff) + (low >>> 16) + (low & 0xffff);
    // An all-zero checksum means "none" in UDP over IPv4, so 0 is sent as 0xffff (RFC 768).
    const checksum = foldedChecksum(sum) || 0xffff;
    memory[offset + UDP_CHECKSUM_OFFSET] = checksum >>> 8;
    memory[offset + UDP_CHECKSUM_OFFSET + 1] = checksum;
  }
}

/** Sum of big-endian 16-bit words; an odd last byte counts as its high half. */
function sum16(view: DataView, from: number, to: number): number {
  let sum = 0;
  for (let i = from; i + 1 < to; i += 2) sum += view.getUint16(i);
  if ((to - from) % 2 === 1) sum += view.getUint8(to - 1) << 8;
  return sum;
}

function foldedChecksum(sum: number): number {
  let folded = sum;
  while (folded > 0xffff) folded = (folded & 0xffff) + (folded >>> 16);
  return ~folded & 0xffff;
}
