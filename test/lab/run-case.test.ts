import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { suite } from '../support/suite.js';
import { byMachine } from './cases.js';
import { isToRunAgain, judge, readEnds, sharedCommand } from './run-case.js';
import { failureReports, formatTotals, parseTotals } from './totals.js';
import { deathOf, isOneAsleep, KERNEL_DIED } from './vm.js';

const summary = (total: number, passed: number, skipped = 0) =>
  ` • •   (${passed} / ${total})\n\n  Total:     ${total}\n  Passed:    ${passed}\n  Skipped:   ${skipped}\n  Duration:  1.00ms\n`;

const totals = suite('lab totals');

totals('are read from the summary of a run', () => {
  assert.equal(parseTotals(summary(5, 3, 1)), { passed: 3, failed: 2, skipped: 1 });
});

totals('are read through colours', () => {
  const coloured =
    '\n  Total:     2\x1b[32m\n  Passed:    2\x1b[39m\n  Skipped:   \x1b[33m1\x1b[39m\n  Duration:  1ms\n';
  assert.equal(parseTotals(coloured), { passed: 2, failed: 0, skipped: 1 });
});

totals('of several runs are added', () => {
  assert.equal(parseTotals(summary(2, 2) + summary(3, 2)), { passed: 4, failed: 1, skipped: 0 });
});

totals('are undefined for a run that did not reach its end', () => {
  assert.is(parseTotals(' • • '), undefined);
});

totals('name skipped tests only if there are any', () => {
  assert.is(formatTotals({ passed: 1, failed: 2, skipped: 0 }), '1 passed, 2 failed');
  assert.is(formatTotals({ passed: 1, failed: 2, skipped: 3 }), '1 passed, 2 failed, 3 skipped');
});

const reports = suite('failure reports');
const PLAIN = '   FAIL  things  "are right"\n    Expected 1\nof 2\n\n    at here.js:1:2';
const FAILED = `${PLAIN.replace('FAIL', '\x1b[31mFAIL\x1b[39m')}\n`;

reports('are what stands from a failed test to the next file, failure or summary', () => {
  assert.equal(failureReports(`${FAILED}\n\nother.test.js\n • •   (2 / 2)\n`), [PLAIN]);
  assert.equal(failureReports(`${FAILED}${FAILED}${summary(2, 0)}`), [PLAIN, PLAIN]);
});

reports('are cut where they are long', () => {
  const [report] = failureReports(`${FAILED}${'    line\n'.repeat(100)}`);
  assert.is(report!.split('\n').length, 16);
});

reports('name the cases of the lab that failed', () => {
  const output =
    'lab: boot: 3 passed, 0 failed in 1.0 s\nlab: fwd: 9 passed, 10 failed in 1.0 s\nlab: 12 passed, 10 failed\n';
  assert.equal(failureReports(output), ['lab: fwd: 9 passed, 10 failed in 1.0 s']);
});

