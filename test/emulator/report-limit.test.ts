/** What goes wrong ten thousand times is told a few times, and how often in all. */
import { setTimeout as delay } from 'node:timers/promises';
import * as assert from 'uvu/assert';
import { ReportLimit } from '../../src/emulator/report-limit.js';
import { suite } from '../support/suite.js';

const test = suite('limit of reports');

function recorder() {
  const told: string[] = [];
  const limit = new ReportLimit((error, where) =>
    told.push(`${where}: ${error instanceof Error ? error.message : error}`),
  );
  return { told, limit };
}

test('a few pass as they are, at once', () => {
  const { told, limit } = recorder();
  limit.report('first', 'a');
  limit.report('second', 'a');
  assert.equal(told, ['a: first', 'a: second']);
  limit.flush();
  assert.is(told.length, 2);
});

test('of many, the first ones and a count', () => {
  const { told, limit } = recorder();
  for (let i = 0; i < 10_000; i++) limit.report(i, 'a');
  limit.flush();
  assert.equal(told, ['a: 0', 'a: 1', 'a: 2', 'a: 3', 'a: 4', 'a: 9995 more messages suppressed']);
});

test('each source has a limit of its own', () => {
  const { told, limit } = recorder();
  for (let i = 0; i < 100; i++) limit.report(i, 'a');
  limit.report('quiet', 'b');
  assert.is(told.at(-1), 'b: quiet');
});

test('a second later some pass again, after the count', async () => {
  const { told, limit } = recorder();
  for (let i = 0; i < 8; i++) limit.report(i, 'a');
  while (told.length < 6) await delay(20);
  assert.is(told[5], 'a: 3 more messages suppressed');
  limit.report('later', 'a');
  assert.is(told[6], 'a: later');
});
test.run();
