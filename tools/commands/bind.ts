/** `barewire bind`: hands NICs to vfio-pci, so that a process can open them. */
import type { Command } from 'commander';
import { supportedDevices } from '../../src/driver/registry.js';
import { bindToVfio } from '../../src/pci/bind.js';
import { deviceName } from '../../src/pci/ids.js';
import type { PciDevice } from '../../src/pci/sysfs.js';
import { switchOnVirtualFunctions } from '../../src/pci/virtual-functions.js';
import { forEachAddress, pciAddresses, sysfsRoot } from '../addresses.js';
import { integerBetween } from '../option-values.js';
import { print, warn } from '../output.js';

export function register(program: Command): void {
  program
    .command('bind')
    .description('take network controllers from the kernel and give them to vfio-pci')
    .argument('<address...>', 'PCI addresses such as 0000:03:00.0 or 03:00.0')
    .option('--force', 'also take an interface that is in use')
    .option(
      '--vfs <n>',
      'give each that many virtual functions, and bind those; the kernel keeps the port',
      integerBetween(1, 256),
    )
    .action((texts: string[], options: { force?: true; vfs?: number }) => {
      const addresses = pciAddresses(texts);
      const { vfs } = options;
      const force = options.force === true;
      forEachAddress(addresses, (address) => {
        if (vfs === undefined) bind(address, addresses, force);
        else bindVirtualFunctions(address, vfs, force);
      });
    });
}

function bindVirtualFunctions(address: string, count: number, force: boolean): void {
  const { device, changed, addresses } = switchOnVirtualFunctions(address, count, {
    force,
    sysfsRoot: sysfsRoot(),
  });
  print(
    `${device.address} (${deviceName(device.vendor, device.device)}), driver ${device.driver}: ` +
      (changed
        ? `${count} virtual functions, had ${device.numVfs}`
        : `has ${count} virtual functions already`),
  );
  for (const virtual of addresses) bind(virtual, addresses, force);
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
