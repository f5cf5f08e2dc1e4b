/**
 * Checksums: the Internet checksum (RFC 1071), CRC-32 of Ethernet frames, CRC-32C of SCTP.
 *
 * The Internet checksum does not care about byte order as long as it is the same everywhere, so sums are taken over
 * little-endian 16-bit words, as memory has them, and only what is stored in a header is in network order.
 */
import type { FrameMemory } from '../link.js';

/**
 * Adds bytes to a one's complement sum of little-endian 16-bit words. An odd last byte counts as the low half.
 * About 0.8 ns for each four bytes at even offsets. At most 64 KiB a call: the sum stays below 2^31.
 */
export function addSum(memory: FrameMemory, offset: number, lengthBytes: number, sum: number): number {
  const { bytes, words } = memory;
  const end = offset + lengthBytes;
  let at = offset;
  let total = sum;
  if ((at & 1) === 0) {
    if ((at & 2) !== 0 && at + 2 <= end) {
      total += bytes[at]! | (bytes[at + 1]! << 8);
      at += 2;
    }
    if ((at & 3) === 0) {
      const last = Math.floor((end - at) / 4);
      const first = at / 4;
      for (let i = 0; i < last; i++) {
        const word = words[first + i]!;
        total += (word & 0xffff) + (word >>> 16);
      }
      at += last * 4;
    }
  }
  for (; at + 2 <= end; at += 2) total += bytes[at]! | (bytes[at + 1]! << 8);
  if (at < end) total += bytes[at]!;
  return foldSum(total);
}

/** Reduces a sum to 16 bits. */
export function foldSum(sum: number): number {
  const once = (sum & 0xffff) + (sum >>> 16);
  return (once & 0xffff) + (once >>> 16);
}

/** A 16-bit number in network order as the little-endian word that memory shows. */
export function swap16(value: number): number {
  return ((value & 0xff) << 8) | ((value >>> 8) & 0xff);
}

const CRC32_TABLE = crcTable(0xedb88320);
const CRC32C_TABLE = crcTable(0x82f63b78);

function crcTable(polynomial: number): Int32Array {
  const table = new Int32Array(256);
  for (let n = 0; n < 256; n++) {
    let value = n;
    for (let bit = 0; bit < 8; bit++) value = (value & 1) !== 0 ? (value >>> 1) ^ polynomial : value >>> 1;
    table[n] = value;
  }
  return table;
}

function crc(table: Int32Array, bytes: Uint8Array, offset: number, lengthBytes: number): number {
  let value = -1;
  for (let i = offset; i < offset + lengthBytes; i++)
    value = table[(value ^ bytes[i]!) & 0xff]! ^ (value >>> 8);
  return ~value;
}

/** Frame check sequence (IEEE 802.3, 3.2.9) as the signed word to append, least significant byte first. */
export function crc32(bytes: Uint8Array, offset: number, lengthBytes: number): number {
  return crc(CRC32_TABLE, bytes, offset, lengthBytes);
}

/** Checksum of SCTP packets (RFC 9260, appendix A), as the signed word to store least significant byte first. */
export function crc32c(bytes: Uint8Array, offset: number, lengthBytes: number): number {
  return crc(CRC32C_TABLE, bytes, offset, lengthBytes);
}
