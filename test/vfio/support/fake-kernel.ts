/**
 * An emulated kernel for the VFIO back ends: nodes, sysfs, the state machines of container, group, device, iommufd and
 * IOAS, and the checks the kernel makes on each structure. It declares numbers and offsets itself, from the kernel's
 * headers, so that it is a second reading of them. What a well-behaved process never does (closing a device with
 * interrupts on, a leaked mapping, ...) is collected in `violations`.
 */
import { constants } from 'node:os';
import { NicError } from '../../../src/errors.js';
import type { Mapping } from '../../../src/syscalls/memory.js';
import type { KernelApi } from '../../../src/vfio/kernel-api.js';

const { EACCES, EBUSY, EEXIST, EFAULT, EINVAL, EMSGSIZE, ENODEV, ENOENT, ENOMEM, ENOTTY, EPERM } =
  constants.errno;

/** `_IO(';', n)` */
const REQUEST_NAMES: Readonly<Record<number, string>> = {
  15204: 'VFIO_GET_API_VERSION',
  15205: 'VFIO_CHECK_EXTENSION',
  15206: 'VFIO_SET_IOMMU',
  15207: 'VFIO_GROUP_GET_STATUS',
  15208: 'VFIO_GROUP_SET_CONTAINER',
  15210: 'VFIO_GROUP_GET_DEVICE_FD',
  15211: 'VFIO_DEVICE_GET_INFO',
  15212: 'VFIO_DEVICE_GET_REGION_INFO',
  15213: 'VFIO_DEVICE_GET_IRQ_INFO',
  15214: 'VFIO_DEVICE_SET_IRQS',
  15215: 'VFIO_DEVICE_RESET',
  15216: 'VFIO_IOMMU_GET_INFO',
  15217: 'VFIO_IOMMU_MAP_DMA',
  15218: 'VFIO_IOMMU_UNMAP_DMA',
  15222: 'VFIO_DEVICE_BIND_IOMMUFD',
  15223: 'VFIO_DEVICE_ATTACH_IOMMUFD_PT',
  15233: 'IOMMU_IOAS_ALLOC',
  15236: 'IOMMU_IOAS_IOVA_RANGES',
  15237: 'IOMMU_IOAS_MAP',
  15238: 'IOMMU_IOAS_UNMAP',
};

const PAGE = 4096n;
const FULL_RANGE: Range[] = [[0n, 0xffff_ffff_ffff_ffffn]];
export const PC_RANGES: Range[] = [
  [0n, 0xfedf_ffffn],
  [0xfef0_0000n, 0xffff_ffff_ffffn],
];

export type Range = readonly [first: bigint, last: bigint];

export interface FakeRegion {
  sizeBytes: number;
  flags: number;
  /** Sparse-mmap areas: offset and size. */
  areas?: readonly (readonly [number, number])[];
  bytes: Uint8Array;
}

export interface FakeDevice {
  readonly bdf: string;
  readonly group: string;
  driver: string | undefined;
  /** 24-bit class code. */
  classCode: number;
  /** Number of its character device, undefined on a kernel without. */
  cdev: number | undefined;
  canReset: boolean;
  regions: FakeRegion[];
  irqCounts: number[];
  resets: number;
  /** Connected event descriptors by interrupt index. */
  readonly irqs: Map<number, number[]>;
  opened: number;
  /** VFIO_DEVICE_SET_IRQS requests: index and number of descriptors. */
  readonly irqRequests: { index: number; count: number }[];
}

interface AddressSpace {
  readonly maps: Map<bigint, bigint>;
}

type Descriptor =
  | { kind: 'container'; space: AddressSpace; iommuSet: boolean; groups: Set<string> }
  | { kind: 'group'; group: string; container: number | undefined }
  | { kind: 'device'; device: FakeDevice; bound: boolean; ioas: number | undefined; viaGroup: boolean }
  | { kind: 'iommufd'; ioases: Map<number, AddressSpace> }
  | { kind: 'eventfd'; count: number; listeners: Set<() => void> };

