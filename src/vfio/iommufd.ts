/**
 * VFIO through character devices (Linux 6.6): each device is /dev/vfio/devices/vfioN, and /dev/iommu holds one I/O
 * address space (IOAS) for all devices of the process: a buffer that one device received is to be sent by another.
 *
 * Order (Linux Documentation/driver-api/vfio.rst, "VFIO device cdev"): open the device, open /dev/iommu once,
 * BIND_IOMMUFD, IOAS_ALLOC once, ATTACH_IOMMUFD_PT. Closing the device undoes the last and the third.
 */
import { constants } from 'node:os';
import { join } from 'node:path';
import createDebug from 'debug';
import { NicError } from '../errors.js';
import { devicePath, SYSFS_ROOT } from '../pci/sysfs.js';
import { characterDevice } from '../pci/vfio-state.js';
import {
  ANOTHER_IOMMU_HINT,
  findFunction,
  IOMMU_NODE,
  notAvailable,
  openNode,
  unsafeInterrupts,
  type VfioFunction,
} from './iommu-group.js';
import { checkedIoctl, ioctlError, type KernelApi, rawIoctl } from './kernel-api.js';
import type { DeviceHandle, KernelBackend } from './kernel-device.js';
import { KernelMapper, type UnmapRequest } from './kernel-mapper.js';
import type { DmaBacking, DmaMapper } from './types.js';
import * as uapi from './uapi.js';

const debug = createDebug('barewire:vfio');

/** First room for the ranges: a PC has two or three. */
const RANGE_CAPACITY = 8;
const MAX_RANGE_CAPACITY = 65536;
const { EBUSY, EINVAL, EMSGSIZE, EPERM } = constants.errno;

class IoasMapper extends KernelMapper {
  readonly ioasId: number;

  constructor(kernel: KernelApi, iommufd: number, ioasId: number) {
    super(kernel, iommufd);
    this.ioasId = ioasId;
  }

  protected override encodeMap(backing: DmaBacking, iova: bigint) {
    const argument = uapi.encodeIoasMap(this.ioasId, backing.address, iova, backing.sizeBytes);
    return { request: uapi.IOMMU_IOAS_MAP, argument };
  }

  protected override encodeUnmap(iova: bigint, sizeBytes: number): UnmapRequest {
    const argument = uapi.encodeIoasUnmap(this.ioasId, iova, sizeBytes);
    return { request: uapi.IOMMU_IOAS_UNMAP, argument, sizeField: uapi.IOMMU_IOAS_UNMAP_LAYOUT.length };
  }

  /** IOMMU_IOAS_IOVA_RANGES, asked again with the number of ranges that the kernel names. */
  override refreshRanges(): void {
    for (let capacity = RANGE_CAPACITY; ; ) {
      const array = new uapi.Struct(capacity * uapi.IOMMU_IOVA_RANGE.sizeBytes);
      const address = this.kernel.addressOf(array.bytes);
      const query = uapi.encodeIoasIovaRanges(this.ioasId, capacity, address);
      const result = rawIoctl(this.kernel, this.fd, uapi.IOMMU_IOAS_IOVA_RANGES, query);
      const count = query.u32(uapi.IOMMU_IOAS_IOVA_RANGES_LAYOUT.num_iovas);
      if (result >= 0) {
        this.iovaRanges = uapi.decodeRanges(array, 0, count);
        return;
      }
      if (-result !== EMSGSIZE || count <= capacity || count > MAX_RANGE_CAPACITY) {
        throw ioctlError(uapi.IOMMU_IOAS_IOVA_RANGES, -result, 'Cannot ask what the IOMMU can translate');
      }
      capacity = count;
    }
  }
}

interface AddressSpace {
  readonly iommufd: number;
  mapper: IoasMapper | undefined;
  devices: number;
}

/** /dev/iommu, the IOAS, and how many devices use it. */
export class IommufdBackend implements KernelBackend {
  readonly name = 'cdev';
  readonly #kernel: KernelApi;
  #space: AddressSpace | undefined;

