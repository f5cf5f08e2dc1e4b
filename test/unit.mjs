/**
 * Runs the unit tests from dist/, with coverage: all of them, or those whose path matches a pattern (`npm test -- pci/`).
 * Colours only on a terminal: uvu would write them to files as well. Coverage is collected in a folder of this run's own,
 * so that several runs in one checkout do not remove each other's.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const ROOT = join(import.meta.dirname, '..');
const pattern = process.argv[2] === undefined ? '\\.test\\.js$' : `${process.argv[2]}.*\\.test\\.js$`;
const colours = process.env.FORCE_COLOR ?? (process.stdout.isTTY && !process.env.NO_COLOR ? '1' : '0');
const bin = (name) => join(ROOT, 'node_modules', '.bin', name);

const coverage = mkdtempSync(join(tmpdir(), 'barewire-coverage-'));
// Ctrl-C is for the tests, which the terminal tells as well; this process still has to remove the folder.
process.on('SIGINT', () => {});
try {
  const { status } = spawnSync(
    bin('c8'),
    [
      '--temp-directory',
      coverage,
      bin('uvu'),
      ...(colours === '0' ? ['--no-color'] : []),
      'dist/test',
      pattern,
    ],
    { cwd: ROOT, stdio: 'inherit' },
  );
  process.exitCode = status ?? 1;
} finally {
  rmSync(coverage, { recursive: true, force: true });
}
