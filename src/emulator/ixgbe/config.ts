/**
 * What the configuration space of an 82599 or X540 holds (chapter 9.3), with the capabilities where drivers that
 * hard-code them look. MSI-X has its table and pending bits in BAR4.
 */
import { ClassCode } from '../../pci/registers.js';
import { errorReporting, express, msi, msix, powerManagement, serialNumber } from '../device/capabilities.js';
import type { ConfigDescription } from '../device/config-space.js';

export const VENDOR_ID = 0x8086;
export const MSIX_BAR = 4;
export const MSIX_BAR_SIZE_BYTES = 0x4000;
const MSIX_PENDING_OFFSET = 0x2000;

/** Subsystems: Ethernet Server Adapter X520-1 for SFP cards, X540-T1; generic for backplane. */
const SUBSYSTEM_IDS: Readonly<Record<number, number>> = { 4347: 0x000a, 5416: 0x0002 };

export function describeConfig(deviceId: number, mac: Uint8Array, vectors: number): ConfigDescription {
  return {
    vendorId: VENDOR_ID,
    deviceId,
    subsystemId: SUBSYSTEM_IDS[deviceId] ?? 0,
    classCode: ClassCode.ETHERNET,
    capabilities: [
      powerManagement(0x40, 0x4823, 0x2008),
      msi(0x50),
      msix(0x70, vectors, MSIX_BAR, MSIX_PENDING_OFFSET),
      express(0xa0, { generation: 2, lanes: 8 }),
      errorReporting(0x100),
      serialNumber(0x140, mac),
    ],
  };
}
