/**
 * The host's half of the case: two 82599 models for Linux's ixgbe, joined by a cable, and the machine. The guest's half is
 * cases/xdp-drivers.ts.
 */
import * as assert from 'uvu/assert';
import { suite } from '../../support/suite.js';
import { ModelProcess } from '../models/process.js';
import { describeViolations } from '../models/report.js';
import { runInGuest } from '../run-case.js';

const models = await ModelProcess.start([
  { mac: '52:54:00:00:00:00', wire: { nic: 1 }, mappable: false },
  { mac: '52:54:00:00:00:01', wire: { nic: 0 }, mappable: false },
]);
const guest = await runInGuest({
  name: 'xdp-drivers',
  qemu: 11,
  nics: [...models.nics, 'igb', 'igb', 'virtio'],
  timeoutS: 1100,
});
const report = await models.stop();
process.stdout.write(guest.text);

const drivers = suite("the models' view of Linux's driver with AF_XDP");

drivers('the tests in the guest pass', () => {
  assert.ok(guest.totals.passed > 0);
  assert.is(guest.totals.failed, 0);
});

drivers('nothing was done that the datasheet forbids, and all accesses were to mapped memory', () => {
  assert.equal(describeViolations(report), []);
});

drivers.run();
