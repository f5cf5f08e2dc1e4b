/**
 * Two NICs in one IOMMU group: VFIO gives all of it or nothing, and one process can use both.
 */
import * as assert from 'uvu/assert';
import { bindDriver, driverOf, iommuGroup, nicAddresses, vfioCdev } from '../guest.js';
import { attempt } from '../processes.js';
import { suite } from '../suite.js';
import {
  addNamespaces,
  assertBalanced,
  assertPings,
  BAREWIRE,
  finalTotals,
  note,
  startTraffic,
  vfioNodesOf,
} from '../wire.js';

const [u0, u1] = nicAddresses() as [string, string];
const group = suite('shared IOMMU group');

addNamespaces();

group('is what this machine has', () => {
  assert.is(iommuGroup(u0), iommuGroup(u1));
});

group('bind warns of the other device', () => {
  const outcome = attempt(process.execPath, [BAREWIRE, 'bind', u0]);
  assert.is(outcome.status, 0, outcome.stderr);
  assert.is(driverOf(u0), 'vfio-pci');
  assert.match(outcome.stderr, /^warning: /m);
  assert.match(outcome.stderr, u1);
});

for (const backend of ['group', 'cdev']) {
  group(`cannot be used while a kernel driver has the other device, which is named (${backend})`, () => {
    const outcome = attempt(process.execPath, [BAREWIRE, 'pktgen', u0, '--count', '1'], {
      env: { BAREWIRE_VFIO: backend },
    });
    assert.is(outcome.status, 1, outcome.stderr);
    const [message, hint] = outcome.stderr.split('\n');
    assert.match(message!, `IOMMU group ${iommuGroup(u0)} of ${u0} is partly in use by kernel drivers`);
    assert.match(message!, `${u1} (igb)`);
    assert.match(hint!, `sudo npx barewire bind ${u1};`);
    note(outcome.stderr.trim());
  });
}

for (const backend of ['group', 'cdev']) {
  group(`carries traffic between its two devices in one process (${backend})`, async () => {
    for (const address of [u0, u1]) bindDriver(address, 'vfio-pci');
    const command = await startTraffic(['fwd', u0, u1], { env: { BAREWIRE_VFIO: backend } });
    const nodes =
      backend === 'group'
        ? ['/dev/vfio/vfio', `/dev/vfio/${iommuGroup(u0)}`]
        : ['/dev/iommu', vfioCdev(u0), vfioCdev(u1)];
    assert.equal(vfioNodesOf(command.pid), nodes.sort());
    note(`fwd in one group, ${backend}: ping ${assertPings(50)}`);
    const outcome = await command.stop();
    assert.is(outcome.status, 0, outcome.stderr);
    assertBalanced(finalTotals(outcome));
  });
}

group.run();
