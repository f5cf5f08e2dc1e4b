/**
 * Hands a NIC to the vfio-pci driver, and back to the driver it had.
 *
 * `driver_override` names the one driver that may take the device, so no other device with the same identifiers is
 * touched (which writing to `new_id` would do). The order is: override, unbind the present driver, let the kernel
 * probe again, and look who has the device now. Sysfs accepts a probe that fails, so only that look tells.
 * Sources: Linux Documentation/ABI/testing/sysfs-bus-pci (driver_override, drivers_probe, bind, unbind) and
 * Documentation/driver-api/vfio.rst (groups and their viability).
 */
import { closeSync, constants, openSync, writeSync } from 'node:fs';
import type { NetworkInterfaceInfo } from 'node:os';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import createDebug from 'debug';
import { NicError, type NicErrorCode } from '../errors.js';
import { describeMember, freeGroupHint } from './companions.js';
import { parseDeviceAddress } from './device-address.js';
import { systemFiles } from './files.js';
import { className, deviceName } from './ids.js';
import { interfaceUses } from './interface-use.js';
import { SavedDriver } from './saved-driver.js';
import { devicePath, driverOf, isNic, type PciDevice, readDevice, SYSFS_ROOT } from './sysfs.js';
import {
  blockingMembers,
  characterDevice,
  groupNode,
  KERNEL_LOG_HINT,
  loadModuleHint,
  NO_IOMMU_HINT,
  noSuchDevice,
  processesHolding,
  VFIO_DRIVER,
} from './vfio-state.js';

const debug = createDebug('barewire:pci');

/** Places and functions to use instead of the system's, for tests and containers. */
export interface BindOptions {
  /** Binds an interface that is in use, and unbinds a device that a process has open. */
  readonly force?: boolean;
  /** `bindToVfio`: other devices that are about to be bound, and need no warning that they are in the way. */
  readonly together?: readonly string[];
  /** Default `/sys`. */
  readonly sysfsRoot?: string;
  /** Default `/proc`. */
  readonly procRoot?: string;
  /** Where the earlier driver is remembered. Default `/run/barewire`: it needs to live no longer than the boot. */
  readonly stateDir?: string;
  /** Writes an attribute with one write(2). */
  readonly writeFile?: (path: string, text: string) => void;
  /** Default `os.networkInterfaces`. */
  readonly networkInterfaces?: () => NodeJS.Dict<NetworkInterfaceInfo[]>;
}

/** Something that did not fail, but that will. */
export interface BindWarning {
  readonly message: string;
  readonly hint: string;
}

export interface BindResult {
  /** The device as it was before. */
  readonly device: PciDevice;
  /** False where the device was as wanted already. */
  readonly changed: boolean;
  /** The driver that has the device now; null where none has. */
  readonly driver: string | null;
  readonly warnings: readonly BindWarning[];
}

export interface VfioBindResult extends BindResult {
  /** Device node that whoever opens the NIC must be allowed to use: `/dev/vfio/12`; null without an IOMMU group. */
  readonly groupNode: string | null;
  /** The node that will do as well, together with `/dev/iommu`: `/dev/vfio/devices/vfio0`; null before Linux 6.6. */
  readonly characterDevice: string | null;
}

export interface BindContext {
  readonly force: boolean;
  readonly sysfsRoot: string;
  readonly procRoot: string;
  readonly stateDir: string;
  readonly write: (path: string, text: string) => void;
  readonly networkInterfaces: () => NodeJS.Dict<NetworkInterfaceInfo[]>;
}

/**
 * Binds a NIC to vfio-pci. Does nothing where it is bound already. Where vfio-pci does not take the device, the
 * kernel is asked to give it to its own driver again before the error is thrown.
 *
 * @param address PCI address, with or without the domain
 * @throws NicError `BAD_ADDRESS`, `NO_SUCH_DEVICE`, `NOT_A_NIC`; `INTERFACE_IN_USE` (not with `force`); `NO_VFIO`
 *   where vfio-pci is not loaded; `NO_PERMISSION`; `NO_IOMMU` or `BIND_FAILED` where vfio-pci does not take it
 * @example
 * const { groupNode } = bindToVfio('03:00.0'); // '/dev/vfio/12'
 */
