/**
 * The host's half of the case: the models, the machine, and what the models have to say about Linux's driver.
 * The guest's half is cases/linux-ixgbe.ts.
 */
import * as assert from 'uvu/assert';
import { modelCounters, parseCounters } from '../models/counters.js';
import { ModelProcess } from '../models/process.js';
import { describeViolations } from '../models/report.js';
import { runInGuest } from '../run-case.js';
import { suite } from '../suite.js';

/**
 * The self-test of the driver breaks rules on purpose, on NIC 0: it writes all ones and patterns, and enables queues
 * without a ring. It resets the NIC before and after, and no descriptor is ever fetched.
 */
const SELF_TEST = new RegExp(
  [
    'nic0: STATUS .*: a read-only register was written',
    'nic0: (RDBAL|RDLEN|TDBAL|TDLEN|RAH)\\(\\d+\\) .*: reserved bits',
    'nic0: (RDBAL|RDLEN)\\([0-3]\\) .*: queue enabled before its ring (base|length) was set',
  ].join('|'),
);

const models = await ModelProcess.start([
  { deviceId: 0x10fb, mac: '52:54:00:00:00:00', wire: { nic: 1 }, mappable: false },
  { deviceId: 0x1528, mac: '52:54:00:00:00:01', wire: { nic: 0 } },
]);
const guest = await runInGuest({
  name: 'linux-ixgbe',
  qemu: 11,
  nics: models.nics,
  // A virtual IOMMU would mean a message to the models for each of the many mappings that the kernel makes: the case
  // `circle` has one.
  iommu: 'none',
  timeoutS: 880,
});
const report = await models.stop();
process.stdout.write(guest.text);

const linux = suite("the models' view of Linux's driver");

linux('the tests in the guest pass', () => {
  assert.ok(guest.totals.passed > 0);
  assert.is(guest.totals.failed, 0);
});

linux('nothing was done that the datasheet forbids, and no access missed the memory', () => {
  const violations = describeViolations(report);
  assert.equal(
    violations.filter((text) => !SELF_TEST.test(text)),
    [],
  );
  assert.ok(violations.length > 0, 'the self-test was noticed');
});

linux("the driver's counters are those of the wire", () => {
  assert.equal(parseCounters(guest.text), modelCounters(report.nics));
});

linux.run();