reports('have what was wrong with a case that gave no result, and the end of its console', () => {
  const log = Array.from({ length: 30 }, (_, i) => `[ ${i}.0] line`);
  const output = ['lab: boot ...', ' • ', 'lab: QEMU was ended by a signal', 'Console:', ...log].join('\n');
  const [problem, line] = failureReports(
    `${output}\nlab: the guest's /out was /runs/1\nlab: boot: 0 passed, 1 failed in 1.0 s\n`,
  );
  assert.match(problem!, /^lab: QEMU was ended by a signal\n/);
  assert.match(problem!, /\n\[ 29\.0\] line\nlab: the guest's \/out was \/runs\/1$/);
  assert.ok(problem!.split('\n').length <= 16);
  assert.is(line, 'lab: boot: 0 passed, 1 failed in 1.0 s');
  assert.equal(failureReports('lab: exit status 3\nlab: ipxe: 0 passed, 1 failed in 1.0 s'), [
    'lab: exit status 3',
    'lab: ipxe: 0 passed, 1 failed in 1.0 s',
  ]);
});

reports('have what the programs said that a failed test had left', () => {
  const said = 'still running: barewire fwd a b\nport 0\nport 1';
  assert.equal(failureReports(` • \n${said}\n\n    9.0 s  a test ✘\n\n${FAILED}\n`), [said, PLAIN]);
});

reports('are none where nothing failed', () => {
  assert.equal(failureReports(`a.test.js\n • •   (2 / 2)\n${summary(2, 2)}lab: 2 passed, 0 failed\n`), []);
});

const verdict = suite('lab verdict');

verdict('is the totals if the exit status agrees', () => {
  assert.equal(judge(0, summary(2, 2)), { totals: { passed: 2, failed: 0, skipped: 0 } });
  assert.equal(judge(1, summary(2, 1)), { totals: { passed: 1, failed: 1, skipped: 0 } });
});

verdict('is a failure for a good end without totals', () => {
  const { totals, problem } = judge(0, ' • • ');
  assert.equal(totals, { passed: 0, failed: 1, skipped: 0 });
  assert.match(problem!, 'no test totals');
});

verdict('has one failure more for a crash after the totals', () => {
  assert.equal(judge(139, summary(2, 2)).totals, { passed: 2, failed: 1, skipped: 0 });
  assert.equal(judge(139, summary(2, 1)).totals, { passed: 1, failed: 2, skipped: 0 });
});

verdict('does not let failed tests pass by an exit status of 0', () => {
  assert.equal(judge(0, summary(2, 1)).totals, { passed: 1, failed: 2, skipped: 0 });
});

const shared = suite('lab cases in one machine');

/** Runs cases whose programs are lines of shell; `machine` may change what they left. */
function runShared(programs: Record<string, string>, reset = 'true', machine = (_folder: string) => {}) {
  const folder = mkdtempSync(join(tmpdir(), 'barewire-shared-'));
  try {
    const names = Object.keys(programs);
    const command = sharedCommand(names, folder, (name) => programs[name]!, reset);
    const { status } = spawnSync('bash', ['-c', command]);
    machine(folder);
    return readEnds(names, folder, status ?? 125).map((end) => [end.status, end.stdout, end.stderr]);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

shared('have each its own output and status', () => {
  assert.equal(runShared({ one: '(echo a; echo b >&2)', two: '(echo c; exit 1)', three: 'echo d' }), [
    [0, 'a\n', 'b\n'],
    [1, 'c\n', ''],
  ]);
  assert.equal(runShared({ one: 'echo a', two: 'echo c' }), [
    [0, 'a\n', ''],
    [0, 'c\n', ''],
  ]);
});

shared('fail where the machine cannot be made as it was', () => {
  assert.equal(runShared({ one: 'echo a', two: 'echo c' }, '(echo left >&2; exit 1)'), [
    [123, 'a\n', 'left\n'],
  ]);
  assert.match(judge(123, summary(2, 2)).problem!, 'could not be made as it was');
  assert.is(judge(123, summary(2, 2)).totals.failed, 1);
});

shared('have no good end where the machine died', () => {
  const died = (folder: string) => writeFileSync(join(folder, 'two.status'), '');
  assert.equal(runShared({ one: 'echo a', two: 'echo c', three: 'echo e' }, 'true', died), [
    [0, 'a\n', ''],
    [125, 'c\n', ''],
  ]);
});

shared('are those next to each other that say so', () => {
  const cases = [
    { name: 'a', shares: true },
    { name: 'b', shares: true },
    { name: 'c' },
    { name: 'd', shares: true },
  ];
  const names = byMachine(cases).map((group) => group.map(({ name }) => name).join(''));
  assert.equal(names, ['ab', 'c', 'd']);
});

const deaths = suite('a machine that died');
const NO_RESULT = 125;
const HANG = 124;
const oops = (kind: string, code: string): string =>
  `[    1.5] Oops: ${kind}: 0000 [#1] PREEMPT SMP NOPTI\n[    1.5] RIP: 0010:f+0x3d/0x1080\n[    1.5] Code: 00 48 ${code} 05 00\n`;
const ofLog = (log: string) => deathOf(NO_RESULT, 0, log) ?? '';

deaths('of stale code had a breakpoint where the code has none', () => {
  assert.match(ofLog(oops('int3', '5c 24 30 e9 <4b>')), 'patched away');
  assert.match(ofLog(`${oops('int3', '30 0f <1f>')}[    1.6] Kernel panic - not syncing`), 'patched away');
});

deaths('of another kind had a real breakpoint, another fault, or no fault', () => {
  for (const log of [
    oops('int3', '5c 24 30 cc <4b>'),
    oops('int3', '5c 24 30 cc <4b>') + oops('general', '5c 24 30 e9 <4b>'),
    oops('invalid opcode', '5c 24 30 e9 <4b>'),
    '[    1.6] Kernel panic - not syncing: sysrq triggered crash',
  ]) {
    assert.is(ofLog(log), "the guest's kernel died");
  }
  assert.is(ofLog(''), 'QEMU ended with 0, and no result');
  assert.is(deathOf(NO_RESULT, null, ''), 'QEMU was ended by a signal');
});

deaths(
  'is a case to be run again: not where a test had failed, or where its own DMA may have been it',
  () => {
    const passed = '     1.0 s  one • ';
    assert.ok(isToRunAgain(KERNEL_DIED, passed, undefined));
    assert.ok(isToRunAgain('QEMU was ended by a signal', passed, 'none'));
    assert.not(isToRunAgain(undefined, passed, undefined));
    assert.not(isToRunAgain(KERNEL_DIED, passed, 'none'));
    assert.not(isToRunAgain('QEMU was ended by a signal', `${passed}     1.0 s  two ✘ `, undefined));
  },
);

deaths('has a processor that gave a sign of life, and then none for a minute', () => {
  const folder = mkdtempSync(join(tmpdir(), 'barewire-alive-'));
  const nowMs = Date.now();
  const gave = (name: string, secondsAgo: number): void => {
    writeFileSync(join(folder, name), '');
    utimesSync(join(folder, name), (nowMs - secondsAgo * 1000) / 1000, (nowMs - secondsAgo * 1000) / 1000);
  };
  try {
    gave('stdout', 600);
    assert.not(isOneAsleep(folder, nowMs), 'none has begun');
    gave('alive-cpu0', 8);
    gave('alive-cpu1', 50);
    assert.not(isOneAsleep(folder, nowMs));
    gave('alive-cpu1', 65);
    assert.ok(isOneAsleep(folder, nowMs));
  } finally {
    rmSync(folder, { recursive: true });
  }
});

deaths('lost a processor; a command that does not end, or ends, is no death', () => {
  assert.match(deathOf(NO_RESULT, 'asleep', '')!, 'sleeps for good');
  assert.is(deathOf(HANG, 'timeout', ''), undefined);
  assert.is(deathOf(0, 1, ''), undefined);
  assert.is(deathOf(1, 3, 'Oops'), undefined);
});

totals.run();
reports.run();
verdict.run();
shared.run();
deaths.run();
