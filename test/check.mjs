/**
 * All that has to hold before a change goes in: lint, build, unit tests, planted faults, lab. Prints what each part prints, once more
 * what failed, and as its last line the sum of all tests: `N passed, N failed`. Plain JavaScript, because the build is
 * one of the parts.
 */
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A part that takes longer hangs. All of them take about half of this on two slow cores. */
const LIMIT_MINUTES = { lint: 5, build: 5, test: 20, 'test:faults': 10, 'test:lab': 60 };

const sum = { passed: 0, failed: 0, skipped: 0 };
const failures = [];
let running;

process.chdir(join(import.meta.dirname, '..'));
for (const signal of ['SIGINT', 'SIGTERM']) {
  process.once(signal, () => {
    if (running?.exitCode === null) process.kill(-running.pid, signal);
    process.exit(130);
  });
}

/**
 * Runs an npm script, passes its output on, and resolves to whether it succeeded, and its standard output. Without the
 * scripts that npm would run before it: `npm test` builds first, which has been done here.
 */
function npm(script, env = {}) {
  console.log(`\n== ${script}`);
  return new Promise((resolve) => {
    const child = spawn('npm', ['run', '--silent', '--ignore-scripts', script], {
      stdio: ['ignore', 'pipe', 'inherit'],
      detached: true, // a group of its own, to be ended as a whole
      env: { ...process.env, ...env },
    });
    running = child;
    let output = '';
    const limit = setTimeout(() => {
      failures.push(`check: ${script} has not ended within ${LIMIT_MINUTES[script]} minutes`);
      process.kill(-child.pid, 'SIGKILL');
    }, LIMIT_MINUTES[script] * 60_000);
    child.stdout.setEncoding('utf8').on('data', (text) => {
      output += text;
      process.stdout.write(text);
    });
    child.once('error', () => resolve({ ok: false, output }));
    child.once('close', (status) => {
      clearTimeout(limit);
      resolve({ ok: status === 0, output });
    });
  });
}

/** Adds the counts of a run. One that failed without a failed test, or has no counts, is a failure of its own. */
function count(script, ok, totals) {
  for (const key of Object.keys(sum)) sum[key] += totals?.[key] ?? 0;
  if (totals && ok === (totals.failed === 0)) return;
  fail(`${script} ${totals ? 'failed in spite of its totals' : 'gave no totals'}`);
}

function fail(what) {
  failures.push(`check: ${what}`);
  sum.failed++;
}

async function lintAndBuild() {
  for (const script of ['lint', 'build']) {
    const { ok } = await npm(script);
    if (ok) continue;
    fail(`${script} failed`);
    return false;
  }
  return true;
}

async function unitTests(script) {
  const { ok, output } = await npm(script);
  // Loaded here because the build has only just made it.
  const { parseTotals, failureReports } = await import('../dist/test/lab/totals.js');
  failures.push(...failureReports(output));
  count(script, ok, parseTotals(output));
}

async function lab() {
  const folder = mkdtempSync(join(tmpdir(), 'barewire-check-'));
  const file = join(folder, 'totals.json');
  const { ok, output } = await npm('test:lab', { BAREWIRE_TOTALS: file });
  const { failureReports } = await import('../dist/test/lab/totals.js');
  failures.push(...failureReports(output));
  let totals;
  try {
    totals = JSON.parse(readFileSync(file, 'utf8'));
  } catch {
    // No file: the lab did not get that far.
  }
  rmSync(folder, { recursive: true });
  count('test:lab', ok, totals);
}

if (await lintAndBuild()) {
  for (const script of ['test', 'test:faults']) await unitTests(script);
  await lab();
}
if (failures.length > 0) console.log(`\n== failed\n${failures.join('\n\n')}`);
const skipped = sum.skipped > 0 ? `, ${sum.skipped} skipped` : '';
console.log(`\n${sum.passed} passed, ${sum.failed} failed${skipped}`);
process.exitCode = sum.failed > 0 ? 1 : 0;
