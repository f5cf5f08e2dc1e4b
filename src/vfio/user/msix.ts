/**
 * What the kernel's VFIO does to a device when it connects MSI-X vectors: enables MSI-X in config space and unmasks the
 * vectors in the device's table. A server whose model looks at these (QEMU's x-vfio-user-server) raises none before.
 * Addresses and data of the messages stay as they are: the eventfd of a vector stands for them.
 *
 * Specification: PCI Local Bus 3.0, sections 6.7 (capabilities) and 6.8.2 (MSI-X).
 */
import { NicError } from '../../errors.js';
import { ConfigSpace, type MsixCapability } from '../../pci/config-space.js';
import { Msix } from '../../pci/registers.js';
import type { Region } from '../region.js';

/**
 * Enables MSI-X and unmasks the first vectors where `connected` says so, masks the others. Does nothing on a device
 * without the capability or with a faulty list of them, or whose table cannot be written.
 * @param table The region of the BAR with this number, if the device has it.
 */
export function enableMsix(
  config: Region,
  table: (bar: number) => Region | undefined,
  connected: readonly boolean[],
): void {
  const msix = findMsix(config);
  if (msix === undefined) return;
  const region = table(msix.tableBar);
  const start = msix.tableOffset;
  if (!region?.writable || start + connected.length * Msix.ENTRY_BYTES > region.sizeBytes) return;
  const control = config.read16(msix.offset + Msix.CONTROL);
  // the table takes effect as a whole
  config.write16(msix.offset + Msix.CONTROL, control | Msix.CONTROL_ENABLE | Msix.CONTROL_MASK_ALL);
  connected.forEach((is, vector) => {
    region.write32(start + vector * Msix.ENTRY_BYTES + Msix.ENTRY_VECTOR_CONTROL, is ? 0 : 1);
  });
  config.write16(msix.offset + Msix.CONTROL, (control | Msix.CONTROL_ENABLE) & ~Msix.CONTROL_MASK_ALL);
}

/** Disables MSI-X; the table stays. */
export function disableMsix(config: Region): void {
  const msix = findMsix(config);
  if (msix === undefined) return;
  const offset = msix.offset + Msix.CONTROL;
  config.write16(offset, config.read16(offset) & ~(Msix.CONTROL_ENABLE | Msix.CONTROL_MASK_ALL));
}

function findMsix(config: Region): MsixCapability | undefined {
  try {
    return new ConfigSpace(config).msix();
  } catch (error) {
    // The same as a device without it: what reads the list to open the device says so.
    if (error instanceof NicError && (error.code === 'CONFIG_SPACE' || error.code === 'DEVICE_GONE'))
      return undefined;
    throw error;
  }
}
