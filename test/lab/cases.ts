/**
 * The table of lab cases: which machine each needs. A case's tests are in cases/<name>.ts, a uvu file that runs in the
 * guest, unless `command` says something else.
 */
import type { VmOptions } from './vm.js';

export interface LabCase extends Omit<VmOptions, 'command' | 'onOutput'> {
  readonly name: string;
  /** Run in the guest instead of cases/<name>.js. Must print a uvu summary, too. */
  readonly command?: string;
  /** Runs on-host/<name>.js on the host instead; it may start machines and what they need. */
  readonly onHost?: boolean;
}

export const CASES: readonly LabCase[] = [
  { name: 'selftest', onHost: true, timeoutS: 240 },
  { name: 'ipxe', onHost: true, qemu: 11, timeoutS: 300 },
  { name: 'boot', nics: ['igb', 'igb'] },
  { name: 'fwd', nics: ['igb', 'igb'], timeoutS: 900 },
];
