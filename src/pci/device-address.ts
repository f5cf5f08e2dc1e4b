/**
 * Device addresses as people type them, and what to say to somebody who typed something else: the name of an interface,
 * the path of a socket, an address without its function.
 */
import { join, resolve } from 'node:path';
import { NicError } from '../errors.js';
import { describeValue } from '../options.js';
import { UNIX_PATH_MAX_BYTES } from '../syscalls/unix-sockets.js';
import { systemFiles } from './files.js';
import { deviceName } from './ids.js';
import { formatPciAddress, quote, tryParsePciAddress } from './pci-address.js';
import { listDevices, SYSFS_ROOT } from './sysfs.js';

/** What can be opened: a PCI function, or a device model behind a Unix socket. */
export type DeviceAddress =
  | { readonly kind: 'pci'; readonly bdf: string }
  | { readonly kind: 'vfio-user'; readonly path: string };

const VFIO_USER = 'vfio-user:';

const HINT =
  'an address is 0000:03:00.0 or 03:00.0 (PCI; "barewire list" shows them), or vfio-user:/path/to.sock';

/**
 * Parses any address that a device can be opened by.
 * @param sysfsRoot where the names of interfaces are looked up, for the hint
 * @returns the PCI address in sysfs spelling, or the socket's path as given
 * @throws NicError `BAD_ADDRESS`
 * @example
 * parseDeviceAddress('03:00.0');               // { kind: 'pci', bdf: '0000:03:00.0' }
 * parseDeviceAddress('vfio-user:/run/nic.sock') // { kind: 'vfio-user', path: '/run/nic.sock' }
 */
export function parseDeviceAddress(text: string, sysfsRoot = SYSFS_ROOT): DeviceAddress {
  if (typeof text !== 'string') throw badAddress(`${describeValue(text)} is not a device address`);
  if (text.startsWith(VFIO_USER)) return { kind: 'vfio-user', path: socketPath(text) };
  const address = tryParsePciAddress(text);
  if (address === undefined) throw notAnAddress(text, sysfsRoot);
  return { kind: 'pci', bdf: formatPciAddress(address) };
}

/** The text that `parseDeviceAddress` makes the same address of. */
export function formatDeviceAddress(address: DeviceAddress): string {
  return address.kind === 'pci' ? address.bdf : `${VFIO_USER}${address.path}`;
}

/** How a device that is open says its address: the same wherever the path of its socket is read. */
export function openAddress(address: DeviceAddress): string {
  return address.kind === 'pci' ? address.bdf : `${VFIO_USER}${resolve(address.path)}`;
}

function socketPath(text: string): string {
  const path = text.slice(VFIO_USER.length);
  if (path === '') throw badAddress(`${quote(text)} names no socket`);
  if (path.includes('\0')) throw badAddress(`${quote(text)} has a zero byte in its path`);
  if (Buffer.byteLength(path) > UNIX_PATH_MAX_BYTES) {
    throw badAddress(
      `Socket path of ${Buffer.byteLength(path)} bytes is too long: ${path}`,
      `a Unix socket's path has at most ${UNIX_PATH_MAX_BYTES} bytes; use a shorter directory or a relative path`,
    );
  }
  return path;
}

function notAnAddress(text: string, sysfsRoot: string): NicError {
  const interfaceHint = hintForInterface(text, sysfsRoot);
  if (interfaceHint !== undefined)
    return badAddress(`${quote(text)} is a network interface, not a device address`, interfaceHint);
  const message = `${quote(text)} is not a device address`;
  if (/^([0-9a-f]{1,8}:)?[0-9a-f]{1,2}:[01]?[0-9a-f]$/i.test(text))
    return badAddress(message, `the function is missing: ${text}.0 is the first one of that device`);
  if (/[/]|\.sock$/.test(text))
    return badAddress(message, `for a socket that a server of vfio-user listens on: ${VFIO_USER}${text}`);
  return badAddress(message);
}

/** Names are not taken for addresses: binding takes the interface away, so that the next command would not know it. */
function hintForInterface(name: string, sysfsRoot: string): string | undefined {
  if (!/^[^/\s]{1,15}$/.test(name) || name === '.' || name === '..') return undefined;
  const device = listDevices(sysfsRoot).find(({ interfaces }) => interfaces.includes(name));
  if (device !== undefined)
    return `${name} is ${device.address} (${deviceName(device.vendor, device.device)}): give that address`;
  if (!systemFiles.exists(join(sysfsRoot, 'class/net', name))) return undefined;
  return `${name} is not the interface of a PCI device, and no other can be opened; "barewire list" shows those that can`;
}

function badAddress(message: string, hint = HINT): NicError {
  return new NicError('BAD_ADDRESS', message, { hint });
}
