/** The devices that a command line names, and where the machine lists its own. */
import { addressForms, normalizeAddress } from '../src/driver/registry.js';
import { NicError } from '../src/errors.js';
import type { PageSize } from '../src/hugepage/dma-region.js';
import { type DeviceAddress, parseDeviceAddress } from '../src/pci/device-address.js';
import { report } from './output.js';
import { AlreadyReported } from './run-command.js';

/** What a port may be, for the help of commands. */
export const PORT_FORMS: string = addressForms();

/** Argument: any address of a device, in its normal spelling. @throws NicError `BAD_ADDRESS` */
export function deviceAddress(text: string): string {
  return normalizeAddress(text, sysfsRoot());
}

/** Arguments `<address...>`: one more. */
export function collectAddress(text: string, before: readonly string[] = []): string[] {
  return [...before, deviceAddress(text)];
}

/** A PCI address in its normal spelling. */
const PCI = /^[0-9a-f]+:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]$/;

/** Memory for the rings and buffers of these devices. Only a card behind an IOMMU gains from hugepages. */
export function pageSizeFor(addresses: readonly string[]): PageSize {
  return addresses.some((address) => PCI.test(address)) ? 'auto' : '4K';
}

/** Arguments `<address...>` of a command that is about PCI devices only. @throws NicError `BAD_ADDRESS` */
export function pciAddresses(texts: readonly string[]): string[] {
  const addresses = texts.map((text) => {
    const address: DeviceAddress = parseDeviceAddress(text, sysfsRoot());
    if (address.kind === 'pci') return address.bdf;
    throw new NicError('BAD_ADDRESS', `${text} is not a PCI device`, {
      hint: 'a vfio-user socket needs no binding: give it to fwd or pktgen as it is',
    });
  });
  return [...new Set(addresses)];
}

/**
 * Does the same to each device, whatever becomes of the others, and reports each failure as it happens.
 * @throws AlreadyReported where any failed
 */
export function forEachAddress(addresses: readonly string[], action: (address: string) => void): void {
  let failed = false;
  for (const address of addresses) {
    try {
      action(address);
    } catch (error) {
      report(error);
      failed = true;
    }
  }
  if (failed) throw new AlreadyReported();
}

/** Root of sysfs: BAREWIRE_SYSFS where the host's is mounted elsewhere (in a container, in tests). */
export function sysfsRoot(): string {
  return process.env.BAREWIRE_SYSFS || '/sys';
}
