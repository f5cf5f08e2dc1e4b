/**
 * Reads the classic pcap format (draft-ietf-opsawg-pcap) in both byte orders, with microseconds or nanoseconds, and as a
 * patched libpcap wrote it.
 */
import { type ByteWindow, get16, get32, MAX_FRAME_BYTES } from './byte-window.js';
import { dropFcs, emptyFrame, type FrameDecoder } from './frame-decoder.js';
import {
  FCS_PRESENT,
  FCS_WORDS_SHIFT,
  FILE_HEADER_BYTES,
  MAGIC_NS,
  MAGIC_PATCHED,
  MAGIC_US,
  PATCHED_HEADER_BYTES,
  RECORD_HEADER_BYTES,
  VERSION_MAJOR,
} from './pcap-format.js';

const MAGICS = [MAGIC_US, MAGIC_NS, MAGIC_PATCHED];

export class PcapDecoder implements FrameDecoder {
  readonly frame = emptyFrame();
  linkType: number | undefined;
  damage: string | undefined;
  #littleEndian = true;
  #fractionNs = 1;
  #fcsBytes = 0;
  #headerBytes = RECORD_HEADER_BYTES;
  /** Records found so far. */
  #records = 0;

  next(window: ByteWindow): boolean {
    if (this.damage !== undefined || !this.begin(window)) return false;
    const headerBytes = this.#headerBytes;
    if (window.sizeBytes < headerBytes) return false;
    const { bytes, start } = window;
    const little = this.#littleEndian;
    const lengthBytes = get32(bytes, start + 8, little);
    if (lengthBytes > MAX_FRAME_BYTES) {
      this.damage = `is damaged: record ${this.#records + 1}, at byte ${window.startOffset}, claims to have ${lengthBytes} bytes`;
      return false;
    }
    if (window.sizeBytes < headerBytes + lengthBytes) return false;
    const { frame } = this;
    frame.bytes = bytes;
    frame.offsetBytes = start + headerBytes;
    frame.lengthBytes = lengthBytes;
    // Some programs leave the length on the wire 0.
    frame.originalBytes = Math.max(get32(bytes, start + 12, little), lengthBytes);
    frame.seconds = get32(bytes, start, little);
    const fractionNs = get32(bytes, start + 4, little) * this.#fractionNs;
    frame.nanoseconds = fractionNs;
    // A damaged file may say more than a second.
    if (fractionNs >= 1e9) {
      frame.seconds += Math.floor(fractionNs / 1e9);
      frame.nanoseconds = fractionNs % 1e9;
    }
    if (this.#fcsBytes > 0) dropFcs(frame, this.#fcsBytes);
    window.start += headerBytes + lengthBytes;
    this.#records++;
    return true;
  }

  begin(window: ByteWindow): boolean {
    if (this.linkType !== undefined) return true;
    if (this.damage !== undefined || window.sizeBytes < FILE_HEADER_BYTES) return false;
    const { bytes, start } = window;
    this.#littleEndian = MAGICS.includes(get32(bytes, start, true));
    const little = this.#littleEndian;
    const magic = get32(bytes, start, little);
    this.#fractionNs = magic === MAGIC_NS ? 1 : 1000;
    if (magic === MAGIC_PATCHED) this.#headerBytes = PATCHED_HEADER_BYTES;
    const major = get16(bytes, start + 4, little);
    if (major !== VERSION_MAJOR) {
      this.damage = `has version ${major}.${get16(bytes, start + 6, little)} of the pcap format, not 2.4`;
      return false;
    }
    const network = get32(bytes, start + 20, little);
    this.linkType = network & 0xffff;
    this.frame.linkType = this.linkType;
    if ((network & FCS_PRESENT) !== 0) this.#fcsBytes = 2 * (network >>> FCS_WORDS_SHIFT);
    window.start += FILE_HEADER_BYTES;
    return true;
  }

  unfinished(window: ByteWindow): string | undefined {
    const { sizeBytes, startOffset, endOffset } = window;
    if (this.linkType === undefined) return `is too short for a pcap file: ${sizeBytes} bytes`;
    if (sizeBytes === 0) return undefined;
    const record = `record ${this.#records + 1}, from byte ${startOffset}`;
    if (sizeBytes < this.#headerBytes) {
      return `ends inside a record, at byte ${endOffset}: ${record}, has ${sizeBytes} of the ${this.#headerBytes} bytes of its header`;
    }
    const wantedBytes = get32(window.bytes, window.start + 8, this.#littleEndian);
    const hereBytes = sizeBytes - this.#headerBytes;
    return `ends inside a record, at byte ${endOffset}: ${record}, has ${hereBytes} of its ${wantedBytes} bytes`;
  }
}
