/**
 * A PCI address is `domain:bus:device.function`, all hexadecimal (device 00-1f, function 0-7). The domain is a Linux
 * notion: four digits as a rule, more behind Intel VMD, which numbers its domains from 0x10000.
 * Sources: PCI Local Bus Specification 3.0, 3.2.2.3.2 (bus, device and function of a configuration cycle); Linux
 * Documentation/PCI/sysfs-pci.rst.
 */
import { NicError } from '../errors.js';

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

const PCI_ADDRESS = /^(?:([0-9a-f]{1,8}):)?([0-9a-f]{1,2}):([01]?[0-9a-f])\.([0-7])$/i;

/** What to do about a text that is no PCI address. */
export const PCI_ADDRESS_HINT =
  'a PCI address looks like 0000:03:00.0 or 03:00.0; "barewire list" shows those of this machine';

/**
 * Parses `0000:03:00.0` or `03:00.0` (domain 0), in either case.
 * @throws NicError `BAD_ADDRESS`
 */
export function parsePciAddress(text: string): PciAddress {
  const address = tryParsePciAddress(text);
  if (address !== undefined) return address;
  throw new NicError('BAD_ADDRESS', `${quote(text)} is not a PCI address`, { hint: PCI_ADDRESS_HINT });
}

/** The same, or undefined for what is no PCI address. */
export function tryParsePciAddress(text: string): PciAddress | undefined {
  const match = PCI_ADDRESS.exec(text);
  if (match === null) return undefined;
  return {
    domain: Number.parseInt(match[1] ?? '0', 16),
    bus: Number.parseInt(match[2]!, 16),
    device: Number.parseInt(match[3]!, 16),
    function: Number(match[4]),
  };
}

/**
 * Writes an address as sysfs does: lower case, the domain with at least four digits.
 * @throws NicError `BAD_ADDRESS` where a number is out of its range
 */
export function formatPciAddress(address: PciAddress): string {
  const { domain, bus, device, function: fn } = address;
  if (!fits(domain, 0xffffffff) || !fits(bus, 0xff) || !fits(device, 0x1f) || !fits(fn, 7)) {
    const numbers = `domain ${domain} bus ${bus} device ${device} function ${fn}`;
    throw new NicError('BAD_ADDRESS', `PCI address out of range: ${numbers}`, {
      hint: 'Domains have up to 8 hexadecimal digits, buses go to 0xff, devices to 0x1f, functions to 7.',
    });
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

/** Quoted so that blanks and control characters show, and the message stays on one line. */
export function quote(text: string): string {
  return JSON.stringify(text.length > 80 ? `${text.slice(0, 80)}...` : text);
}

function fits(value: number, max: number): boolean {
  return Number.isInteger(value) && value >= 0 && value <= max;
}

function hex(value: number, digits: number): string {
  return value.toString(16).padStart(digits, '0');
}
