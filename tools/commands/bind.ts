/** `barewire bind`: hands NICs to vfio-pci, so that a process can open them. */
import type { Command } from 'commander';
import { supportedDevices } from '../../src/driver/registry.js';
import { bindToVfio } from '../../src/pci/bind.js';
import { deviceName } from '../../src/pci/ids.js';
import type { PciDevice } from '../../src/pci/sysfs.js';
import { forEachAddress, pciAddresses, sysfsRoot } from '../addresses.js';
import { print, warn } from '../output.js';

export function register(program: Command): void {
  program
    .command('bind')
    .description('take network controllers from the kernel and give them to vfio-pci')
    .argument('<address...>', 'PCI addresses such as 0000:03:00.0 or 03:00.0')
    .option('--force', 'also take an interface that is in use')
    .action((texts: string[], options: { force?: true }) => {
      const addresses = pciAddresses(texts);
      forEachAddress(addresses, (address) => bind(address, addresses, options.force === true));
    });
}

function bind(address: string, together: readonly string[], force: boolean): void {
  const { device, changed, driver, groupNode, characterDevice, warnings } = bindToVfio(address, {
    force,
    together,
    sysfsRoot: sysfsRoot(),
  });
  const name = `${device.address} (${deviceName(device.vendor, device.device)})`;
  print(
    changed
      ? `${name}: bound to ${driver}, was ${device.driver ?? 'without a driver'}`
      : `${name}: is bound to ${driver} already`,
  );
  if (groupNode !== null) print(`  to open it without root: sudo chown $USER ${groupNode}`);
  if (characterDevice !== null) {
    const or = groupNode === null ? 'to open it without root' : 'or, by the character device';
    print(`  ${or}: sudo chown $USER ${characterDevice} /dev/iommu`);
  }
  if (!isSupported(device)) {
    warn(
      `Barewire has no driver for ${name}: neither fwd nor pktgen can open it`,
      `to give it back to the kernel: sudo npx barewire unbind ${device.address}; the README names what is supported`,
    );
  }
  for (const warning of warnings) warn(warning.message, warning.hint);
}

function isSupported(device: PciDevice): boolean {
  return supportedDevices().some(
    ({ vendor, device: id }) => vendor === device.vendor && id === device.device,
  );
}