export class FakeKernel implements KernelApi {
  readonly devices = new Map<string, FakeDevice>();
  /** Every open, close, mmap, munmap and ioctl, in order. */
  readonly calls: string[] = [];
  readonly violations: string[] = [];
  /** Nodes that exist but may not be opened. */
  readonly denied = new Set<string>();
  /** Nodes that do not exist though a device would have them. */
  readonly missing = new Set<string>();
  /** Nodes that another process has open. */
  readonly heldElsewhere = new Set<string>();
  /** Results (negative errno or a number) that the next call of a request gives instead of doing anything. */
  readonly faults = new Map<string, number>();
  readonly texts = new Map<string, string>();
  readonly links = new Map<string, string>();
  readonly folders = new Map<string, string[]>();
  ranges: Range[] = PC_RANGES;
  /** False for a kernel before 5.4. */
  reportsRanges = true;
  /** False for a kernel from 5.19 on, which checks the group's drivers in SET_CONTAINER only. */
  checksViabilityInStatus = true;
  limitBytes = Number.POSITIVE_INFINITY;
  isRoot = false;
  /** Bytes that UNMAP reports less than it should. */
  unmapShortBytes = 0n;
  preads = 0;
  pwrites = 0;
  readonly #fds = new Map<number, Descriptor>();
  readonly #mappings = new Map<Mapping, FakeDevice>();
  readonly #pointers = new Map<bigint, Uint8Array>();
  #nextFd = 10;
  #nextPointer = 0x7f00_0000_0000n;

  addDevice(bdf: string, group: string, properties: Partial<FakeDevice> = {}): FakeDevice {
    const config = new Uint8Array(256);
    // Memory decoding is off, as a careless firmware leaves it.
    config.set([0x86, 0x80, 0xc9, 0x10, 0, 0]);
    const bar0 = { sizeBytes: 0x20000, flags: 7, bytes: new Uint8Array(0x20000) };
    const none = () => ({ sizeBytes: 0, flags: 0, bytes: new Uint8Array(0) });
    const regions: FakeRegion[] = [bar0, none(), none(), none(), none(), none(), none()];
    regions.push({ sizeBytes: 256, flags: 3, bytes: config });
    const device: FakeDevice = {
      bdf,
      group,
      driver: 'vfio-pci',
      classCode: 0x020000,
      cdev: undefined,
      canReset: true,
      regions,
      irqCounts: [1, 1, 10, 1, 1],
      resets: 0,
      irqs: new Map(),
      opened: 0,
      irqRequests: [],
      ...properties,
    };
    this.devices.set(bdf, device);
    return device;
  }

  /** Open descriptors of the process, and live mappings: both 0 when nothing leaked. */
  get openCount(): number {
    return this.#fds.size;
  }

  get mappingCount(): number {
    return this.#mappings.size;
  }

