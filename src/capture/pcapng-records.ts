/**
 * Writes the blocks of the pcapng format (draft-ietf-opsawg-pcapng): one section, its interfaces, a block for each frame
 * with a time in nanoseconds, and at the end what each interface counted.
 */
import { release, type as systemName } from 'node:os';
import { get32, MAX_FRAME_BYTES, put32 } from './byte-window.js';
import type { CaptureInterface, InterfaceStatistics } from './capture-interface.js';
import { LINKTYPE_ETHERNET } from './link-types.js';
import {
  BYTE_ORDER_MAGIC,
  ENHANCED_PACKET,
  INTERFACE_DESCRIPTION,
  INTERFACE_STATISTICS,
  SECTION_HEADER,
} from './pcapng-format.js';
import type { RecordFormat } from './record-format.js';

const OPTION_COMMENT = 1;
const SECTION_HARDWARE = 2;
const SECTION_OS = 3;
const SECTION_APPLICATION = 4;
const IF_NAME = 2;
const IF_DESCRIPTION = 3;
const IF_MAC = 6;
const IF_SPEED = 8;
const IF_TSRESOL = 9;
const IF_FILTER = 11;
const IF_OS = 12;
const IF_HARDWARE = 15;
const STATS_RECEIVED = 4;
const STATS_DROPPED = 5;
const STATS_ACCEPTED = 6;
const STATS_OS_DROPPED = 7;
/** Time stamps count units of 10^-9 s. */
const NANOSECONDS = 9;

/** Type, length, interface, time (two words), bytes kept, bytes on the wire. */
const PACKET_HEADER_BYTES = 28;
const TRAILER_BYTES = 4;
const MAX_OPTION_BYTES = 1024;

const OS = `${systemName()} ${release()}`;

export interface SectionDescription {
  readonly hardware?: string;
  readonly comment?: string;
}

export function pcapngRecords(
  interfaces: readonly CaptureInterface[],
  section: SectionDescription = {},
  snapBytes = MAX_FRAME_BYTES,
): RecordFormat {
  return {
    name: 'pcapng',
    header: Buffer.concat([
      sectionHeader(section),
      ...interfaces.map((one) => interfaceBlock(one, snapBytes)),
    ]),
    recordHeaderBytes: PACKET_HEADER_BYTES,
    recordBytes: blockBytes,
    time: timeWords,
    frame: putPacket,
    sizeAt: (bytes, at) => get32(bytes, at + 4, true),
    end: (statistics, seconds, nanoseconds) =>
      Buffer.concat(statistics.map((one, id) => statisticsBlock(one, id, seconds, nanoseconds))),
  };
}

function blockBytes(keptBytes: number): number {
  return PACKET_HEADER_BYTES + ((keptBytes + 3) & ~3) + TRAILER_BYTES;
}

function putPacket(
  into: Uint8Array,
  at: number,
  keptBytes: number,
  originalBytes: number,
  time: Int32Array,
  interfaceId: number,
): void {
  const sizeBytes = blockBytes(keptBytes);
  put32(into, at, ENHANCED_PACKET);
  put32(into, at + 4, sizeBytes);
  put32(into, at + 8, interfaceId);
  put32(into, at + 12, time[0]!);
  put32(into, at + 16, time[1]!);
  put32(into, at + 20, keptBytes);
  put32(into, at + 24, originalBytes);
  // The frame is filled up to 32 bits.
  const end = at + PACKET_HEADER_BYTES + keptBytes;
  for (let i = end; i < at + sizeBytes - TRAILER_BYTES; i++) into[i] = 0;
  put32(into, at + sizeBytes - TRAILER_BYTES, sizeBytes);
}

