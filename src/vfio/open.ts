/**
 * Opens a device by its address: chooses between the kernel's two interfaces and vfio-user, and keeps what the process
 * has open, so that no device is opened twice and all of them share one container or IOAS.
 */
import createDebug from 'debug';
import { NicError } from '../errors.js';
import { parseDeviceAddress } from '../pci/device-address.js';
import { normalizePciAddress } from '../pci/pci-address.js';
import { SYSFS_ROOT } from '../pci/sysfs.js';
import { characterDevice, groupNode } from '../pci/vfio-state.js';
import { GroupBackend } from './group.js';
import { CONTAINER_NODE, findFunction, IOMMU_NODE } from './iommu-group.js';
import { IommufdBackend } from './iommufd.js';
import { type KernelApi, realKernel } from './kernel-api.js';
import { type DeviceHandle, type KernelBackend, openKernelDevice } from './kernel-device.js';
import type { VfioDevice } from './types.js';
import { connectVfioUser } from './user/client.js';

const debug = createDebug('barewire:vfio');

type BackendName = KernelBackend['name'];

/**
 * The devices that a process has open through the kernel's VFIO. There is one of these (see `openVfio`): the kernel pins a group or a character device
 * to one opener, so a second one would only get in its way.
 */
export class VfioProcess {
  readonly #kernel: KernelApi;
  readonly #environment: Readonly<Record<string, string | undefined>>;
  readonly #open = new Set<string>();
  #backend: KernelBackend | undefined;

  constructor(kernel: KernelApi, environment: Readonly<Record<string, string | undefined>>) {
    this.#kernel = kernel;
    this.#environment = environment;
  }

  /** @param address of a PCI device */
  open(address: string): VfioDevice {
    const bdf = normalizePciAddress(address);
    if (this.#open.has(bdf)) {
      throw new NicError('ALREADY_OPEN', `${bdf} is open in this process`, {
        path: bdf,
        hint: 'close it first, or use the device that is open',
      });
    }
    const forced = this.#forcedBackend();
    const device = findFunction(this.#kernel, bdf);
    const backend = this.#backendFor(bdf, forced ?? this.#preferred(bdf, device.group), forced !== undefined);
    this.#open.add(bdf);
    try {
      return openKernelDevice(this.#kernel, this.#tracked(backend), bdf);
    } catch (error) {
      this.#forget(bdf);
      throw error;
    }
  }

  /** The back end, with the bookkeeping of this process at the end of a device's life. */
  #tracked(backend: KernelBackend): KernelBackend {
    const attach = (bdf: string): DeviceHandle => {
      const handle = backend.attach(bdf);
      const release = () => {
        this.#forget(bdf);
        handle.release();
      };
      return { fd: handle.fd, release };
    };
    return {
      name: backend.name,
      get mapper() {
        return backend.mapper;
      },
      attach,
    };
  }

  #forget(bdf: string): void {
    this.#open.delete(bdf);
    if (this.#open.size === 0) this.#backend = undefined;
  }

  #backendFor(bdf: string, wanted: BackendName, isForced: boolean): KernelBackend {
    const current = this.#backend;
    if (current === undefined) {
      debug('%s: using the %s interface%s', bdf, wanted, isForced ? ' (BAREWIRE_VFIO)' : '');
      this.#backend = wanted === 'cdev' ? new IommufdBackend(this.#kernel) : new GroupBackend(this.#kernel);
      return this.#backend;
    }
    // All DMA has to be in one container or IOAS, so the first device has decided.
    const unusable = current.name === 'cdev' && !this.#canUseCdev(bdf);
    if ((isForced && wanted !== current.name) || unusable) {
      const others = [...this.#open].join(', ');
      const why = unusable ? `, and ${bdf} has no accessible character device` : '';
      throw new NicError(
        'VFIO',
        `${bdf} cannot be opened beside ${others}: this process uses the ${current.name} interface${why}`,
        {
          path: characterDevice(bdf, SYSFS_ROOT, this.#kernel),
          hint: 'all devices of a process share one DMA address space: set BAREWIRE_VFIO=group for all of them',
        },
      );
    }
    return current;
  }

  #forcedBackend(): BackendName | undefined {
    const value = this.#environment.BAREWIRE_VFIO;
    if (value === undefined || value === '') return undefined;
    if (value === 'group' || value === 'cdev') return value;
    throw new NicError('BAD_OPTION', `BAREWIRE_VFIO is "${value}": it can be group or cdev`);
  }

  /**
   * Character device where it can be used, else the group. Where neither can, the one that is there, so that the error
   * names the node which the user has to be allowed.
   */
  #preferred(bdf: string, group: number): BackendName {
    if (this.#canUseCdev(bdf)) return 'cdev';
    const hasGroup = this.#kernel.exists(groupNode(group)) && this.#kernel.exists(CONTAINER_NODE);
    const hasCdev =
      characterDevice(bdf, SYSFS_ROOT, this.#kernel) !== undefined && this.#kernel.exists(IOMMU_NODE);
    return hasCdev && !hasGroup ? 'cdev' : 'group';
  }

  #canUseCdev(bdf: string): boolean {
    const node = characterDevice(bdf, SYSFS_ROOT, this.#kernel);
    if (node === undefined) return false;
    return this.#kernel.canReadWrite(node) && this.#kernel.canReadWrite(IOMMU_NODE);
  }
}

const thisProcess = new VfioProcess(realKernel, process.env);

/**
 * Opens a device for this process. Its bus mastering is off until `enableBusMaster`; its registers can be used at once.
 * The environment variable BAREWIRE_VFIO=group|cdev chooses the kernel interface; without it the character device is
 * taken where it can be used. BAREWIRE_TRUST_SERVER=1 maps memory of vfio-user servers that they could shrink.
 *
 * @param address `0000:03:00.0`, `03:00.0` or `vfio-user:/path/to.sock`
 * @param signal ends the wait for a vfio-user server
 * @throws NicError `BAD_ADDRESS`, `BAD_OPTION`, `NO_SUCH_DEVICE`, `NO_IOMMU`, `NOT_BOUND`, `NO_VFIO`, `NO_PERMISSION`,
 * `GROUP_NOT_VIABLE`, `GROUP_BUSY`, `ALREADY_OPEN`, `VFIO`, `PEER_GONE`, `PROTOCOL`; the reason of `signal`
 *
 * @example
 * const device = await openVfio('0000:03:00.0');
 * const status = device.region(PciRegion.BAR0).read32(0x8);
 * device.close();
 */
export async function openVfio(address: string, signal?: AbortSignal): Promise<VfioDevice> {
  signal?.throwIfAborted();
  const parsed = parseDeviceAddress(address);
  if (parsed.kind === 'pci') return thisProcess.open(parsed.bdf);
  return connectVfioUser(parsed.path, { trustServer: trustsServers(), signal });
}

function trustsServers(): boolean {
  const value = process.env.BAREWIRE_TRUST_SERVER ?? '';
  if (value !== '' && value !== '0' && value !== '1') {
    throw new NicError('BAD_OPTION', `BAREWIRE_TRUST_SERVER is "${value}": it can be 0 or 1`);
  }
  return value === '1';
}
