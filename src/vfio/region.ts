/**
 * A device region (a BAR, config space, ...): windows that are mapped into this process, and a slow path for the
 * rest. VFIO says which parts may be mapped (VFIO_REGION_INFO_CAP_SPARSE_MMAP); everything else goes through
 * reads and writes on the device's descriptor, or through messages of vfio-user.
 *
 * Registers are read and written as whole 32-bit words through typed arrays: DataView or Buffer methods may split
 * an access into bytes. Nothing here may be called between poll and doorbell; queues take `window()` once.
 */
import { NicError } from '../errors.js';

/** Reads and writes without a mapping. Offsets are relative to the region's start. */
export interface RegionAccess {
  /** Fills `into` from `offset`. */
  read(offset: number, into: Uint8Array): void;
  write(offset: number, from: Uint8Array): void;
}

/** A part of a region that is mapped; `offset` is where it starts in the region. */
export interface MappedWindow {
  readonly offset: number;
  readonly buffer: ArrayBuffer;
}

export interface RegionProperties {
  readonly index: number;
  /** For messages: `BAR0 of 0000:03:00.0`. */
  readonly name: string;
  readonly sizeBytes: number;
  readonly readable: boolean;
  readonly writable: boolean;
}

interface Window {
  readonly first: number;
  /** One past the last byte. */
  readonly end: number;
  readonly words: Uint32Array;
  readonly buffer: ArrayBuffer;
}

export class Region implements RegionProperties {
  readonly index: number;
  readonly name: string;
  readonly sizeBytes: number;
  readonly readable: boolean;
  readonly writable: boolean;
  #windows: readonly Window[];
  readonly #access: RegionAccess;
  /** The window that held the last access: drivers stay in one. */
  #last: Window | undefined;
  #revoked = false;

  constructor(properties: RegionProperties, access: RegionAccess, windows: readonly MappedWindow[]) {
    this.index = properties.index;
    this.name = properties.name;
    this.sizeBytes = properties.sizeBytes;
    this.readable = properties.readable;
    this.writable = properties.writable;
    this.#access = access;
    this.#windows = windows.map(({ offset, buffer }) => ({
      first: offset,
      end: offset + buffer.byteLength,
      words: new Uint32Array(buffer, 0, buffer.byteLength >>> 2),
      buffer,
    }));
    this.#last = this.#windows[0];
  }

  /** Reads an aligned 32-bit register; 0 to 2^32-1. @throws NicError `REGION_RANGE` */
  read32(offset: number): number {
    const window = this.#find(offset, 4);
    if (window !== undefined) return window.words[(offset - window.first) >>> 2]!;
    this.#access.read(offset, scratchBytes.subarray(0, 4));
    return scratchWord[0]!;
  }

  /**
   * Like `read32`, but never through a mapping. Registers that are cleared by reading need it where an emulated device
   * maps them: a load from memory is an access that the device does not see.
   */
  readTrapped32(offset: number): number {
    this.#find(offset, 4);
    this.#access.read(offset, scratchBytes.subarray(0, 4));
    return scratchWord[0]!;
  }

  /** Writes an aligned 32-bit register. @throws NicError `REGION_RANGE` */
  write32(offset: number, value: number): void {
    const window = this.#find(offset, 4);
    if (window !== undefined) {
      window.words[(offset - window.first) >>> 2] = value;
      return;
    }
    scratchWord[0] = value;
    this.#access.write(offset, scratchBytes.subarray(0, 4));
  }

  /** Reads an 8-bit field (config space, virtio). @throws NicError `REGION_RANGE` */
  read8(offset: number): number {
    const window = this.#find(offset, 1);
    if (window !== undefined) return new Uint8Array(window.buffer)[offset - window.first]!;
    this.#access.read(offset, scratchBytes.subarray(0, 1));
    return scratchBytes[0]!;
  }

  write8(offset: number, value: number): void {
    const window = this.#find(offset, 1);
    if (window !== undefined) {
      new Uint8Array(window.buffer)[offset - window.first] = value;
      return;
    }
    scratchBytes[0] = value;
    this.#access.write(offset, scratchBytes.subarray(0, 1));
  }

  /** Reads an aligned 16-bit field. @throws NicError `REGION_RANGE` */
  read16(offset: number): number {
    const window = this.#find(offset, 2);
    if (window !== undefined) return new Uint16Array(window.buffer)[(offset - window.first) >>> 1]!;
    this.#access.read(offset, scratchBytes.subarray(0, 2));
    return scratchHalf[0]!;
  }

  write16(offset: number, value: number): void {
    const window = this.#find(offset, 2);
    if (window !== undefined) {
      new Uint16Array(window.buffer)[(offset - window.first) >>> 1] = value;
      return;
    }
    scratchHalf[0] = value;
    this.#access.write(offset, scratchBytes.subarray(0, 2));
  }

  /**
   * The mapped words from `offset` on, or undefined where that range is not mapped. Element 0 is the register at
   * `offset`. For doorbells: take it once at set-up.
   */
  window(offset: number, sizeBytes: number): Uint32Array | undefined {
    const window = this.#find(offset, sizeBytes, 4);
    if (window === undefined) return undefined;
    return new Uint32Array(window.buffer, offset - window.first, sizeBytes >>> 2);
  }

  /** Forgets the mapped windows, so that a later access cannot touch memory that is about to be unmapped. */
  revoke(): void {
    this.#windows = [];
    this.#last = undefined;
    this.#revoked = true;
  }

  #find(offset: number, sizeBytes: number, alignment = sizeBytes): Window | undefined {
    const last = this.#last;
    const inside = offset >= 0 && offset + sizeBytes <= this.sizeBytes;
    if (!inside || offset % alignment !== 0 || !Number.isInteger(offset)) {
      throw new NicError(
        'REGION_RANGE',
        `Access of ${sizeBytes} bytes at offset 0x${offset.toString(16)} is outside ${this.name} ` +
          `(0x${this.sizeBytes.toString(16)} bytes) or not aligned`,
      );
    }
    if (this.#revoked) throw new NicError('CLOSED', `${this.name} is closed`);
    if (last !== undefined && offset >= last.first && offset + sizeBytes <= last.end) return last;
    for (const window of this.#windows) {
      if (offset >= window.first && offset + sizeBytes <= window.end) {
        this.#last = window;
        return window;
      }
    }
    return undefined;
  }
}

const scratchBytes = new Uint8Array(8);
const scratchWord = new Uint32Array(scratchBytes.buffer, 0, 1);
const scratchHalf = new Uint16Array(scratchBytes.buffer, 0, 1);
