/**
 * The registers of a PCI function's configuration space: offsets, bits and identifiers that the specification gives.
 *
 * Section numbers: "PCI" is the PCI Local Bus Specification 3.0, "PCIe" the PCI Express Base Specification 4.0, "codes"
 * the PCI Code and ID Assignment Specification. Offsets are in bytes; those of a capability count from its start.
 */

/** Size of the configuration space of a conventional function (PCI 6.1) and of a PCI Express one (PCIe 7.2.2). */
export const CONVENTIONAL_SIZE_BYTES = 256;
export const EXPRESS_SIZE_BYTES = 4096;

/** What a read of 16 bits gives where no device answers. No vendor has this number (PCI 6.2.1). */
export const ALL_ONES = 0xffff;

/** Offsets of the header, type 0 (PCI 6.1, figure 6-1). */
export const ConfigOffset = {
  VENDOR_ID: 0x00,
  DEVICE_ID: 0x02,
  COMMAND: 0x04,
  STATUS: 0x06,
  REVISION_ID: 0x08,
  CACHE_LINE_SIZE: 0x0c,
  HEADER_TYPE: 0x0e,
  BAR0: 0x10,
  SUBSYSTEM_VENDOR_ID: 0x2c,
  SUBSYSTEM_ID: 0x2e,
  CAPABILITIES: 0x34,
  INTERRUPT_LINE: 0x3c,
  INTERRUPT_PIN: 0x3d,
} as const;

/** Bits of the command register, RW (PCI 6.2.2, table 6-1). */
export const Command = {
  /** The device answers accesses to its memory BARs. */
  MEMORY_SPACE: 1 << 1,
  /** The device may start DMA, and may send MSI and MSI-X, which are memory writes. */
  BUS_MASTER: 1 << 2,
  PARITY_RESPONSE: 1 << 6,
  SERR_ENABLE: 1 << 8,
  /** The device must not assert its INTx line. */
  INTX_DISABLE: 1 << 10,
} as const;

/** Bits of the status register (PCI 6.2.3, table 6-2). */
export const Status = {
  /** RO: there is a capability list. */
  CAPABILITIES_LIST: 1 << 4,
} as const;

/** Class codes: base class in bits 23:16, subclass in 15:8 (codes 1.3, 1.7). */
export const ClassCode = {
  /** Base class of network controllers. */
  NETWORK: 0x02,
  ETHERNET: 0x020000,
  /** Base class and subclass of a PCI-to-PCI bridge. */
  PCI_BRIDGE: 0x0604,
} as const;

/** Header types (PCI 6.2.1): bits 6:0 are the layout, bit 7 says that the device has more functions. */
export const HeaderType = { DEVICE: 0, BRIDGE: 1, LAYOUT_MASK: 0x7f } as const;

/** Base address registers of a function that is no bridge. */
export const BAR_COUNT = 6;

/** Low bits of a base address register (PCI 6.2.5.1). */
export const BarBits = {
  IO: 1 << 0,
  TYPE_MASK: 3 << 1,
  TYPE_64: 2 << 1,
  PREFETCHABLE: 1 << 3,
  /** All that is no address, in a memory BAR and in an I/O BAR. */
  MEMORY_MASK: 0xf,
  IO_MASK: 0x3,
} as const;

/** Capability identifiers (PCI appendix H). */
export const CapabilityId = {
  POWER_MANAGEMENT: 0x01,
  MSI: 0x05,
  VENDOR: 0x09,
  PCIE: 0x10,
  MSIX: 0x11,
} as const;

/** Extended capability identifiers (PCIe 7.6.3 and the PCI Code and ID Assignment Specification). */
export const ExtendedCapabilityId = {
  AER: 0x0001,
  SERIAL_NUMBER: 0x0003,
} as const;

/** MSI-X capability, and its table in a BAR (PCI 6.8.2). */
export const Msix = {
  CONTROL: 0x02,
  TABLE: 0x04,
  PBA: 0x08,
  SIZE_BYTES: 12,
  CONTROL_ENABLE: 1 << 15,
  CONTROL_MASK_ALL: 1 << 14,
  /** The number of vectors minus one. */
  CONTROL_TABLE_SIZE: 0x7ff,
  /** Of the words at TABLE and PBA: the number of a BAR; the rest is the offset in it. */
  BAR_MASK: 0x7,
  ENTRY_BYTES: 16,
  /** Offset in a table entry of the word whose bit 0 masks the vector. */
  ENTRY_VECTOR_CONTROL: 12,
} as const;

/** PCI Express capability (PCIe 7.5.3). */
export const Pcie = {
  FLAGS: 0x02,
  DEVICE_CAPABILITIES: 0x04,
  DEVICE_CONTROL: 0x08,
  DEVICE_STATUS: 0x0a,
  LINK_CAPABILITIES: 0x0c,
  LINK_CONTROL: 0x10,
  LINK_STATUS: 0x12,
  DEVICE_CAPABILITIES_2: 0x24,
  DEVICE_CONTROL_2: 0x28,
  LINK_CONTROL_2: 0x30,
  /** DEVICE_CAPABILITIES: the function can be reset on its own. */
  CAPABILITIES_FLR: 1 << 28,
  /** DEVICE_CONTROL: resets the function; reads 0. */
  CONTROL_FLR: 1 << 15,
  /** DEVICE_STATUS: requests of the function have not been answered yet. */
  STATUS_TRANSACTIONS_PENDING: 1 << 5,
} as const;