  constructor(kernel: KernelApi) {
    this.#kernel = kernel;
  }

  /** @throws NicError `CLOSED` while no device is attached */
  get mapper(): DmaMapper {
    if (this.#space?.mapper === undefined) throw new NicError('CLOSED', 'No I/O address space is open');
    return this.#space.mapper;
  }

  attach(bdf: string): DeviceHandle {
    const device = findFunction(this.#kernel, bdf);
    const node = characterDevice(bdf, SYSFS_ROOT, this.#kernel);
    if (node === undefined) {
      throw new NicError('NO_VFIO', `${bdf} has no VFIO character device`, {
        path: join(devicePath(bdf), 'vfio-dev'),
        hint: 'it needs Linux 6.6 with CONFIG_VFIO_DEVICE_CDEV; BAREWIRE_VFIO=group works without',
      });
    }
    const fd = openNode(this.#kernel, device, node);
    let space: AddressSpace | undefined;
    try {
      space = this.#space ?? this.#openSpace(device);
      this.#space = space;
      space.devices++;
      this.#bind(fd, space, device, node);
      this.#attach(fd, space, device);
    } catch (error) {
      this.#kernel.close(fd);
      if (space !== undefined) this.#release(space);
      throw error;
    }
    const shared = space;
    return { fd, release: () => this.#release(shared) };
  }

  #openSpace(device: VfioFunction): AddressSpace {
    return { iommufd: openNode(this.#kernel, device, IOMMU_NODE), mapper: undefined, devices: 0 };
  }

  #bind(fd: number, space: AddressSpace, device: VfioFunction, node: string): void {
    const request = uapi.VFIO_DEVICE_BIND_IOMMUFD;
    const result = rawIoctl(this.#kernel, fd, request, uapi.encodeBind(space.iommufd));
    if (result >= 0) return;
    const errno = -result;
    // EINVAL: the device is open elsewhere; EPERM: the group has another owner; EBUSY: opened through its group.
    if (errno === EPERM || errno === EBUSY || errno === EINVAL) {
      throw notAvailable(this.#kernel, device, node, `ioctl(${request.name})`, errno);
    }
    throw ioctlError(request, errno, `Cannot bind ${device.bdf} to ${IOMMU_NODE}`, 'VFIO', { path: node });
  }

  #attach(fd: number, space: AddressSpace, device: VfioFunction): void {
    space.mapper ??= this.#allocate(space.iommufd);
    const request = uapi.VFIO_DEVICE_ATTACH_IOMMUFD_PT;
    const result = rawIoctl(this.#kernel, fd, request, uapi.encodeAttach(space.mapper.ioasId));
    if (-result === EPERM) throw unsafeInterrupts(request, device, 'iommufd');
    if (result < 0) {
      throw ioctlError(request, -result, `Cannot attach ${device.bdf} to the I/O address space`, 'VFIO', {
        hint: ANOTHER_IOMMU_HINT,
      });
    }
    space.mapper.refreshRanges();
    debug('%s: attached to IOAS %d, usable %o', device.bdf, space.mapper.ioasId, space.mapper.iovaRanges);
  }

  #allocate(iommufd: number): IoasMapper {
    const alloc = uapi.newStruct(uapi.IOMMU_IOAS_ALLOC_LAYOUT);
    checkedIoctl(this.#kernel, iommufd, uapi.IOMMU_IOAS_ALLOC, alloc, 'Cannot make an I/O address space');
    return new IoasMapper(this.#kernel, iommufd, alloc.u32(uapi.IOMMU_IOAS_ALLOC_LAYOUT.out_ioas_id));
  }

  #release(space: AddressSpace): void {
    space.devices--;
    if (space.devices > 0 || this.#space !== space) return;
    this.#space = undefined;
    space.mapper?.close();
    this.#kernel.close(space.iommufd);
  }
}
