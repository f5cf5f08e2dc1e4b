/**
 * Checksums: the Internet checksum (RFC 1071), CRC-32 of Ethernet frames, CRC-32C of SCTP.
 *
 * The Internet checksum does not care about byte order as long as it is the same everywhere, so sums are taken over
 * little-endian 16-bit words, as memory has them, and only what is stored in a header is in network order.
 */
import { crc32 as zlibCrc32 } from 'node:zlib';
import type { FrameMemory } from '../link.js';

/**
 * Adds bytes to a one's complement sum of little-endian 16-bit words. An odd last byte counts as the low half.
 * At most 64 KiB a call: the sum stays below 2^31.
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
      const wordCount = Math.floor((end - at) / 4);
      total += sumWords(words, at / 4, at / 4 + wordCount);
      at += wordCount * 4;
    }
  }
  for (; at + 2 <= end; at += 2) total += bytes[at]! | (bytes[at + 1]! << 8);
  if (at < end) total += bytes[at]!;
  return foldSum(total);
}

/**
 * Sum of 32-bit words, which is the sum of their halves once the carries are added. Four floating-point accumulators
 * take two thirds of the time that masking and adding halves does (0.8 against 1.3 ns a word): 2^46 fits exactly.
 */
function sumWords(words: Int32Array, first: number, end: number): number {
  if (end - first < FEW_WORDS) {
    let sum = 0;
    for (let i = first; i < end; i++) sum += (words[i]! & 0xffff) + (words[i]! >>> 16);
    return sum;
  }
  let s0 = 0;
  let s1 = 0;
  let s2 = 0;
  let s3 = 0;
  let i = first;
  for (; i + 3 < end; i += 4) {
    s0 += words[i]! >>> 0;
    s1 += words[i + 1]! >>> 0;
    s2 += words[i + 2]! >>> 0;
    s3 += words[i + 3]! >>> 0;
  }
  for (; i < end; i++) s0 += words[i]! >>> 0;
  const sum = s0 + s1 + s2 + s3;
  const carries = Math.floor(sum / TWO_32);
  const low = sum - carries * TWO_32;
  return (low & 0xffff) + (low >>> 16) + carries;
}

/** Reduces a sum to 16 bits. */
export function foldSum(sum: number): number {
  const once = (sum & 0xffff) + (sum >>> 16);
  return (once & 0xffff) + (once >>> 16);
}

const TWO_32 = 4294967296;
/** Below this the loop over halves is faster: headers. */
const FEW_WORDS = 16;

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
  return zlibCrc32(bytes.subarray(offset, offset + lengthBytes)) | 0;
}

/** Checksum of SCTP packets (RFC 9260, appendix A), as the signed word to store least significant byte first. */
export function crc32c(bytes: Uint8Array, offset: number, lengthBytes: number): number {
  return crc(CRC32C_TABLE, bytes, offset, lengthBytes);
}
