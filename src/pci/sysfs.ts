/**
 * What the kernel knows of the PCI devices, read from sysfs.
 *
 * sysfs is a view of a changing machine: attributes are missing on some buses and kernels, and a device may vanish
 * between two reads. So nothing here throws: what cannot be read is null, and what has vanished is left out.
 * Sources: Linux Documentation/ABI/testing/sysfs-bus-pci, sysfs-class-net, sysfs-kernel-iommu_groups.
 */
import { basename, join } from 'node:path';
import { systemFiles } from './files.js';
import { isPciAddress } from './pci-address.js';
import { ClassCode } from './registers.js';

/** Where sysfs is mounted. Every function here takes another place, for tests and containers. */
export const SYSFS_ROOT = '/sys';

/** A function of an IOMMU group. */
export interface GroupMember {
  /** As in sysfs: `0000:03:00.1`. */
  readonly address: string;
  /** 24-bit class code: base class, subclass, programming interface. */
  readonly class: number | null;
  readonly driver: string | null;
}

/** A PCI function. Null means that the kernel does not say. */
export interface PciDevice {
  /** As in sysfs: `0000:03:00.0`. */
  readonly address: string;
  readonly vendor: number | null;
  readonly device: number | null;
  readonly subsystemVendor: number | null;
  readonly subsystemDevice: number | null;
  /** 24-bit class code: base class, subclass, programming interface. */
  readonly class: number | null;
  /** Kernel driver that has the device, for example `igb` or `vfio-pci`. */
  readonly driver: string | null;
  /** Number of the IOMMU group; null without an IOMMU, and in the kernel's no-IOMMU mode. */
  readonly iommuGroup: number | null;
  /** The other functions of the group, which the IOMMU cannot tell apart from this one. */
  readonly groupMembers: readonly GroupMember[];
  /** NUMA node the device is attached to; null on machines with one node. */
  readonly numaNode: number | null;
  /** Network interfaces that this network namespace sees. */
  readonly interfaces: readonly string[];
  /** For an SR-IOV virtual function, the address of its physical function. */
  readonly physicalFunction: string | null;
  /** SR-IOV virtual functions that are switched on; null where the device has no SR-IOV. */
  readonly numVfs: number | null;
  /** SR-IOV virtual functions that the device can have; null where it has no SR-IOV. */
  readonly totalVfs: number | null;
}

/** All PCI devices, in order of address. Empty where there is no PCI bus. */
export function listDevices(root = SYSFS_ROOT): PciDevice[] {
  const devices: PciDevice[] = [];
  for (const name of systemFiles.list(join(root, 'bus/pci/devices'))) {
    const device = readDevice(name, root);
    if (device !== null) devices.push(device);
  }
  return devices.sort((a, b) => compareAddresses(a.address, b.address));
}

/** The network controllers (class 02xx) among the PCI devices, in order of address. */
export function listNics(root = SYSFS_ROOT): PciDevice[] {
  return listDevices(root).filter(isNic);
}

/** One device, or null where there is none at this address (sysfs spelling). */
export function readDevice(address: string, root = SYSFS_ROOT): PciDevice | null {
  if (!isPciAddress(address)) return null;
  const dir = devicePath(address, root);
  const iommuGroup = iommuGroupOf(address, root);
  const members = iommuGroup === null ? [] : groupMembers(iommuGroup, root);
  const device: PciDevice = {
    address,
    vendor: readHex(join(dir, 'vendor'), 0xffff),
    device: readHex(join(dir, 'device'), 0xffff),
    subsystemVendor: readHex(join(dir, 'subsystem_vendor'), 0xffff),
    subsystemDevice: readHex(join(dir, 'subsystem_device'), 0xffff),
    class: readClass(address, root),
    driver: driverOf(address, root),
    iommuGroup,
    groupMembers: members.filter((member) => member.address !== address),
    numaNode: readDecimal(join(dir, 'numa_node')),
    interfaces: readInterfaces(dir),
    physicalFunction: linkName(join(dir, 'physfn')),
    numVfs: readDecimal(join(dir, 'sriov_numvfs')),
    totalVfs: readDecimal(join(dir, 'sriov_totalvfs')),
  };
  // Last, so that a device that vanished under our hands is not reported as one without attributes.
  return systemFiles.exists(dir) ? device : null;
}

