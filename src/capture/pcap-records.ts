/** Writes the records of the classic pcap format (draft-ietf-opsawg-pcap), with nanoseconds. */
import { get32, MAX_FRAME_BYTES, put32 } from './byte-window.js';
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
    time(seconds, nanoseconds, words) {
      words[0] = seconds;
      words[1] = nanoseconds;
    },
    frame(into, at, keptBytes, originalBytes, time) {
      put32(into, at, time[0]!);
      put32(into, at + 4, time[1]!);
      put32(into, at + 8, keptBytes);
      put32(into, at + 12, originalBytes);
    },
    sizeAt: (bytes, at) => RECORD_HEADER_BYTES + get32(bytes, at + 8, true),
    end: () => NOTHING,
  };
}
