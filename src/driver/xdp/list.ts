/** The interfaces of this machine, for `barewire list`: which of them AF_XDP opens, and how. */
import { basename, join } from 'node:path';
import { systemFiles } from '../../pci/files.js';
import { closeFd } from '../../syscalls/descriptors.js';
import { rawSocket } from '../../syscalls/sockets.js';
import type { PortListing } from '../registry.js';
import { LARGEST_MTU } from './buffers.js';
import { xdpFeatures } from './netlink.js';
import { AF_XDP, type XdpMode } from './uapi.js';
import { EAFNOSUPPORT } from './xdp-socket.js';

/** `/sys/class/net/NAME/type` of Ethernet (linux/if_arp.h). */
const ARPHRD_ETHER = '1';

/** Every Ethernet interface that this network namespace shows under `sysfsRoot`. */
export function listInterfaces(sysfsRoot: string): PortListing[] {
  const folder = join(sysfsRoot, 'class/net');
  const attribute = (name: string, file: string) => systemFiles.readText(join(folder, name, file));
  const names = systemFiles.list(folder).filter((name) => attribute(name, 'type') === ARPHRD_ETHER);
  if (names.length === 0) return [];
  const hasXdp = kernelHasXdp();
  return names.map((name) => {
    const driver = systemFiles.readLink(join(folder, name, 'device/driver'));
    const reason = hasXdp ? whyNot(Number(attribute(name, 'mtu'))) : 'this kernel has no AF_XDP';
    const mode = reason === undefined ? modeOf(Number(attribute(name, 'ifindex'))) : null;
    return {
      address: `xdp:${name}`,
      name: reason === undefined ? MODE_NAMES[mode ?? 'unknown'] : `Ethernet, not by AF_XDP: ${reason}`,
      mode,
      driver: driver === undefined ? null : basename(driver),
      interfaces: [name],
      supportedBy: reason === undefined ? 'xdp' : null,
    };
  });
}

const MODE_NAMES = {
  'zero-copy': 'Ethernet, AF_XDP zero-copy',
  copy: 'Ethernet, AF_XDP in copy mode',
  unknown: 'Ethernet, AF_XDP',
} as const;

/** What the driver offers; null where the kernel does not tell. */
function modeOf(interfaceIndex: number): XdpMode | null {
  const features = interfaceIndex > 0 ? xdpFeatures(interfaceIndex) : undefined;
  if (features === undefined) return null;
  return features.zeroCopy ? 'zero-copy' : 'copy';
}

function whyNot(mtu: number): string | undefined {
  return mtu > LARGEST_MTU ? `its MTU is above ${LARGEST_MTU}` : undefined;
}

/** Without the right to open one the kernel says so, too. */
function kernelHasXdp(): boolean {
  const fd = rawSocket(AF_XDP);
  if (fd >= 0) closeFd(fd);
  return fd !== -EAFNOSUPPORT;
}
