/**
 * Runs the unit tests from dist/: all of them, or those whose path matches a pattern (`npm test -- pci/`). The planted faults, which
 * run other tests many times over, are not among all of them: `npm run test:faults` names them. Each file has a process of its
 * own, so that what one file leaves behind cannot change the next, and one more run side by side than there are processors, since a third
 * of their time is waiting. Prints each file's output when it has ended, and at the end the sum as uvu prints it. With
 * `--coverage` (`npm run coverage`) says how much of the sources has run.
 */
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';

/** A file that takes longer hangs. The slowest takes a tenth of this on two processors, and several such runs may be side by side. */
const LIMIT_MS = 20 * 60_000;
const ROOT = join(import.meta.dirname, '..');
const TESTS = join(ROOT, 'dist', 'test');
const CONFORMANCE = join(ROOT, '.cache', 'conformance');
/** Slow ones first, so that none of them is left alone at the end. */
const SLOW = [/^(tools|samples|forward)\//, /^(bench|vfio\/user|emulator|driver)\//];
const SUMMARY = /\n *Total: +(\d+)\n *Passed: +(\d+)\n *Skipped: +(\d+)\n *Duration: .*\n+/;

const args = process.argv.slice(2);
if (args.includes('--coverage')) withCoverage(args.filter((arg) => arg !== '--coverage'));
else await runFiles(args[0]);

/** Runs this program again under c8, with a folder of its own, so that several runs in one checkout can be at the same time. */
function withCoverage(rest) {
  const folder = mkdtempSync(join(tmpdir(), 'barewire-coverage-'));
  // Ctrl-C is for the tests, which the terminal tells as well; this process still has to remove the folder.
  process.on('SIGINT', () => {});
  try {
    const c8 = join(ROOT, 'node_modules', '.bin', 'c8');
    const line = ['--temp-directory', folder, process.execPath, import.meta.filename, ...rest];
    process.exitCode = spawnSync(c8, line, { cwd: ROOT, stdio: 'inherit' }).status ?? 1;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function runFiles(pattern = '^(?!faults/)') {
  const startMs = performance.now();
  const wanted = new RegExp(`(?:${pattern}).*\\.test\\.js$`);
  const files = readdirSync(TESTS, { recursive: true })
    .filter((file) => wanted.test(file))
    .sort((a, b) => rank(a) - rank(b) || a.localeCompare(b));
  const sum = { total: 0, passed: 0, skipped: 0 };
  let ok = true;
  const lane = async () => {
    for (let file = files.shift(); file !== undefined; file = files.shift()) {
      const fileStartMs = performance.now();
      const { output, status } = await runFile(file);
      const fileSeconds = ((performance.now() - fileStartMs) / 1000).toFixed(1);
      const [, total, passed, skipped] = SUMMARY.exec(output) ?? [];
      const ended = total !== undefined && (status === 0) === (total === passed);
      console.log(
        `${file} (${fileSeconds} s)\n${output.replace(SUMMARY, '\n')}${ended ? '' : unexpectedEnd(file, status)}`,
      );
      sum.total += Number(total ?? 0) + (ended ? 0 : 1);
      sum.passed += Number(passed ?? 0);
      sum.skipped += Number(skipped ?? 0);
      ok &&= status === 0 && ended;
    }
  };
  await Promise.all(Array.from({ length: availableParallelism() + 1 }, lane));
  const seconds = ((performance.now() - startMs) / 1000).toFixed(1);
  console.log(
    `\n  Total:     ${sum.total}\n  Passed:    ${sum.passed}\n  Skipped:   ${sum.skipped}\n  Duration:  ${seconds} s\n`,
  );
  if (!ok || sum.total === 0) process.exitCode = 1;
}

function rank(file) {
  const at = SLOW.findIndex((folder) => folder.test(file));
  return at < 0 ? SLOW.length : at;
}

/** Output and end of one test file: an exit status, or the name of the signal that ended it. */
function runFile(file) {
  const colours = process.env.FORCE_COLOR ?? (process.stdout.isTTY && !process.env.NO_COLOR ? '1' : '0');
  return new Promise((resolve) => {
    const child = spawn(process.execPath, ['--no-warnings', join(TESTS, file)], {
      cwd: ROOT,
      stdio: ['ignore', 'pipe', 'pipe'],
      // uvu would write colours to files as well. The conformance suites leave their results there.
      env: { ...process.env, FORCE_COLOR: colours, BAREWIRE_CONFORMANCE: CONFORMANCE },
    });
    const limit = setTimeout(() => child.kill('SIGKILL'), LIMIT_MS);
    let output = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text) => {
        output += text;
      });
    }
    child.once('close', (status, signal) => {
      clearTimeout(limit);
      resolve({ output, status: status ?? signal });
    });
  });
}

/** A failure in uvu's form for a file that died, hung, or whose exit status does not fit its tests. */
function unexpectedEnd(file, status) {
  return `   FAIL  ${file}\n    ended with ${status} and no summary of its tests that fits\n`;
}
