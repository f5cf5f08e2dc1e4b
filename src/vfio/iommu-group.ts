/**
 * Finds the PCI function that is to be opened, and explains by errors what is in the way. Linux Documentation/
 * driver-api/vfio.rst, section "VFIO Usage Example".
 */
import { constants } from 'node:os';
import { isErrno, NicError } from '../errors.js';
import { describeMember, freeGroupHint } from '../pci/companions.js';
import { className } from '../pci/ids.js';
import {
  devicePath,
  driverOf,
  groupMembers,
  iommuGroupOf,
  isNic,
  readClass,
  SYSFS_ROOT,
} from '../pci/sysfs.js';
import {
  BIND_COMMAND,
  blockingMembers,
  characterDevice,
  groupNode,
  isVfioDriver,
  KERNEL_LOG_HINT,
  loadModuleHint,
  NO_IOMMU_HINT,
  noSuchDevice,
  processesHolding,
  VFIO_DRIVER,
} from '../pci/vfio-state.js';
import { ioctlError, type KernelApi } from './kernel-api.js';
import type { IoctlRequest } from './uapi.js';

export interface VfioFunction {
  /** `0000:03:00.0` */
  readonly bdf: string;
  /** IOMMU group number, as in `/dev/vfio/12`. */
  readonly group: number;
}

export const CONTAINER_NODE = '/dev/vfio/vfio';
export const IOMMU_NODE = '/dev/iommu';

/** Where a device cannot join the container or IOAS that others of the process use. */
export const ANOTHER_IOMMU_HINT =
  'its IOMMU may translate other addresses: use this device in a process of its own';

const lastPart = (path: string) => path.slice(path.lastIndexOf('/') + 1);

/**
 * Looks the function up and checks that VFIO can have it.
 * @throws NicError `NO_SUCH_DEVICE`, `NO_IOMMU`, `NOT_BOUND`
 */
export function findFunction(kernel: KernelApi, bdf: string): VfioFunction {
  const path = devicePath(bdf);
  if (!kernel.exists(path)) throw noSuchDevice(bdf);
  const group = iommuGroupOf(bdf, SYSFS_ROOT, kernel);
  if (group === null) {
    throw new NicError('NO_IOMMU', `${bdf} is not behind an IOMMU`, {
      path: `${path}/iommu_group`,
      hint: NO_IOMMU_HINT,
    });
  }
  const driver = driverOf(bdf, SYSFS_ROOT, kernel);
  if (!isVfioDriver(driver)) {
    const bound = driver === null ? 'not bound to any driver' : `bound to the driver ${driver}`;
    throw new NicError('NOT_BOUND', `${bdf} is ${bound}, not to ${VFIO_DRIVER}`, {
      path: `${path}/driver`,
      hint: notBoundHint(bdf, readClass(bdf, SYSFS_ROOT, kernel)),
    });
  }
  return { bdf, group };
}

/** `bind` takes network controllers only. */
function notBoundHint(bdf: string, code: number | null): string {
  if (code === null || isNic({ class: code })) return `${BIND_COMMAND} ${bdf}`;
  return `it is no network controller (${className(code)}); "barewire list" shows those of this machine`;
}

/**
 * The error for a group or device that the kernel refused to give: a part of the group has a kernel driver, or somebody
 * else has it.
 */
export function notAvailable(
  kernel: KernelApi,
  device: VfioFunction,
  node: string,
  syscall: string,
  errno: number,
): NicError {
  const members = groupMembers(device.group, SYSFS_ROOT, kernel);
  if (blockingMembers(members).length > 0) return notViable(kernel, device, members);
  return busy(kernel, device, node, syscall, errno);
}

/** Error for a group that kernel drivers still hold a part of. */
export function notViable(
  kernel: KernelApi,
  device: VfioFunction,
  members = groupMembers(device.group, SYSFS_ROOT, kernel),
): NicError {
  const list = members.map(describeMember).join(', ');
  const blockers = blockingMembers(members);
  const hint =
    blockers.length === 0
      ? `none of these drivers is known to be in the way, so ${KERNEL_LOG_HINT}`
      : `the whole group has to be given away: ${freeGroupHint(blockers)}`;
  return new NicError(
    'GROUP_NOT_VIABLE',
    `IOMMU group ${device.group} of ${device.bdf} is partly in use by kernel drivers: ${list}`,
    { path: groupNode(device.group), hint },
  );
}

