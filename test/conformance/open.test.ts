/** `open` and what extends it, whatever the family: wrong calls are told what is wrong, and none ends in a TypeError. */
import * as assert from 'uvu/assert';
import type { OpenOptions } from '../../src/driver/device.js';
import { addScheme, normalizeAddress, open } from '../../src/driver/registry.js';
import { expectError, expectRejection } from '../support/expect-error.js';
import { plugIn } from '../support/made-up-family/scheme.js';
import { suite } from '../support/suite.js';

const opening = suite('open');

for (const address of [
  undefined,
  null,
  42,
  '',
  {},
  [],
  true,
  Symbol.iterator,
  'not-an-interface',
  'made-up:',
  ':1',
  'Made-Up:1',
]) {
  opening(
    `of ${String(address) === '' ? 'nothing' : String(address)}: no address, and what one looks like`,
    async () => {
      const error = await expectRejection('BAD_ADDRESS', open(address as string));
      assert.match(error.hint!, '0000:03:00.0');
      assert.match(error.hint!, 'vfio-user:');
      assert.match(error.hint!, 'made-up:SLOT');
    },
  );
}

opening('without anything', async () => {
  const error = await expectRejection('BAD_ADDRESS', (open as () => Promise<unknown>)());
  assert.ok(error.hint);
});

for (const options of [null, 5, 'fast', [], { rxRingsize: 64 }, { rxRingSize: '99' }]) {
  opening(`with options ${JSON.stringify(options)}`, async () => {
    plugIn(20);
    const error = await expectRejection('BAD_OPTION', open('made-up:20', options as OpenOptions));
    assert.ok(error.hint);
  });
}

opening('a scheme has its own addresses, and the device tells them', async () => {
  plugIn(20);
  await using nic = await open('made-up:20', { pageSize: '4K' });
  assert.is(nic.address, 'made-up:20');
  assert.is(nic.vfio, undefined);
  assert.is(normalizeAddress('made-up:20'), 'made-up:20');
  assert.is(normalizeAddress('3:0.1'), '0000:03:00.1');
});

opening('schemes that no address can name, or that addresses begin with already', () => {
  const fails = async (): Promise<never> => {
    throw new Error('not reached');
  };
  for (const name of ['', 'Up', '0000', 'a_b', 'a:b', undefined]) {
    expectError(
      'BAD_OPTION',
      () => addScheme({ name: name as string, form: 'x', open: fails }),
      /name of a scheme/,
    );
  }
  for (const name of ['vfio-user', 'made-up']) {
    const error = expectError('BAD_OPTION', () => addScheme({ name, form: 'x', open: fails }), /already/);
    assert.ok(error.hint);
  }
});

opening.run();