  /** All DMA mappings of the process: IOVA and size. */
  get dmaMaps(): [bigint, bigint][] {
    return [...this.#fds.values()].flatMap((descriptor) => {
      if (descriptor.kind === 'container') return [...descriptor.space.maps];
      if (descriptor.kind === 'iommufd')
        return [...descriptor.ioases.values()].flatMap(({ maps }) => [...maps]);
      return [];
    });
  }

  /** The names in `calls` that start with one of these. */
  callsOf(...prefixes: string[]): string[] {
    return this.calls.filter((call) => prefixes.some((prefix) => call.startsWith(prefix)));
  }

  /** Fires an event counter, as an interrupt does. */
  signal(fd: number, count = 1): void {
    const descriptor = this.#fds.get(fd);
    if (descriptor?.kind !== 'eventfd') throw new Error(`signal: ${fd} is not an eventfd`);
    descriptor.count += count;
    for (const listener of descriptor.listeners) listener();
  }

  open(path: string): number {
    this.calls.push(`open ${path}`);
    const fail = (errno: number) => new NicError('SYSCALL', 'open failed', { syscall: 'open', errno, path });
    const node = this.#node(path);
    if (node === undefined) throw fail(ENOENT);
    if (this.denied.has(path)) throw fail(EACCES);
    if (node.kind === 'group') {
      const taken = [...this.#fds.values()].some((fd) => fd.kind === 'group' && fd.group === node.group);
      if (taken || this.heldElsewhere.has(path)) throw fail(EBUSY);
    }
    return this.#add(node);
  }

  #node(path: string): Descriptor | undefined {
    if (this.missing.has(path)) return undefined;
    const devices = [...this.devices.values()];
    if (path === '/dev/vfio/vfio') {
      return { kind: 'container', space: { maps: new Map() }, iommuSet: false, groups: new Set() };
    }
    if (path === '/dev/iommu') {
      return devices.some(({ cdev }) => cdev !== undefined)
        ? { kind: 'iommufd', ioases: new Map() }
        : undefined;
    }
    const cdev = /^\/dev\/vfio\/devices\/vfio(\d+)$/.exec(path);
    if (cdev !== null) {
      const device = devices.find((entry) => entry.cdev === Number(cdev[1]));
      if (device === undefined) return undefined;
      return { kind: 'device', device, bound: false, ioas: undefined, viaGroup: false };
    }
    const group = /^\/dev\/vfio\/(\d+)$/.exec(path)?.[1];
    if (group === undefined || !devices.some((entry) => entry.group === group)) return undefined;
    return { kind: 'group', group, container: undefined };
  }

  #add(descriptor: Descriptor): number {
    const fd = this.#nextFd++;
    this.#fds.set(fd, descriptor);
    return fd;
  }

  close(fd: number): void {
    const descriptor = this.#fds.get(fd);
    if (descriptor === undefined) {
      this.violations.push(`close of ${fd}, which is not open`);
      return;
    }
    this.calls.push(`close ${descriptor.kind}`);
    this.#fds.delete(fd);
    if (descriptor.kind === 'device')
      this.#closeDevice(descriptor.device, descriptor.viaGroup || descriptor.bound);
    if (descriptor.kind === 'eventfd') {
      if (descriptor.listeners.size > 0) this.violations.push('eventfd closed while it is watched');
      const used = [...this.devices.values()].some(({ irqs }) => [...irqs.values()].flat().includes(fd));
      if (used) this.violations.push('eventfd closed while an interrupt is connected to it');
    }
    if (descriptor.kind === 'group') {
      const open = [...this.#fds.values()].some(
        (other) => other.kind === 'device' && other.viaGroup && other.device.group === descriptor.group,
      );
      if (open) this.violations.push('group closed before its devices');
      this.#leaveContainer(descriptor.group, descriptor.container);
    }
    if (descriptor.kind === 'container' && descriptor.groups.size > 0) {
      this.violations.push('container closed before its groups');
    }
    if (descriptor.kind === 'iommufd') {
      const attached = [...this.#fds.values()].some((other) => other.kind === 'device' && other.bound);
      if (attached) this.violations.push('iommufd closed before its devices');
    }
  }

  #closeDevice(device: FakeDevice, wasOpen: boolean): void {
    if (!wasOpen) return;
    device.opened--;
    if (((device.regions[7]?.bytes[4] ?? 0) & 4) !== 0) this.violations.push('device closed as bus master');
    if (device.irqs.size > 0) this.violations.push('device closed with interrupts connected');
    if (device.opened === 0 && [...this.#mappings.values()].includes(device))
      this.violations.push('device closed with mapped windows');
  }

  #leaveContainer(group: string, fd: number | undefined): void {
    const container = fd === undefined ? undefined : this.#fds.get(fd);
    if (container?.kind !== 'container') return;
    container.groups.delete(group);
    if (container.groups.size === 0) {
      container.iommuSet = false;
      container.space.maps.clear();
    }
  }

  ioctl(fd: number, request: number, argument: Uint8Array | number | string): number {
    const descriptor = this.#fds.get(fd);
    const name = REQUEST_NAMES[request] ?? `request ${request}`;
    this.calls.push(name);
    const fault = this.faults.get(name);
    if (fault !== undefined) {
      this.faults.delete(name);
      return fault;
    }
    if (descriptor === undefined) return -constants.errno.EBADF;
    if (descriptor.kind === 'container') return this.#containerIoctl(descriptor, name, argument);
    if (descriptor.kind === 'group') return this.#groupIoctl(descriptor, name, argument);
    if (descriptor.kind === 'device') return this.#deviceIoctl(descriptor, name, argument);
    if (descriptor.kind === 'iommufd') return this.#iommufdIoctl(descriptor, name, argument);
    return -ENOTTY;
  }

  #containerIoctl(
    container: Descriptor & { kind: 'container' },
    name: string,
    argument: Uint8Array | number | string,
  ): number {
    if (name === 'VFIO_GET_API_VERSION') return 0;
    if (name === 'VFIO_CHECK_EXTENSION') return argument === 1 || argument === 3 ? 1 : 0;
    if (name === 'VFIO_SET_IOMMU') {
      if (container.groups.size === 0 || container.iommuSet || argument !== 3) return -EINVAL;
      container.iommuSet = true;
      return 0;
    }
    if (!container.iommuSet) return -EINVAL;
    const view = viewOf(argument);
    if (name === 'VFIO_IOMMU_GET_INFO') return this.#iommuInfo(view);
    if (name === 'VFIO_IOMMU_MAP_DMA') {
      if (view.getUint32(0, true) < 32 || view.getUint32(4, true) !== 3) return -EINVAL;
      return this.#map(container.space, u64(view, 8), u64(view, 16), u64(view, 24), this.ranges);
    }
    if (name === 'VFIO_IOMMU_UNMAP_DMA') {
      if (view.getUint32(0, true) < 24 || view.getUint32(4, true) !== 0) return -EINVAL;
      const unmapped = this.#unmap(container.space, u64(view, 8), u64(view, 16));
      if (unmapped < 0n) return -EINVAL;
      view.setBigUint64(16, unmapped, true);
      return 0;
    }
    return -ENOTTY;
  }

  /** Capabilities: one that nobody asked for, then the ranges. */
  #iommuInfo(view: DataView): number {
    const argsz = view.getUint32(0, true);
    if (argsz < 16) return -EINVAL;
    view.setUint32(4, 1, true);
    view.setBigUint64(8, 0x4020_1000n, true);
    if (!this.reportsRanges) return 0;
    const ranges = this.ranges;
    const needed = 24 + 16 + 16 + 16 * ranges.length;
    view.setUint32(4, 3, true);
    view.setUint32(16, 0, true);
    if (argsz < needed) {
      view.setUint32(0, needed, true);
      return 0;
    }
    view.setUint32(16, 24, true);
    setCapability(view, 24, 3, 40);
    setCapability(view, 40, 1, 0);
    view.setUint32(48, ranges.length, true);
    for (const [i, [first, last]] of ranges.entries()) {
      view.setBigUint64(56 + 16 * i, first, true);
      view.setBigUint64(64 + 16 * i, last, true);
    }
    return 0;
  }

  #map(space: AddressSpace, address: bigint, iova: bigint, size: bigint, ranges: readonly Range[]): number {
    if (address === 0n) return -EFAULT;
    if (size === 0n || (address | iova | size) % PAGE !== 0n) return -EINVAL;
    const last = iova + size - 1n;
    if (!ranges.some((range) => iova >= range[0] && last <= range[1])) return -EINVAL;
    let total = size;
    for (const [other, otherSize] of space.maps) {
      if (iova < other + otherSize && other <= last) return -EEXIST;
      total += otherSize;
    }
    if (total > this.limitBytes) return -ENOMEM;
    space.maps.set(iova, size);
    return 0;
  }

  /** Type 1 version 2: never a part of a mapping. */
  #unmap(space: AddressSpace, iova: bigint, size: bigint): bigint {
    if (size === 0n) return -1n;
    let unmapped = 0n;
    for (const [other, otherSize] of [...space.maps]) {
      if (other + otherSize <= iova || other >= iova + size) continue;
      if (other < iova || other + otherSize > iova + size) return -1n;
      space.maps.delete(other);
      unmapped += otherSize;
    }
    return unmapped - this.unmapShortBytes;
  }

  #groupIoctl(
    group: Descriptor & { kind: 'group' },
    name: string,
    argument: Uint8Array | number | string,
  ): number {
    const members = [...this.devices.values()].filter((device) => device.group === group.group);
    const viable = members.every(givenAway);
    if (name === 'VFIO_GROUP_GET_STATUS') {
      const view = viewOf(argument);
      if (view.getUint32(0, true) < 8) return -EINVAL;
      const shown = viable || !this.checksViabilityInStatus;
      view.setUint32(4, (shown ? 1 : 0) | (group.container === undefined ? 0 : 2), true);
      return 0;
    }
    if (name === 'VFIO_GROUP_SET_CONTAINER') {
      const fd = viewOf(argument).getInt32(0, true);
      const container = this.#fds.get(fd);
      if (container?.kind !== 'container' || group.container !== undefined) return -EINVAL;
      if (!viable) return -EPERM;
      container.groups.add(group.group);
      group.container = fd;
      return 0;
    }
    if (name === 'VFIO_GROUP_GET_DEVICE_FD') {
      const container = group.container === undefined ? undefined : this.#fds.get(group.container);
      if (container?.kind !== 'container' || !container.iommuSet) return -EINVAL;
      const device = members.find(({ bdf }) => bdf === argument);
      if (device === undefined) return -ENODEV;
      device.opened++;
      return this.#add({ kind: 'device', device, bound: false, ioas: undefined, viaGroup: true });
    }
    return -ENOTTY;
  }

  #deviceIoctl(
    file: Descriptor & { kind: 'device' },
    name: string,
    argument: Uint8Array | number | string,
  ): number {
    const { device } = file;
    if (name === 'VFIO_DEVICE_BIND_IOMMUFD') return this.#bind(file, viewOf(argument));
    if (!file.viaGroup && !file.bound) return -EINVAL;
    if (name === 'VFIO_DEVICE_ATTACH_IOMMUFD_PT') {
      const view = viewOf(argument);
      const id = view.getUint32(8, true);
      if (view.getUint32(0, true) < 12 || view.getUint32(4, true) !== 0) return -EINVAL;
      const known = [...this.#fds.values()].some((fd) => fd.kind === 'iommufd' && fd.ioases.has(id));
      if (!known) return -ENOENT;
      file.ioas = id;
      return 0;
    }
    if (name === 'VFIO_DEVICE_RESET') {
      if (!device.canReset) return -ENOTTY;
      device.resets++;
      return 0;
    }
    const view = viewOf(argument);
    if (name === 'VFIO_DEVICE_GET_INFO') {
      if (view.getUint32(0, true) < 16) return -EINVAL;
      view.setUint32(4, 2 | (device.canReset ? 1 : 0), true);
      view.setUint32(8, device.regions.length, true);
      view.setUint32(12, device.irqCounts.length, true);
      return 0;
    }
    if (name === 'VFIO_DEVICE_GET_REGION_INFO') return regionInfo(device, view);
    if (name === 'VFIO_DEVICE_GET_IRQ_INFO') {
      const index = view.getUint32(8, true);
      if (view.getUint32(0, true) < 16 || index >= device.irqCounts.length) return -EINVAL;
      view.setUint32(4, index === 2 ? 1 | 8 : 1, true);
      view.setUint32(12, device.irqCounts[index] ?? 0, true);
      return 0;
    }
    if (name === 'VFIO_DEVICE_SET_IRQS') return this.#setIrqs(device, view);
    return -ENOTTY;
  }

  #bind(file: Descriptor & { kind: 'device' }, view: DataView): number {
    if (view.getUint32(0, true) < 16 || view.getUint32(4, true) !== 0) return -EINVAL;
    const iommufd = this.#fds.get(view.getInt32(8, true));
    if (iommufd?.kind !== 'iommufd' || file.bound) return -EINVAL;
    const { device } = file;
    if (device.opened > 0 || this.heldElsewhere.has(`/dev/vfio/devices/vfio${device.cdev}`)) return -EINVAL;
    const members = [...this.devices.values()].filter(({ group }) => group === device.group);
    if (!members.every(givenAway)) return -EPERM;
    file.bound = true;
    device.opened++;
    view.setUint32(12, 1, true);
    return 0;
  }

  #setIrqs(device: FakeDevice, view: DataView): number {
    const [argsz, flags, index, start, count] = [0, 4, 8, 12, 16].map((at) => view.getUint32(at, true)) as [
      number,
      number,
      number,
      number,
      number,
    ];
    const max = device.irqCounts[index] ?? 0;
    if (argsz < 20 || max === 0 || start + count > max || (flags & 0x38) !== 0x20) return -EINVAL;
    device.irqRequests.push({ index, count });
    const active = device.irqs.get(index);
    if ((flags & 7) === 1) {
      if (count > 0) return -EINVAL;
      // MSI and MSI-X: nothing to disable is an error.
      if (active === undefined && (index === 1 || index === 2)) return -EINVAL;
      device.irqs.delete(index);
      return 0;
    }
    if ((flags & 7) !== 4 || count === 0 || argsz < 20 + 4 * count) return -EINVAL;
    // One interrupt type at a time, and the set of vectors does not grow.
    const other = [0, 1, 2].some((type) => type !== index && index <= 2 && device.irqs.has(type));
    if (other || (active !== undefined && start + count > active.length)) return -EINVAL;
    const fds: number[] = [];
    for (let i = 0; i < count; i++) {
      const fd = view.getInt32(20 + 4 * i, true);
      if (this.#fds.get(fd)?.kind !== 'eventfd') return -constants.errno.EBADF;
      fds.push(fd);
    }
    device.irqs.set(index, fds);
    return 0;
  }

  #iommufdIoctl(
    file: Descriptor & { kind: 'iommufd' },
    name: string,
    argument: Uint8Array | number | string,
  ): number {
    const view = viewOf(argument);
    const size = view.getUint32(0, true);
    if (name === 'IOMMU_IOAS_ALLOC') {
      if (size !== 12 || view.getUint32(4, true) !== 0) return -EINVAL;
      const id = file.ioases.size + 7;
      file.ioases.set(id, { maps: new Map() });
      view.setUint32(8, id, true);
      return 0;
    }
    const id = view.getUint32(name === 'IOMMU_IOAS_MAP' ? 8 : 4, true);
    const space = file.ioases.get(id);
    if (space === undefined) return -ENOENT;
    const ranges = this.#attached(id) ? this.ranges : FULL_RANGE;
    if (name === 'IOMMU_IOAS_IOVA_RANGES') return size === 32 ? this.#iovaRanges(view, ranges) : -EINVAL;
    if (name === 'IOMMU_IOAS_MAP') {
      if (size !== 40 || view.getUint32(4, true) !== 7 || view.getUint32(12, true) !== 0) return -EINVAL;
      return this.#map(space, u64(view, 16), u64(view, 32), u64(view, 24), ranges);
    }
    if (name === 'IOMMU_IOAS_UNMAP') {
      if (size !== 24) return -EINVAL;
      const unmapped = this.#unmap(space, u64(view, 8), u64(view, 16));
      if (unmapped <= 0n) return -ENOENT;
      view.setBigUint64(16, unmapped, true);
      return 0;
    }
    return -ENOTTY;
  }

  #attached(ioas: number): boolean {
    return [...this.#fds.values()].some((fd) => fd.kind === 'device' && fd.ioas === ioas);
  }

  #iovaRanges(view: DataView, ranges: readonly Range[]): number {
    const capacity = view.getUint32(8, true);
    const target = this.#pointers.get(u64(view, 16));
    if (target === undefined || target.length < capacity * 16) return -EFAULT;
    const out = new DataView(target.buffer, target.byteOffset, target.byteLength);
    for (const [i, [first, last]] of ranges.slice(0, capacity).entries()) {
      out.setBigUint64(16 * i, first, true);
      out.setBigUint64(16 * i + 8, last, true);
    }
    view.setUint32(8, ranges.length, true);
    view.setBigUint64(24, PAGE, true);
    return ranges.length > capacity ? -EMSGSIZE : 0;
  }

  pread(fd: number, offset: number, into: Uint8Array): number {
    this.preads++;
    const { bytes, at } = this.#locate(fd, offset);
    into.set(bytes.subarray(at, at + into.length));
    return Math.min(into.length, bytes.length - at);
  }

  pwrite(fd: number, offset: number, from: Uint8Array): number {
    this.pwrites++;
    const { bytes, at } = this.#locate(fd, offset);
    bytes.set(from, at);
    return from.length;
  }

  #locate(fd: number, offset: number): { bytes: Uint8Array; at: number } {
    const file = this.#fds.get(fd);
    const region = file?.kind === 'device' ? file.device.regions[Math.floor(offset / 2 ** 40)] : undefined;
    const at = offset % 2 ** 40;
    if (region === undefined || at >= region.sizeBytes) {
      throw new NicError('SYSCALL', 'pread failed', { syscall: 'pread', errno: EINVAL });
    }
    return { bytes: region.bytes, at };
  }

  mmap(fd: number, sizeBytes: number, offset: number, protection: number): Mapping {
    this.calls.push('mmap');
    const file = this.#fds.get(fd);
    const region = file?.kind === 'device' ? file.device.regions[Math.floor(offset / 2 ** 40)] : undefined;
    const at = offset % 2 ** 40;
    const fault = this.faults.get('mmap');
    this.faults.delete('mmap');
    if (
      fault !== undefined ||
      file?.kind !== 'device' ||
      region === undefined ||
      (region.flags & 4) === 0 ||
      at % 4096 !== 0 ||
      at + sizeBytes > region.sizeBytes ||
      protection !== (region.flags & 3)
    ) {
      throw new NicError('SYSCALL', 'mmap failed', { syscall: 'mmap', errno: EINVAL });
    }
    const mapping = { address: BigInt(offset), buffer: new ArrayBuffer(sizeBytes), sizeBytes };
    this.#mappings.set(mapping, file.device);
    return mapping;
  }

  munmap(mapping: Mapping): void {
    this.calls.push('munmap');
    if (!this.#mappings.delete(mapping)) this.violations.push('munmap of what is not mapped');
  }

  eventfd(): number {
    return this.#add({ kind: 'eventfd', count: 0, listeners: new Set() });
  }

  readEventfd(fd: number): number {
    const descriptor = this.#fds.get(fd);
    if (descriptor?.kind !== 'eventfd') throw new Error(`readEventfd: ${fd} is not an eventfd`);
    const { count } = descriptor;
    descriptor.count = 0;
    return count;
  }

  onReadable(fd: number, listener: () => void): () => void {
    const descriptor = this.#fds.get(fd);
    if (descriptor?.kind !== 'eventfd') throw new Error(`onReadable: ${fd} is not an eventfd`);
    descriptor.listeners.add(listener);
    return () => descriptor.listeners.delete(listener);
  }

  addressOf(bytes: Uint8Array): bigint {
    this.#nextPointer += 0x1000n;
    this.#pointers.set(this.#nextPointer, bytes);
    return this.#nextPointer;
  }

  memlockLimitBytes(): number {
    return this.limitBytes;
  }

  readLink(path: string): string | undefined {
    const extra = this.links.get(path);
    if (extra !== undefined) return extra;
    const match = /^\/sys\/bus\/pci\/devices\/([^/]+)\/(driver|iommu_group)$/.exec(path);
    const device = this.devices.get(match?.[1] ?? '');
    if (device === undefined || this.missing.has(path)) return undefined;
    if (match?.[2] === 'iommu_group') return `../../../kernel/iommu_groups/${device.group}`;
    return device.driver === undefined ? undefined : `../../../bus/pci/drivers/${device.driver}`;
  }

  list(path: string): string[] {
    const extra = this.folders.get(path);
    if (extra !== undefined) return extra;
    const group = /^\/sys\/kernel\/iommu_groups\/(\d+)\/devices$/.exec(path)?.[1];
    const all = [...this.devices.values()];
    if (group !== undefined) return all.filter((device) => device.group === group).map(({ bdf }) => bdf);
    const device = this.devices.get(/^\/sys\/bus\/pci\/devices\/([^/]+)\/vfio-dev$/.exec(path)?.[1] ?? '');
    return device?.cdev === undefined ? [] : [`vfio${device.cdev}`];
  }

  readText(path: string): string | undefined {
    const device = this.devices.get(/^\/sys\/bus\/pci\/devices\/([^/]+)\/class$/.exec(path)?.[1] ?? '');
    if (device !== undefined) return `0x${device.classCode.toString(16).padStart(6, '0')}`;
    return this.texts.get(path)?.trim();
  }

  exists(path: string): boolean {
    const bdf = /^\/sys\/bus\/pci\/devices\/([^/]+)$/.exec(path)?.[1];
    return bdf === undefined ? this.#node(path) !== undefined : this.devices.has(bdf);
  }

  canReadWrite(path: string): boolean {
    return this.#node(path) !== undefined && !this.denied.has(path);
  }

  user(): { name: string; isRoot: boolean } {
    return { name: this.isRoot ? 'root' : 'ada', isRoot: this.isRoot };
  }
}

