/** The table of conformance is what runs found, and nothing else. */
import * as assert from 'uvu/assert';
import { suite } from '../support/suite.js';
import { caseTables, decode, encode, fillSection, merge, summaryTable } from './report.js';
import type { CaseResult, ColumnResult } from './results.js';

const test = suite('the table of conformance');

function column(driver: string, backend: ColumnResult['backend'], ...results: CaseResult['result'][]) {
  const cases = results.map((result, i) => ({
    suite: i < 2 ? 'first' : 'second',
    name: `case ${i}`,
    result,
  }));
  return { driver, device: 'a card', backend, cases };
}

const one = column('one', 'memory', 'passed', 'passed', { missing: 'tags' });
const two = column('two', 'kernel cdev', 'passed', 'failed', { missing: 'link' });

test('results survive the file', () => {
  const columns = [one, two, column('three', 'memory', 'passed'), column('four', 'memory')];
  assert.equal(
    new Set(decode(encode(columns)).map((entry) => JSON.stringify(entry))),
    new Set(columns.map((entry) => JSON.stringify(entry))),
  );
});

test('a run takes the place of what was known of its column, and of no other', () => {
  const better = column('two', 'kernel cdev', 'passed', 'passed', 'passed');
  assert.equal(merge([one, two], [better]), [one, better]);
  assert.equal(merge([two], [one]), [one, two]);
  assert.is(merge([two], [column('two', 'kernel group', 'passed')]).length, 2);
});

test('the kernel comes first, and the family of the tests last', () => {
  const columns = ['memory', 'AF_XDP', 'vfio-user', 'kernel cdev', 'kernel group'] as const;
  const found = [column('made-up', 'memory'), ...columns.map((backend) => column('virtio', backend))];
  assert.equal(
    merge([], found).map(({ driver, backend }) => `${driver} ${backend}`),
    ['kernel group', 'kernel cdev', 'vfio-user', 'AF_XDP', 'memory']
      .map((backend) => `virtio ${backend}`)
      .concat('made-up memory'),
  );
});

test('the summary counts what passed, and names what failed and what is missing', () => {
  const [, , first, second] = summaryTable([one, two]).split('\n');
  assert.is(first, '| `one` | a card | memory | 2 of 3 | tags |');
  assert.is(second, '| `two` | a card | kernel cdev | 1 of 3, 1 failed | link |');
});

test('each case has a row, each column a cell; other suites have a table of their own', () => {
  const other = column('other', 'memory', 'passed');
  const [first, second] = caseTables([one, two, other]).split(/\n\n(?=- )/);
  assert.equal(first!.split('\n').slice(5), [
    '| **first** | | |',
    '| case 0 | ✓ | ✓ |',
    '| case 1 | ✓ | **failed** |',
    '| **second** | | |',
    '| case 2 | no tags | no link |',
  ]);
  assert.match(second!, '| case 0 | ✓ |');
});

test('only what stands between the marks is replaced', () => {
  const [from, to] = ['<!-- conformance: from here -->', '<!-- conformance: to here -->'];
  assert.is(fillSection(`a\n${from}\nold\n${to}\nb`, 'new'), `a\n${from}\n\nnew\n\n${to}\nb`);
  assert.throws(() => fillSection('no marks', 'new'), /no section/);
  assert.throws(() => fillSection(`${to} ${from}`, 'new'), /no section/);
});

test.run();
