/** Makes capture files byte by byte, from the formats' drafts and not with the code under test. */

export interface Record {
  readonly bytes: Uint8Array;
  readonly seconds?: number;
  /** In units of the file. */
  readonly fraction?: number;
  /** Length on the wire, where it is not the captured one. */
  readonly originalBytes?: number;
}

export interface PcapOptions {
  readonly littleEndian?: boolean;
  readonly nanoseconds?: boolean;
  /** As the patched libpcap wrote it: records have a longer header. */
  readonly patched?: boolean;
  /** The word of the link type; 1 by default. */
  readonly network?: number;
  readonly version?: readonly [number, number];
}

/** Numbers of 32 bits one after the other. */
export function words(values: readonly number[], littleEndian: boolean): Buffer {
  const bytes = Buffer.alloc(4 * values.length);
  for (const [i, value] of values.entries()) {
    if (littleEndian) bytes.writeUInt32LE(value >>> 0, 4 * i);
    else bytes.writeUInt32BE(value >>> 0, 4 * i);
  }
  return bytes;
}

function halves(values: readonly number[], littleEndian: boolean): Buffer {
  const bytes = Buffer.alloc(2 * values.length);
  for (const [i, value] of values.entries()) {
    if (littleEndian) bytes.writeUInt16LE(value, 2 * i);
    else bytes.writeUInt16BE(value, 2 * i);
  }
  return bytes;
}

/** A classic pcap file. */
export function pcapFile(records: readonly Record[], options: PcapOptions = {}): Buffer {
  const {
    littleEndian = true,
    nanoseconds = false,
    patched = false,
    network = 1,
    version = [2, 4],
  } = options;
  return Buffer.concat([
    words([patched ? 0xa1b2cd34 : nanoseconds ? 0xa1b23c4d : 0xa1b2c3d4], littleEndian),
    halves(version, littleEndian),
    words([0, 0, 65535, network], littleEndian),
    ...records.flatMap(({ bytes, seconds = 0, fraction = 0, originalBytes = bytes.length }) => [
      words([seconds, fraction, bytes.length, originalBytes], littleEndian),
      patched ? Buffer.from('0000000208000000', 'hex') : Buffer.alloc(0),
      Buffer.from(bytes),
    ]),
  ]);
}

/** A block of a pcapng file: body filled up to 32 bits, its length before and after. */
export function block(type: number, body: Uint8Array, littleEndian = true): Buffer {
  const filled = Buffer.alloc((body.length + 3) & ~3);
  filled.set(body);
  const length = words([filled.length + 12], littleEndian);
  return Buffer.concat([words([type], littleEndian), length, filled, length]);
}

export function sectionHeader(littleEndian = true, version = 1): Buffer {
  const body = [
    words([0x1a2b3c4d], littleEndian),
    halves([version, 0], littleEndian),
    words([0xffffffff, 0xffffffff], littleEndian),
  ];
  return block(0x0a0d0d0a, Buffer.concat(body), littleEndian);
}

/** An option: code, length, value filled up to 32 bits. */
export function option(code: number, value: Uint8Array, littleEndian = true): Buffer {
  const filled = Buffer.alloc((value.length + 3) & ~3);
  filled.set(value);
  return Buffer.concat([halves([code, value.length], littleEndian), filled]);
}

export function interfaceBlock(
  options: {
    readonly linkType?: number;
    readonly snapBytes?: number;
    readonly options?: readonly Buffer[];
    readonly littleEndian?: boolean;
  } = {},
): Buffer {
  const { linkType = 1, snapBytes = 0, littleEndian = true } = options;
  const parts = [
    halves([linkType, 0], littleEndian),
    words([snapBytes], littleEndian),
    ...(options.options ?? []),
  ];
  return block(1, Buffer.concat(parts), littleEndian);
}

/** An Enhanced Packet Block; `time` in units of the interface. */
export function packetBlock(
  bytes: Uint8Array,
  time: bigint,
  options: {
    readonly interface?: number;
    readonly originalBytes?: number;
    readonly options?: readonly Buffer[];
    readonly littleEndian?: boolean;
  } = {},
): Buffer {
  const { littleEndian = true, originalBytes = bytes.length } = options;
  const data = Buffer.alloc((bytes.length + 3) & ~3);
  data.set(bytes);
  const head = [
    options.interface ?? 0,
    Number(time >> 32n),
    Number(time & 0xffffffffn),
    bytes.length,
    originalBytes,
  ];
  return block(6, Buffer.concat([words(head, littleEndian), data, ...(options.options ?? [])]), littleEndian);
}

/** A frame of `length` bytes that differs from others by `seed`. */
export function someFrame(length: number, seed = 0): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => i * 7 + seed * 31);
}

/** Bytes as a stream in pieces of these sizes; the last size repeats. */
export async function* inPieces(bytes: Uint8Array, sizes: readonly number[]): AsyncGenerator<Uint8Array> {
  for (let at = 0, i = 0; at < bytes.length; i++) {
    const size = sizes[Math.min(i, sizes.length - 1)]!;
    yield bytes.slice(at, at + size);
    at += size;
  }
}
