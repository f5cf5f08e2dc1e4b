/** Without an IOMMU nothing is opened: not without a group, and not in the kernel's no-IOMMU mode, which protects nothing. */
import * as assert from 'uvu/assert';
import { bindDriver, driverOf, nicAddress } from '../guest.js';
import { attempt, type Outcome, sh } from '../processes.js';
import { suite } from '../suite.js';
import { BAREWIRE, note } from '../wire.js';

const address = nicAddress(0);
const noIommu = suite('no IOMMU');

function barewire(args: string[]): Outcome {
  return attempt(process.execPath, [BAREWIRE, ...args]);
}

function assertNoIommu(outcome: Outcome, message: RegExp): void {
  assert.is(outcome.status, 1, outcome.stdout);
  const [first, second] = outcome.stderr.split('\n');
  assert.match(first!, message);
  assert.match(second!, /^hint: .*intel_iommu=on/);
}

noIommu('the port cannot be opened under the kernel driver, and the reason is the IOMMU', () => {
  assertNoIommu(
    barewire(['pktgen', address, '--count', '1']),
    new RegExp(`${address} is not behind an IOMMU`),
  );
});

noIommu('bind says so, and leaves the port to the kernel', () => {
  sh('echo N > /sys/module/vfio/parameters/enable_unsafe_noiommu_mode');
  const outcome = barewire(['bind', address]);
  note(outcome.stderr.trim());
  assertNoIommu(outcome, /IOMMU/);
  assert.is(driverOf(address), 'igb');
});

noIommu("a group of the kernel's no-IOMMU mode is refused", () => {
  sh('echo Y > /sys/module/vfio/parameters/enable_unsafe_noiommu_mode');
  bindDriver(address, 'vfio-pci');
  const outcome = barewire(['pktgen', address, '--count', '1']);
  note(outcome.stderr.trim());
  assertNoIommu(outcome, new RegExp(`${address} is not behind an IOMMU`));
});

noIommu.run();
