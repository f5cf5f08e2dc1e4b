import * as assert from 'uvu/assert';
import { NicError } from '../../src/errors.js';
import { deviceAddress, forEachAddress, pciAddresses } from '../../tools/addresses.js';
import { expectError } from '../support/expect-error.js';
import { suite } from '../support/suite.js';
import { runAction } from './run-action.js';

const addresses = suite('addresses');

addresses('addresses are normalised; the same one twice is one', () => {
  assert.is(deviceAddress('03:00.0'), '0000:03:00.0');
  assert.is(deviceAddress('vfio-user:/x'), 'vfio-user:/x');
  assert.equal(pciAddresses(['03:00.0', '0000:04:00.0', '0000:03:00.0']), ['0000:03:00.0', '0000:04:00.0']);
  expectError('BAD_ADDRESS', () => pciAddresses(['vfio-user:/x']));
});

addresses('forEachAddress goes on after a failure, reports it, and ends with 1', async () => {
  const seen: string[] = [];
  const [code, text] = await runAction(() =>
    forEachAddress(['a', 'b', 'c'], (address) => {
      seen.push(address);
      if (address === 'b') throw new NicError('BIND_FAILED', 'b failed');
    }),
  );
  assert.equal(seen, ['a', 'b', 'c']);
  assert.is(code, 1);
  assert.is(text, 'barewire: b failed\n');
});

addresses.run();
