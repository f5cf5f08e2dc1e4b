/** A DMA mapper without an IOMMU: keeps what is mapped, refuses overlaps, and can be told to fail. */
import * as assert from 'uvu/assert';
import { NicError } from '../../src/errors.js';
import { viewMemory } from '../../src/syscalls/memory.js';
import type { DmaBacking, DmaMapper, IovaRange } from '../../src/vfio/types.js';

export class FakeMapper implements DmaMapper {
  readonly iovaRanges: readonly IovaRange[];
  /** Bytes mapped at each address. */
  readonly mapped = new Map<bigint, number>();
  readonly #backings = new Map<bigint, DmaBacking>();
  /** `map 0x100000+4096`, `unmap 0x100000+4096`: what happened, in order. */
  readonly log: string[] = [];
  /** Errors of the next calls of `map` and `unmap`; undefined lets a call through. */
  readonly mapFailures: (Error | undefined)[] = [];
  readonly unmapFailures: (Error | undefined)[] = [];

  constructor(iovaRanges: readonly IovaRange[] = [{ first: 0n, last: (1n << 48n) - 1n }]) {
    this.iovaRanges = iovaRanges;
  }

  map(backing: DmaBacking, iova: bigint): void {
    const failure = this.mapFailures.shift();
    if (failure !== undefined) throw failure;
    const end = iova + BigInt(backing.sizeBytes);
    for (const [other, size] of this.mapped) {
      assert.ok(end <= other || other + BigInt(size) <= iova, `0x${iova.toString(16)} is mapped already`);
    }
    this.mapped.set(iova, backing.sizeBytes);
    this.#backings.set(iova, backing);
    this.log.push(`map 0x${iova.toString(16)}+${backing.sizeBytes}`);
  }

  /** The memory behind an address, as a device sees it: a window on the same bytes. */
  memoryAt(iova: bigint, sizeBytes: number): ArrayBuffer {
    for (const [first, backing] of this.#backings) {
      if (first <= iova && iova + BigInt(sizeBytes) <= first + BigInt(backing.sizeBytes)) {
        return viewMemory(backing.address + (iova - first), sizeBytes);
      }
    }
    throw new Error(`nothing is mapped at 0x${iova.toString(16)}`);
  }

  /** All that is mapped, in the order in which it was, as a device sees it. */
  views(): Int32Array[] {
    return Array.from(this.mapped, ([iova, sizeBytes]) => new Int32Array(this.memoryAt(iova, sizeBytes)));
  }

  unmap(iova: bigint, sizeBytes: number): void {
    const failure = this.unmapFailures.shift();
    if (failure !== undefined) throw failure;
    assert.is(this.mapped.get(iova), sizeBytes, 'unmapped as it was mapped');
    this.mapped.delete(iova);
    this.#backings.delete(iova);
    this.log.push(`unmap 0x${iova.toString(16)}+${sizeBytes}`);
  }
}

export function mapFailure(): NicError {
  return new NicError('DMA_MAP', 'planted: no mapping');
}
