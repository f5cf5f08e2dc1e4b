/**
 * Names for the network controllers that one is likely to meet in `barewire list` and in messages. Not a database:
 * what is not here is shown by its numbers. Names after the PCI ID repository (pci-ids.ucw.cz).
 */

const vendors: ReadonlyMap<number, string> = new Map([
  [0x8086, 'Intel'],
  [0x1af4, 'virtio'],
  [0x15ad, 'VMware'],
  [0x15b3, 'Mellanox'],
  [0x14e4, 'Broadcom'],
  [0x10ec, 'Realtek'],
  [0x1d0f, 'Amazon'],
  [0x1ae0, 'Google'],
]);

/** Device identifiers by vendor, the same name for all boards of a controller. */
const names: ReadonlyMap<number, readonly (readonly [name: string, devices: readonly number[]])[]> = new Map([
  [
    0x8086,
    [
      ['82540EM', [0x100e, 0x1015]],
      ['82545EM', [0x100f, 0x1011]],
      ['82574L', [0x10d3, 0x10f6]],
      ['82576', [0x10c9, 0x10e6, 0x10e7, 0x10e8, 0x150a, 0x150d, 0x1518, 0x1526]],
      ['82576 VF', [0x10ca]],
      ['82580', [0x1509, 0x150e, 0x150f, 0x1510, 0x1511, 0x1516, 0x1527]],
      ['I350', [0x1521, 0x1522, 0x1523, 0x1524]],
      ['I350 VF', [0x1520, 0x152f]],
      ['I354', [0x1f40, 0x1f41, 0x1f45]],
      ['I210', [0x1531, 0x1533, 0x1536, 0x1537, 0x1538, 0x157b, 0x157c, 0x15f6]],
      ['I211', [0x1539]],
      ['I225', [0x0d9f, 0x15f2, 0x15f3]],
      ['I226', [0x125b, 0x125c, 0x125d, 0x3102]],
      ['82598', [0x10b6, 0x10c6, 0x10c7, 0x10c8, 0x10db, 0x10dd, 0x10e1, 0x10ec, 0x10f1, 0x10f4, 0x150b]],
      // The X520 adapters are boards with an 82599: most share the controller's own identifier 10fb.
      ['82599ES (X520)', [0x10fb]],
      ['82599', [0x10f8, 0x10f9, 0x10fc, 0x1517, 0x151c, 0x1529, 0x152a, 0x1557]],
      ['X520', [0x1507, 0x1514, 0x154a, 0x154d, 0x1558]],
      ['82599 VF', [0x10ed, 0x152e]],
      ['X540', [0x1528, 0x1560]],
      ['X540 VF', [0x1515, 0x1530]],
      ['X550', [0x1563, 0x15d1]],
      ['X550 VF', [0x1564, 0x1565]],
      ['X552', [0x15aa, 0x15ab, 0x15ac, 0x15ad, 0x15ae, 0x15b0]],
      ['X552 VF', [0x15a8, 0x15a9]],
      ['X553', [0x15c2, 0x15c3, 0x15c4, 0x15c6, 0x15c7, 0x15c8, 0x15ce, 0x15e4, 0x15e5]],
      ['X553 VF', [0x15b4, 0x15c5]],
      ['X710', [0x0cf8, 0x104e, 0x104f, 0x1572, 0x1581, 0x1585, 0x1586, 0x1589, 0x15ff]],
      ['XL710', [0x1580, 0x1583, 0x1584, 0x1587, 0x1588]],
      ['E810', [0x1591, 0x1592, 0x1593, 0x1594, 0x1595, 0x159c]],
    ],
  ],
  [
    0x1af4,
    [
      ['net (transitional)', [0x1000]],
      ['net', [0x1041]],
    ],
  ],
  [0x15ad, [['vmxnet3', [0x07b0]]]],
  [
    0x15b3,
    [
      ['ConnectX-4', [0x1013]],
      ['ConnectX-4 Lx', [0x1015]],
      ['ConnectX-5', [0x1017, 0x1019]],
      ['ConnectX-6', [0x101b]],
      ['ConnectX-6 Dx', [0x101d]],
      ['ConnectX VF', [0x101e]],
    ],
  ],
  [
    0x14e4,
    [
      ['BCM5719', [0x1657]],
      ['BCM5720', [0x165f]],
      ['BCM57414', [0x16d7]],
      ['BCM57508', [0x1750]],
    ],
  ],
  [
    0x10ec,
    [
      ['RTL8139', [0x8139]],
      ['RTL8111/8168', [0x8168]],
      ['RTL8125', [0x8125]],
    ],
  ],
  [0x1d0f, [['ENA', [0xec20]]]],
  [0x1ae0, [['gVNIC', [0x0042]]]],
]);

/**
 * Name for people: `Intel 82576`; `Intel [1234]` where only the vendor is known; `[1234:5678]` where neither is;
 * `unknown` for identifiers that could not be read.
 */
export function deviceName(vendor: number | null, device: number | null): string {
  if (vendor === null || device === null) return 'unknown';
  const maker = vendors.get(vendor);
  if (maker === undefined) return `[${formatIds(vendor, device)}]`;
  for (const [name, devices] of names.get(vendor) ?? []) {
    if (devices.includes(device)) return `${maker} ${name}`;
  }
  return `${maker} [${formatId(device)}]`;
}

/** Base class and subclass in bits 23:8, or the base class alone in 23:16 (PCI Code and ID Assignment Specification, 1). */
const classNames: ReadonlyMap<number, string> = new Map([
  [0x01, 'storage controller'],
  [0x02, 'network controller'],
  [0x03, 'display controller'],
  [0x0401, 'audio device'],
  [0x0403, 'audio device'],
  [0x04, 'multimedia device'],
  [0x05, 'memory controller'],
  [0x0601, 'ISA bridge'],
  [0x0604, 'PCI bridge'],
  [0x06, 'bridge'],
  [0x07, 'communication controller'],
  [0x0c03, 'USB controller'],
  [0x0c05, 'SMBus controller'],
  [0x0c, 'serial bus controller'],
  [0x0d, 'wireless controller'],
  [0x10, 'encryption controller'],
  [0x11, 'signal processing controller'],
  [0x12, 'accelerator'],
]);

/** What a 24-bit class code stands for: `audio device`; `device` where it could not be read or has no name here. */
export function className(code: number | null): string {
  if (code === null) return 'device';
  return classNames.get(code >>> 8) ?? classNames.get(code >>> 16) ?? 'device';
}

/** `8086:10c9`, as lspci prints it; question marks for a number that could not be read. */
export function formatIds(vendor: number | null, device: number | null): string {
  return `${formatId(vendor)}:${formatId(device)}`;
}

/** `10c9`; question marks for a number that could not be read. */
export function formatId(value: number | null): string {
  return value === null ? '????' : value.toString(16).padStart(4, '0');
}
