/** Which driver serves which PCI ID, and the way in: `open`. */
import { NicError } from '../errors.js';
import { badOption } from '../options.js';
import { ConfigSpace } from '../pci/config-space.js';
import { formatDeviceAddress, parseDeviceAddress } from '../pci/device-address.js';
import { formatIds } from '../pci/ids.js';
import { isNic, readDevice, SYSFS_ROOT } from '../pci/sysfs.js';
import { openVfio } from '../vfio/open.js';
import { PciRegion, type VfioDevice } from '../vfio/types.js';
import type { DeviceCapabilities, DeviceId, DeviceLimits, Driver, NetDevice, OpenOptions } from './device.js';
import { e1000e } from './e1000e/e1000e.js';
import { igb } from './igb/igb.js';
import { igbvf } from './igbvf/igbvf.js';
import { ixgbe } from './ixgbe/ixgbe.js';
import { checkOpenOptions } from './options.js';
import type { ThreadFamily } from './queue-share.js';
import { virtio } from './virtio/virtio-net.js';
import { xdp } from './xdp/xdp.js';

/** A family is one line here. */
const drivers: Driver[] = [igb, igbvf, ixgbe, e1000e, virtio];

/** Devices that are opened by another kind of address than a PCI function's or a vfio-user socket's. */
export interface DeviceScheme {
  /** What the address starts with, without the colon: `xdp`. */
  readonly name: string;
  /** How such an address looks, for messages: `xdp:INTERFACE`. */
  readonly form: string;
  /** Its devices are interfaces that the kernel keeps: `only`, `takeDefaultRoute`, `interfaceMode`, `busyPollUs` are for them. Default false. */
  readonly sharesInterface?: boolean;
  /** Those that this machine has, for `barewire list`. */
  list?(sysfsRoot: string): readonly PortListing[];
  /**
   * The buffers that a device of such an address does best with, for who makes a pool that several devices share. What is left out
   * is of no matter. Default: nothing is.
   * @param rest as of `open` @param options it will be opened with
   */
  poolOptions?(rest: string, options: OpenOptions): PoolWishes;
  /** @param rest of the address, behind the colon. The options' types are checked */
  open(rest: string, options: OpenOptions): Promise<NetDevice>;
}

/** What a device wants of its buffers. */
export type PoolWishes = Pick<OpenOptions, 'headroomBytes' | 'bufferSizeBytes'>;

/** What `barewire list` shows of a port that is no PCI device. */
export interface PortListing {
  readonly address: string;
  readonly name: string;
  /** The kernel's driver. */
  readonly driver: string | null;
  readonly interfaces: readonly string[];
  /** Whether packets are copied on the way, where that is known; null where it is not. */
  readonly mode: 'zero-copy' | 'copy' | null;
  /** Name of the driver here; null where none opens it, and the name says why. */
  readonly supportedBy: string | null;
}

/** Ports of this machine that schemes know. */
export function listPorts(sysfsRoot: string): PortListing[] {
  return [...schemes.values()].flatMap((scheme) => scheme.list?.(sysfsRoot) ?? []);
}

const schemes = new Map<string, DeviceScheme>([[xdp.name, xdp]]);

/** Lets `open` and all commands take PCI devices that a driver of yours knows. The first driver of an ID has it. */
export function addDriver(driver: Driver): void {
  drivers.push(driver);
}

const SCHEME_NAME = /^[a-z][a-z0-9-]*$/;

/**
 * Lets `open` and all commands take addresses of a kind of yours.
 * @throws NicError `BAD_OPTION` for a name that no address can begin with, or that addresses begin with already
 */
export function addScheme(scheme: DeviceScheme): void {
  const { name } = scheme;
  if (typeof name !== 'string' || !SCHEME_NAME.test(name))
    throw badOption('The name of a scheme', name, 'lower-case letters, digits, -');
  if (name === 'vfio-user' || schemes.has(name)) {
    throw new NicError('BAD_OPTION', `There is a scheme ${name} already`, { hint: 'Give it another name.' });
  }
  schemes.set(name, scheme);
}