/** The drivers that leave a group viable. */
function givenAway({ driver }: FakeDevice): boolean {
  return driver === undefined || /vfio[-_]pci$/.test(driver);
}

function regionInfo(device: FakeDevice, view: DataView): number {
  const [argsz, index] = [view.getUint32(0, true), view.getUint32(8, true)];
  const region = device.regions[index];
  if (argsz < 32 || region === undefined) return -EINVAL;
  const { areas } = region;
  view.setUint32(4, region.flags | (areas === undefined ? 0 : 8), true);
  view.setBigUint64(16, BigInt(region.sizeBytes), true);
  view.setBigUint64(24, BigInt(index) << 40n, true);
  if (areas === undefined) return 0;
  // A capability that nobody asked for (MSIX_MAPPABLE), then the areas.
  const needed = 32 + 8 + 16 + 16 * areas.length;
  if (argsz < needed) {
    view.setUint32(0, needed, true);
    view.setUint32(12, 0, true);
    return 0;
  }
  view.setUint32(12, 32, true);
  setCapability(view, 32, 3, 40);
  setCapability(view, 40, 1, 0);
  view.setUint32(48, areas.length, true);
  for (const [i, [offset, size]] of areas.entries()) {
    view.setBigUint64(56 + 16 * i, BigInt(offset), true);
    view.setBigUint64(64 + 16 * i, BigInt(size), true);
  }
  return 0;
}

function setCapability(view: DataView, at: number, id: number, next: number): void {
  view.setUint16(at, id, true);
  view.setUint16(at + 2, 1, true);
  view.setUint32(at + 4, next, true);
}

function viewOf(argument: Uint8Array | number | string): DataView {
  if (!(argument instanceof Uint8Array)) throw new Error('this request takes a structure');
  return new DataView(argument.buffer, argument.byteOffset, argument.byteLength);
}

function u64(view: DataView, offset: number): bigint {
  return view.getBigUint64(offset, true);
}
