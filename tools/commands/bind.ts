/** `barewire bind`: hands NICs to vfio-pci, so that a process can open them. */
import type { Command } from 'commander';
import { bindToVfio } from '../../src/pci/bind.js';
import { deviceName } from '../../src/pci/ids.js';
import { forEachAddress, pciAddresses, sysfsRoot } from '../addresses.js';
import { print, warn } from '../output.js';

export function register(program: Command): void {
  program
    .command('bind')
    .description('take network controllers from the kernel and give them to vfio-pci')
    .argument('<address...>', 'PCI addresses such as 0000:03:00.0 or 03:00.0')
    .option('--force', 'also take an interface that is in use')
    .action((texts: string[], options: { force?: true }) => {
      forEachAddress(pciAddresses(texts), (address) => bind(address, options.force === true));
    });
}

function bind(address: string, force: boolean): void {
  const { device, changed, driver, groupNode, warnings } = bindToVfio(address, {
    force,
    sysfsRoot: sysfsRoot(),
  });
  const name = `${device.address} (${deviceName(device.vendor, device.device)})`;
  print(
    changed
      ? `${name}: bound to ${driver}, was ${device.driver ?? 'without a driver'}`
      : `${name}: is bound to ${driver} already`,
  );
  if (groupNode !== null)
    print(`  group node ${groupNode}; to use it without root: sudo chown $USER ${groupNode}`);
  for (const warning of warnings) warn(warning.message, warning.hint);
}