/** Makes queues of a family in the thread that they were handed to. @throws NicError `BAD_OPTION` */
export function threadFamily(name: string): ThreadFamily {
  const found = drivers.find((driver) => driver.threads?.name === name)?.threads;
  if (found !== undefined) return found;
  throw new NicError('BAD_OPTION', `No driver of this thread knows queues of the family ${name}`, {
    hint: 'A thread knows the drivers that it added itself: call addDriver there as well.',
  });
}

/** What an address may be, for help: `PCI address, xdp:INTERFACE or vfio-user:/path.sock`. */
export function addressForms(): string {
  const forms = Array.from(schemes.values(), ({ form }) => form);
  return `${['PCI address', ...forms].join(', ')} or vfio-user:/path.sock`;
}

/** Whether the kernel keeps what the address names, so that `open` takes what is for such interfaces. */
export function isSharedInterface(address: string): boolean {
  return schemeOf(address)?.scheme.sharesInterface ?? false;
}

/**
 * The buffers for a pool that devices are to share: of each size the largest that one of them asks for.
 * @param optionsOf what each will be opened with
 * @throws NicError as `open`, of a device that has to be asked
 */
export function sharedPoolOptions(
  addresses: readonly string[],
  optionsOf: (address: string) => OpenOptions,
): PoolWishes {
  const wishes = addresses.flatMap((address) => {
    const found = schemeOf(address);
    return found?.scheme.poolOptions?.(found.rest, optionsOf(address)) ?? [];
  });
  const most = (sizes: readonly (number | undefined)[]): number =>
    Math.max(0, ...sizes.filter((size) => size !== undefined));
  const headroomBytes = most(wishes.map((wish) => wish.headroomBytes));
  const bufferSizeBytes = most(wishes.map((wish) => wish.bufferSizeBytes));
  return {
    ...(headroomBytes === 0 ? {} : { headroomBytes }),
    ...(bufferSizeBytes === 0 ? {} : { bufferSizeBytes }),
  };
}

/** The scheme of an address and the rest behind the colon; undefined for a PCI address or a vfio-user socket. */
function schemeOf(address: unknown): { readonly scheme: DeviceScheme; readonly rest: string } | undefined {
  const [, name, rest] = (typeof address === 'string' && /^([a-z][a-z0-9-]*):(.+)$/s.exec(address)) || [];
  const scheme = schemes.get(name ?? '');
  return scheme === undefined ? undefined : { scheme, rest: rest! };
}

/**
 * An address that `open` takes, in its normal spelling.
 * @param sysfsRoot where the names of interfaces are looked up, for the hint
 * @throws NicError `BAD_ADDRESS`
 */
export function normalizeAddress(text: string, sysfsRoot?: string): string {
  if (schemeOf(text) !== undefined) return text;
  try {
    return formatDeviceAddress(parseDeviceAddress(text, sysfsRoot));
  } catch (error) {
    if (!(error instanceof NicError)) throw error;
    const forms = Array.from(schemes.values(), ({ form }) => form);
    throw new NicError(error.code, error.message, { hint: `${error.hint}, or ${forms.join(', ')}` });
  }
}

export interface SupportedDevice {
  readonly vendor: number;
  readonly device: number;
  /** `Intel 82576`. */
  readonly name: string;
  /** `igb`. */
  readonly driver: string;
  readonly limits: DeviceLimits;
  readonly capabilities: DeviceCapabilities;
}

/** Every PCI ID that `open` takes. */
export function supportedDevices(): readonly SupportedDevice[] {
  return drivers.flatMap(({ name, limits, capabilities, ids }) =>
    ids.map((id) => ({
      vendor: id.vendor,
      device: id.device,
      name: id.name,
      driver: name,
      limits,
      capabilities,
    })),
  );
}

/**
 * Opens a NIC, resets it, and brings its queues and link up. The link may need some seconds more: see
 * `NetDevice.waitForLink`.
 *
 * @param address `0000:03:00.0`, `03:00.0` (a PCI device bound to vfio-pci), `vfio-user:/path/to.sock` or `xdp:eth0`
 * @throws NicError; `code` tells the step that failed and `hint` what to do
 * @example
 * await using nic = await open('0000:03:00.0', { promiscuous: true });
 * const bufs = new Uint32Array(32);
 * const count = nic.rxQueues[0].receive(bufs);
 * nic.pool.release(bufs, count);
 */
