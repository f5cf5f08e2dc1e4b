/** Memory that a card reaches: what drivers have mapped for it. There is no VFIO and no IOMMU between. */
import { viewMemory } from '../../../src/syscalls/memory.js';
import type { DmaBacking, DmaMapper, IovaRange } from '../../../src/vfio/types.js';

/** A piece of mapped memory. */
export interface CardWindow {
  readonly iova: number;
  readonly bytes: Uint8Array;
  readonly words: Int32Array;
}

export class CardMemory implements DmaMapper {
  readonly iovaRanges: readonly IovaRange[] = [{ first: 0n, last: (1n << 48n) - 1n }];
  readonly windows: CardWindow[] = [];

  map(backing: DmaBacking, iova: bigint): void {
    const buffer = viewMemory(backing.address, backing.sizeBytes);
    this.windows.push({ iova: Number(iova), bytes: new Uint8Array(buffer), words: new Int32Array(buffer) });
  }

  unmap(iova: bigint, sizeBytes: number): void {
    const index = this.windows.findIndex(
      (window) => window.iova === Number(iova) && window.bytes.length === sizeBytes,
    );
    if (index < 0) throw new Error(`0x${iova.toString(16)}+${sizeBytes} is not mapped`);
    this.windows.splice(index, 1);
  }

  /** The window that holds the range. */
  find(iova: number, sizeBytes: number): CardWindow | undefined {
    return this.windows.find(
      (window) => window.iova <= iova && iova + sizeBytes <= window.iova + window.bytes.length,
    );
  }
}
