/**
 * Reads the pcapng format (draft-ietf-opsawg-pcapng): sections of either byte order, any number of interfaces with their
 * own link types and time units. Frames come from Enhanced, Simple and (obsolete) Packet Blocks; all other blocks are
 * passed over.
 */
import { type ByteWindow, get16, get32, MAX_FRAME_BYTES } from './byte-window.js';
import { dropFcs, emptyFrame, type FrameDecoder } from './frame-decoder.js';
import {
  BYTE_ORDER_MAGIC,
  ENHANCED_PACKET,
  INTERFACE_DESCRIPTION,
  PACKET,
  SECTION_HEADER,
  SIMPLE_PACKET,
} from './pcapng-format.js';

const VERSION_MAJOR = 1;

const OPTION_END = 0;
const OPTION_TSRESOL = 9;
const OPTION_FCSLEN = 13;
const OPTION_TSOFFSET = 14;

/** Type, length, and the first word of the body, which tells a section's byte order. */
const BLOCK_START_BYTES = 12;
const TRAILER_BYTES = 4;
/** Smallest blocks: what precedes their options or data, and the trailer. */
const SECTION_MIN_BYTES = 28;
const INTERFACE_MIN_BYTES = 20;
const PACKET_DATA_AT = 28;
const SIMPLE_DATA_AT = 12;
/** An interface is described in a few hundred bytes; a file that says more is not believed. */
const INTERFACE_MAX_BYTES = 1 << 16;
const MAX_INTERFACES = 1 << 16;

interface Interface {
  /** Its number in the file: sections count on. */
  readonly id: number;
  readonly linkType: number;
  /** Longest frame kept; 0: no limit. */
  readonly snapBytes: number;
  readonly unitsPerSecond: number;
  readonly offsetSeconds: number;
  readonly fcsBytes: number;
}

export class PcapngDecoder implements FrameDecoder {
  readonly frame = emptyFrame();
  readonly linkType = undefined;
  damage: string | undefined;
  #littleEndian = true;
  #interfaces: Interface[] = [];
  /** Interfaces of all sections so far. */
  #described = 0;
  /** The block under way: where it begins in the file, and its length; 0: none. */
  #blockOffset = 0;
  #blockBytes = 0;
  /** What of it is to be passed over before its trailer. */
  #restBytes = 0;
  /** After the first section header. */
  #begun = false;

  begin(window: ByteWindow): boolean {
    return this.#begun || (this.damage === undefined && this.#beginBlock(window));
  }

