/**
 * `npm run bench:all`: the benchmark with all its parts, and the page that is made from it.
 *
 *     npm run bench:all -- --node 22,24      options go to the core benchmark (`npm run bench -- --help`)
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { measureAlternatives } from './alternatives/alternatives.js';
import { describeRow } from './alternatives/describe.js';
import { describeMachine } from './machine.js';
import { CORE_FOLDER, RESULT_FILE, ROOT } from './paths.js';
import { byVersion, collectRun } from './report/collect.js';
import type { BenchResult } from './report/result.js';

/** Runs a part; the others are of no use without it. */
function run(script: string, ...args: string[]): void {
  const file = join(ROOT, 'dist', 'bench', script);
  const { status } = spawnSync(process.execPath, ['--no-warnings', file, ...args], { stdio: 'inherit' });
  if (status !== 0) throw new Error(`${script} ended with status ${status}`);
}

try {
  // Results of another day have no place beside today's.
  rmSync(CORE_FOLDER, { recursive: true, force: true });
  // Captures are not on the page.
  run('main.js', '--capture', '0', ...process.argv.slice(2));
  const runs = readdirSync(CORE_FOLDER)
    .filter((name) => name.endsWith('.json'))
    .map((name) => collectRun(readFileSync(join(CORE_FOLDER, name), 'utf8')))
    .sort(byVersion);
  console.log(`\nNode.js ${process.version}: what one would use instead`);
  const alternatives = await measureAlternatives((row) => console.log(describeRow(row)));
  const result: BenchResult = {
    machine: describeMachine(),
    node: process.version,
    date: new Date().toISOString(),
    core: { runs },
    alternatives,
  };
  mkdirSync(dirname(RESULT_FILE), { recursive: true });
  writeFileSync(RESULT_FILE, `${JSON.stringify(result, null, 2)}\n`);
  console.log(`result: ${RESULT_FILE}`);
  run(join('report', 'main.js'));
} catch (error) {
  console.error(`bench:all: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
}
