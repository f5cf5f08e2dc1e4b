/**
 * vfio-user messages as bytes: the header, and the body of each command. Pure functions over byte arrays; every
 * length, offset and count that comes from the other side is checked here, what they mean to a device is checked
 * by the client and the server.
 *
 * Specification: vfio-user protocol 0.9.1; structures of linux/vfio.h. All fields are little-endian.
 */
import { constants } from 'node:os';
import { NicError } from '../../errors.js';

const { EINVAL } = constants.errno;

export const HEADER_BYTES = 16;
export const VERSION_MAJOR = 0;
/** The oldest minor version; nothing of the later ones is used, and QEMU speaks no other. */
export const VERSION_MINOR = 0;
/** What a side may transfer in one message if it did not say otherwise. */
export const DEFAULT_MAX_TRANSFER_BYTES = 1024 * 1024;

export const Command = {
  VERSION: 1,
  DMA_MAP: 2,
  DMA_UNMAP: 3,
  DEVICE_GET_INFO: 4,
  DEVICE_GET_REGION_INFO: 5,
  DEVICE_GET_REGION_IO_FDS: 6,
  DEVICE_GET_IRQ_INFO: 7,
  DEVICE_SET_IRQS: 8,
  REGION_READ: 9,
  REGION_WRITE: 10,
  DMA_READ: 11,
  DMA_WRITE: 12,
  DEVICE_RESET: 13,
  REGION_WRITE_MULTI: 15,
} as const;

/** `DMA_MAP` for 2, for messages to people. */
export function commandName(command: number): string {
  for (const [name, value] of Object.entries(Command)) if (value === command) return name;
  return `command ${command}`;
}

export const MessageType = { COMMAND: 0, REPLY: 1 } as const;
const TYPE_MASK = 0xf;
const FLAG_NO_REPLY = 1 << 4;
const FLAG_ERROR = 1 << 5;

export interface Header {
  readonly id: number;
  readonly command: number;
  /** Of the whole message, header included. */
  readonly sizeBytes: number;
  /** `MessageType`; other values are malformed. */
  readonly type: number;
  readonly noReply: boolean;
  readonly error: boolean;
  /** Only of use in an error reply, and 0 where the sender named none. */
  readonly errno: number;
}

