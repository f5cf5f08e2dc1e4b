/** Options for ports that are interfaces of the kernel: what comes here, and whether to insist. */
import { type Command, Option } from 'commander';
import type { OpenOptions } from '../src/driver/device.js';
import { BUSY_POLL_US, INTERFACE_MODES } from '../src/driver/options.js';
import { isSharedInterface } from '../src/driver/registry.js';
import { NicError } from '../src/errors.js';
import { integerBetween } from './option-values.js';

export interface InterfaceOptions {
  readonly only?: string;
  readonly takeDefaultRoute?: true;
  readonly interfaceMode?: 'auto' | 'zero-copy' | 'copy';
  readonly busyPoll?: number;
}

/** Adds the options of a command that takes such ports. */
export function addInterfaceOptions(command: Command): Command {
  return command
    .option(
      '--only <text>',
      "of an interface, what comes here, in tcpdump's language; the rest is the kernel's",
    )
    .option('--take-default-route', 'take an interface although the default route goes over it')
    .addOption(
      new Option(
        '--interface-mode <mode>',
        'of an interface, who moves frames: the hardware, the kernel, or what is possible',
      ).choices(INTERFACE_MODES),
    )
    .option(
      '--busy-poll <us>',
      'of an interface: have its driver polled, at most so many microseconds a call',
      integerBetween(BUSY_POLL_US.min, BUSY_POLL_US.max),
    );
}

/** What `open` gets of them, for each of a command's ports. @throws NicError `BAD_OPTION` where no port is of that kind */
export function interfaceOptions(
  addresses: readonly string[],
  { only, takeDefaultRoute, interfaceMode, busyPoll }: InterfaceOptions,
): (address: string) => Pick<OpenOptions, 'only' | 'takeDefaultRoute' | 'interfaceMode' | 'busyPollUs'> {
  const [given] = Object.entries({
    '--only': only,
    '--take-default-route': takeDefaultRoute,
    '--interface-mode': interfaceMode,
    '--busy-poll': busyPoll,
  }).find(([, value]) => value !== undefined) ?? [undefined];
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
          ...(interfaceMode === undefined ? {} : { interfaceMode }),
          ...(busyPoll === undefined ? {} : { busyPollUs: busyPoll }),
        }
      : {};
}
