/**
 * What sysfs says about a PCI function on its way to VFIO (driver, IOMMU group, character device), and the errors that
 * explain what is in the way. Linux Documentation/driver-api/vfio.rst, section "VFIO Usage Example".
 */
import { userInfo } from 'node:os';
import { isErrno, NicError } from '../errors.js';
import type { KernelApi } from './kernel-api.js';

export interface VfioFunction {
  /** `0000:03:00.0` */
  readonly bdf: string;
  /** IOMMU group number, as in `/dev/vfio/12`. */
  readonly group: string;
}

export interface GroupMember {
  readonly bdf: string;
  /** Kernel driver, undefined where none is bound. */
  readonly driver: string | undefined;
}

/** Drivers that do no DMA of their own, so the kernel lets a group be used beside them (vfio.c). */
const HARMLESS_DRIVERS: ReadonlySet<string> = new Set(['pci-stub', 'pcieport', 'shpchp']);

const sysfsOf = (bdf: string) => `/sys/bus/pci/devices/${bdf}`;
const groupNodeOf = (group: string) => `/dev/vfio/${group}`;
const lastPart = (path: string) => path.slice(path.lastIndexOf('/') + 1);

/**
 * Looks the function up and checks that VFIO can have it.
 * @throws NicError `NO_SUCH_DEVICE`, `NO_IOMMU`, `NOT_BOUND`
 */
export function findFunction(kernel: KernelApi, bdf: string): VfioFunction {
  const path = sysfsOf(bdf);
  if (!kernel.exists(path)) {
    throw new NicError('NO_SUCH_DEVICE', `There is no PCI device ${bdf}`, {
      path,
      hint: 'list the network cards of this machine with `barewire list`',
    });
  }
  const group = kernel.readLink(`${path}/iommu_group`);
  // A group of VFIO's own no-IOMMU mode has a name; real groups have none.
  const name = group === undefined ? undefined : kernel.readText(`${path}/iommu_group/name`);
  if (group === undefined || name?.trim() === 'vfio-noiommu') {
    throw new NicError('NO_IOMMU', `${bdf} is not behind an IOMMU`, {
      path: `${path}/iommu_group`,
      hint:
        'turn on VT-d (or AMD-Vi) in the BIOS set-up and boot with intel_iommu=on on the kernel command line' +
        ' (amd_iommu is on by default); in a virtual machine the host must give it a virtual IOMMU',
    });
  }
  const driver = driverOf(kernel, bdf);
  if (!isVfioDriver(driver)) {
    const bound = driver === undefined ? 'not bound to any driver' : `bound to the driver ${driver}`;
    throw new NicError('NOT_BOUND', `${bdf} is ${bound}, not to vfio-pci`, {
      path: `${path}/driver`,
      hint: `sudo barewire bind ${bdf}`,
    });
  }
  return { bdf, group: lastPart(group) };
}

/** The functions of an IOMMU group: they can reach each other's memory, so VFIO takes all or none. */
export function groupMembers(kernel: KernelApi, group: string): GroupMember[] {
  const names = kernel.list(`/sys/kernel/iommu_groups/${group}/devices`);
  return names.sort().map((bdf) => ({ bdf, driver: driverOf(kernel, bdf) }));
}

/** `/dev/vfio/devices/vfio3` for a function that has a VFIO character device (Linux 6.6), else undefined. */
export function characterDevice(kernel: KernelApi, bdf: string): string | undefined {
  const name = kernel.list(`${sysfsOf(bdf)}/vfio-dev`).find((entry) => /^vfio\d+$/.test(entry));
  return name === undefined ? undefined : `/dev/vfio/devices/${name}`;
}

export function groupNode(group: string): string {
  return groupNodeOf(group);
}

function driverOf(kernel: KernelApi, bdf: string): string | undefined {
  const link = kernel.readLink(`${sysfsOf(bdf)}/driver`);
  return link === undefined ? undefined : lastPart(link);
}

/** vfio-pci, or a driver built on it for one vendor (`mlx5_vfio_pci`). */
function isVfioDriver(driver: string | undefined): boolean {
  return driver !== undefined && /vfio[-_]pci$/.test(driver);
}

