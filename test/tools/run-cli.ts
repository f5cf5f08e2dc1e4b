import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { HANG_MS } from '../support/hang.js';

export const CLI = fileURLToPath(new URL('../../tools/barewire.js', import.meta.url));

export interface CliResult {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs the built `barewire` on a sysfs tree of its own: a test must never see this machine's NICs. */
export function runCli(
  args: readonly string[],
  sysfsRoot: string,
  env: Record<string, string> = {},
): CliResult {
  const { status, stdout, stderr } = spawnSync(process.execPath, [CLI, ...args], {
    encoding: 'utf8',
    env: { PATH: process.env.PATH ?? '', BAREWIRE_SYSFS: sysfsRoot, ...env },
    timeout: HANG_MS,
    killSignal: 'SIGKILL',
  });
  return { status, stdout, stderr };
}

/** What a command wrote to stderr, less what it says on a machine with one CPU: tests run there as well. */
export function besidesOneCpu(stderr: string): string {
  return stderr.replace(/^warning: this process has one CPU[^\n]*\nhint: [^\n]*\n/m, '');
}
