import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { PciRegion } from '../../../src/vfio/types.js';
import { connectVfioUser } from '../../../src/vfio/user/client.js';
import { startHost, type TestHost } from './support/harness.js';
import { AREAS, Op, Register } from './support/test-device.js';

const test = suite('vfio-user client and server');
let host: TestHost;
test.before(async () => {
  host = await startHost();
});
test.after(() => host.stop());

test('registers', () => {
  const device = connectVfioUser(host.path);
  const bar = device.region(PciRegion.BAR0);
  bar.write32(Register.SCRATCH, 77);
  assert.is(bar.read32(Register.SCRATCH), 77);
  bar.write32(Register.VALUE, 0x89abcdef);
  bar.write32(Register.OP, Op.STORE_SHARED);
  assert.is(bar.window(AREAS[0].offset, 4)![0], 0x89abcdef);
  device.enableBusMaster();
  device.close();
});

test.run();