  next(window: ByteWindow): boolean {
    while (this.damage === undefined) {
      if (this.#blockBytes > 0) {
        if (!this.#finishBlock(window)) return false;
      } else if (!this.#beginBlock(window)) {
        return false;
      } else if (this.#restBytes < 0) {
        // The block has a frame: its rest counts from behind the data.
        this.#restBytes = this.#restAfterFrame(window);
        return true;
      }
    }
    return false;
  }

  unfinished(window: ByteWindow): string | undefined {
    if (!this.#begun) return `is too short for a pcapng file: ${window.endOffset} bytes`;
    if (this.#blockBytes === 0 && window.sizeBytes === 0) return undefined;
    const from = this.#blockBytes > 0 ? this.#blockOffset : window.startOffset;
    return `ends inside a block, at byte ${window.endOffset}: the block begins at byte ${from}`;
  }

  #bad(what: string): false {
    this.damage = `is damaged: the block at byte ${this.#blockOffset} ${what}`;
    return false;
  }

  /** Passes over the rest of the block and checks its trailer, which repeats its length. */
  #finishBlock(window: ByteWindow): boolean {
    const passed = Math.min(this.#restBytes, window.sizeBytes);
    window.start += passed;
    this.#restBytes -= passed;
    if (this.#restBytes > 0 || window.sizeBytes < TRAILER_BYTES) return false;
    const trailer = get32(window.bytes, window.start, this.#littleEndian);
    if (trailer !== this.#blockBytes)
      return this.#bad(`has ${this.#blockBytes} bytes, or ${trailer} after its end`);
    window.start += TRAILER_BYTES;
    this.#blockBytes = 0;
    return true;
  }

  /**
   * Reads what a block begins with. Sets `#restBytes` to what is to be passed over, -1 where the block has a frame.
   * @returns false where more bytes are needed, or the block makes no sense
   */
  #beginBlock(window: ByteWindow): boolean {
    if (window.sizeBytes < BLOCK_START_BYTES) return false;
    this.#blockOffset = window.startOffset;
    const { bytes, start } = window;
    // The type of a section header reads the same in both byte orders; the word after its length tells which it is.
    if (get32(bytes, start, true) === SECTION_HEADER) return this.#section(window);
    const little = this.#littleEndian;
    const blockBytes = get32(bytes, start + 4, little);
    if (blockBytes < BLOCK_START_BYTES || blockBytes % 4 !== 0)
      return this.#bad(`has a length of ${blockBytes}`);
    switch (get32(bytes, start, little)) {
      case INTERFACE_DESCRIPTION:
        return this.#describeInterface(window, blockBytes);
      case ENHANCED_PACKET:
        return this.#packet(window, blockBytes, false);
      case PACKET:
        return this.#packet(window, blockBytes, true);
      case SIMPLE_PACKET:
        return this.#simplePacket(window, blockBytes);
      default:
        this.#enter(window, blockBytes, BLOCK_START_BYTES - TRAILER_BYTES);
        return true;
    }
  }

  /** The first `takenBytes` of the block have been read. */
  #enter(window: ByteWindow, blockBytes: number, takenBytes: number): void {
    window.start += takenBytes;
    this.#blockBytes = blockBytes;
    this.#restBytes = blockBytes - takenBytes - TRAILER_BYTES;
  }

  #section(window: ByteWindow): boolean {
    const { bytes, start } = window;
    if (window.sizeBytes < SECTION_MIN_BYTES) return false;
    const little = get32(bytes, start + 8, true) === BYTE_ORDER_MAGIC;
    if (!little && get32(bytes, start + 8, false) !== BYTE_ORDER_MAGIC)
      return this.#bad('has no byte order magic');
    this.#littleEndian = little;
    const blockBytes = get32(bytes, start + 4, little);
    if (blockBytes < SECTION_MIN_BYTES || blockBytes % 4 !== 0)
      return this.#bad(`has a length of ${blockBytes}`);
    const major = get16(bytes, start + 12, little);
    if (major !== VERSION_MAJOR) return this.#bad(`has version ${major} of the pcapng format, not 1`);
    this.#interfaces = [];
    this.#begun = true;
    this.#enter(window, blockBytes, SECTION_MIN_BYTES - TRAILER_BYTES);
    return true;
  }

  #describeInterface(window: ByteWindow, blockBytes: number): boolean {
    if (blockBytes < INTERFACE_MIN_BYTES || blockBytes > INTERFACE_MAX_BYTES)
      return this.#bad(`describes an interface in ${blockBytes} bytes`);
    if (this.#interfaces.length === MAX_INTERFACES)
      return this.#bad(`describes interface number ${MAX_INTERFACES + 1}`);
    if (window.sizeBytes < blockBytes) return false;
    const { bytes, start } = window;
    const little = this.#littleEndian;
    const options = interfaceOptions(bytes, start + 16, start + blockBytes - TRAILER_BYTES, little);
    this.#interfaces.push({
      id: this.#described++,
      linkType: get16(bytes, start + 8, little),
      snapBytes: get32(bytes, start + 12, little),
      ...options,
    });
    this.#enter(window, blockBytes, blockBytes - TRAILER_BYTES);
    return true;
  }

  /** Enhanced Packet Block; the obsolete one differs in that the interface has 16 bits. */
  #packet(window: ByteWindow, blockBytes: number, obsolete: boolean): boolean {
    if (window.sizeBytes < PACKET_DATA_AT) return false;
    const { bytes, start } = window;
    const little = this.#littleEndian;
    const id = obsolete ? get16(bytes, start + 8, little) : get32(bytes, start + 8, little);
    const from = this.#interfaces[id];
    if (from === undefined) return this.#bad(`names interface ${id}, which was not described`);
    const lengthBytes = get32(bytes, start + 20, little);
    if (lengthBytes > MAX_FRAME_BYTES || PACKET_DATA_AT + lengthBytes + TRAILER_BYTES > blockBytes)
      return this.#bad(`of ${blockBytes} bytes claims a frame of ${lengthBytes} bytes`);
    if (window.sizeBytes < PACKET_DATA_AT + lengthBytes) return false;
    setTime(this.frame, get32(bytes, start + 12, little), get32(bytes, start + 16, little), from);
    this.#found(window, blockBytes, PACKET_DATA_AT, lengthBytes, get32(bytes, start + 24, little), from);
    return true;
  }

  #simplePacket(window: ByteWindow, blockBytes: number): boolean {
    const { bytes, start } = window;
    const from = this.#interfaces[0];
    if (from === undefined) return this.#bad('is of an interface that was not described');
    const originalBytes = get32(bytes, start + 8, this.#littleEndian);
    const roomBytes = blockBytes - SIMPLE_DATA_AT - TRAILER_BYTES;
    const snapBytes = from.snapBytes === 0 ? originalBytes : from.snapBytes;
    const lengthBytes = Math.min(originalBytes, snapBytes, roomBytes);
    if (roomBytes < 0 || lengthBytes > MAX_FRAME_BYTES)
      return this.#bad(`of ${blockBytes} bytes claims a frame of ${originalBytes} bytes`);
    if (window.sizeBytes < SIMPLE_DATA_AT + lengthBytes) return false;
    this.frame.seconds = 0;
    this.frame.nanoseconds = 0;
    this.#found(window, blockBytes, SIMPLE_DATA_AT, lengthBytes, originalBytes, from);
    return true;
  }

  #found(
    window: ByteWindow,
    blockBytes: number,
    dataAt: number,
    lengthBytes: number,
    originalBytes: number,
    from: Interface,
  ): void {
    const { frame } = this;
    frame.bytes = window.bytes;
    frame.offsetBytes = window.start + dataAt;
    frame.lengthBytes = lengthBytes;
    frame.originalBytes = Math.max(originalBytes, lengthBytes);
    frame.linkType = from.linkType;
    frame.interfaceId = from.id;
    this.#enter(window, blockBytes, dataAt + lengthBytes);
    this.#restBytes = -1;
    if (from.fcsBytes > 0) dropFcs(frame, from.fcsBytes);
  }

  #restAfterFrame(window: ByteWindow): number {
    return this.#blockOffset + this.#blockBytes - TRAILER_BYTES - window.startOffset;
  }
}