export function bindToVfio(address: string, options: BindOptions = {}): VfioBindResult {
  const context = withDefaults(options);
  const device = findNic(address, context);
  const bound = (changed: boolean, warnings: readonly BindWarning[]): VfioBindResult => ({
    device,
    changed,
    driver: VFIO_DRIVER,
    groupNode: nodeOf(device),
    characterDevice: characterDevice(device.address, context.sysfsRoot) ?? null,
    warnings: [...groupWarnings(device, options.together ?? []), ...warnings],
  });
  if (device.driver === VFIO_DRIVER) return bound(false, []);
  if (!context.force) assertNotInUse(device, context);
  if (!systemFiles.exists(join(context.sysfsRoot, 'bus/pci/drivers', VFIO_DRIVER))) {
    throw new NicError(
      'NO_VFIO',
      `Cannot bind ${describe(device)}: the kernel driver ${VFIO_DRIVER} is not loaded`,
      {
        path: device.address,
        hint: loadModuleHint(VFIO_DRIVER),
      },
    );
  }

  const dir = devicePath(device.address, context.sysfsRoot);
  const overridePath = join(dir, 'driver_override');
  write(context, device, overridePath, VFIO_DRIVER);
  const warnings = saveDriver(device, context);
  let failure: unknown;
  try {
    if (device.driver !== null) write(context, device, join(dir, 'driver/unbind'), device.address);
    probe(context, device);
  } catch (error) {
    failure = error;
  }
  const driver = driverOf(device.address, context.sysfsRoot);
  debug('%s: driver %s -> %s', device.address, device.driver, driver);
  if (driver === VFIO_DRIVER) return bound(true, warnings);

  rollBack(device, context);
  const noGroup = device.iommuGroup === null;
  if (failure !== undefined && !noGroup) throw failure;
  throw new NicError(
    noGroup ? 'NO_IOMMU' : 'BIND_FAILED',
    `${VFIO_DRIVER} did not take ${describe(device)}${noGroup ? ': it is in no IOMMU group' : ''}`,
    {
      path: device.address,
      hint: noGroup ? NO_IOMMU_HINT : KERNEL_LOG_HINT,
      cause: failure,
    },
  );
}

/**
 * Takes a NIC from vfio-pci and gives it to the kernel driver that it belongs to: the one that the kernel chooses,
 * or the one that it had before `bindToVfio`. Does nothing where another driver has it already.
 *
 * @param address PCI address, with or without the domain
 * @throws NicError `BAD_ADDRESS`, `NO_SUCH_DEVICE`, `NOT_A_NIC`; `GROUP_BUSY` where a process has the device open (not
 *   with `force`: then the call waits until that process is done); `NO_PERMISSION`; `BIND_FAILED` where the earlier
 *   driver does not take it
 */
export function unbindFromVfio(address: string, options: BindOptions = {}): BindResult {
  const context = withDefaults(options);
  const device = findNic(address, context);
  const dir = devicePath(device.address, context.sysfsRoot);
  const overridden = systemFiles.readText(join(dir, 'driver_override')) === VFIO_DRIVER;
  if (device.driver !== null && device.driver !== VFIO_DRIVER && !overridden) {
    return { device, changed: false, driver: device.driver, warnings: [] };
  }
  if (device.driver === VFIO_DRIVER && !context.force) assertNotOpen(device, context);

  clearOverride(context, device);
  if (device.driver === VFIO_DRIVER) write(context, device, join(dir, 'driver/unbind'), device.address);
  probe(context, device);
  let driver = driverOf(device.address, context.sysfsRoot);
  const saved = new SavedDriver(device, context.stateDir);
  const earlier = saved.read();
  if (driver === null && earlier !== null) {
    bindExplicitly(device, earlier, context);
    driver = driverOf(device.address, context.sysfsRoot);
  }
  debug('%s: driver %s -> %s', device.address, device.driver, driver);
  if (driver === VFIO_DRIVER) {
    throw new NicError('BIND_FAILED', `${describe(device)} is still bound to ${VFIO_DRIVER}`, {
      path: device.address,
      hint: `its identifiers are claimed for ${VFIO_DRIVER}: look for vfio-pci.ids in /proc/cmdline and /etc/modprobe.d`,
    });
  }
  saved.forget();
  const warnings: BindWarning[] = [];
  if (driver === null) {
    warnings.push({
      message: `No kernel driver took ${describe(device)}`,
      hint: 'load its driver with modprobe; "lspci -k" names it',
    });
  }
  return { device, changed: true, driver, warnings };
}