export async function open(address: string, options: OpenOptions = {}): Promise<NetDevice> {
  checkOpenOptions(options);
  options.signal?.throwIfAborted();
  const other = schemeOf(address);
  if (other !== undefined) return other.scheme.open(other.rest, options);
  return openOn(await openVfioDevice(normalizeAddress(address), options.signal), options);
}

async function openVfioDevice(address: string, signal: AbortSignal | undefined): Promise<VfioDevice> {
  try {
    return await openVfio(address, signal);
  } catch (error) {
    throw explainUnbound(error, address);
  }
}

/**
 * The error for a PCI device that is not bound: where no driver here knows it, that is the error, since binding it would
 * take it from the kernel for nothing.
 */
export function explainUnbound(error: unknown, address: string, sysfsRoot = SYSFS_ROOT): unknown {
  if (!(error instanceof NicError) || error.code !== 'NOT_BOUND') return error;
  const parsed = parseDeviceAddress(address);
  const found = parsed.kind === 'pci' ? readDevice(parsed.bdf, sysfsRoot) : null;
  if (found === null || !isNic(found)) return error;
  const { address: bdf, vendor, device } = found;
  if (vendor === null || device === null || supported(vendor, device) !== undefined) return error;
  return noDriver(`${bdf} (${formatIds(vendor, device)})`, bdf, vendor);
}

function supported(vendor: number, device: number): { driver: Driver; id: DeviceId } | undefined {
  for (const driver of drivers) {
    const id = driver.ids.find((entry) => entry.vendor === vendor && entry.device === device);
    if (id !== undefined) return { driver, id };
  }
  return undefined;
}

function noDriver(name: string, path: string, vendor: number): NicError {
  const all = supportedDevices();
  // Of the same maker first: such a controller is the one whose driver is easiest to extend.
  const near = all.filter((entry) => entry.vendor === vendor);
  const rest = all.filter((entry) => entry.vendor !== vendor);
  const text = (entries: readonly SupportedDevice[]): string =>
    entries.map((entry) => `${entry.name} (${formatIds(entry.vendor, entry.device)})`).join(', ');
  const nearest = near.length === 0 ? '' : `Of the same vendor: ${text(near)}. Others: `;
  return new NicError('UNSUPPORTED_DEVICE', `No driver for ${name}`, {
    path,
    hint:
      `${nearest === '' ? 'Supported: ' : nearest}${text(rest) || 'none'}. ` +
      'addDriver() lets open take a driver of yours; docs/architecture.md tells how to write one.',
  });
}

/**
 * Brings up the NIC behind an open VFIO device, which is closed where that fails.
 * @throws NicError as `open`
 */
export async function openOn(vfio: VfioDevice, options: OpenOptions = {}): Promise<NetDevice> {
  try {
    const { driver, id } = driverFor(vfio);
    return await driver.open(vfio, id, options);
  } catch (error) {
    vfio.close();
    throw error;
  }
}

/** @throws NicError `NOT_A_NIC`, `UNSUPPORTED_DEVICE`, `DEVICE_GONE` */
function driverFor(vfio: VfioDevice): { driver: Driver; id: DeviceId } {
  const config = new ConfigSpace(vfio.region(PciRegion.CONFIG));
  const { vendorId: vendor, deviceId: device } = config;
  const name = `${vfio.address} (${formatIds(vendor, device)})`;
  if (!isNic({ class: config.classCode })) {
    throw new NicError('NOT_A_NIC', `${name} is not a network controller`, {
      path: vfio.address,
      hint:
        vfio.backend === 'vfio-user'
          ? 'The server at this socket serves a device of another kind: look for the socket of a network card.'
          : '"barewire list" shows the network controllers of this machine.',
    });
  }
  const found = supported(vendor, device);
  if (found === undefined) throw noDriver(name, vfio.address, vendor);
  return found;
}
