/**
 * Capabilities for the configuration space of a model, each at the offset that the real device has it: drivers hard-code
 * these offsets. Section numbers as in `pci/registers.ts`.
 */
import { CapabilityId, ExtendedCapabilityId, Msix, Pcie } from '../../pci/registers.js';
import { PciIrq } from '../../vfio/types.js';

/** A register: offset, width in bytes, value after reset, bits that writes change, bits that writing 1 clears. */
export type ConfigField = readonly [
  offset: number,
  widthBytes: 1 | 2 | 4,
  value: number,
  writable?: number,
  clearable?: number,
];

export interface CapabilityDescription {
  readonly id: number;
  /** Where it lies; from 0x100 on for an extended one. */
  readonly at: number;
  /** Version of an extended capability. */
  readonly version?: number;
  /** Offsets from its start. The header (identifier and next pointer) is made by the configuration space. */
  readonly fields: readonly ConfigField[];
  /** The kind of interrupt it brings (`PciIrq`), and how many vectors. */
  readonly interrupts?: { readonly kind: number; readonly vectors: number };
}

/** Power management (PCI Power Management 1.2, 3.2). @param abilities PMC @param status PMCSR after reset */
export function powerManagement(at: number, abilities = 0x0003, status = 0x0008): CapabilityDescription {
  return {
    id: CapabilityId.POWER_MANAGEMENT,
    at,
    // PMCSR: power state and PME enable can be written, PME status is cleared by 1.
    fields: [
      [2, 2, abilities],
      [4, 2, status, 0x0103, 0x8000],
    ],
  };
}

/** MSI (PCI 6.8.1): one message, 64-bit address, maskable. */
export function msi(at: number): CapabilityDescription {
  return {
    id: CapabilityId.MSI,
    at,
    fields: [
      [0x02, 2, 0x0180, 0x0071],
      [0x04, 4, 0, 0xfffffffc],
      [0x08, 4, 0, 0xffffffff],
      [0x0c, 2, 0, 0xffff],
      [0x10, 4, 0, 0x1],
    ],
    interrupts: { kind: PciIrq.MSI, vectors: 1 },
  };
}

/** MSI-X (PCI 6.8.2), table and pending bits in one BAR, which holds memory and nothing else. */
export function msix(at: number, vectors: number, bar: number, pendingOffset: number): CapabilityDescription {
  return {
    id: CapabilityId.MSIX,
    at,
    fields: [
      [Msix.CONTROL, 2, vectors - 1, Msix.CONTROL_ENABLE | Msix.CONTROL_MASK_ALL],
      [Msix.TABLE, 4, bar],
      [Msix.PBA, 4, pendingOffset | bar],
    ],
    interrupts: { kind: PciIrq.MSIX, vectors },
  };
}

/** PCI Express (PCIe 7.5.3): an endpoint of version 2 with function-level reset and payloads of 512 bytes. */
export function express(at: number, link: { generation: number; lanes: number }): CapabilityDescription {
  const speedAndWidth = link.generation | (link.lanes << 4);
  return {
    id: CapabilityId.PCIE,
    at,
    fields: [
      [Pcie.FLAGS, 2, 0x0002],
      // Role-based errors, extended tags, L0s and L1 latencies.
      [Pcie.DEVICE_CAPABILITIES, 4, Pcie.CAPABILITIES_FLR | 0x8cc2],
      [Pcie.DEVICE_CONTROL, 2, 0x2810, 0xffff & ~Pcie.CONTROL_FLR],
      [Pcie.DEVICE_STATUS, 2, 0, 0, 0x000f],
      [Pcie.LINK_CAPABILITIES, 4, 0x00023c00 | speedAndWidth],
      [Pcie.LINK_CONTROL, 2, 0, 0x01fb],
      [Pcie.LINK_STATUS, 2, 0x1000 | speedAndWidth],
      [Pcie.DEVICE_CAPABILITIES_2, 4, 0x0000001f],
      [Pcie.DEVICE_CONTROL_2, 2, 0, 0x001f],
      [Pcie.LINK_CONTROL_2, 4, link.generation, 0xffff],
    ],
  };
}

/** Advanced error reporting (PCIe 7.8.4) that never has an error to report. */
export function errorReporting(at: number): CapabilityDescription {
  return { id: ExtendedCapabilityId.AER, at, version: 1, fields: [] };
}

/** Device serial number (PCIe 7.9.3): the EUI-64 that is made of the MAC address. */
export function serialNumber(at: number, mac: Uint8Array): CapabilityDescription {
  const [a, b, c, d, e, f] = mac as unknown as readonly [number, number, number, number, number, number];
  const bytes = [f, e, d, 0xff, 0xff, c, b, a];
  return {
    id: ExtendedCapabilityId.SERIAL_NUMBER,
    at,
    version: 1,
    fields: bytes.map((byte, i) => [4 + i, 1, byte] as const),
  };
}