export function withDefaults(options: BindOptions): BindContext {
  return {
    force: options.force ?? false,
    sysfsRoot: options.sysfsRoot ?? SYSFS_ROOT,
    procRoot: options.procRoot ?? '/proc',
    stateDir: options.stateDir ?? '/run/barewire',
    write: options.writeFile ?? writeAttribute,
    networkInterfaces: options.networkInterfaces ?? networkInterfaces,
  };
}

export function findNic(text: string, context: BindContext): PciDevice {
  const parsed = parseDeviceAddress(text, context.sysfsRoot);
  if (parsed.kind !== 'pci') {
    throw new NicError('BAD_ADDRESS', `${text} is not a PCI device`, {
      hint: 'a vfio-user socket needs no binding: open it as it is',
    });
  }
  const device = readDevice(parsed.bdf, context.sysfsRoot);
  if (device === null) throw noSuchDevice(parsed.bdf);
  if (!isNic(device)) throw notANic(device);
  return device;
}

/** Somebody may have named it since it is in the way of a NIC: then `bind` does not help, but something else does. */
function notANic(device: PciDevice): NicError {
  const code = device.class === null ? 'unknown' : `0x${device.class.toString(16).padStart(6, '0')}`;
  const what = `${className(device.class)}, class ${code}`;
  const nics = device.groupMembers.filter((member) => isNic(member));
  const blocking = blockingMembers([device]);
  const hint =
    nics.length === 0 || blocking.length === 0
      ? '"barewire list" shows the network controllers of this machine'
      : `to free IOMMU group ${device.iommuGroup} for ${nics.map(({ address }) => address).join(' and ')}, ` +
        freeGroupHint(blocking);
  return new NicError('NOT_A_NIC', `${describe(device)} is not a network controller (${what})`, {
    path: device.address,
    hint,
  });
}

function assertNotInUse(device: PciDevice, context: BindContext): void {
  const uses = device.interfaces.flatMap((name) => {
    const reasons = interfaceUses(name, context);
    return reasons.length === 0 ? [] : [`${name} ${reasons.join(' and ')}`];
  });
  if (device.numVfs !== null && device.numVfs > 0)
    uses.push(`it has ${device.numVfs} virtual functions switched on`);
  if (uses.length === 0) return;
  throw new NicError('INTERFACE_IN_USE', `${describe(device)} is in use: ${uses.join('; ')}`, {
    path: device.address,
    hint: 'to take it from the kernel all the same, use --force; if you are logged in over it, you lose the connection',
  });
}

/** Unbinding waits in the kernel for the last user, and the waiting process cannot be stopped. So look first. */
export function assertNotOpen(device: PciDevice, context: BindContext): void {
  const nodes = [nodeOf(device) ?? undefined, characterDevice(device.address, context.sysfsRoot)];
  const users = processesHolding(nodes, context.procRoot);
  if (users.length === 0) return;
  throw new NicError(
    'GROUP_BUSY',
    `${describe(device)}, or another device of its IOMMU group, is open in ${users.join(', ')}`,
    {
      path: device.address,
      hint: 'stop that process first; with --force the command waits until it is done',
    },
  );
}

function nodeOf(device: PciDevice): string | null {
  return device.iommuGroup === null ? null : groupNode(device.iommuGroup);
}

