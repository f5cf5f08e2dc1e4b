/**
 * VFIO through groups: /dev/vfio/vfio is a container with an IOMMU of type 1 version 2, /dev/vfio/N puts the IOMMU
 * group N into it and gives the descriptors of its devices. There is one container: a buffer that one device
 * received is to be sent by another.
 *
 * Order (Linux Documentation/driver-api/vfio.rst, "VFIO Usage Example"): open container, open group, group viable?,
 * SET_CONTAINER, SET_IOMMU (once, it needs a group in the container), GET_INFO, GET_DEVICE_FD.
 */
import { constants } from 'node:os';
import createDebug from 'debug';
import { NicError } from '../errors.js';
import { groupNode } from '../pci/vfio-state.js';
import {
  ANOTHER_IOMMU_HINT,
  CONTAINER_NODE,
  findFunction,
  notAvailable,
  notViable,
  openNode,
  unsafeInterrupts,
  type VfioFunction,
} from './iommu-group.js';
import { rangesBesideMsi } from './iova-ranges.js';
import { checkedIoctl, ioctlError, type KernelApi, rawIoctl } from './kernel-api.js';
import type { DeviceHandle, KernelBackend } from './kernel-device.js';
import { KernelMapper, type UnmapRequest } from './kernel-mapper.js';
import type { DmaBacking, DmaMapper } from './types.js';
import * as uapi from './uapi.js';

const debug = createDebug('barewire:vfio');

const MAX_IOMMU_INFO_BYTES = 64 * 1024;
const { EBUSY, EPERM } = constants.errno;

/** For kernels before 5.4, which do not report the ranges: the smallest address width of VT-d (39 bits). */
const DEFAULT_RANGES = rangesBesideMsi(0n, (1n << 39n) - 1n);

class ContainerMapper extends KernelMapper {
  protected override encodeMap(backing: DmaBacking, iova: bigint) {
    const argument = uapi.encodeDmaMap(backing.address, iova, backing.sizeBytes);
    return { request: uapi.VFIO_IOMMU_MAP_DMA, argument };
  }

  protected override encodeUnmap(iova: bigint, sizeBytes: number): UnmapRequest {
    const argument = uapi.encodeDmaUnmap(iova, sizeBytes);
    return {
      request: uapi.VFIO_IOMMU_UNMAP_DMA,
      argument,
      sizeField: uapi.VFIO_IOMMU_TYPE1_DMA_UNMAP.size,
    };
  }

  /** VFIO_IOMMU_GET_INFO, asked again with more room for as long as the kernel wants more. */
  override refreshRanges(): void {
    for (let sizeBytes: number = uapi.VFIO_IOMMU_TYPE1_INFO.sizeBytes; ; ) {
      const info = new uapi.Struct(sizeBytes);
      checkedIoctl(
        this.kernel,
        this.fd,
        uapi.VFIO_IOMMU_GET_INFO,
        info,
        'Cannot ask what the IOMMU can translate',
      );
      const wanted = info.u32(uapi.VFIO_IOMMU_TYPE1_INFO.argsz);
      if (wanted <= sizeBytes) {
        this.iovaRanges = uapi.decodeType1IovaRanges(info) ?? DEFAULT_RANGES;
        return;
      }
      if (wanted > MAX_IOMMU_INFO_BYTES) {
        throw new NicError('VFIO', `The kernel wants ${wanted} bytes to describe the IOMMU`);
      }
      sizeBytes = wanted;
    }
  }
}

interface OpenGroup {
  readonly fd: number;
  devices: number;
}

interface Container {
  readonly fd: number;
  readonly mapper: ContainerMapper;
  readonly groups: Map<number, OpenGroup>;
  iommuSet: boolean;
}

/** The container, its groups, and how many devices hold each. */
export class GroupBackend implements KernelBackend {
  readonly name = 'group';
  readonly #kernel: KernelApi;
  #container: Container | undefined;

  constructor(kernel: KernelApi) {
    this.#kernel = kernel;
  }

