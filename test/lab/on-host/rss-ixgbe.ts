/**
 * The RSS case again with the 82599 models in place of QEMU's NICs, their queue registers mapped into the guest. Flow
 * control on the wires: the losses of mapped queues cannot be read (see emulator/ixgbe/statistics.ts).
 */
import * as assert from 'uvu/assert';
import { ModelProcess } from '../models/process.js';
import { describeViolations } from '../models/report.js';
import { runInGuest } from '../run-case.js';
import { suite } from '../suite.js';

const models = await ModelProcess.start([
  { mac: '52:54:00:00:00:00', wire: { stream: 'wire0.sock', lossless: true } },
  { mac: '52:54:00:00:00:01', wire: { stream: 'wire1.sock', lossless: true } },
]);
const guest = await runInGuest({ name: 'rss', qemu: 11, nics: models.nics, timeoutS: 400 });
const report = await models.stop();
process.stdout.write(guest.text);

const rss = suite("the models' view of our driver with two queues");

rss('the tests in the guest pass', () => {
  assert.ok(guest.totals.passed > 0);
  assert.is(guest.totals.failed, 0);
});

rss('nothing was done that the datasheet forbids, and all accesses were to mapped memory', () => {
  assert.equal(describeViolations(report), []);
});

rss.run();