function groupWarnings(device: PciDevice, together: readonly string[]): BindWarning[] {
  if (device.iommuGroup === null) {
    return [
      { message: `${device.address} is in no IOMMU group, so it cannot be opened`, hint: NO_IOMMU_HINT },
    ];
  }
  const others = blockingMembers(device.groupMembers).filter(({ address }) => !together.includes(address));
  if (others.length === 0) return [];
  const names = others.map(describeMember).join(', ');
  return [
    {
      message: `IOMMU group ${device.iommuGroup} also holds ${names}; no device of the group can be opened`,
      hint: freeGroupHint(others),
    },
  ];
}

function rollBack(device: PciDevice, context: BindContext): void {
  try {
    clearOverride(context, device);
    if (driverOf(device.address, context.sysfsRoot) === null) {
      probe(context, device);
      if (device.driver !== null && driverOf(device.address, context.sysfsRoot) === null) {
        bindExplicitly(device, device.driver, context);
      }
    }
    new SavedDriver(device, context.stateDir).forget();
  } catch (error) {
    // The first error is the one to tell. A second one follows from it.
    debug('%s: could not be given back: %o', device.address, error);
  }
}

function bindExplicitly(device: PciDevice, driver: string, context: BindContext): void {
  const dir = join(context.sysfsRoot, 'bus/pci/drivers', driver);
  if (!systemFiles.exists(dir)) {
    throw new NicError(
      'BIND_FAILED',
      `The kernel driver ${driver}, which had ${describe(device)}, is not loaded`,
      {
        path: device.address,
        hint: loadModuleHint(driver),
      },
    );
  }
  write(context, device, join(dir, 'bind'), device.address);
}

/** An empty string never reaches the kernel (a write of no bytes); a line end clears the override. */
function clearOverride(context: BindContext, device: PciDevice): void {
  write(context, device, join(devicePath(device.address, context.sysfsRoot), 'driver_override'), '\n');
}

function probe(context: BindContext, device: PciDevice): void {
  write(context, device, join(context.sysfsRoot, 'bus/pci/drivers_probe'), device.address);
}

export function write(context: BindContext, device: PciDevice, path: string, text: string): void {
  debug('write %j to %s', text, path);
  try {
    context.write(path, text);
  } catch (error) {
    const { code, errno } = error as NodeJS.ErrnoException;
    const details = { path, errno: errno === undefined ? undefined : Math.abs(errno), cause: error };
    const message = `Cannot write ${path} for ${describe(device)}`;
    const [nicCode, hint] = explainWrite(code, device);
    throw new NicError(nicCode, message, { ...details, hint });
  }
}

function explainWrite(code: string | undefined, device: PciDevice): [NicErrorCode, string] {
  if (code === 'EACCES' || code === 'EPERM')
    return ['NO_PERMISSION', 'changing drivers is for root: use sudo'];
  if (code === 'EROFS') {
    return ['NO_PERMISSION', 'sysfs is mounted read-only, as in a container: run this on the host'];
  }
  if (code === 'ENODEV')
    return ['BIND_FAILED', `${device.address} may have been removed; see sudo dmesg | tail`];
  return ['BIND_FAILED', KERNEL_LOG_HINT];
}

/** Attributes are opened for writing only (many have mode 0200) and must not be created where they are missing. */
function writeAttribute(path: string, text: string): void {
  const fd = openSync(path, constants.O_WRONLY);
  try {
    writeSync(fd, text);
  } finally {
    closeSync(fd);
  }
}

/** Remembers the driver of before. Binding works without, so a failure is a warning. */
function saveDriver(device: PciDevice, context: BindContext): BindWarning[] {
  try {
    new SavedDriver(device, context.stateDir).save();
    return [];
  } catch (error) {
    return [
      {
        message: `Could not remember that ${device.address} had driver ${device.driver}: ${(error as Error).message}`,
        hint: 'unbind will leave the choice of the driver to the kernel, which is right for nearly every NIC',
      },
    ];
  }
}

export function describe(device: PciDevice): string {
  return `${device.address} (${deviceName(device.vendor, device.device)})`;
}
