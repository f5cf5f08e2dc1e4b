import * as assert from 'uvu/assert';
import { NicError } from '../../src/errors.js';
import { deviceAddress } from '../../tools/addresses.js';
import { suite } from '../support/suite.js';
import { runAction } from './run-action.js';

const status = suite('exit status');

status('an asynchronous command is waited for', async () => {
  let done = false;
  const result = await runAction(async () => {
    await new Promise((resolve) => setTimeout(resolve, 5));
    done = true;
  });
  assert.equal(result, [0, '']);
  assert.ok(done);
});

status('a rejected command is 1, with message and hint', async () => {
  const error = new NicError('NO_LINK', 'No link on x', { hint: 'plug it in' });
  assert.equal(await runAction(() => Promise.reject(error)), [
    1,
    'barewire: No link on x\nhint: plug it in\n',
  ]);
});

status('BAD_OPTION and BAD_ADDRESS are 2, with the help as a hint where there is none', async () => {
  assert.equal(await runAction(() => Promise.reject(new NicError('BAD_OPTION', 'rate and gap together'))), [
    2,
    'barewire: rate and gap together\nhint: "barewire go --help" shows its arguments and options\n',
  ]);
  assert.is((await runAction(() => void deviceAddress('nonsense')))[0], 2);
});

status('an unexpected error is 1, on one line', async () => {
  assert.equal(await runAction(() => Promise.reject(new TypeError('x is\n  not y'))), [
    1,
    'barewire: x is not y\n',
  ]);
  assert.equal(await runAction(() => Promise.reject('text')), [1, 'barewire: text\n']);
});

status('a bad number is 2 and names option and value', async () => {
  const [code, text] = await runAction(() => {}, ['go', '-n', '1.5']);
  assert.is(code, 2);
  assert.match(
    text,
    /^barewire: option '-n <count>' argument '1\.5' is invalid\. It must be a whole number from 1\.\nhint: .*\n$/,
  );
});

status.run();
