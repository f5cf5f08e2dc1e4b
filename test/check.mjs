/**
 * All that has to hold before a change goes in: lint, build, unit tests, planted faults, lab. Prints what each part prints and how
 * long it took, once more what failed, and as its last line the sum of all tests: `N passed, N failed`. Plain JavaScript, because the
 * build is one of the parts. While the unit tests run, the lab downloads what it needs; while the lab runs, so do the planted faults.
 */
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A part that takes longer hangs. All of them take about half of this on two slow cores. */
const LIMIT_MINUTES = {
  lint: 5,
  build: 5,
  test: 20,
  'test:faults': 40,
  prepare: 30,
  'test:lab': 60,
  'conformance:check': 1,
};

/** Shell that runs its arguments with the lowest priority: of the session, where the kernel shares processors out by these, and in it. */
const LAST_IN_TURN = '(echo 19 > /proc/self/autogroup) 2> /dev/null; exec nice -n 19 "$0" "$@"';

const sum = { passed: 0, failed: 0, skipped: 0 };
const failures = [];
const running = new Set();

process.chdir(join(import.meta.dirname, '..'));
for (const signal of ['SIGINT', 'SIGTERM']) {
  process.once(signal, () => {
    for (const { pid, exitCode } of running) if (exitCode === null) process.kill(-pid, signal);
    process.exit(130);
  });
}

/**
 * Runs an npm script, passes its output on, and resolves to whether it succeeded, and its standard output. Without the
 * scripts that npm would run before it: `npm test` builds first, which has been done here. With `beside`, another script runs meanwhile
 * and has the processors first, and the output of this one is printed when it has ended.
 */
function npm(script, { env = {}, beside = false } = {}) {
  if (!beside) console.log(`\n== ${script}`);
  const startMs = performance.now();
  return new Promise((resolve) => {
    const command = ['npm', 'run', '--silent', '--ignore-scripts', script];
    const [program, ...args] = beside ? ['/bin/sh', '-c', LAST_IN_TURN, ...command] : command;
    const child = start(script, program, args, env);
    let output = '';
    child.stdout.setEncoding('utf8').on('data', (text) => {
      output += text;
      if (!beside) process.stdout.write(text);
    });
    child.once('error', () => resolve({ ok: false, output }));
    child.once('close', (status) => {
      if (beside) console.log(`\n== ${script}\n${output}`);
      console.log(`== ${script}: ${Math.round((performance.now() - startMs) / 1000)} s`);
      resolve({ ok: status === 0, output });
    });
  });
}

/** Starts a part in a group of its own, which is ended as a whole when its time is up. */
function start(part, program, args, env = {}) {
  const child = spawn(program, args, {
    stdio: ['ignore', 'pipe', 'inherit'],
    detached: true,
    env: { ...process.env, ...env },
  });
  running.add(child);
  const limit = setTimeout(() => {
    failures.push(`check: ${part} has not ended within ${LIMIT_MINUTES[part]} minutes`);
    process.kill(-child.pid, 'SIGKILL');
  }, LIMIT_MINUTES[part] * 60_000);
  const ended = () => {
    clearTimeout(limit);
    running.delete(child);
  };
  child.once('close', ended);
  child.once('error', ended);
  return child;
}

/**
 * Downloads and builds what the lab needs, where it is not there yet. Whether it works out is the lab's to say: it goes on
 * where this ended, and fails if it cannot.
 */
function prepareLab() {
  const child = start('prepare', process.execPath, ['dist/test/lab/main.js', '--prepare']);
  child.stdout.resume();
  return new Promise((resolve) => {
    child.once('close', resolve);
    child.once('error', resolve);
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

async function unitTests(script, options = {}) {
  const { ok, output } = await npm(script, options);
  // Loaded here because the build has only just made it.
  const { parseTotals, failureReports } = await import('../dist/test/lab/totals.js');
  failures.push(...failureReports(output));
  count(script, ok, parseTotals(output));
}

async function lab() {
  const folder = mkdtempSync(join(tmpdir(), 'barewire-check-'));
  const file = join(folder, 'totals.json');
  const { ok, output } = await npm('test:lab', { env: { BAREWIRE_TOTALS: file } });
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
  const prepared = prepareLab();
  await unitTests('test');
  await prepared;
  // The lab leaves half of the processors idle.
  await Promise.all([unitTests('test:faults', { beside: true }), lab()]);
  // What has run is what docs/conformance.md says.
  if (!(await npm('conformance:check')).ok) fail('docs/conformance.md does not say what was found');
}
if (failures.length > 0) console.log(`\n== failed\n${failures.join('\n\n')}`);
const skipped = sum.skipped > 0 ? `, ${sum.skipped} skipped` : '';
console.log(`\n${sum.passed} passed, ${sum.failed} failed${skipped}`);
process.exitCode = sum.failed > 0 ? 1 : 0;
