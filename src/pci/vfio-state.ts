/**
 * What stands between a PCI function and VFIO: which drivers give it away, what else is in its IOMMU group, its device
 * nodes, and who has them open.
 *
 * Sources: Linux Documentation/driver-api/vfio.rst (groups and their viability), Documentation/ABI/testing/
 * sysfs-kernel-iommu_groups and sysfs-devices-vfio-dev.
 */
import { join } from 'node:path';
import { NicError } from '../errors.js';
import { type KernelFiles, systemFiles } from './files.js';
import { devicePath, type GroupMember, isPciBridge, SYSFS_ROOT } from './sysfs.js';

/** The driver that gives a device to userspace. */
export const VFIO_DRIVER = 'vfio-pci';

/** For hints; an address follows. `npx`, since sudo looks for commands in the system's folders only. */
export const BIND_COMMAND = 'sudo npx barewire bind';

/** For hints where a kernel module is missing. */
export function loadModuleHint(module: string): string {
  return (
    `load it: sudo modprobe ${module}; if that finds no such module, the kernel was built without it or its package of ` +
    'further modules is not installed'
  );
}

/** For hints where the kernel refused without saying why. */
export const KERNEL_LOG_HINT = 'the kernel log may say why: sudo dmesg | tail';

/** Drivers that do no DMA of their own, so the kernel lets a group be used beside them (vfio.c). */
const HARMLESS_DRIVERS: ReadonlySet<string> = new Set(['pci-stub', 'pcieport', 'shpchp']);

export const NO_IOMMU_HINT =
  'switch the IOMMU on: VT-d or AMD-Vi in the BIOS set-up, and intel_iommu=on on the kernel command line (amd_iommu is on ' +
  'by default); in a virtual machine the host must give it a virtual IOMMU; ' +
  "the kernel's no-IOMMU mode is not supported";

/** True for vfio-pci, and for a driver built on it for one vendor (`mlx5_vfio_pci`). */
export function isVfioDriver(driver: string | null): boolean {
  return driver !== null && /vfio[-_]pci$/.test(driver);
}

/** The members that keep VFIO from using their group: those with a kernel driver, unless it is harmless, or a bridge. */
export function blockingMembers(members: readonly GroupMember[]): GroupMember[] {
  return members.filter((member) => {
    const { driver } = member;
    return driver !== null && !isVfioDriver(driver) && !HARMLESS_DRIVERS.has(driver) && !isPciBridge(member);
  });
}

/** `/dev/vfio/12`: whoever opens a function of the group must be allowed to use it. */
export function groupNode(group: number): string {
  return `/dev/vfio/${group}`;
}

/** `/dev/vfio/devices/vfio3` for a function that has a VFIO character device (Linux 6.6), else undefined. */
export function characterDevice(address: string, root = SYSFS_ROOT, files = systemFiles): string | undefined {
  const names = files.list(join(devicePath(address, root), 'vfio-dev'));
  const name = names.find((entry) => /^vfio\d+$/.test(entry));
  return name === undefined ? undefined : `/dev/vfio/devices/${name}`;
}

/**
 * `qemu (pid 812)` for each other process that has one of the nodes open, as far as this user may look: all of them as
 * root. This process does not count.
 */
export function processesHolding(
  nodes: readonly (string | undefined)[],
  procRoot = '/proc',
  files: KernelFiles = systemFiles,
): string[] {
  return files
    .list(procRoot)
    .filter((pid) => {
      if (!/^\d+$/.test(pid) || Number(pid) === process.pid) return false;
      const fds = join(procRoot, pid, 'fd');
      // a descriptor that was closed meanwhile has no target, and is none of the nodes
      return files.list(fds).some((fd) => nodes.includes(files.readLink(join(fds, fd)) ?? ''));
    })
    .map((pid) => `${files.readText(join(procRoot, pid, 'comm')) ?? 'a process'} (pid ${pid})`);
}

/** For an address where sysfs has no device. */
export function noSuchDevice(address: string): NicError {
  return new NicError('NO_SUCH_DEVICE', `There is no PCI device ${address}`, {
    path: address,
    hint: '"barewire list" shows the network controllers of this machine',
  });
}