/** Error for a device or group that somebody else has open. */
function busy(
  kernel: KernelApi,
  device: VfioFunction,
  node: string,
  syscall: string,
  errno: number,
): NicError {
  // This process does not count: it has just opened the character device that it could not bind.
  const holders = processesHolding([node], undefined, kernel);
  const who = holders.length === 0 ? 'another process (or another worker of this one)' : holders.join(', ');
  return new NicError('GROUP_BUSY', `${device.bdf} (${node}) is in use by ${who}`, {
    syscall,
    errno,
    path: node,
    hint: `stop the other user first; \`sudo fuser -v ${node}\` finds it`,
  });
}

/** Opens a VFIO node, with errors that say what to do. @throws NicError `NO_PERMISSION`, `GROUP_BUSY`, `NO_VFIO` */
export function openNode(kernel: KernelApi, device: VfioFunction, node: string): number {
  try {
    return kernel.open(node);
  } catch (error) {
    if (!(error instanceof NicError) || error.errno === undefined) throw error;
    if (isErrno(error, 'EACCES') || isErrno(error, 'EPERM')) {
      throw noPermission(kernel, device, node, error.errno);
    }
    if (isErrno(error, 'EBUSY')) throw busy(kernel, device, node, 'open', error.errno);
    const isMissing = ['ENOENT', 'ENODEV', 'ENXIO'].some((name) => isErrno(error, name));
    throw new NicError(isMissing ? 'NO_VFIO' : 'VFIO', `Cannot open ${node} for ${device.bdf}`, {
      syscall: 'open',
      errno: error.errno,
      path: node,
      hint: isMissing ? missingNodeHint(node) : KERNEL_LOG_HINT,
    });
  }
}

/** @param module the kernel module that refused, which can be told to trust the device */
export function unsafeInterrupts(request: IoctlRequest, device: VfioFunction, module: string): NicError {
  const what = `The IOMMU cannot isolate the interrupts of ${device.bdf}`;
  return ioctlError(request, constants.errno.EPERM, what, 'VFIO', {
    hint:
      'turn on interrupt remapping (x2APIC) in the BIOS set-up, or, trusting the device, ' +
      `echo 1 | sudo tee /sys/module/${module}/parameters/allow_unsafe_interrupts`,
  });
}

function missingNodeHint(node: string): string {
  const module = node === IOMMU_NODE ? 'iommufd' : 'vfio-pci';
  return `${loadModuleHint(module)}; in a container the node has to be passed in (docker run --device=${node})`;
}

function noPermission(kernel: KernelApi, device: VfioFunction, node: string, errno: number): NicError {
  const { name, isRoot } = kernel.user();
  return new NicError('NO_PERMISSION', `This user (${name}) may not open ${node}`, {
    syscall: 'open',
    errno,
    path: node,
    hint: isRoot ? rootHint(node) : ownerHint(kernel, device, node, name),
  });
}

/** Root may open all nodes, unless it is root of a container. */
function rootHint(node: string): string {
  return `a container or a security module forbids it to root: docker run --device=${node} allows it`;
}

/** Names every node that is still missing, so that one command is enough. */
function ownerHint(kernel: KernelApi, device: VfioFunction, node: string, user: string): string {
  const own = characterDevice(device.bdf, SYSFS_ROOT, kernel);
  // Where the character device is the user's already, one node is missing on that way, and nobody asked for the group.
  const byDevice =
    node === own ||
    node === IOMMU_NODE ||
    (own !== undefined && kernel.canReadWrite(own) && kernel.exists(IOMMU_NODE));
  const nodes = own !== undefined && byDevice ? [own, IOMMU_NODE] : [groupNode(device.group), CONTAINER_NODE];
  const closed = nodes.filter((name) => name === node || !kernel.canReadWrite(name));
  const rules = closed.map((name) => `${udevMatch(name)}, OWNER="${user}"`).join(' and ');
  return (
    `sudo chown ${user} ${closed.join(' ')}; to keep it over a reboot, ` +
    `${closed.length === 1 ? 'a udev rule' : 'udev rules'} in /etc/udev/rules.d/60-vfio.rules: ${rules}`
  );
}

function udevMatch(node: string): string {
  if (node === IOMMU_NODE || node === CONTAINER_NODE) return `KERNEL=="${lastPart(node)}"`;
  // Numbers of nodes change from boot to boot; the subsystem does not.
  if (node.startsWith('/dev/vfio/devices/')) return 'SUBSYSTEM=="vfio-dev"';
  return 'SUBSYSTEM=="vfio"';
}