function malformed(text: string): NicError {
  return new NicError('PROTOCOL', text, { errno: EINVAL });
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** The fields of a body, after checking its exact length. */
function fixedBody(bytes: Uint8Array, sizeBytes: number, what: string): DataView {
  if (bytes.length !== sizeBytes) {
    throw malformed(`${what} has ${bytes.length} bytes instead of ${sizeBytes}`);
  }
  return viewOf(bytes);
}

/** The fixed fields of a body that has more behind them. */
function openBody(bytes: Uint8Array, minimumBytes: number, what: string): DataView {
  if (bytes.length < minimumBytes) {
    throw malformed(`${what} has ${bytes.length} bytes, at least ${minimumBytes} are needed`);
  }
  return viewOf(bytes);
}

/** `bytes` holds at least the 16 bytes of a header. Nothing is judged but the format. */
export function decodeHeader(bytes: Uint8Array): Header {
  const view = viewOf(bytes);
  const flags = view.getUint32(8, true);
  return {
    id: view.getUint16(0, true),
    command: view.getUint16(2, true),
    sizeBytes: view.getUint32(4, true),
    type: flags & TYPE_MASK,
    noReply: (flags & FLAG_NO_REPLY) !== 0,
    error: (flags & FLAG_ERROR) !== 0,
    errno: view.getUint32(12, true),
  };
}

function putHeader(into: Uint8Array, id: number, command: number, flags: number, errno: number): void {
  const view = viewOf(into);
  view.setUint16(0, id, true);
  view.setUint16(2, command, true);
  view.setUint32(4, into.length, true);
  view.setUint32(8, flags, true);
  view.setUint32(12, errno, true);
}

function encodeMessage(id: number, command: number, flags: number, errno: number, body: Uint8Array) {
  const message = new Uint8Array(HEADER_BYTES + body.length);
  putHeader(message, id, command, flags, errno);
  message.set(body, HEADER_BYTES);
  return message;
}

export const NO_BODY: Uint8Array = new Uint8Array(0);

export function encodeCommand(id: number, command: number, body = NO_BODY, noReply = false): Uint8Array {
  return encodeMessage(id, command, MessageType.COMMAND | (noReply ? FLAG_NO_REPLY : 0), 0, body);
}

export function encodeReply(id: number, command: number, body = NO_BODY): Uint8Array {
  return encodeMessage(id, command, MessageType.REPLY, 0, body);
}

/** An error reply is a header alone. @param errno of either sign, as a `NicError` has it; positive on the wire */
export function encodeErrorReply(id: number, command: number, errno: number): Uint8Array {
  return encodeMessage(id, command, MessageType.REPLY | FLAG_ERROR, Math.abs(errno), NO_BODY);
}

// VERSION

/** What a side can do. Absent keys have the protocol's defaults; unknown ones are ignored. */
export interface Capabilities {
  /** Most descriptors it takes in one message. */
  readonly maxMessageFds: number;
  readonly maxTransferBytes: number;
  readonly maxDmaMaps: number;
  /** Page sizes for DMA_MAP, or'ed together. */
  readonly pageSizesBytes: number;
  /**
   * Not of the specification. 1: this client reads registers that a read clears by messages, also where their page is mapped,
   * so it may map pages that hold such registers (see `ServedArea.onlyKnowing`).
   */
  readonly trappedReads?: number;
}

export const DEFAULT_CAPABILITIES: Capabilities = {
  maxMessageFds: 1,
  maxTransferBytes: DEFAULT_MAX_TRANSFER_BYTES,
  maxDmaMaps: 65535,
  pageSizesBytes: 4096,
};

export interface Version {
  readonly major: number;
  readonly minor: number;
  readonly capabilities: Capabilities;
}

const CAPABILITY_KEYS = [
  ['max_msg_fds', 'maxMessageFds'],
  ['max_data_xfer_size', 'maxTransferBytes'],
  ['max_dma_maps', 'maxDmaMaps'],
  ['pgsizes', 'pageSizesBytes'],
  ['x_barewire_trapped_reads', 'trappedReads'],
] as const;

export function encodeVersion(version: Version): Uint8Array {
  const capabilities: Record<string, number> = {};
  for (const [key, property] of CAPABILITY_KEYS) {
    const value = version.capabilities[property];
    if (value !== undefined) capabilities[key] = value;
  }
  const json = new TextEncoder().encode(`${JSON.stringify({ capabilities })}\0`);
  const body = new Uint8Array(4 + json.length);
  const view = viewOf(body);
  view.setUint16(0, version.major, true);
  view.setUint16(2, version.minor, true);
  body.set(json, 4);
  return body;
}

/** @throws NicError `PROTOCOL` where the JSON is not an object, or a known capability is not a count. */
export function decodeVersion(body: Uint8Array): Version {
  const view = openBody(body, 4, 'VERSION');
  const result = { ...DEFAULT_CAPABILITIES } as Record<string, number>;
  for (const [key, value] of Object.entries(parseCapabilities(body.subarray(4)))) {
    const known = CAPABILITY_KEYS.find(([name]) => name === key);
    if (known === undefined) continue;
    if (!Number.isSafeInteger(value) || (value as number) < 0) {
      throw malformed(`Capability ${key} is ${JSON.stringify(value)}, not a count`);
    }
    result[known[1]] = value as number;
  }
  return {
    major: view.getUint16(0, true),
    minor: view.getUint16(2, true),
    capabilities: result as unknown as Capabilities,
  };
}

function parseCapabilities(json: Uint8Array): object {
  if (json.length === 0) return {};
  if (json.at(-1) !== 0) throw malformed('The JSON of VERSION does not end in NUL');
  let parsed: unknown;
  try {
    parsed = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(json.subarray(0, -1)));
  } catch (cause) {
    throw new NicError('PROTOCOL', 'The JSON of VERSION cannot be parsed', { errno: EINVAL, cause });
  }
  if (!isObject(parsed)) throw malformed('The JSON of VERSION is not an object');
  const capabilities = (parsed as { capabilities?: unknown }).capabilities ?? {};
  if (!isObject(capabilities)) throw malformed('The capabilities of VERSION are not an object');
  return capabilities;
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

// DMA_MAP, DMA_UNMAP

/** Bits of `DmaMap.flags`. The last two are newer servers' hints on how to reach the memory. */
export const DMA_MAP_READ = 1 << 0;
export const DMA_MAP_WRITE = 1 << 1;
export const DMA_MAP_MMAP = 1 << 2;
export const DMA_MAP_FILE_IO = 1 << 3;

export interface DmaMap {
  readonly flags: number;
  /** Of the memory in its file, in bytes. */
  readonly offset: bigint;
  readonly iova: bigint;
  readonly sizeBytes: bigint;
}

const DMA_MAP_BYTES = 32;

export function encodeDmaMap(map: DmaMap): Uint8Array {
  const body = new Uint8Array(DMA_MAP_BYTES);
  const view = viewOf(body);
  view.setUint32(0, DMA_MAP_BYTES, true);
  view.setUint32(4, map.flags, true);
  view.setBigUint64(8, map.offset, true);
  view.setBigUint64(16, map.iova, true);
  view.setBigUint64(24, map.sizeBytes, true);
  return body;
}

export function decodeDmaMap(body: Uint8Array): DmaMap {
  const view = fixedBody(body, DMA_MAP_BYTES, 'DMA_MAP');
  checkArgsz(view, DMA_MAP_BYTES, 'DMA_MAP');
  return {
    flags: view.getUint32(4, true),
    offset: view.getBigUint64(8, true),
    iova: view.getBigUint64(16, true),
    sizeBytes: view.getBigUint64(24, true),
  };
}

/** Bits of `DmaUnmap.flags`. */
export const DMA_UNMAP_DIRTY_BITMAP = 1 << 0;
export const DMA_UNMAP_ALL = 1 << 1;

export interface DmaUnmap {
  readonly flags: number;
  readonly iova: bigint;
  readonly sizeBytes: bigint;
}

const DMA_UNMAP_BYTES = 24;

/** The reply to DMA_UNMAP has the same format. */
export function encodeDmaUnmap(unmap: DmaUnmap): Uint8Array {
  const body = new Uint8Array(DMA_UNMAP_BYTES);
  const view = viewOf(body);
  view.setUint32(0, DMA_UNMAP_BYTES, true);
  view.setUint32(4, unmap.flags, true);
  view.setBigUint64(8, unmap.iova, true);
  view.setBigUint64(16, unmap.sizeBytes, true);
  return body;
}

export function decodeDmaUnmap(body: Uint8Array): DmaUnmap {
  const view = openBody(body, DMA_UNMAP_BYTES, 'DMA_UNMAP');
  const flags = view.getUint32(4, true);
  // only a request for dirty pages, which is refused by its flag, has more
  if ((flags & DMA_UNMAP_DIRTY_BITMAP) === 0) fixedBody(body, DMA_UNMAP_BYTES, 'DMA_UNMAP');
  checkArgsz(view, DMA_UNMAP_BYTES, 'DMA_UNMAP');
  return { flags, iova: view.getBigUint64(8, true), sizeBytes: view.getBigUint64(16, true) };
}

/** `argsz`, the first word of many bodies, says how much the sender gives or takes. */
function checkArgsz(view: DataView, minimumBytes: number, what: string): number {
  const argsz = view.getUint32(0, true);
  if (argsz < minimumBytes)
    throw malformed(`${what} has argsz ${argsz}, at least ${minimumBytes} are needed`);
  return argsz;
}

// DEVICE_GET_INFO

export const DEVICE_FLAG_RESET = 1 << 0;
export const DEVICE_FLAG_PCI = 1 << 1;

export interface DeviceInfo {
  readonly flags: number;
  readonly regionCount: number;
  readonly irqCount: number;
}

const DEVICE_INFO_BYTES = 16;

/** Request and reply have the same format; in the request all fields but argsz are 0. */
export function encodeDeviceInfo(info: DeviceInfo): Uint8Array {
  const body = new Uint8Array(DEVICE_INFO_BYTES);
  const view = viewOf(body);
  view.setUint32(0, DEVICE_INFO_BYTES, true);
  view.setUint32(4, info.flags, true);
  view.setUint32(8, info.regionCount, true);
  view.setUint32(12, info.irqCount, true);
  return body;
}

export function decodeDeviceInfo(body: Uint8Array): DeviceInfo {
  const view = fixedBody(body, DEVICE_INFO_BYTES, 'DEVICE_GET_INFO');
  checkArgsz(view, DEVICE_INFO_BYTES, 'DEVICE_GET_INFO');
  return {
    flags: view.getUint32(4, true),
    regionCount: view.getUint32(8, true),
    irqCount: view.getUint32(12, true),
  };
}

// DEVICE_GET_REGION_INFO

export const REGION_FLAG_READ = 1 << 0;
export const REGION_FLAG_WRITE = 1 << 1;
export const REGION_FLAG_MMAP = 1 << 2;
export const REGION_FLAG_CAPS = 1 << 3;
const CAP_SPARSE_MMAP = 1;
/** More capabilities or areas than this are refused: no device has as many. */
const MAX_REGION_CAPS = 16;
const MAX_SPARSE_AREAS = 256;
/** What a client offers to take, enough for the most areas it accepts. */
export const REGION_INFO_MAX_BYTES = 32 + 16 + 16 * MAX_SPARSE_AREAS;

export interface RegionArea {
  readonly offset: number;
  readonly sizeBytes: number;
}

export interface RegionInfo {
  readonly flags: number;
  readonly index: number;
  readonly sizeBytes: number;
  /** Of the region in the file that comes with the reply. */
  readonly offset: number;
  /** Undefined without the capability: then a region with the MMAP flag may be mapped as a whole. */
  readonly areas: readonly RegionArea[] | undefined;
}

const REGION_INFO_BYTES = 32;

export function encodeRegionInfoRequest(index: number, argsz: number): Uint8Array {
  const body = new Uint8Array(REGION_INFO_BYTES);
  const view = viewOf(body);
  view.setUint32(0, argsz, true);
  view.setUint32(8, index, true);
  return body;
}

export function decodeRegionInfoRequest(body: Uint8Array): { argsz: number; index: number } {
  const view = fixedBody(body, REGION_INFO_BYTES, 'DEVICE_GET_REGION_INFO');
  const argsz = checkArgsz(view, REGION_INFO_BYTES, 'DEVICE_GET_REGION_INFO');
  return { argsz, index: view.getUint32(8, true) };
}

/** Size of the reply with the areas in it. */
export function regionInfoBytes(info: RegionInfo): number {
  return REGION_INFO_BYTES + (info.areas === undefined ? 0 : 16 + 16 * info.areas.length);
}

/** Where `maxBytes` is too little, the areas are left out and `argsz` tells the size to ask again with. */
export function encodeRegionInfo(info: RegionInfo, maxBytes: number): Uint8Array {
  const fullBytes = regionInfoBytes(info);
  const areas = fullBytes <= maxBytes ? info.areas : undefined;
  const body = new Uint8Array(areas === undefined ? REGION_INFO_BYTES : fullBytes);
  const view = viewOf(body);
  view.setUint32(0, fullBytes, true);
  view.setUint32(4, info.flags | (areas === undefined ? 0 : REGION_FLAG_CAPS), true);
  view.setUint32(8, info.index, true);
  view.setBigUint64(16, BigInt(info.sizeBytes), true);
  view.setBigUint64(24, BigInt(info.offset), true);
  if (areas !== undefined) {
    view.setUint32(12, REGION_INFO_BYTES, true);
    view.setUint16(32, CAP_SPARSE_MMAP, true);
    view.setUint16(34, 1, true);
    view.setUint32(40, areas.length, true);
    areas.forEach((area, i) => {
      view.setBigUint64(48 + 16 * i, BigInt(area.offset), true);
      view.setBigUint64(56 + 16 * i, BigInt(area.sizeBytes), true);
    });
  }
  return body;
}

/** @throws NicError `PROTOCOL` where a capability or an area is not inside the body or the region */
export function decodeRegionInfo(body: Uint8Array): RegionInfo {
  const what = 'DEVICE_GET_REGION_INFO';
  const view = openBody(body, REGION_INFO_BYTES, what);
  const argsz = checkArgsz(view, REGION_INFO_BYTES, what);
  if (argsz > body.length) throw malformed(`${what} needs ${argsz} bytes: more areas than any device has`);
  const sizeBytes = safeNumber(view.getBigUint64(16, true), `${what}: size`);
  const flags = view.getUint32(4, true);
  const info = {
    flags,
    index: view.getUint32(8, true),
    sizeBytes,
    offset: safeNumber(view.getBigUint64(24, true), `${what}: offset`),
  };
  if ((flags & REGION_FLAG_CAPS) === 0) return { ...info, areas: undefined };
  return { ...info, areas: sparseAreas(view, sizeBytes) };
}

function sparseAreas(view: DataView, regionBytes: number): RegionArea[] | undefined {
  let at = view.getUint32(12, true);
  for (let caps = 0; at !== 0; caps++) {
    if (caps === MAX_REGION_CAPS || at < REGION_INFO_BYTES || at + 8 > view.byteLength) {
      throw malformed(
        `Capability at ${at} of a region is outside its ${view.byteLength} bytes, or one of too many`,
      );
    }
    if (view.getUint16(at, true) !== CAP_SPARSE_MMAP) {
      at = view.getUint32(at + 4, true);
      continue;
    }
    if (at + 16 > view.byteLength)
      throw malformed(`Sparse areas at ${at} do not fit ${view.byteLength} bytes`);
    const count = view.getUint32(at + 8, true);
    if (count > MAX_SPARSE_AREAS || at + 16 + 16 * count > view.byteLength) {
      throw malformed(`${count} sparse areas do not fit ${view.byteLength} bytes`);
    }
    return Array.from({ length: count }, (_, i) => {
      const offset = safeNumber(view.getBigUint64(at + 16 + 16 * i, true), 'Area offset');
      const sizeBytes = safeNumber(view.getBigUint64(at + 24 + 16 * i, true), 'Area size');
      if (offset + sizeBytes > regionBytes) {
        throw malformed(
          `Area of ${sizeBytes} bytes at ${offset} is outside its region of ${regionBytes} bytes`,
        );
      }
      return { offset, sizeBytes };
    });
  }
  return undefined;
}

/** A 64-bit field as a number. Half of the safe range, so that the sum of two stays exact. */
function safeNumber(value: bigint, what: string): number {
  if (value >= 1n << 52n) throw malformed(`${what} 0x${value.toString(16)} is beyond 2^52`);
  return Number(value);
}

// DEVICE_GET_IRQ_INFO, DEVICE_SET_IRQS

export const IRQ_FLAG_EVENTFD = 1 << 0;
export const IRQ_FLAG_MASKABLE = 1 << 1;
export const IRQ_FLAG_AUTOMASKED = 1 << 2;
export const IRQ_FLAG_NORESIZE = 1 << 3;

export interface IrqInfoBody {
  readonly flags: number;
  readonly index: number;
  readonly count: number;
}

const IRQ_INFO_BYTES = 16;

/** Request and reply have the same format; in the request only `index` counts. */
export function encodeIrqInfo(info: IrqInfoBody): Uint8Array {
  const body = new Uint8Array(IRQ_INFO_BYTES);
  const view = viewOf(body);
  view.setUint32(0, IRQ_INFO_BYTES, true);
  view.setUint32(4, info.flags, true);
  view.setUint32(8, info.index, true);
  view.setUint32(12, info.count, true);
  return body;
}

export function decodeIrqInfo(body: Uint8Array): IrqInfoBody {
  const view = fixedBody(body, IRQ_INFO_BYTES, 'DEVICE_GET_IRQ_INFO');
  checkArgsz(view, IRQ_INFO_BYTES, 'DEVICE_GET_IRQ_INFO');
  return { flags: view.getUint32(4, true), index: view.getUint32(8, true), count: view.getUint32(12, true) };
}

/** Bits of `SetIrqs.flags`: one of the data bits with one of the action bits. */
export const IRQ_DATA_NONE = 1 << 0;
export const IRQ_DATA_BOOL = 1 << 1;
export const IRQ_DATA_EVENTFD = 1 << 2;
export const IRQ_ACTION_MASK = 1 << 3;
export const IRQ_ACTION_UNMASK = 1 << 4;
export const IRQ_ACTION_TRIGGER = 1 << 5;

export interface SetIrqs {
  readonly flags: number;
  readonly index: number;
  readonly start: number;
  readonly count: number;
  /** One byte a vector with IRQ_DATA_BOOL, else empty. Event descriptors travel beside the message. */
  readonly data: Uint8Array;
}

const SET_IRQS_BYTES = 20;

export function encodeSetIrqs(set: SetIrqs): Uint8Array {
  const body = new Uint8Array(SET_IRQS_BYTES + set.data.length);
  const view = viewOf(body);
  view.setUint32(0, body.length, true);
  view.setUint32(4, set.flags, true);
  view.setUint32(8, set.index, true);
  view.setUint32(12, set.start, true);
  view.setUint32(16, set.count, true);
  body.set(set.data, SET_IRQS_BYTES);
  return body;
}

export function decodeSetIrqs(body: Uint8Array): SetIrqs {
  const view = openBody(body, SET_IRQS_BYTES, 'DEVICE_SET_IRQS');
  checkArgsz(view, SET_IRQS_BYTES, 'DEVICE_SET_IRQS');
  return {
    flags: view.getUint32(4, true),
    index: view.getUint32(8, true),
    start: view.getUint32(12, true),
    count: view.getUint32(16, true),
    data: body.subarray(SET_IRQS_BYTES),
  };
}

// REGION_READ, REGION_WRITE

export interface RegionRange {
  readonly index: number;
  readonly offset: number;
  readonly count: number;
}

export const REGION_RANGE_BYTES = 16;

/** Body of REGION_READ and of the reply to REGION_WRITE; with `data`, the other two. */
export function encodeRegionRange(range: RegionRange, data = NO_BODY): Uint8Array {
  const body = new Uint8Array(REGION_RANGE_BYTES + data.length);
  const view = viewOf(body);
  view.setBigUint64(0, BigInt(range.offset), true);
  view.setUint32(8, range.index, true);
  view.setUint32(12, range.count, true);
  body.set(data, REGION_RANGE_BYTES);
  return body;
}

export function decodeRegionRange(body: Uint8Array): RegionRange {
  const view = fixedBody(body, REGION_RANGE_BYTES, 'Region access');
  return {
    offset: safeNumber(view.getBigUint64(0, true), 'Region offset'),
    index: view.getUint32(8, true),
    count: view.getUint32(12, true),
  };
}

/** `data` is the part of `body` behind the range, exactly `count` bytes. */
export function decodeRegionData(body: Uint8Array): RegionRange & { readonly data: Uint8Array } {
  openBody(body, REGION_RANGE_BYTES, 'Region access');
  const range = decodeRegionRange(body.subarray(0, REGION_RANGE_BYTES));
  const data = body.subarray(REGION_RANGE_BYTES);
  if (data.length !== range.count) {
    throw malformed(`Region access of ${range.count} bytes comes with ${data.length}`);
  }
  return { ...range, data };
}

// DMA_READ, DMA_WRITE

export interface DmaRange {
  readonly iova: bigint;
  readonly count: number;
}

const DMA_RANGE_BYTES = 16;

/** Body of DMA_READ and of the reply to DMA_WRITE; with `data`, the other two. */
export function encodeDmaRange(range: DmaRange, data = NO_BODY): Uint8Array {
  const body = new Uint8Array(DMA_RANGE_BYTES + data.length);
  const view = viewOf(body);
  view.setBigUint64(0, range.iova, true);
  view.setBigUint64(8, BigInt(range.count), true);
  body.set(data, DMA_RANGE_BYTES);
  return body;
}

export function decodeDmaRange(body: Uint8Array): DmaRange {
  const view = fixedBody(body, DMA_RANGE_BYTES, 'DMA access');
  return {
    iova: view.getBigUint64(0, true),
    count: safeNumber(view.getBigUint64(8, true), 'DMA access: count'),
  };
}

export function decodeDmaData(body: Uint8Array): DmaRange & { readonly data: Uint8Array } {
  openBody(body, DMA_RANGE_BYTES, 'DMA access');
  const range = decodeDmaRange(body.subarray(0, DMA_RANGE_BYTES));
  const data = body.subarray(DMA_RANGE_BYTES);
  if (data.length !== range.count) {
    throw malformed(`DMA access of ${range.count} bytes comes with ${data.length}`);
  }
  return { ...range, data };
}