type InterfaceOptions = Pick<Interface, 'unitsPerSecond' | 'offsetSeconds' | 'fcsBytes'>;

/** Options of an Interface Description Block: code and length of 16 bits, then the value, filled up to 32 bits. */
function interfaceOptions(bytes: Uint8Array, from: number, end: number, little: boolean): InterfaceOptions {
  let unitsPerSecond = 1e6;
  let offsetSeconds = 0;
  let fcsBytes = 0;
  for (let at = from; at + 4 <= end; ) {
    const code = get16(bytes, at, little);
    const sizeBytes = get16(bytes, at + 2, little);
    const value = at + 4;
    at = value + ((sizeBytes + 3) & ~3);
    if (code === OPTION_END || value + sizeBytes > end) break;
    if (code === OPTION_TSRESOL && sizeBytes === 1) {
      const exponent = bytes[value]! & 0x7f;
      unitsPerSecond = (bytes[value]! & 0x80) === 0 ? 10 ** exponent : 2 ** exponent;
    } else if (code === OPTION_TSOFFSET && sizeBytes === 8) {
      const [low, high] = little ? [value, value + 4] : [value + 4, value];
      offsetSeconds = (get32(bytes, high, little) | 0) * 2 ** 32 + get32(bytes, low, little);
    } else if (code === OPTION_FCSLEN && sizeBytes === 1) {
      // ASSUMED: the draft says bits, and programs exist that mean bytes; no FCS has 16 bytes or more.
      const length = bytes[value]!;
      fcsBytes = length >= 16 ? length >>> 3 : length;
    }
  }
  return { unitsPerSecond, offsetSeconds, fcsBytes };
}

/** Above this, 16 bits more of a remainder would not fit the 53 bits that are exact in a number. */
const EXACT_UNITS_PER_SECOND = 2 ** 36;

/** Splits a count of 64 bits into seconds and nanoseconds, by long division in steps of 16 bits. */
function setTime(
  frame: { seconds: number; nanoseconds: number },
  high: number,
  low: number,
  { unitsPerSecond, offsetSeconds }: Interface,
): void {
  let seconds: number;
  let fraction: number;
  if (unitsPerSecond <= EXACT_UNITS_PER_SECOND) {
    seconds = Math.floor(high / unitsPerSecond) * 2 ** 32;
    let rest = (high % unitsPerSecond) * 65536 + (low >>> 16);
    seconds += Math.floor(rest / unitsPerSecond) * 65536;
    rest = (rest % unitsPerSecond) * 65536 + (low & 0xffff);
    seconds += Math.floor(rest / unitsPerSecond);
    fraction = (rest % unitsPerSecond) / unitsPerSecond;
  } else {
    const count = BigInt(high) * 0x1_0000_0000n + BigInt(low);
    const units = BigInt(unitsPerSecond);
    seconds = Number(count / units);
    fraction = Number(count % units) / unitsPerSecond;
  }
  frame.seconds = seconds + offsetSeconds;
  // A fraction of decimal units can be a hair below the whole nanosecond it stands for.
  frame.nanoseconds = Math.min(Math.floor(fraction * 1e9 + 1e-3), 999_999_999);
}
