/** `barewire unbind`: gives NICs back to the kernel. */
import type { Command } from 'commander';
import { unbindFromVfio } from '../../src/pci/bind.js';
import { deviceName } from '../../src/pci/ids.js';
import { restoreVirtualFunctions } from '../../src/pci/virtual-functions.js';
import { forEachAddress, pciAddresses, sysfsRoot } from '../addresses.js';
import { print, warn } from '../output.js';

export function register(program: Command): void {
  program
    .command('unbind')
    .description('give network controllers back to their kernel drivers')
    .argument('<address...>', 'PCI addresses such as 0000:03:00.0 or 03:00.0')
    .option('--force', 'wait for a process that has the device open, instead of refusing')
    .action((texts: string[], options: { force?: true }) => {
      forEachAddress(pciAddresses(texts), (address) => unbind(address, options.force === true));
    });
}

function unbind(address: string, force: boolean): void {
  const restored = restoreVirtualFunctions(address, { force, sysfsRoot: sysfsRoot() });
  if (restored !== undefined) {
    print(`${address}: ${restored.now} virtual functions again, had ${restored.before}`);
  }
  const { device, changed, driver, warnings } = unbindFromVfio(address, { force, sysfsRoot: sysfsRoot() });
  const name = `${device.address} (${deviceName(device.vendor, device.device)})`;
  if (!changed) print(`${name}: is not bound to vfio-pci, has driver ${driver}`);
  else if (driver !== null) print(`${name}: given back to ${driver}`);
  for (const warning of warnings) warn(warning.message, warning.hint);
}
