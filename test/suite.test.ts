/** The suites of these tests: what a hook throws is never lost. Each is tried in a process of its own, as runs of tests are. */
import { spawnSync } from 'node:child_process';
import * as assert from 'uvu/assert';
import { codeOf, readSource, sourcesIn } from './support/sources.js';
import { suite } from './support/suite.js';

const MODULE = new URL('./support/suite.js', import.meta.url).href;

interface Run {
  readonly status: number | null;
  readonly passed: number;
  readonly total: number;
  readonly stdout: string;
}

/** Runs a suite `it`, defined by these statements. */
function runSuite(statements: string): Run {
  const code = `import { suite } from '${MODULE}'; const it = suite('planted'); ${statements}; it.run();`;
  const { status, stdout } = spawnSync(process.execPath, ['--input-type=module', '-e', code], {
    encoding: 'utf8',
    env: { ...process.env, FORCE_COLOR: '0' },
  });
  const [, total, passed] = /Total: +(\d+)\n +Passed: +(\d+)/.exec(stdout) ?? [];
  return { status, stdout, total: Number(total), passed: Number(passed) };
}

const fail = (what: string): string => `() => { throw new Error('${what}') }`;
const TESTS = "it('one', () => {}); it('two', () => {})";

const suites = suite('suites');

suites('pass when nothing throws', () => {
  const { status, total, passed } = runSuite(
    `it.before(() => {}); it.before.each(() => {}); it.after.each(() => {}); it.after(() => {}); ${TESTS}`,
  );
  assert.equal([status, total, passed], [0, 2, 2]);
});

for (const [hook, wanted] of [
  ['before', 0],
  ['before.each', 0],
  ['after.each', 0],
] as const) {
  suites(`what ${hook} throws fails each test`, () => {
    const { status, total, passed, stdout } = runSuite(`it.${hook}(${fail('in a hook')}); ${TESTS}`);
    assert.equal([status, total, passed], [1, 2, wanted]);
    assert.is(stdout.split('in a hook').length - 1 >= 2, true, stdout);
  });
}

suites('what an asynchronous hook throws is no different', () => {
  const { status, passed, stdout } = runSuite(`it.before(async () => { throw new Error('late') }); ${TESTS}`);
  assert.equal([status, passed], [1, 0]);
  assert.match(stdout, 'late');
});

suites('what `after` throws ends the run without totals', () => {
  const { status, stdout } = runSuite(`it.after(${fail('at the end')}); ${TESTS}`);
  assert.is(status, 1);
  assert.not.match(stdout, 'Total:');
});

suites('what a test throws is said, not what `after.each` makes of it', () => {
  const { status, passed, stdout } = runSuite(
    `it.after.each(({ broken }) => { if (broken) throw new Error('no clean-up') });
     it('one', (context) => { context.broken = true; throw new Error('the cause') });`,
  );
  assert.equal([status, passed], [1, 0]);
  assert.match(stdout, 'the cause');
});

suites('a hook that undoes something runs after a test that failed', () => {
  const { stdout } = runSuite(`it.after.each(() => console.log('undone')); it('one', ${fail('x')});`);
  assert.match(stdout, 'undone');
});

suites('no test has one of uvu itself', () => {
  const files = sourcesIn(['test', 'bench']).filter((file) => file !== 'test/support/suite.ts');
  assert.ok(files.length > 100, `${files.length} files`);
  assert.equal(
    files.filter((file) => /import \{[^}]*\bsuite\b[^}]*\} from 'uvu'/.test(codeOf(readSource(file)))),
    [],
  );
});

suites.run();
