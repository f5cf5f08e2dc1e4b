/**
 * DMA of the model: every access goes through a window that the client mapped. The window of the last access is
 * kept, so that the usual case is one subtraction and two comparisons.
 */
import type { DeviceHost, DmaWindow } from '../../vfio/user/served-device.js';
import { copyBytes, type FrameMemory } from '../link.js';
import type { Violations } from './violations.js';

export const TWO_32 = 4294967296;
const NO_MEMORY: FrameMemory = { bytes: new Uint8Array(0), words: new Int32Array(0) };

/** I/O virtual address from the two words of a register pair or descriptor. */
export function iovaOf(low: number, high: number): number {
  return (high >>> 0) * TWO_32 + (low >>> 0);
}

/**
 * One kind of access (descriptor reads, buffer writes, ...) with its remembered window.
 * After a `locate` that returned 0 or more, `memory` holds the memory the offset is in.
 */
export class DmaChannel {
  memory: FrameMemory = NO_MEMORY;
  /** I/O virtual address and size of that memory, for loops that look at many addresses. 0 bytes: none is remembered. */
  base = 0;
  sizeBytes = 0;
  #host: DeviceHost | undefined;
  #generation = -1;
  readonly #direction: 'read' | 'write';
  readonly #purpose: string;
  readonly #violations: Violations;

  constructor(direction: 'read' | 'write', purpose: string, violations: Violations) {
    this.#direction = direction;
    this.#purpose = purpose;
    this.#violations = violations;
  }

  /** Forgets the window if the client's mappings changed. Once a burst: nothing changes inside one. */
  begin(host: DeviceHost): void {
    if (host === this.#host && host.windowGeneration === this.#generation) return;
    this.#host = host;
    this.#generation = host.windowGeneration;
    this.#forget();
  }

  /** The client is gone, and its memory with it. */
  end(): void {
    this.#host = undefined;
    this.#generation = -1;
    this.#forget();
  }

  #forget(): void {
    this.memory = NO_MEMORY;
    this.base = 0;
    this.sizeBytes = 0;
  }

  /** Offset in `memory` of `sizeBytes` at `iova`, all in one window; -1 where there is no such window. */
  locate(iova: number, sizeBytes: number): number {
    const offset = iova - this.base;
    if (offset >= 0 && offset + sizeBytes <= this.sizeBytes) return offset;
    return this.#locateSlowly(iova, sizeBytes);
  }

  #locateSlowly(iova: number, sizeBytes: number): number {
    const window = this.#windowAt(iova);
    if (window === undefined) return -1;
    this.memory = window;
    this.base = window.iova;
    this.sizeBytes = window.sizeBytes;
    const offset = iova - window.iova;
    return offset + sizeBytes <= window.sizeBytes ? offset : -1;
  }

  #windowAt(iova: number): DmaWindow | undefined {
    // A guest can write any 64-bit address; the host speaks numbers below 2^53.
    if (iova > Number.MAX_SAFE_INTEGER) return undefined;
    const window = this.#host?.findWindow(iova);
    if (window === undefined) return undefined;
    return (this.#direction === 'read' ? window.readable : window.writable) ? window : undefined;
  }

  /** Reports that the IOMMU refused an access. */
  fault(iova: number, sizeBytes: number): void {
    this.#violations.fault(iova, sizeBytes, this.#direction, this.#purpose);
  }

  /**
   * Reads host memory that may lie in several windows, which are neighbours in I/O virtual addresses.
   * @returns false on a fault, which is reported; what came before it was copied
   */
  read(iova: number, to: FrameMemory, toOffset: number, sizeBytes: number): boolean {
    for (let done = 0; done < sizeBytes; ) {
      const piece = this.#piece(iova + done, sizeBytes - done);
      if (piece === 0) return false;
      const offset = this.locate(iova + done, piece);
      copyBytes(this.memory, offset, to, toOffset + done, piece);
      done += piece;
    }
    return true;
  }

  /** Writes host memory that may lie in several windows. @returns false on a fault, which is reported */
  write(iova: number, from: FrameMemory, fromOffset: number, sizeBytes: number): boolean {
    for (let done = 0; done < sizeBytes; ) {
      const piece = this.#piece(iova + done, sizeBytes - done);
      if (piece === 0) return false;
      const offset = this.locate(iova + done, piece);
      copyBytes(from, fromOffset + done, this.memory, offset, piece);
      done += piece;
    }
    return true;
  }

  /** How many of `sizeBytes` lie in the window of `iova`; 0 after reporting a fault. */
  #piece(iova: number, sizeBytes: number): number {
    const window = this.#windowAt(iova);
    if (window === undefined) {
      this.fault(iova, sizeBytes);
      return 0;
    }
    return Math.min(sizeBytes, window.iova + window.sizeBytes - iova);
  }
}
