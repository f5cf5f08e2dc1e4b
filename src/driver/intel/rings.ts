/**
 * The descriptor rings of a device in one DMA region: the receive rings, then the transmit rings, each on its own
 * pages (datasheets ask for 128-byte alignment).
 */
import { DmaRegion, type PageSize } from '../../hugepage/dma-region.js';
import { DESCRIPTOR_BYTES } from './descriptors.js';

const ALIGNMENT = 4096;

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

  /** Bits 31:0 of a ring's I/O address. */
  iovaLow(ring: Ring): number {
    return this.region.iovaLow + ring.offset;
  }

  get iovaHigh(): number {
    return this.region.iovaHigh;
  }
}

function alignUp(bytes: number): number {
  return Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;
}
