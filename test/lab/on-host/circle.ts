/**
 * The host's half of the case: the models, whose wires go back into the machine, to the kernel's virtio-net; and what
 * the models have to say about our driver. The guest's half is cases/circle.ts.
 *
 *     host:   model 0 -- stream ----------.        .---------- stream -- model 1
 *                |                        |        |                        |
 *     guest:    u0 [VFIO, barewire fwd]   k0      k1   [VFIO, barewire fwd] u1
 */
import * as assert from 'uvu/assert';
import { ModelProcess } from '../models/process.js';
import { describeViolations } from '../models/report.js';
import { runInGuest } from '../run-case.js';
import { suite } from '../suite.js';

const models = await ModelProcess.start([
  { mac: '52:54:00:00:00:00', wire: { stream: 'wire0.sock' }, mappable: false },
  { mac: '52:54:00:00:00:01', wire: { stream: 'wire1.sock' }, mappable: false },
]);
const guest = await runInGuest({ name: 'circle', qemu: 11, nics: models.nics, timeoutS: 1000 });
const report = await models.stop();
process.stdout.write(guest.text);

const circle = suite("the models' view of our driver, and of the kernel's");

circle('the tests in the guest pass', () => {
  assert.ok(guest.totals.passed > 0);
  assert.is(guest.totals.failed, 0);
});

circle('nothing was done that the datasheet forbids, and all accesses were to mapped memory', () => {
  assert.equal(describeViolations(report), []);
});

circle('all that came in at one port went out at the other', () => {
  const [a, b] = report.nics;
  assert.ok(a!.sent.bytes > 64 * 2 ** 20 && b!.sent.bytes > 64 * 2 ** 20, JSON.stringify(report.nics));
});

circle.run();
