/** Device addresses. Placeholder with the agreed export only: the real file is written on the `pci` branch. */
import { NicError } from '../errors.js';

export type DeviceAddress =
  | { readonly kind: 'pci'; readonly bdf: string }
  | { readonly kind: 'vfio-user'; readonly path: string };

/** @throws NicError `BAD_ADDRESS` */
export function parseDeviceAddress(text: string): DeviceAddress {
  if (text.startsWith('vfio-user:/')) return { kind: 'vfio-user', path: text.slice('vfio-user:'.length) };
  const match = /^(?:([0-9a-f]{4}):)?([0-9a-f]{2}:[0-1][0-9a-f]\.[0-7])$/i.exec(text);
  if (match === null) {
    throw new NicError('BAD_ADDRESS', `"${text}" is not a device address`, {
      hint: 'use 0000:03:00.0, 03:00.0 or vfio-user:/path/to.sock',
    });
  }
  return { kind: 'pci', bdf: `${match[1] ?? '0000'}:${match[2]}`.toLowerCase() };
}
