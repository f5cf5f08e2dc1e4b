/**
 * What the transmit path does to frames on request: IP, TCP, UDP and SCTP checksums (7.2.5), VLAN tags (7.4), and
 * cutting large sends into segments (7.2.4). Works on frames that were gathered into memory of the model.
 */

import { swap16 } from '../../packet/bytes.js';
import { copyBytes, type FrameMemory, frameMemory } from '../link.js';
import { addSum, crc32c, foldSum } from './checksum.js';

// Context descriptor (7.2.3.2.3). Word 0: IPLEN 8:0, MACLEN 15:9, VLAN 31:16. Word 2: IPV4 bit 10, L4T 12:11.
// Word 3: L4LEN 15:8, MSS 31:16.
const TUCMD_IPV4 = 1 << 10;
const L4T_UDP = 0;
const L4T_TCP = 1;
const L4T_SCTP = 2;
/** Offset of the checksum in a UDP, TCP, SCTP header, by L4T. */
const CHECKSUM_AT = [6, 16, 8, 16] as const;
const MIN_HEADER = [8, 20, 12, 20] as const;
const MAX_SEGMENT_BYTES = 16384;
const VLAN_BYTES = 4;
/** A bound on the segments of one send, so that a hostile driver cannot keep the model busy. */
const MIN_MSS = 16;

export class Offload {
  vlanTag = 0;
  /** The segment that `nextSegment` made, from its first byte. */
  readonly segment = frameMemory(MAX_SEGMENT_BYTES + 64);

  #macBytes = 0;
  #ipBytes = 0;
  #l4Bytes = 0;
  #mss = 0;
  #l4Type: number = L4T_UDP;
  #ipv4 = false;
  // Segmentation under way.
  #headerBytes = 0;
  #endAt = 0;
  #sentAt = 0;
  #index = 0;
  #flagMasks = [0, 0, 0];

  setContext(contexts: Int32Array, slot: number): void {
    const lengths = contexts[slot]!;
    const type = contexts[slot + 2]!;
    const segment = contexts[slot + 3]!;
    this.#ipBytes = lengths & 0x1ff;
    this.#macBytes = (lengths >>> 9) & 0x7f;
    this.vlanTag = lengths >>> 16;
    this.#ipv4 = (type & TUCMD_IPV4) !== 0;
    this.#l4Type = (type >>> 11) & 3;
    this.#l4Bytes = (segment >>> 8) & 0xff;
    this.#mss = segment >>> 16;
  }

