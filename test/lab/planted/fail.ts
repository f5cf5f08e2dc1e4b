/** For the self-test: one test of each outcome. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';

test('passes', () => {});

test('fails', () => {
  assert.unreachable('planted failure');
});

test.skip('is skipped', () => {});

test.run();
