/**
 * The harness must not take trouble for success: each kind of it, planted in a machine, has to count as a failure.
 * What the harness makes of an exit status and totals is tested without machines in run-case.test.ts.
 */
import { rmSync } from 'node:fs';
import * as assert from 'uvu/assert';
import type { LabCase } from '../cases.js';
import { type CaseReport, runCase } from '../run-case.js';
import { suite } from '../suite.js';

const test = suite('selftest');

async function plant(labCase: Partial<LabCase>): Promise<CaseReport> {
  const report = await runCase({ name: 'planted', hugepages: 0, memoryMib: 768, ...labCase });
  const kept = report.text.match(/\/out was (.*)$/m);
  if (kept) rmSync(kept[1]!, { recursive: true });
  return report;
}

test('a failing test fails, and only it', async () => {
  const { totals, text } = await plant({ command: 'node dist/test/lab/planted/fail.js' });
  assert.equal(totals, { passed: 1, failed: 1, skipped: 1 });
  assert.match(text, 'planted failure');
});

test('a hang fails', async () => {
  const { totals, text } = await plant({ command: 'echo alive; sleep 1000', timeoutS: 40 });
  assert.equal(totals, { passed: 0, failed: 1, skipped: 0 });
  assert.match(text, 'did not end in time');
});

test('a panic fails, and shows the console', async () => {
  const { totals, text } = await plant({
    command: 'echo 0 > /out/status; echo c > /proc/sysrq-trigger; sleep 60',
  });
  assert.equal(totals, { passed: 0, failed: 1, skipped: 0 });
  assert.match(text, "the guest's kernel died");
  assert.match(text, 'sysrq triggered crash');
});

test('a QEMU that does not start fails', async () => {
  const { totals, text } = await plant({ nics: ['no-such-device'] });
  assert.equal(totals, { passed: 0, failed: 1, skipped: 0 });
  assert.match(text, 'no-such-device');
});

test.run();