  /** @returns name of the context's field that does not fit, undefined where all is well */
  insertChecksums(frame: FrameMemory, length: number, ip: boolean, l4: boolean): string | undefined {
    const l3 = this.#macBytes;
    const l4At = l3 + this.#ipBytes;
    if (ip) {
      if (l3 < 14 || this.#ipBytes < 20 || l4At > length) return 'IPLEN';
      if (this.#ipv4) insertIpChecksum(frame, l3, this.#ipBytes);
    }
    if (l4) {
      if (l3 < 14 || l4At + MIN_HEADER[this.#l4Type]! > length) return 'L4T';
      // Frames may be padded; the checksum ends where the IP packet does.
      const end = l3 + ipPacketBytes(frame.bytes, l3, length - l3);
      insertL4Checksum(frame, l4At, Math.max(end, l4At + MIN_HEADER[this.#l4Type]!), this.#l4Type);
    }
    return undefined;
  }

  /** @returns name of the field that does not fit, undefined where segmentation can start */
  beginSegments(
    frame: FrameMemory,
    length: number,
    payloadBytes: number,
    firstFlags: number,
    lastFlags: number,
  ): string | undefined {
    const headerBytes = this.#macBytes + this.#ipBytes + this.#l4Bytes;
    if (this.#macBytes < 14) return 'MACLEN';
    if (this.#ipBytes < (this.#ipv4 ? 20 : 40)) return 'IPLEN';
    if (this.#l4Type !== L4T_TCP && this.#l4Type !== L4T_UDP) return 'L4T';
    if (this.#l4Bytes < MIN_HEADER[this.#l4Type]!) return 'L4LEN';
    if (this.#mss < MIN_MSS || headerBytes + this.#mss > MAX_SEGMENT_BYTES) return 'MSS';
    if (headerBytes + payloadBytes !== length) return 'PAYLEN';
    this.#headerBytes = headerBytes;
    this.#sentAt = headerBytes;
    this.#endAt = length;
    this.#index = 0;
    // DTXTCPFLGL: first segment 11:0, middle ones 27:16; DTXTCPFLGH: last 11:0 (8.2.3.9.3, 8.2.3.9.4).
    this.#flagMasks = [firstFlags & 0xfff, (firstFlags >>> 16) & 0xfff, lastFlags & 0xfff];
    copyBytes(frame, 0, this.segment, 0, headerBytes);
    return undefined;
  }

  /** Makes the next segment in `segment`. @returns its length, 0 after the last one */
  nextSegment(frame: FrameMemory): number {
    const left = this.#endAt - this.#sentAt;
    if (left <= 0) return 0;
    const dataBytes = Math.min(left, this.#mss);
    const last = dataBytes === left;
    const segment = this.segment;
    // The header starts from the original each time: a VLAN tag may have been put into the last one.
    copyBytes(frame, 0, segment, 0, this.#headerBytes);
    copyBytes(frame, this.#sentAt, segment, this.#headerBytes, dataBytes);
    this.#editHeaders(segment.bytes, dataBytes, last);
    const length = this.#headerBytes + dataBytes;
    if (this.#ipv4) insertIpChecksum(segment, this.#macBytes, this.#ipBytes);
    this.#segmentChecksum(length, dataBytes);
    this.#sentAt += dataBytes;
    this.#index++;
    return length;
  }

  #editHeaders(bytes: Uint8Array, dataBytes: number, last: boolean): void {
    const l3 = this.#macBytes;
    const l4 = l3 + this.#ipBytes;
    if (this.#ipv4) {
      put16(bytes, l3 + 2, this.#ipBytes + this.#l4Bytes + dataBytes);
      put16(bytes, l3 + 4, get16(bytes, l3 + 4) + this.#index);
    } else {
      put16(bytes, l3 + 4, this.#ipBytes - 40 + this.#l4Bytes + dataBytes);
    }
    if (this.#l4Type === L4T_UDP) {
      put16(bytes, l4 + 4, this.#l4Bytes + dataBytes);
      return;
    }
    const sequence =
      (get16(bytes, l4 + 4) * 65536 + get16(bytes, l4 + 6) + this.#sentAt - this.#headerBytes) % 4294967296;
    put16(bytes, l4 + 4, Math.floor(sequence / 65536));
    put16(bytes, l4 + 6, sequence % 65536);
    // A send of one segment is first and last at once: its flags stay (assumed; the datasheet does not say).
    const first = this.#index === 0;
    const mask = first && last ? 0xfff : this.#flagMasks[first ? 0 : last ? 2 : 1]!;
    put16(bytes, l4 + 12, get16(bytes, l4 + 12) & (0xf000 | mask));
  }

  /**
   * Software left the checksum of the pseudo header without the length in the field (7.2.4.5): hardware adds the
   * length of each segment.
   */
  #segmentChecksum(length: number, dataBytes: number): void {
    const l4 = this.#macBytes + this.#ipBytes;
    const segment = this.segment;
    const at = l4 + CHECKSUM_AT[this.#l4Type]!;
    const sum = addSum(segment, l4, length - l4, swap16(this.#l4Bytes + dataBytes));
    store(segment.bytes, at, ~foldSum(sum), this.#l4Type === L4T_UDP);
  }
}

/** Total length from the IP header, or what there is where the header makes no sense. */
function ipPacketBytes(bytes: Uint8Array, l3: number, available: number): number {
  const version = bytes[l3]! >>> 4;
  const stated = version === 4 ? get16(bytes, l3 + 2) : version === 6 ? 40 + get16(bytes, l3 + 4) : available;
  return stated >= 20 && stated <= available ? stated : available;
}

function insertIpChecksum(frame: FrameMemory, l3: number, headerBytes: number): void {
  frame.bytes[l3 + 10] = 0;
  frame.bytes[l3 + 11] = 0;
  store(frame.bytes, l3 + 10, ~addSum(frame, l3, headerBytes, 0), false);
}

/** The field already holds the checksum of the pseudo header, so it takes part in the sum (7.2.5.2). */
function insertL4Checksum(frame: FrameMemory, l4: number, end: number, type: number): void {
  const at = l4 + CHECKSUM_AT[type]!;
  const bytes = frame.bytes;
  if (type === L4T_SCTP) {
    bytes.fill(0, at, at + 4);
    const value = crc32c(bytes, l4, end - l4);
    for (let i = 0; i < 4; i++) bytes[at + i] = value >>> (8 * i);
    return;
  }
  store(bytes, at, ~addSum(frame, l4, end - l4, 0), type === L4T_UDP);
}

/** Stores a little-endian checksum word. A UDP checksum of 0 would say that there is none: it becomes all ones. */
function store(bytes: Uint8Array, at: number, value: number, isUdp: boolean): void {
  const word = isUdp && (value & 0xffff) === 0 ? 0xffff : value & 0xffff;
  bytes[at] = word;
  bytes[at + 1] = word >>> 8;
}

/** Legacy descriptors: sum from `start` to the end of the frame, stored at `at` (7.2.3.2.1). */
export function insertLegacyChecksum(frame: FrameMemory, length: number, start: number, at: number): void {
  if (start >= length || at + 2 > length) return;
  store(frame.bytes, at, ~addSum(frame, start, length - start, 0), false);
}

/** Puts a tag behind the addresses. The memory has space for it. @returns the new length */
export function insertVlan(frame: FrameMemory, length: number, etherType: number, tag: number): number {
  const bytes = frame.bytes;
  bytes.copyWithin(12 + VLAN_BYTES, 12, length);
  put16(bytes, 12, etherType);
  put16(bytes, 14, tag);
  return length + VLAN_BYTES;
}

function get16(bytes: Uint8Array, at: number): number {
  return (bytes[at]! << 8) | bytes[at + 1]!;
}

function put16(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 8;
  bytes[at + 1] = value;
}
