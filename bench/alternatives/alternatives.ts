/** What a user would pick instead of Barewire, and Barewire itself, on this machine in one run of about two minutes. */
import { measureCopies } from './copy.js';
import { measureEmulatedSizes } from './emulated.js';
import { measureKernelWays } from './kernel-ways.js';
import type { AlternativeRow } from './row.js';

export interface Durations {
  readonly warmUpMs: number;
  /** For each way through the kernel, job and size. */
  readonly measureMs: number;
  /** For each size. */
  readonly emulatedSeconds: number;
  readonly copySeconds: number;
}

export const DURATIONS: Durations = {
  warmUpMs: 300,
  measureMs: 700,
  emulatedSeconds: 3,
  copySeconds: 2,
};

/**
 * @param onRow told each row as it is there
 * @throws Error where a frame is lost, changed or unaccounted for
 */
export async function measureAlternatives(
  onRow: (row: AlternativeRow) => void = () => {},
  durations: Durations = DURATIONS,
): Promise<AlternativeRow[]> {
  const report = <T extends AlternativeRow>(rows: T[]): T[] => {
    for (const row of rows) onRow(row);
    return rows;
  };
  return [
    ...report(measureCopies(durations.copySeconds)),
    ...report(await measureEmulatedSizes(durations.emulatedSeconds)),
    ...(await measureKernelWays(durations.warmUpMs, durations.measureMs, onRow)),
  ];
}
