/** Finds the processes that have a device open through VFIO. */
import { readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { devicePath, entries, type PciDevice, readText } from './sysfs.js';

/**
 * Processes that hold the device's group (`/dev/vfio/12`) or its character device (`/dev/vfio/devices/vfio0`; its
 * name is in `vfio-dev/` of the device, sysfs-devices-vfio-dev), as `fwd (pid 4711)`. Sees only processes whose
 * descriptors the caller may read: all of them as root.
 */
export function vfioUsers(
  device: Pick<PciDevice, 'address' | 'iommuGroup'>,
  host: { readonly sysfsRoot: string; readonly procRoot: string },
): string[] {
  const nodes = new Set<string>();
  if (device.iommuGroup !== null) nodes.add(`/dev/vfio/${device.iommuGroup}`);
  for (const name of entries(join(devicePath(device.address, host.sysfsRoot), 'vfio-dev'))) {
    nodes.add(`/dev/vfio/devices/${name}`);
  }
  const users: string[] = [];
  for (const pid of entries(host.procRoot)) {
    if (!/^[0-9]+$/.test(pid)) continue;
    const fds = join(host.procRoot, pid, 'fd');
    if (entries(fds).some((fd) => nodes.has(linkTarget(join(fds, fd))))) {
      users.push(`${readText(join(host.procRoot, pid, 'comm')) ?? 'process'} (pid ${pid})`);
    }
  }
  return users;
}

/** Empty where the link cannot be read; processes end while one looks. */
function linkTarget(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return '';
  }
}