/** Nanoseconds since 1970 as two words, the upper one first: 64 bits by numbers of 53, in steps of 16. */
function timeWords(seconds: number, nanoseconds: number, words: Int32Array): void {
  const upper = Math.floor(seconds / 65_536) * 1e9;
  const lower = (seconds % 65_536) * 1e9 + nanoseconds + (upper % 65_536) * 65_536;
  words[0] = Math.floor(upper / 65_536) + Math.floor(lower / 2 ** 32);
  words[1] = lower % 2 ** 32;
}

function sectionHeader({ hardware, comment }: SectionDescription): Buffer {
  const fixed = Buffer.alloc(16, 0xff); // the last 8: a section of unknown length
  fixed.writeUInt32LE(BYTE_ORDER_MAGIC, 0);
  fixed.writeUInt16LE(1, 4);
  fixed.writeUInt16LE(0, 6);
  const options = [
    text(OPTION_COMMENT, comment),
    text(SECTION_HARDWARE, hardware),
    text(SECTION_OS, OS),
    text(SECTION_APPLICATION, 'Barewire'),
  ];
  return block(SECTION_HEADER, fixed, options);
}

function interfaceBlock(described: CaptureInterface, snapBytes: number): Buffer {
  const { name, description, hardware, mac, speedBitsPerSecond, filter, linkType } = described;
  const fixed = Buffer.alloc(8);
  fixed.writeUInt16LE(linkType ?? LINKTYPE_ETHERNET, 0);
  fixed.writeUInt32LE(snapBytes, 4);
  const options = [
    text(IF_NAME, name),
    text(IF_DESCRIPTION, description),
    mac === undefined ? undefined : option(IF_MAC, mac),
    count(IF_SPEED, speedBitsPerSecond),
    option(IF_TSRESOL, Uint8Array.of(NANOSECONDS)),
    // A byte 0 says: in the language of pcap-filter.
    filter === undefined ? undefined : text(IF_FILTER, `\0${filter}`),
    text(IF_OS, OS),
    text(IF_HARDWARE, hardware),
  ];
  return block(INTERFACE_DESCRIPTION, fixed, options);
}

function statisticsBlock(
  { received, droppedByInterface, droppedBySystem, accepted }: InterfaceStatistics,
  id: number,
  seconds: number,
  nanoseconds: number,
): Buffer {
  const fixed = Buffer.alloc(12);
  fixed.writeUInt32LE(id, 0);
  const time = new Int32Array(2);
  timeWords(seconds, nanoseconds, time);
  put32(fixed, 4, time[0]!);
  put32(fixed, 8, time[1]!);
  const options = [
    count(STATS_RECEIVED, received),
    count(STATS_DROPPED, droppedByInterface),
    count(STATS_ACCEPTED, accepted),
    count(STATS_OS_DROPPED, droppedBySystem),
  ];
  return block(INTERFACE_STATISTICS, fixed, options);
}

/** A block: its options, an end of options where there are any, and its length before and after. */
function block(type: number, fixed: Uint8Array, options: readonly (Buffer | undefined)[]): Buffer {
  const given = options.filter((one) => one !== undefined);
  const body = Buffer.concat([fixed, ...given, ...(given.length === 0 ? [] : [Buffer.alloc(4)])]);
  const head = Buffer.alloc(8);
  head.writeUInt32LE(type, 0);
  head.writeUInt32LE(body.length + 12, 4);
  return Buffer.concat([head, body, head.subarray(4)]);
}

function option(code: number, value: Uint8Array): Buffer {
  const bytes = Buffer.alloc(4 + ((value.length + 3) & ~3));
  bytes.writeUInt16LE(code, 0);
  bytes.writeUInt16LE(value.length, 2);
  bytes.set(value, 4);
  return bytes;
}

function text(code: number, value: string | undefined): Buffer | undefined {
  return value === undefined ? undefined : option(code, Buffer.from(value).subarray(0, MAX_OPTION_BYTES));
}

function count(code: number, value: number | undefined): Buffer | undefined {
  if (value === undefined) return undefined;
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(Math.round(value)), 0);
  return option(code, bytes);
}
