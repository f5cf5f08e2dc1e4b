/**
 * Switches virtual functions of an SR-IOV card on, and back to the number that was there before.
 *
 * The kernel would give new virtual functions to its own driver at once; `sriov_drivers_autoprobe` keeps it from that, so that they
 * are free for vfio-pci. A number other than 0 can only be changed by way of 0, which takes the ones away that are there.
 * Sources: Linux Documentation/ABI/testing/sysfs-bus-pci (sriov_numvfs, sriov_drivers_autoprobe, virtfnN) and
 * Documentation/PCI/pci-iov-howto.rst.
 */
import { basename, join } from 'node:path';
import { NicError } from '../errors.js';
import {
  assertNotOpen,
  type BindContext,
  type BindOptions,
  describe,
  findNic,
  withDefaults,
  write,
} from './bind.js';
import { systemFiles } from './files.js';
import { SavedState } from './saved-state.js';
import { devicePath, type PciDevice, readDevice } from './sysfs.js';
import { VFIO_DRIVER } from './vfio-state.js';

export interface VirtualFunctions {
  /** The physical function as it was before. */
  readonly device: PciDevice;
  /** False where there were as many already. */
  readonly changed: boolean;
  /** Addresses of the virtual functions, in the order of their numbers. */
  readonly addresses: readonly string[];
}

/**
 * Gives a physical function so many virtual functions, which have no driver then, and remembers how many there were.
 * @throws NicError `BAD_ADDRESS`, `NO_SUCH_DEVICE`, `NOT_A_NIC`; `BAD_OPTION` where the card cannot have as many; `BIND_FAILED`
 *   where its kernel driver is not at work; `INTERFACE_IN_USE` where there are others (not with `force`); `GROUP_BUSY` where a
 *   process has one of those open; `NO_PERMISSION`
 */
export function switchOnVirtualFunctions(
  address: string,
  count: number,
  options: BindOptions = {},
): VirtualFunctions {
  const context = withDefaults(options);
  const device = findNic(address, context);
  const { numVfs, totalVfs } = device;
  if (numVfs === null || totalVfs === null) {
    throw new NicError('BAD_OPTION', `${describe(device)} has no virtual functions`, {
      path: device.address,
      hint: 'SR-IOV is a feature of the card, and of the firmware’s set-up; "barewire list" shows who has it',
    });
  }
  if (count > totalVfs) {
    throw new NicError(
      'BAD_OPTION',
      `${describe(device)} can have ${totalVfs} virtual functions, not ${count}`,
      {
        path: device.address,
        hint: `give --vfs ${totalVfs} or less`,
      },
    );
  }
  if (device.driver === null || device.driver === VFIO_DRIVER) {
    throw new NicError(
      'BIND_FAILED',
      `${describe(device)} has ${device.driver ?? 'no driver'}: its kernel driver has to be at work for virtual functions`,
      {
        path: device.address,
        hint: `sudo npx barewire unbind ${device.address} gives it back to the kernel`,
      },
    );
  }
  if (numVfs === count) return { device, changed: false, addresses: addressesOf(device, count, context) };
  if (numVfs > 0 && !context.force) {
    throw new NicError('INTERFACE_IN_USE', `${describe(device)} has ${numVfs} virtual functions already`, {
      path: device.address,
      hint: `to take them away and have ${count} others, use --force`,
    });
  }
  const saved = savedNumber(device, context);
  // The first number is the one to go back to.
  if (saved.read() === null) saved.save({ numVfs });
  if (numVfs > 0) takeAway(device, context);
  switchOn(device, count, context);
  const addresses = addressesOf(device, count, context);
  if (addresses.length < count) {
    throw new NicError(
      'BIND_FAILED',
      `${describe(device)} has ${addresses.length} virtual functions, not ${count}`,
      {
        path: device.address,
        hint: 'the kernel log may say why: sudo dmesg | tail',
      },
    );
  }
  return { device, changed: true, addresses };
}

/**
 * Goes back to the number of virtual functions from before `switchOnVirtualFunctions`. Resolves with both numbers; undefined where
 * nothing is remembered of the device.
 * @throws NicError `GROUP_BUSY` where a process has one of them open (not with `force`); `NO_PERMISSION`
 */
export function restoreVirtualFunctions(
  address: string,
  options: BindOptions = {},
): { readonly before: number; readonly now: number } | undefined {
  const context = withDefaults(options);
  const device = findNic(address, context);
  const saved = savedNumber(device, context);
  const now = saved.read()?.numVfs;
  const { numVfs: before } = device;
  if (typeof now !== 'number' || !Number.isInteger(now) || now < 0 || before === null) return undefined;
  if (before !== now) {
    if (before > 0) takeAway(device, context);
    if (now > 0) write(context, device, numberPath(device, context), `${now}`);
  }
  saved.forget();
  return { before, now };
}

function savedNumber(device: PciDevice, context: BindContext): SavedState {
  return new SavedState(device, context.stateDir, '.vfs.json');
}

/** The kernel waits for whoever has one of them open, and cannot be stopped in that. So look first. */
function takeAway(device: PciDevice, context: BindContext): void {
  if (!context.force) {
    for (const address of addressesOf(device, device.numVfs ?? 0, context)) {
      const virtual = readDevice(address, context.sysfsRoot);
      if (virtual?.driver === VFIO_DRIVER) assertNotOpen(virtual, context);
    }
  }
  write(context, device, numberPath(device, context), '0');
}

function switchOn(device: PciDevice, count: number, context: BindContext): void {
  const autoprobe = join(devicePath(device.address, context.sysfsRoot), 'sriov_drivers_autoprobe');
  const before = systemFiles.readText(autoprobe);
  // Kernels before 4.12 have no such switch: their driver takes the functions, and bind takes them from it.
  if (before !== undefined) write(context, device, autoprobe, '0');
  try {
    write(context, device, numberPath(device, context), `${count}`);
  } finally {
    if (before !== undefined) write(context, device, autoprobe, before);
  }
}

function numberPath(device: PciDevice, context: BindContext): string {
  return join(devicePath(device.address, context.sysfsRoot), 'sriov_numvfs');
}

function addressesOf(device: PciDevice, count: number, context: BindContext): string[] {
  const folder = devicePath(device.address, context.sysfsRoot);
  return Array.from({ length: count }, (_, i) => systemFiles.readLink(join(folder, `virtfn${i}`)))
    .filter((target) => target !== undefined)
    .map((target) => basename(target));
}
