/** The address `xdp:NAME` or `xdp:NAME/QUEUE`: an interface that stays with the kernel, by AF_XDP. */
import { networkInterfaces } from 'node:os';
import { NicError } from '../../errors.js';
import { interfaceUses } from '../../pci/interface-use.js';
import { SYSFS_ROOT } from '../../pci/sysfs.js';
import type { NetDevice, OpenOptions } from '../device.js';
import type { PoolWishes } from '../registry.js';
import { withBuffers } from './buffers.js';
import { LinuxKernel } from './kernel.js';
import { listInterfaces } from './list.js';
import { NetInterface } from './net-interface.js';
import { KERNEL_HEADROOM } from './uapi.js';
import { XdpDevice } from './xdp-device.js';

const FORM = 'xdp:INTERFACE[/QUEUE]';
/** Linux: a name has at most 15 bytes, and neither a slash nor white space. */
const ADDRESS = /^([^/\s:]{1,15})(?:\/([0-9]{1,4}))?$/;

export const xdp = {
  name: 'xdp',
  form: FORM,
  sharesInterface: true,
  list: listInterfaces,

  /** @throws NicError as `NetInterface` */
  poolOptions(rest: string, options: OpenOptions): PoolWishes {
    const netInterface = new NetInterface(parseXdpAddress(rest).name);
    netInterface.close();
    const { headroomBytes = KERNEL_HEADROOM, bufferSizeBytes } = withBuffers(options, netInterface);
    return { headroomBytes, ...(bufferSizeBytes === undefined ? {} : { bufferSizeBytes }) };
  },

  /** @throws NicError as `XdpDevice`; `BAD_ADDRESS`; `INTERFACE_IN_USE` where the default route goes over it */
  async open(rest: string, options: OpenOptions): Promise<NetDevice> {
    const address = `xdp:${rest}`;
    const { name, queue } = parseXdpAddress(rest);
    const kernel = new LinuxKernel(address, name);
    const { netInterface } = kernel;
    try {
      if (options.takeDefaultRoute !== true && options.only === undefined) refuseDefaultRoute(address, name);
      if (queue >= netInterface.queuePairs) {
        throw new NicError(
          'BAD_ADDRESS',
          `${name} has no queue ${queue}: it has ${netInterface.queuePairs}`,
          {
            path: address,
            hint: `"ethtool -l ${name}" shows them; queues are counted from 0.`,
          },
        );
      }
      return await new XdpDevice(address, kernel, queue, options).start();
    } catch (error) {
      netInterface.close();
      throw error;
    }
  },
};

/** @param rest behind `xdp:` @throws NicError `BAD_ADDRESS` */
export function parseXdpAddress(rest: string): { readonly name: string; readonly queue: number } {
  const match = ADDRESS.exec(rest);
  if (match === null || match[1] === '.' || match[1] === '..') {
    throw new NicError('BAD_ADDRESS', `xdp:${rest} is no interface's address`, {
      hint: `${FORM}, such as xdp:eth0`,
    });
  }
  return { name: match[1]!, queue: Number(match[2] ?? 0) };
}

/** All frames of the interface go to us: a connection over which somebody is logged in would be cut. */
function refuseDefaultRoute(address: string, name: string): void {
  const host = { sysfsRoot: SYSFS_ROOT, procRoot: '/proc', networkInterfaces };
  const reason = interfaceUses(name, host).find((use) => use.includes('default route'));
  if (reason === undefined) return;
  throw new NicError('INTERFACE_IN_USE', `${name} ${reason}, and all its frames would go to this process`, {
    path: address,
    hint: 'Take another interface, or only some frames: only, --only. If nobody needs it: takeDefaultRoute, --take-default-route.',
  });
}
