/** I/O virtual addresses: which ones are never memory, and whether a range lies in those that can be used. */
import type { IovaRange } from './types.js';

/** Where x86 sends message-signalled interrupts: a write there is an interrupt (Intel SDM volume 3, 11.11.1). */
const MSI_WINDOW: IovaRange = { first: 0xfee0_0000n, last: 0xfeef_ffffn };

/** The addresses from `first` to `last` that can be memory. */
export function rangesBesideMsi(first: bigint, last: bigint): readonly IovaRange[] {
  return [
    { first, last: MSI_WINDOW.first - 1n },
    { first: MSI_WINDOW.last + 1n, last },
  ];
}

/** True where the whole of `[iova, iova + sizeBytes)` lies in one of the ranges. */
export function coversIova(ranges: readonly IovaRange[], iova: bigint, sizeBytes: number): boolean {
  const last = iova + BigInt(sizeBytes) - 1n;
  return ranges.some((range) => range.first <= iova && last <= range.last);
}
