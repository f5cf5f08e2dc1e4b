/** Bounded waits for a register. */
import * as assert from 'uvu/assert';
import { RegisterFile } from '../../src/driver/register-file.js';
import { Region } from '../../src/vfio/region.js';
import { expectRejection } from '../support/expect-error.js';
import { withSteppedClock } from '../support/open-igb.js';
import { suite } from '../support/suite.js';

/** Registers whose one value is what `next` gives. */
function registers(next: () => number): RegisterFile {
  const access = {
    read: (_: number, into: Uint8Array) =>
      new DataView(into.buffer, into.byteOffset).setUint32(0, next(), true),
    write: () => {},
  };
  const info = { index: 0, name: 'BAR0', sizeBytes: 4096, readable: true, writable: true };
  return new RegisterFile(new Region(info, access, []), '0000:03:00.0');
}

const waits = suite('waiting for a register');

waits('ends when the bits have the value, whatever the others are', async () => {
  const values = [0x10, 0x12, 0x11];
  await registers(() => values.shift()!).waitFor(0, 1, 1, 'REG.BIT', 1000);
  assert.equal(values, []);
});

waits('looks once more after the deadline: only the process may have been late', async () => {
  const values = [0, 1];
  await withSteppedClock(2000, () => registers(() => values.shift()!).waitFor(0, 1, 1, 'REG.BIT', 3000));
  assert.equal(values, []);
});

waits('times out with the last value', async () => {
  let value = 0x10;
  const error = await withSteppedClock(500, () =>
    expectRejection('DEVICE_TIMEOUT', registers(() => value++ << 4).waitFor(0, 1, 1, 'REG.BIT', 1000)),
  );
  assert.is(
    error.message,
    '0000:03:00.0: REG.BIT did not become 0x1 within 1000 ms (last value of the register 0x00000110)',
  );
});

waits('a register of all ones is a device that is gone, even where the bits would fit', async () => {
  const error = await expectRejection(
    'DEVICE_GONE',
    registers(() => 0xffff_ffff).waitFor(0, 1, 1, 'REG.BIT', 1000),
  );
  assert.match(error.message, 'REG.BIT reads all ones');
});

waits.run();