/** Error for a group that kernel drivers still hold a part of. */
export function notViable(kernel: KernelApi, device: VfioFunction): NicError {
  const members = groupMembers(kernel, device.group);
  const list = members.map(({ bdf, driver }) => `${bdf} (${driver ?? 'no driver'})`).join(', ');
  const blockers = blockingMembers(members).map(({ bdf }) => bdf);
  const hint =
    blockers.length === 0
      ? 'bind every device of the group to vfio-pci, or unbind its driver'
      : `the whole group has to be given away: sudo barewire bind ${blockers.join(' ')}` +
        '; or put the card in a slot with an IOMMU group of its own';
  return new NicError(
    'GROUP_NOT_VIABLE',
    `IOMMU group ${device.group} of ${device.bdf} is partly in use by kernel drivers: ${list}`,
    { path: groupNodeOf(device.group), hint },
  );
}

/** Members whose driver keeps VFIO from using the group. */
export function blockingMembers(members: readonly GroupMember[]): GroupMember[] {
  return members.filter(
    ({ driver }) => driver !== undefined && !isVfioDriver(driver) && !HARMLESS_DRIVERS.has(driver),
  );
}

/** Error for a device or group that somebody else has open. */
export function busy(
  kernel: KernelApi,
  device: VfioFunction,
  node: string,
  syscall: string,
  errno: number,
): NicError {
  const holders = processesHolding(kernel, node);
  const who = holders.length === 0 ? 'another process (or another worker of this one)' : holders.join(', ');
  return new NicError('GROUP_BUSY', `${device.bdf} (${node}) is in use by ${who}`, {
    syscall,
    errno,
    path: node,
    hint: `stop the other user first; \`sudo fuser -v ${node}\` finds it`,
  });
}

/**
 * `qemu (pid 812)` for each other process with `node` open, as far as this user may look. This process does not count:
 * it has just opened the character device that it could not bind.
 */
function processesHolding(kernel: KernelApi, node: string): string[] {
  const holders: string[] = [];
  for (const pid of kernel.list('/proc')) {
    if (!/^\d+$/.test(pid) || Number(pid) === process.pid) continue;
    const fds = `/proc/${pid}/fd`;
    if (!kernel.list(fds).some((fd) => kernel.readLink(`${fds}/${fd}`) === node)) continue;
    holders.push(`${kernel.readText(`/proc/${pid}/comm`)?.trim() ?? 'a process'} (pid ${pid})`);
  }
  return holders;
}

/** Opens a VFIO node, with errors that say what to do. @throws NicError `NO_PERMISSION`, `GROUP_BUSY`, `NO_VFIO` */
export function openNode(kernel: KernelApi, device: VfioFunction, node: string): number {
  try {
    return kernel.open(node);
  } catch (error) {
    if (!(error instanceof NicError) || error.errno === undefined) throw error;
    if (isErrno(error, 'EACCES') || isErrno(error, 'EPERM')) throw noPermission(node, error.errno);
    if (isErrno(error, 'EBUSY')) throw busy(kernel, device, node, 'open', error.errno);
    if (isErrno(error, 'ENOENT') || isErrno(error, 'ENODEV') || isErrno(error, 'ENXIO')) {
      throw new NicError('NO_VFIO', `Cannot open ${node} for ${device.bdf}`, {
        syscall: 'open',
        errno: error.errno,
        path: node,
        hint: missingNodeHint(node),
      });
    }
    throw new NicError('VFIO', `Cannot open ${node} for ${device.bdf}`, {
      syscall: 'open',
      errno: error.errno,
      path: node,
    });
  }
}

function missingNodeHint(node: string): string {
  const container = `in a container the node has to be passed in (docker run --device=${node})`;
  if (node === '/dev/iommu') return `sudo modprobe iommufd; ${container}`;
  return `sudo modprobe vfio-pci; ${container}`;
}

function noPermission(node: string, errno: number): NicError {
  const user = orUnknown(() => userInfo().username);
  return new NicError('NO_PERMISSION', `This user (${user}) may not open ${node}`, {
    syscall: 'open',
    errno,
    path: node,
    hint:
      `sudo chown ${user} ${node}; to keep it over a reboot, a udev rule in /etc/udev/rules.d/60-vfio.rules: ` +
      `${udevMatch(node)}, OWNER="${user}"`,
  });
}

function udevMatch(node: string): string {
  if (node === '/dev/iommu' || node === '/dev/vfio/vfio') return `KERNEL=="${lastPart(node)}"`;
  // Numbers of nodes change from boot to boot; the subsystem does not.
  if (node.startsWith('/dev/vfio/devices/')) return 'SUBSYSTEM=="vfio-dev"';
  return 'SUBSYSTEM=="vfio"';
}

function orUnknown(call: () => string): string {
  try {
    return call();
  } catch {
    return 'unknown';
  }
}
