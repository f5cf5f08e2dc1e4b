/** Writes the records of the classic pcap format (draft-ietf-opsawg-pcap), with nanoseconds. */
import { get32, MAX_FRAME_BYTES } from './byte-window.js';
import {
  FILE_HEADER_BYTES,
  MAGIC_NS,
  RECORD_HEADER_BYTES,
  VERSION_MAJOR,
  VERSION_MINOR,
} from './pcap-format.js';
import type { RecordFormat } from './record-format.js';

const NOTHING = new Uint8Array(0);

/** @param snapBytes longest frame kept */
export function pcapRecords(linkType: number, snapBytes = MAX_FRAME_BYTES): RecordFormat {
  const header = Buffer.alloc(FILE_HEADER_BYTES);
  header.writeUInt32LE(MAGIC_NS, 0);
  header.writeUInt16LE(VERSION_MAJOR, 4);
  header.writeUInt16LE(VERSION_MINOR, 6);
  header.writeUInt32LE(snapBytes, 16);
  header.writeUInt32LE(linkType, 20);
  return {
    name: 'pcap',
    header,
    recordHeaderBytes: RECORD_HEADER_BYTES,
    recordBytes: (keptBytes) => RECORD_HEADER_BYTES + keptBytes,
    frame(into, at, keptBytes, originalBytes, seconds, nanoseconds) {
      into.writeUInt32LE(seconds >>> 0, at);
      into.writeUInt32LE(nanoseconds, at + 4);
      into.writeUInt32LE(keptBytes, at + 8);
      into.writeUInt32LE(originalBytes, at + 12);
    },
    sizeAt: (bytes, at) => RECORD_HEADER_BYTES + get32(bytes, at + 8, true),
    end: () => NOTHING,
  };
}