  /** @throws NicError `CLOSED` while no device is attached */
  get mapper(): DmaMapper {
    if (this.#container === undefined) throw new NicError('CLOSED', 'No VFIO container is open');
    return this.#container.mapper;
  }

  attach(bdf: string): DeviceHandle {
    const device = findFunction(this.#kernel, bdf);
    const container = this.#container ?? this.#openContainer(device);
    this.#container = container;
    try {
      const group = container.groups.get(device.group) ?? this.#openGroup(container, device);
      group.devices++;
      try {
        const fd = this.#deviceFd(group.fd, device);
        return { fd, release: () => this.#release(container, device.group) };
      } catch (error) {
        this.#release(container, device.group);
        throw error;
      }
    } finally {
      this.#closeContainerIfEmpty(container);
    }
  }

  #openContainer(device: VfioFunction): Container {
    const fd = openNode(this.#kernel, device, CONTAINER_NODE);
    try {
      const version = checkedIoctl(
        this.#kernel,
        fd,
        uapi.VFIO_GET_API_VERSION,
        0,
        `Cannot ask ${CONTAINER_NODE} for its version`,
      );
      const type1v2 = rawIoctl(this.#kernel, fd, uapi.VFIO_CHECK_EXTENSION, uapi.VFIO_TYPE1v2_IOMMU);
      if (version !== uapi.VFIO_API_VERSION || type1v2 <= 0) {
        throw new NicError(
          'NO_VFIO',
          `This kernel's VFIO has no type 1 version 2 IOMMU (API version ${version})`,
          {
            path: CONTAINER_NODE,
            hint: 'sudo modprobe vfio_iommu_type1',
          },
        );
      }
    } catch (error) {
      this.#kernel.close(fd);
      throw error;
    }
    return { fd, mapper: new ContainerMapper(this.#kernel, fd), groups: new Map(), iommuSet: false };
  }

  #openGroup(container: Container, device: VfioFunction): OpenGroup {
    const node = groupNode(device.group);
    const fd = openNode(this.#kernel, device, node);
    try {
      const status = uapi.newStruct(uapi.VFIO_GROUP_STATUS);
      const what = `Cannot ask ${node} for its status`;
      checkedIoctl(this.#kernel, fd, uapi.VFIO_GROUP_GET_STATUS, status, what);
      const flags = status.u32(uapi.VFIO_GROUP_STATUS.flags);
      if ((flags & uapi.VFIO_GROUP_FLAGS_VIABLE) === 0) throw notViable(this.#kernel, device);
      this.#setContainer(container, fd, device);
      this.#setIommu(container, device);
      container.mapper.refreshRanges();
    } catch (error) {
      // Closing the group takes it out of the container; without groups the container has no IOMMU.
      this.#kernel.close(fd);
      if (container.groups.size === 0) container.iommuSet = false;
      throw error;
    }
    const group = { fd, devices: 0 };
    container.groups.set(device.group, group);
    debug('%s: group %s in the container, usable %o', device.bdf, device.group, container.mapper.iovaRanges);
    return group;
  }

  #setContainer(container: Container, fd: number, device: VfioFunction): void {
    const request = uapi.VFIO_GROUP_SET_CONTAINER;
    const argument = new uapi.Struct(4).setS32(0, container.fd);
    const result = rawIoctl(this.#kernel, fd, request, argument);
    if (result >= 0) return;
    const node = groupNode(device.group);
    if (-result === EPERM && container.iommuSet) throw unsafeInterrupts(request, device, 'vfio_iommu_type1');
    if (-result === EBUSY || -result === EPERM) {
      // Kernels from 5.19 on find out here, not in the status, that a driver owns a part of the group.
      throw notAvailable(this.#kernel, device, node, `ioctl(${request.name})`, -result);
    }
    const shared = container.groups.size === 0 ? '' : ' that other devices of this process use';
    throw ioctlError(
      request,
      -result,
      `Cannot put ${node} (${device.bdf}) into the container${shared}`,
      'VFIO',
      {
        path: node,
        hint: ANOTHER_IOMMU_HINT,
      },
    );
  }

  #setIommu(container: Container, device: VfioFunction): void {
    if (container.iommuSet) return;
    const request = uapi.VFIO_SET_IOMMU;
    const result = rawIoctl(this.#kernel, container.fd, request, uapi.VFIO_TYPE1v2_IOMMU);
    if (-result === EPERM) throw unsafeInterrupts(request, device, 'vfio_iommu_type1');
    if (result < 0) {
      throw ioctlError(request, -result, `Cannot use the type 1 IOMMU for ${device.bdf}`, 'VFIO', {
        path: CONTAINER_NODE,
      });
    }
    container.iommuSet = true;
  }

  #deviceFd(groupFd: number, device: VfioFunction): number {
    return checkedIoctl(
      this.#kernel,
      groupFd,
      uapi.VFIO_GROUP_GET_DEVICE_FD,
      device.bdf,
      `Cannot get ${device.bdf} from ${groupNode(device.group)}`,
    );
  }

  #release(container: Container, number: number): void {
    const group = container.groups.get(number);
    if (group === undefined) return;
    group.devices--;
    if (group.devices === 0) {
      container.groups.delete(number);
      this.#kernel.close(group.fd);
    }
    this.#closeContainerIfEmpty(container);
  }

  #closeContainerIfEmpty(container: Container): void {
    if (container.groups.size > 0 || this.#container !== container) return;
    this.#container = undefined;
    container.mapper.close();
    this.#kernel.close(container.fd);
  }
}
