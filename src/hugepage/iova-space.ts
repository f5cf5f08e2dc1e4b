/**
 * Hands out I/O virtual addresses. We choose them (rather than taking the virtual address, as ixy does): low, so
 * that IOMMUs with 39 address bits take them; never 0; never across a 4 GiB line, so that the high word of every
 * address in a region is one constant; never in the window where x86 sends message-signalled interrupts.
 */
import { NicError } from '../errors.js';
import { rangesBesideMsi } from '../vfio/iova-ranges.js';
import type { IovaRange } from '../vfio/types.js';

/** Below lies what firmware likes to reserve; nothing is lost by staying above. */
const LOWEST = 0x0010_0000n;
const HIGHEST = (1n << 48n) - 1n;
const LINE = 1n << 32n;

interface Span {
  first: bigint;
  /** One past the last address. */
  end: bigint;
}

export class IovaSpace {
  #usable: Span[] = rangesBesideMsi(LOWEST, HIGHEST).map(({ first, last }) => ({ first, end: last + 1n }));
  /** Allocated spans, ascending. */
  readonly #used: Span[] = [];

  /** Keeps only addresses that lie in one of `ranges` too: what a further IOMMU can translate. */
  restrict(ranges: readonly IovaRange[]): void {
    const result: Span[] = [];
    for (const span of this.#usable) {
      for (const range of ranges) {
        const first = span.first > range.first ? span.first : range.first;
        const end = span.end < range.last + 1n ? span.end : range.last + 1n;
        if (first < end) result.push({ first, end });
      }
    }
    this.#usable = result.sort((a, b) => (a.first < b.first ? -1 : 1));
  }

  /**
   * The lowest free range.
   * @param sizeBytes at most 4 GiB
   * @param alignmentBytes power of two; the page size of the memory
   * @throws NicError `IOVA_SPACE`
   */
  allocate(sizeBytes: number, alignmentBytes: number): bigint {
    const size = BigInt(sizeBytes);
    const alignment = BigInt(alignmentBytes);
    if (size > 0n && size <= LINE) {
      for (const span of this.#usable) {
        let candidate = alignUp(span.first, alignment);
        while (candidate + size <= span.end) {
          const last = candidate + size - 1n;
          const line = (candidate / LINE + 1n) * LINE;
          if (last >= line) {
            candidate = alignUp(line, alignment);
            continue;
          }
          const collision = this.#used.find((used) => used.first <= last && candidate < used.end);
          if (collision === undefined) {
            this.#used.push({ first: candidate, end: candidate + size });
            this.#used.sort((a, b) => (a.first < b.first ? -1 : 1));
            return candidate;
          }
          candidate = alignUp(collision.end, alignment);
        }
      }
    }
    throw new NicError('IOVA_SPACE', `No I/O virtual addresses left for ${sizeBytes} bytes of DMA memory`, {
      hint: 'Use fewer or smaller buffers; one region holds at most 4 GiB.',
    });
  }

  /** Takes back what `allocate` returned. */
  release(iova: bigint): void {
    const index = this.#used.findIndex((span) => span.first === iova);
    if (index >= 0) this.#used.splice(index, 1);
  }
}

function alignUp(value: bigint, alignment: bigint): bigint {
  return ((value + alignment - 1n) / alignment) * alignment;
}
