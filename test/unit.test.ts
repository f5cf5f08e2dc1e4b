/** The runner of the unit tests, `test/unit.mjs`, whose output goes to a file here. */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { suite } from './support/suite.js';

const ROOT = join(import.meta.dirname, '../..');

const unit = suite('the runner of the unit tests');

unit('no colour in what is no terminal, and the sum at the end', () => {
  const { FORCE_COLOR: _, NO_COLOR: __, ...env } = process.env;
  const run = spawnSync(process.execPath, [join(ROOT, 'test/unit.mjs'), '^errors'], {
    cwd: ROOT,
    env,
    encoding: 'utf8',
  });
  assert.is(run.status, 0, run.stderr);
  assert.match(run.stdout, /^errors\.test\.js \(.* s\)\n/);
  assert.match(run.stdout, /\n {2}Total: +(\d+)\n {2}Passed: +\1\n {2}Skipped: +0\n/);
  assert.not.ok((run.stdout + run.stderr).includes('\x1b'));
});

unit.run();
