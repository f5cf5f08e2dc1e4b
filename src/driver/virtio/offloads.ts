/**
 * Checksums by the device (VIRTIO 1.2, 5.1.6.2 and 5.1.6.4). A packet that is sent says where its sum begins and where it goes, and
 * holds the sum of the pseudo header there. One that is received may be the same: it was never on a wire, and its checksum was
 * never computed. The driver computes it then, so that nobody gets a frame whose checksum is wrong.
 */

import { RxFlag, TxFlag } from '../../hugepage/packet-metadata.js';
import type { PacketPool } from '../../hugepage/packet-pool.js';
import { writeU16 } from '../../packet/bytes.js';
import { internetChecksum } from '../../packet/checksum.js';
import type { TxParts } from './queue-parts.js';
import * as reg from './registers.js';

/** What `sendOffloaded` does where CSUM was accepted. */
export const TX_OFFLOADS: number = TxFlag.TCP_CHECKSUM | TxFlag.UDP_CHECKSUM;

/** Where the checksum is, from the beginning of TCP (RFC 9293) and UDP (RFC 768). */
const TCP_FIELD = 16;
const UDP_FIELD = 6;
const FIELD_BYTES = 2;
const START_SHIFT = 16;

/**
 * Writes the header in front of a packet, as its flags say. False where nothing can be asked so: unknown flags, both checksums, or
 * a field behind the packet's end.
 */
export function writeHeader(pool: PacketPool, buffer: number, parts: TxParts): boolean {
  const { metadata, lengths } = pool;
  const { words, headerWord, shift } = parts;
  const at = headerWord + ((buffer << shift) >>> 2);
  const flags = metadata.txFlags[buffer]!;
  words[at] = 0;
  words[at + 1] = 0;
  words[at + 2] = 0;
  if (flags === 0) return true;
  if ((flags & ~TX_OFFLOADS) !== 0 || flags === TX_OFFLOADS) return false;
  const start = metadata.l2Bytes[buffer]! + metadata.l3Bytes[buffer]!;
  const field = flags === TxFlag.TCP_CHECKSUM ? TCP_FIELD : UDP_FIELD;
  if (start + field + FIELD_BYTES > lengths[buffer]!) return false;
  words[at] = reg.NET_NEEDS_CSUM;
  words[at + 1] = start << START_SHIFT;
  words[at + 2] = field;
  return true;
}

/**
 * Reads the headers of received packets into the pool's metadata, and completes checksums. Returns how many packets are left: one whose
 * header speaks of bytes that it does not have is taken out of the array, and `drop` is called with it.
 */
export function takeHeaders(
  pool: PacketPool,
  bufs: Uint32Array,
  count: number,
  drop: (buffer: number) => void,
): number {
  let kept = 0;
  for (let i = 0; i < count; i++) {
    const buffer = bufs[i]!;
    if (takeHeader(pool, buffer)) bufs[kept++] = buffer;
    else drop(buffer);
  }
  return kept;
}

function takeHeader(pool: PacketPool, buffer: number): boolean {
  const { memory, metadata, lengths } = pool;
  const frame = (buffer << pool.bufferShift) + pool.headroomBytes;
  const header = frame - reg.NET_HEADER_BYTES;
  const flags = memory[header + reg.NET_FLAGS]!;
  metadata.rxFlags[buffer] = 0;
  if ((flags & reg.NET_NEEDS_CSUM) !== 0) {
    // Little-endian, and the device's word.
    const start = memory[header + reg.NET_CSUM_START]! | (memory[header + reg.NET_CSUM_START + 1]! << 8);
    const offset = memory[header + reg.NET_CSUM_OFFSET]! | (memory[header + reg.NET_CSUM_OFFSET + 1]! << 8);
    const length = lengths[buffer]!;
    if (start + offset + FIELD_BYTES > length) return false;
    // The field holds the sum of the pseudo header, which counts as part of the data. 0 would mean "none" to UDP.
    const sum = internetChecksum(memory, frame + start, frame + length) || 0xffff;
    writeU16(memory, frame + start + offset, sum);
  } else if ((flags & reg.NET_DATA_VALID) === 0) {
    return true;
  }
  metadata.rxFlags[buffer] = RxFlag.L4_CHECKED;
  return true;
}
