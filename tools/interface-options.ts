/** Options for ports that are interfaces of the kernel: what comes here, and whether to insist. */
import { Option } from 'commander';
import type { OpenOptions } from '../src/driver/device.js';
import { isSharedInterface } from '../src/driver/registry.js';
import { NicError } from '../src/errors.js';

export interface InterfaceOptions {
  readonly only?: string;
  readonly takeDefaultRoute?: true;
}

/** The options of a command that takes such ports. */
export const onlyOption = (): Option =>
  new Option(
    '--only <text>',
    "of an interface, what comes here, in tcpdump's language; the rest is the kernel's",
  );
export const defaultRouteOption = (): Option =>
  new Option('--take-default-route', 'take an interface although the default route goes over it');

/** What `open` gets of them, for each of a command's ports. @throws NicError `BAD_OPTION` where no port is of that kind */
export function interfaceOptions(
  addresses: readonly string[],
  { only, takeDefaultRoute }: InterfaceOptions,
): (address: string) => Pick<OpenOptions, 'only' | 'takeDefaultRoute'> {
  const given = only === undefined ? takeDefaultRoute && '--take-default-route' : '--only';
  if (given !== undefined && !addresses.some(isSharedInterface)) {
    throw new NicError(
      'BAD_OPTION',
      `${given} is for interfaces that stay with the kernel, and no port is one`,
      {
        hint: 'Leave it out.',
      },
    );
  }
  return (address) =>
    isSharedInterface(address)
      ? {
          ...(only === undefined ? {} : { only }),
          ...(takeDefaultRoute === undefined ? {} : { takeDefaultRoute }),
        }
      : {};
}
