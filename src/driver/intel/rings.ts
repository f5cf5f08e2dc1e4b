/**
 * The descriptor rings of a device in one DMA region: the receive rings, then the transmit rings, each on its own
 * pages (datasheets ask for 128-byte alignment).
 */
import { DmaRegion, type PageSize } from '../../hugepage/dma-region.js';
import type { RegisterFile } from '../register-file.js';
import { DESCRIPTOR_BYTES } from './descriptors.js';

const ALIGNMENT = 4096;
/** Where the registers of a ring lie behind that of its base address, bits 31:0: alike for all families and both directions. */
const BASE_HIGH = 0x04;
const LENGTH = 0x08;
const HEAD = 0x10;
const TAIL = 0x18;

export interface Ring {
  /** Four words a descriptor. */
  readonly words: Int32Array;
  readonly sizeBytes: number;
  /** Offset in the region; add the region's I/O address for the device's view. */
  readonly offset: number;
}

export interface RingShape {
  readonly queuePairs: number;
  /** Descriptors. */
  readonly rxRingSize: number;
  readonly txRingSize: number;
  readonly pageSize: PageSize;
}

export class RingMemory {
  readonly region: DmaRegion;
  readonly rx: readonly Ring[];
  readonly tx: readonly Ring[];

  constructor(shape: RingShape) {
    const rxBytes = alignUp(shape.rxRingSize * DESCRIPTOR_BYTES);
    const txBytes = alignUp(shape.txRingSize * DESCRIPTOR_BYTES);
    this.region = new DmaRegion({
      sizeBytes: shape.queuePairs * (rxBytes + txBytes),
      pageSize: shape.pageSize,
      name: 'rings',
    });
    const ring = (offset: number, size: number): Ring => {
      const sizeBytes = size * DESCRIPTOR_BYTES;
      const words = new Int32Array(this.region.buffer, offset, sizeBytes / 4);
      // An address of all ones is mapped by no IOMMU: a DMA before the ring is set up goes nowhere.
      words.fill(-1);
      return { words, sizeBytes, offset };
    };
    const txStart = shape.queuePairs * rxBytes;
    this.rx = Array.from({ length: shape.queuePairs }, (_, q) => ring(q * rxBytes, shape.rxRingSize));
    this.tx = Array.from({ length: shape.queuePairs }, (_, q) =>
      ring(txStart + q * txBytes, shape.txRingSize),
    );
  }

  /**
   * Tells a queue, which must be off, where its ring lies; the ring is empty then.
   * @param base register of the ring's base address, bits 31:0 (RDBAL or TDBAL)
   */
  assign(registers: RegisterFile, base: number, ring: Ring): void {
    registers.write(base, this.region.iovaLow + ring.offset);
    registers.write(base + BASE_HIGH, this.region.iovaHigh);
    registers.write(base + LENGTH, ring.sizeBytes);
    registers.write(base + HEAD, 0);
    registers.write(base + TAIL, 0);
  }
}

function alignUp(bytes: number): number {
  return Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;
}
