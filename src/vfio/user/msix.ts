/**
 * What the kernel's VFIO does to a device when it connects MSI-X vectors: enables MSI-X in config space and unmasks the
 * vectors in the device's table. A server whose model looks at these (QEMU's x-vfio-user-server) raises none before.
 * Addresses and data of the messages stay as they are: the eventfd of a vector stands for them.
 *
 * Specification: PCI Local Bus 3.0, sections 6.7 (capabilities) and 6.8.2 (MSI-X).
 */
import type { Region } from '../region.js';

const STATUS_REGISTER = 0x06;
const STATUS_CAPABILITIES = 1 << 4;
const CAPABILITIES_POINTER = 0x34;
const CAPABILITIES_START = 0x40;
const CAPABILITIES_END = 0x100;
/** As many as there is room for: a list that is longer is a circle. */
const MAX_CAPABILITIES = 48;
const CAPABILITY_MSIX = 0x11;
const CONTROL_ENABLE = 1 << 15;
const CONTROL_MASK_ALL = 1 << 14;
const TABLE_BAR_MASK = 0x7;
const ENTRY_BYTES = 16;
/** Of the word that has the mask bit of an entry. */
const ENTRY_VECTOR_CONTROL = 12;

/**
 * Enables MSI-X and unmasks the first vectors where `connected` says so, masks the others. Does nothing on a device
 * without the capability, or whose table cannot be written.
 * @param table The region of the BAR with this number, if the device has it.
 */
export function enableMsix(
  config: Region,
  table: (bar: number) => Region | undefined,
  connected: readonly boolean[],
): void {
  const capability = findMsix(config);
  if (capability === 0) return;
  const location = config.read32(capability + 4);
  const region = table(location & TABLE_BAR_MASK);
  const start = (location & ~TABLE_BAR_MASK) >>> 0;
  if (!region?.writable || start + connected.length * ENTRY_BYTES > region.sizeBytes) return;
  const control = config.read16(capability + 2);
  // the table takes effect as a whole
  config.write16(capability + 2, control | CONTROL_ENABLE | CONTROL_MASK_ALL);
  connected.forEach((is, vector) => {
    region.write32(start + vector * ENTRY_BYTES + ENTRY_VECTOR_CONTROL, is ? 0 : 1);
  });
  config.write16(capability + 2, (control | CONTROL_ENABLE) & ~CONTROL_MASK_ALL);
}

/** Disables MSI-X; the table stays. */
export function disableMsix(config: Region): void {
  const capability = findMsix(config);
  if (capability === 0) return;
  config.write16(capability + 2, config.read16(capability + 2) & ~(CONTROL_ENABLE | CONTROL_MASK_ALL));
}

/** Offset of the capability; 0 where there is none. */
function findMsix(config: Region): number {
  if (config.sizeBytes < CAPABILITIES_END) return 0;
  if ((config.read16(STATUS_REGISTER) & STATUS_CAPABILITIES) === 0) return 0;
  let offset = config.read8(CAPABILITIES_POINTER) & ~3;
  for (let count = 0; count < MAX_CAPABILITIES && offset >= CAPABILITIES_START; count++) {
    if (config.read8(offset) === CAPABILITY_MSIX) return offset + 12 <= CAPABILITIES_END ? offset : 0;
    offset = config.read8(offset + 1) & ~3;
  }
  return 0;
}