/** Directory of a device, for example `/sys/bus/pci/devices/0000:03:00.0`. */
export function devicePath(address: string, root = SYSFS_ROOT): string {
  return join(root, 'bus/pci/devices', address);
}

/** Name of the kernel driver that has the device now, or null. */
export function driverOf(address: string, root = SYSFS_ROOT, files = systemFiles): string | null {
  return linkName(join(devicePath(address, root), 'driver'), files);
}

/** 24-bit class code of a device, or null. */
export function readClass(address: string, root = SYSFS_ROOT, files = systemFiles): number | null {
  return readHex(join(devicePath(address, root), 'class'), 0xffffff, files);
}

/**
 * Number of the function's IOMMU group; null without an IOMMU. In no-IOMMU mode VFIO makes up a group, which protects
 * nothing and cannot map DMA memory: null as well.
 */
export function iommuGroupOf(address: string, root = SYSFS_ROOT, files = systemFiles): number | null {
  const link = join(devicePath(address, root), 'iommu_group');
  const name = basename(files.readLink(link) ?? '');
  if (!/^[0-9]{1,9}$/.test(name) || files.readText(join(link, 'name')) === 'vfio-noiommu') return null;
  return Number(name);
}

/** All functions of a group: they can reach each other's memory, so VFIO takes all or none. */
export function groupMembers(group: number, root = SYSFS_ROOT, files = systemFiles): GroupMember[] {
  return files
    .list(join(root, 'kernel/iommu_groups', String(group), 'devices'))
    .filter(isPciAddress)
    .map((address) => ({
      address,
      class: readClass(address, root, files),
      driver: driverOf(address, root, files),
    }));
}

/** True for network controllers: Ethernet and the other subclasses of base class 02. */
export function isNic(device: Pick<PciDevice, 'class'>): boolean {
  return device.class !== null && device.class >>> 16 === ClassCode.NETWORK;
}

/** True for PCI-to-PCI bridges. They do no DMA of their own, so VFIO lets them stay in a group. */
export function isPciBridge(device: Pick<PciDevice, 'class'>): boolean {
  return device.class !== null && device.class >>> 8 === ClassCode.PCI_BRIDGE;
}

/** True where IFF_UP is set in the interface's flags (linux/if.h; sysfs-class-net). */
export function isInterfaceUp(name: string, root = SYSFS_ROOT): boolean {
  const flags = readHex(join(root, 'class/net', name, 'flags'), 0xffffffff);
  return flags !== null && (flags & 1) !== 0;
}

/** Interfaces stacked on this one: bond, bridge, VLAN, macvlan (the `upper_*` links of sysfs-class-net). */
export function upperInterfaces(name: string, root = SYSFS_ROOT): string[] {
  const prefix = 'upper_';
  return systemFiles
    .list(join(root, 'class/net', name))
    .filter((entry) => entry.startsWith(prefix))
    .map((entry) => entry.slice(prefix.length));
}

/** Last part of a symbolic link's target, or null. */
function linkName(path: string, files = systemFiles): string | null {
  const target = files.readLink(path);
  return target === undefined ? null : basename(target);
}

function readHex(path: string, max: number, files = systemFiles): number | null {
  const text = files.readText(path);
  if (text === undefined || !/^(0x)?[0-9a-f]{1,8}$/i.test(text)) return null;
  const value = Number.parseInt(text, 16);
  return value <= max ? value : null;
}

/** Non-negative decimal; null also for -1, which is how the kernel says "no NUMA node". */
function readDecimal(path: string): number | null {
  const text = systemFiles.readText(path);
  return text !== undefined && /^[0-9]{1,9}$/.test(text) ? Number(text) : null;
}

/** `net/` lies in the device's directory, but for virtio one level down, in that of the virtio device. */
function readInterfaces(dir: string): string[] {
  const virtio = systemFiles.list(dir).filter((name) => /^virtio[0-9]+$/.test(name));
  return [dir, ...virtio.map((name) => join(dir, name))].flatMap((parent) =>
    systemFiles.list(join(parent, 'net')),
  );
}

/** By number, so that domain 10000 comes after ffff. */
function compareAddresses(a: string, b: string): number {
  return a.length - b.length || (a < b ? -1 : a > b ? 1 : 0);
}
