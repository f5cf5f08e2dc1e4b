/**
 * Device addresses as people type them and as sysfs prints them.
 *
 * A PCI address is `domain:bus:device.function`, all hexadecimal (device 00-1f, function 0-7). The domain is a Linux
 * notion: four digits as a rule, more behind Intel VMD, which numbers its domains from 0x10000.
 * Sources: PCI Local Bus Specification 3.0, 3.2.2.3.2 (bus, device and function of a configuration cycle); Linux
 * Documentation/PCI/sysfs-pci.rst.
 */
import { NicError } from '../errors.js';
import { describeValue } from '../options.js';
import { UNIX_PATH_MAX_BYTES } from '../syscalls/unix-sockets.js';

/** The four numbers of a PCI address. */
export interface PciAddress {
  /** 0 to 0xffffffff. */
  readonly domain: number;
  /** 0 to 0xff. */
  readonly bus: number;
  /** 0 to 0x1f. */
  readonly device: number;
  /** 0 to 7. */
  readonly function: number;
}

/** What can be opened: a PCI function, or a device model behind a Unix socket. */
export type DeviceAddress =
  | { readonly kind: 'pci'; readonly bdf: string }
  | { readonly kind: 'vfio-user'; readonly path: string };

const PCI_ADDRESS = /^(?:([0-9a-f]{1,8}):)?([0-9a-f]{1,2}):([01]?[0-9a-f])\.([0-7])$/i;
const VFIO_USER = 'vfio-user:';

const PCI_HINT =
  'a PCI address looks like 0000:03:00.0 or 03:00.0; "barewire list" shows those of this machine';
const HINT =
  'an address is 0000:03:00.0 or 03:00.0 (PCI; "barewire list" shows them), or vfio-user:/path/to.sock';

/**
 * Parses `0000:03:00.0` or `03:00.0` (domain 0), in either case.
 * @throws NicError `BAD_ADDRESS`
 */
export function parsePciAddress(text: string): PciAddress {
  const address = tryParsePciAddress(text);
  if (address === undefined) throw badAddress(`${quote(text)} is not a PCI address`, PCI_HINT);
  return address;
}

/**
 * Writes an address as sysfs does: lower case, the domain with at least four digits.
 * @throws NicError `BAD_ADDRESS` where a number is out of its range
 */
export function formatPciAddress(address: PciAddress): string {
  const { domain, bus, device, function: fn } = address;
  if (!fits(domain, 0xffffffff) || !fits(bus, 0xff) || !fits(device, 0x1f) || !fits(fn, 7)) {
    throw badAddress(`PCI address out of range: domain ${domain} bus ${bus} device ${device} function ${fn}`);
  }
  return `${hex(domain, 4)}:${hex(bus, 2)}:${hex(device, 2)}.${fn}`;
}

/** The one spelling of a PCI address, as sysfs has it. @throws NicError `BAD_ADDRESS` */
export function normalizePciAddress(text: string): string {
  return formatPciAddress(parsePciAddress(text));
}

/** True for a name that sysfs could have given to a PCI device. */
export function isPciAddress(name: string): boolean {
  return tryParsePciAddress(name) !== undefined;
}

/**
 * Parses any address that a device can be opened by.
 * @returns the PCI address in sysfs spelling, or the socket's path as given
 * @throws NicError `BAD_ADDRESS`
 * @example
 * parseDeviceAddress('03:00.0');               // { kind: 'pci', bdf: '0000:03:00.0' }
 * parseDeviceAddress('vfio-user:/run/nic.sock') // { kind: 'vfio-user', path: '/run/nic.sock' }
 */
export function parseDeviceAddress(text: string): DeviceAddress {
  if (typeof text !== 'string') throw badAddress(`${describeValue(text)} is not a device address`, HINT);
  if (text.startsWith(VFIO_USER)) {
    const path = text.slice(VFIO_USER.length);
    if (path === '') throw badAddress(`${quote(text)} names no socket`, HINT);
    if (path.includes('\0')) throw badAddress(`${quote(text)} has a zero byte in its path`, HINT);
    if (Buffer.byteLength(path) > UNIX_PATH_MAX_BYTES) {
      throw badAddress(
        `Socket path of ${Buffer.byteLength(path)} bytes is too long: ${path}`,
        `a Unix socket's path has at most ${UNIX_PATH_MAX_BYTES} bytes; use a shorter directory or a relative path`,
      );
    }
    return { kind: 'vfio-user', path };
  }
  const address = tryParsePciAddress(text);
  if (address === undefined) throw badAddress(`${quote(text)} is not a device address`, HINT);
  return { kind: 'pci', bdf: formatPciAddress(address) };
}

/** The text that `parseDeviceAddress` makes the same address of. */
export function formatDeviceAddress(address: DeviceAddress): string {
  return address.kind === 'pci' ? address.bdf : `${VFIO_USER}${address.path}`;
}

function tryParsePciAddress(text: string): PciAddress | undefined {
  const match = PCI_ADDRESS.exec(text);
  if (match === null) return undefined;
  return {
    domain: Number.parseInt(match[1] ?? '0', 16),
    bus: Number.parseInt(match[2]!, 16),
    device: Number.parseInt(match[3]!, 16),
    function: Number(match[4]),
  };
}

function fits(value: number, max: number): boolean {
  return Number.isInteger(value) && value >= 0 && value <= max;
}

function hex(value: number, digits: number): string {
  return value.toString(16).padStart(digits, '0');
}

/** Quoted so that blanks and control characters show, and the message stays on one line. */
function quote(text: string): string {
  return JSON.stringify(text.length > 80 ? `${text.slice(0, 80)}...` : text);
}

function badAddress(message: string, hint?: string): NicError {
  return new NicError('BAD_ADDRESS', message, { hint });
}
