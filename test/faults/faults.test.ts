/**
 * Plants each fault of `faults.ts` in a copy of the built driver and runs the driver's tests on the model there. A fault
 * that no test notices is a hole in the tests (or in the model).
 */
import { spawn } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { suite } from '../support/suite.js';
import { type Fault, faults, occursOnce } from './faults.js';

const dist = join(import.meta.dirname, '../..');
const TIMEOUT_MS = 180_000;
/** A run with a fault that takes so many times as long as one without hangs. */
const HANG_FACTOR = 4;

/** A run waits for hardware times (resets, links) more than it computes. */
const CONCURRENCY = 4 * Math.min(2, availableParallelism());

const IXGBE_TESTS = ['ixgbe', '\\.test\\.js$'] as const;

interface Verdict {
  readonly status: number | null;
  readonly output: string;
}

/** A copy of the build to plant faults in. */
function makeCopy(): string {
  const copy = mkdtempSync(join(tmpdir(), 'barewire-faults-'));
  for (const folder of [
    'src',
    'test/support',
    'test/emulator',
    'test/driver',
    'test/conformance',
    'test/forward',
  ]) {
    cpSync(join(dist, folder), join(copy, 'dist', folder), { recursive: true });
  }
  cpSync(join(dist, '../package.json'), join(copy, 'package.json'));
  symlinkSync(join(dist, '../node_modules'), join(copy, 'node_modules'));
  return copy;
}

const FIXED_SEED = new URL('./fixed-seed.js', import.meta.url).href;

/** The tests on a copy, up to the first failure. A hang counts as a failure. */
function runTests(copy: string, timeoutMs: number, tests: Fault['tests'] = IXGBE_TESTS): Promise<Verdict> {
  const [folder, pattern] = tests;
  return new Promise((resolve) => {
    const uvu = join(copy, 'node_modules/uvu/bin.js');
    const args = ['--import', FIXED_SEED, uvu, join(copy, 'dist/test/driver', folder), pattern, '--bail'];
    const child = spawn(process.execPath, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: timeoutMs,
      env: { ...process.env, NODE_V8_COVERAGE: '', BAREWIRE_CONFORMANCE: '' },
    });
    let output = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        output += text;
      });
    }
    child.on('close', (status) => resolve({ status, output }));
  });
}

async function runWith(copy: string, fault: Fault, timeoutMs: number): Promise<Verdict> {
  const file = join(copy, 'dist/src/driver', fault.file);
  const text = readFileSync(file, 'utf8');
  if (!occursOnce(text, fault)) return { status: 0, output: `${fault.find} is not in ${fault.file} once` };
  writeFileSync(
    file,
    text.replace(fault.find, () => fault.replace),
  );
  try {
    return await runTests(copy, timeoutMs, fault.tests);
  } finally {
    writeFileSync(file, text);
  }
}

interface Verdicts {
  readonly sound: Verdict;
  readonly planted: ReadonlyMap<Fault, Verdict>;
}

async function runAll(): Promise<Verdicts> {
  const copies = Array.from({ length: CONCURRENCY }, makeCopy);
  const verdicts = new Map<Fault, Verdict>();
  try {
    const start = performance.now();
    const sound = await runTests(copies[0]!, TIMEOUT_MS);
    const timeoutMs = Math.min(TIMEOUT_MS, Math.ceil(HANG_FACTOR * (performance.now() - start)));
    const queue = [...faults];
    const plantFaults = async (copy: string): Promise<void> => {
      for (let fault = queue.shift(); fault !== undefined; fault = queue.shift()) {
        verdicts.set(fault, await runWith(copy, fault, timeoutMs));
      }
    };
    await Promise.all(copies.map(plantFaults));
    return { sound, planted: verdicts };
  } finally {
    for (const copy of copies) rmSync(copy, { recursive: true, force: true });
  }
}

const verdicts = await runAll();
const planted = suite('planted faults');

planted('without a fault the tests pass', () => {
  const { status, output } = verdicts.sound;
  assert.is(status, 0, output);
});

for (const fault of faults) {
  planted(fault.name, () => {
    const { status, output } = verdicts.planted.get(fault)!;
    assert.is.not(status, 0, `nothing failed:\n${output}`);
  });
}

planted.run();
