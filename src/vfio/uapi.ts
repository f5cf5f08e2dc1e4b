/**
 * The kernel's VFIO and iommufd interface: request numbers, flags, structure layouts, and functions that write and
 * read the structures. Every ioctl of the project is here and nowhere else; this file makes no system call.
 *
 * Specification: include/uapi/linux/vfio.h (Linux 6.12), include/uapi/linux/iommufd.h (Linux 6.12).
 *
 * A layout keeps the header's field names: each is the byte offset of the field, `sizeBytes` is the size we pass.
 * The structures grow over time: `argsz` (`size` in iommufd) tells the kernel which version the caller knows, so
 * some sizes here stop at the last field we use. test/vfio/uapi.test.ts asks a C compiler for all of them.
 */
import { NicError } from '../errors.js';
import type { IovaRange, IrqInfo } from './types.js';

/** An ioctl request: its number, and its name for error messages. */
export interface IoctlRequest {
  readonly name: string;
  readonly number: number;
}

/** Both interfaces use `_IO(';', n)`: no direction and no size in the number (vfio.h says why). */
function io(name: string, number: number): IoctlRequest {
  return { name, number: (0x3b << 8) | number };
}

const VFIO_BASE = 100;
const IOMMUFD_BASE = 0x80;

// ---- requests on the container, /dev/vfio/vfio
export const VFIO_GET_API_VERSION = io('VFIO_GET_API_VERSION', VFIO_BASE + 0);
export const VFIO_CHECK_EXTENSION = io('VFIO_CHECK_EXTENSION', VFIO_BASE + 1);
export const VFIO_SET_IOMMU = io('VFIO_SET_IOMMU', VFIO_BASE + 2);
/** The type 1 IOMMU's requests share numbers with device requests: the descriptor tells them apart. */
export const VFIO_IOMMU_GET_INFO = io('VFIO_IOMMU_GET_INFO', VFIO_BASE + 12);
export const VFIO_IOMMU_MAP_DMA = io('VFIO_IOMMU_MAP_DMA', VFIO_BASE + 13);
export const VFIO_IOMMU_UNMAP_DMA = io('VFIO_IOMMU_UNMAP_DMA', VFIO_BASE + 14);

// ---- requests on a group, /dev/vfio/N
export const VFIO_GROUP_GET_STATUS = io('VFIO_GROUP_GET_STATUS', VFIO_BASE + 3);
export const VFIO_GROUP_SET_CONTAINER = io('VFIO_GROUP_SET_CONTAINER', VFIO_BASE + 4);
export const VFIO_GROUP_GET_DEVICE_FD = io('VFIO_GROUP_GET_DEVICE_FD', VFIO_BASE + 6);

// ---- requests on a device
export const VFIO_DEVICE_GET_INFO = io('VFIO_DEVICE_GET_INFO', VFIO_BASE + 7);
export const VFIO_DEVICE_GET_REGION_INFO = io('VFIO_DEVICE_GET_REGION_INFO', VFIO_BASE + 8);
export const VFIO_DEVICE_GET_IRQ_INFO = io('VFIO_DEVICE_GET_IRQ_INFO', VFIO_BASE + 9);
export const VFIO_DEVICE_SET_IRQS = io('VFIO_DEVICE_SET_IRQS', VFIO_BASE + 10);
export const VFIO_DEVICE_RESET = io('VFIO_DEVICE_RESET', VFIO_BASE + 11);
/** Character devices only (Linux 6.6 and later). */
export const VFIO_DEVICE_BIND_IOMMUFD = io('VFIO_DEVICE_BIND_IOMMUFD', VFIO_BASE + 18);
export const VFIO_DEVICE_ATTACH_IOMMUFD_PT = io('VFIO_DEVICE_ATTACH_IOMMUFD_PT', VFIO_BASE + 19);

// ---- requests on /dev/iommu
export const IOMMU_IOAS_ALLOC = io('IOMMU_IOAS_ALLOC', IOMMUFD_BASE + 1);
export const IOMMU_IOAS_IOVA_RANGES = io('IOMMU_IOAS_IOVA_RANGES', IOMMUFD_BASE + 4);
export const IOMMU_IOAS_MAP = io('IOMMU_IOAS_MAP', IOMMUFD_BASE + 5);
export const IOMMU_IOAS_UNMAP = io('IOMMU_IOAS_UNMAP', IOMMUFD_BASE + 6);

export const VFIO_API_VERSION = 0;
/** Argument of VFIO_CHECK_EXTENSION and VFIO_SET_IOMMU: version 2 has exact unmap semantics. */
export const VFIO_TYPE1v2_IOMMU = 3;
export const VFIO_GROUP_FLAGS_VIABLE = 1 << 0;
export const VFIO_DEVICE_FLAGS_RESET = 1 << 0;
export const VFIO_DEVICE_FLAGS_PCI = 1 << 1;
export const VFIO_REGION_INFO_FLAG_READ = 1 << 0;
export const VFIO_REGION_INFO_FLAG_WRITE = 1 << 1;
export const VFIO_REGION_INFO_FLAG_MMAP = 1 << 2;
export const VFIO_REGION_INFO_FLAG_CAPS = 1 << 3;
export const VFIO_REGION_INFO_CAP_SPARSE_MMAP = 1;
export const VFIO_IRQ_INFO_EVENTFD = 1 << 0;
export const VFIO_IRQ_INFO_MASKABLE = 1 << 1;
export const VFIO_IRQ_INFO_NORESIZE = 1 << 3;
export const VFIO_IRQ_SET_DATA_NONE = 1 << 0;
export const VFIO_IRQ_SET_DATA_EVENTFD = 1 << 2;
export const VFIO_IRQ_SET_ACTION_TRIGGER = 1 << 5;
export const VFIO_IOMMU_INFO_CAPS = 1 << 1;
export const VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE = 1;
export const VFIO_DMA_MAP_FLAG_READ = 1 << 0;
export const VFIO_DMA_MAP_FLAG_WRITE = 1 << 1;
export const IOMMU_IOAS_MAP_FIXED_IOVA = 1 << 0;
export const IOMMU_IOAS_MAP_WRITEABLE = 1 << 1;
export const IOMMU_IOAS_MAP_READABLE = 1 << 2;

// ---- layouts
export const VFIO_GROUP_STATUS = { sizeBytes: 8, argsz: 0, flags: 4 } as const;
/** Up to `num_irqs`: the capability fields after it are not used. */
export const VFIO_DEVICE_INFO = { sizeBytes: 16, argsz: 0, flags: 4, num_regions: 8, num_irqs: 12 } as const;
export const VFIO_REGION_INFO = {
  sizeBytes: 32,
  argsz: 0,
  flags: 4,
  index: 8,
  cap_offset: 12,
  size: 16,
  offset: 24,
} as const;
export const VFIO_INFO_CAP_HEADER = { sizeBytes: 8, id: 0, version: 2, next: 4 } as const;
export const VFIO_REGION_INFO_CAP_SPARSE_MMAP_LAYOUT = { sizeBytes: 16, nr_areas: 8, areas: 16 } as const;
export const VFIO_REGION_SPARSE_MMAP_AREA = { sizeBytes: 16, offset: 0, size: 8 } as const;
export const VFIO_IRQ_INFO = { sizeBytes: 16, argsz: 0, flags: 4, index: 8, count: 12 } as const;
export const VFIO_IRQ_SET = {
  sizeBytes: 20,
  argsz: 0,
  flags: 4,
  index: 8,
  start: 12,
  count: 16,
  data: 20,
} as const;
export const VFIO_IOMMU_TYPE1_INFO = {
  sizeBytes: 24,
  argsz: 0,
  flags: 4,
  iova_pgsizes: 8,
  cap_offset: 16,
} as const;
export const VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE_LAYOUT = {
  sizeBytes: 16,
  nr_iovas: 8,
  iova_ranges: 16,
} as const;
export const VFIO_IOVA_RANGE = { sizeBytes: 16, start: 0, end: 8 } as const;
export const VFIO_IOMMU_TYPE1_DMA_MAP = {
  sizeBytes: 32,
  argsz: 0,
  flags: 4,
  vaddr: 8,
  iova: 16,
  size: 24,
} as const;
/** Not the structure of the map request: no address, and READ | WRITE must not be set. */
export const VFIO_IOMMU_TYPE1_DMA_UNMAP = { sizeBytes: 24, argsz: 0, flags: 4, iova: 8, size: 16 } as const;
export const VFIO_DEVICE_BIND = { sizeBytes: 16, argsz: 0, flags: 4, iommufd: 8, out_devid: 12 } as const;
/** Up to `pt_id`: Linux 6.15 added a PASID after it. */
export const VFIO_DEVICE_ATTACH = { sizeBytes: 12, argsz: 0, flags: 4, pt_id: 8 } as const;
export const IOMMU_IOAS_ALLOC_LAYOUT = { sizeBytes: 12, size: 0, flags: 4, out_ioas_id: 8 } as const;
export const IOMMU_IOAS_IOVA_RANGES_LAYOUT = {
  sizeBytes: 32,
  size: 0,
  ioas_id: 4,
  num_iovas: 8,
  allowed_iovas: 16,
  out_iova_alignment: 24,
} as const;
export const IOMMU_IOVA_RANGE = { sizeBytes: 16, start: 0, last: 8 } as const;
export const IOMMU_IOAS_MAP_LAYOUT = {
  sizeBytes: 40,
  size: 0,
  flags: 4,
  ioas_id: 8,
  user_va: 16,
  length: 24,
  iova: 32,
} as const;
export const IOMMU_IOAS_UNMAP_LAYOUT = { sizeBytes: 24, size: 0, ioas_id: 4, iova: 8, length: 16 } as const;

/** No capability chain of these requests has come near this length; a longer one is taken for damaged. */
const MAX_CAPABILITIES = 64;

/** A structure in memory that does not move: the kernel is given its address. Little-endian, as x86-64 is. */
export class Struct {
  readonly bytes: Uint8Array;
  readonly #view: DataView;

  /** All zero, but the first word, which holds the size in every structure of both interfaces. */
  constructor(sizeBytes: number) {
    const buffer = new ArrayBuffer(sizeBytes);
    this.bytes = new Uint8Array(buffer);
    this.#view = new DataView(buffer);
    if (sizeBytes >= 4) this.setU32(0, sizeBytes);
  }

  u16(offset: number): number {
    return this.#view.getUint16(offset, true);
  }

  u32(offset: number): number {
    return this.#view.getUint32(offset, true);
  }

  u64(offset: number): bigint {
    return this.#view.getBigUint64(offset, true);
  }

  setU32(offset: number, value: number): this {
    this.#view.setUint32(offset, value, true);
    return this;
  }

  setS32(offset: number, value: number): this {
    this.#view.setInt32(offset, value, true);
    return this;
  }

  setU64(offset: number, value: bigint): this {
    this.#view.setBigUint64(offset, value, true);
    return this;
  }
}

/** `struct vfio_group_status`, `struct vfio_device_info`, ...: empty, with its size filled in. */
export function newStruct(layout: { readonly sizeBytes: number }): Struct {
  return new Struct(layout.sizeBytes);
}

/** `struct vfio_region_info` for `index`, with room for `sizeBytes` in all. */
export function encodeRegionInfo(index: number, sizeBytes: number = VFIO_REGION_INFO.sizeBytes): Struct {
  return new Struct(sizeBytes).setU32(VFIO_REGION_INFO.index, index);
}

export interface MappableArea {
  readonly offset: number;
  readonly sizeBytes: number;
}

export interface RegionInfo {
  readonly flags: number;
  readonly sizeBytes: number;
  /** Where the region starts in the device's descriptor, for pread, pwrite and mmap. */
  readonly fileOffset: number;
  /** What may be mapped: all of it, the areas of the sparse-mmap capability, or nothing. Inside the region. */
  readonly areas: readonly MappableArea[];
}

/** @throws NicError `VFIO` where a size is beyond 2^53 or the capability chain is damaged */
export function decodeRegionInfo(info: Struct): RegionInfo {
  const flags = info.u32(VFIO_REGION_INFO.flags);
  const sizeBytes = toNumber(info.u64(VFIO_REGION_INFO.size), 'region size');
  const fileOffset = toNumber(info.u64(VFIO_REGION_INFO.offset), 'region offset');
  return { flags, sizeBytes, fileOffset, areas: mappableAreas(info, flags, sizeBytes) };
}

function mappableAreas(info: Struct, flags: number, sizeBytes: number): MappableArea[] {
  if ((flags & VFIO_REGION_INFO_FLAG_MMAP) === 0 || sizeBytes === 0) return [];
  const first = (flags & VFIO_REGION_INFO_FLAG_CAPS) === 0 ? 0 : info.u32(VFIO_REGION_INFO.cap_offset);
  const at = findCapability(info, first, VFIO_REGION_INFO.sizeBytes, VFIO_REGION_INFO_CAP_SPARSE_MMAP);
  if (at === undefined) return [{ offset: 0, sizeBytes }];
  const count = info.u32(at + VFIO_REGION_INFO_CAP_SPARSE_MMAP_LAYOUT.nr_areas);
  const start = at + VFIO_REGION_INFO_CAP_SPARSE_MMAP_LAYOUT.areas;
  requireArray(info, start, count, VFIO_REGION_SPARSE_MMAP_AREA.sizeBytes);
  const areas: MappableArea[] = [];
  for (let i = 0; i < count; i++) {
    const area = start + i * VFIO_REGION_SPARSE_MMAP_AREA.sizeBytes;
    const offset = toNumber(info.u64(area + VFIO_REGION_SPARSE_MMAP_AREA.offset), 'area offset');
    const size = toNumber(info.u64(area + VFIO_REGION_SPARSE_MMAP_AREA.size), 'area size');
    const end = Math.min(offset + size, sizeBytes);
    if (end > offset) areas.push({ offset, sizeBytes: end - offset });
  }
  return areas;
}

/** `struct vfio_irq_info` for `index`. */
export function encodeIrqInfo(index: number): Struct {
  return newStruct(VFIO_IRQ_INFO).setU32(VFIO_IRQ_INFO.index, index);
}

export function decodeIrqInfo(info: Struct): IrqInfo {
  const flags = info.u32(VFIO_IRQ_INFO.flags);
  return {
    count: info.u32(VFIO_IRQ_INFO.count),
    eventfd: (flags & VFIO_IRQ_INFO_EVENTFD) !== 0,
    maskable: (flags & VFIO_IRQ_INFO_MASKABLE) !== 0,
    noResize: (flags & VFIO_IRQ_INFO_NORESIZE) !== 0,
  };
}

/** `struct vfio_irq_set` that connects vectors 0..n-1 of `index` to `eventfds`. */
export function encodeIrqEventfds(index: number, eventfds: readonly number[]): Struct {
  const set = new Struct(VFIO_IRQ_SET.sizeBytes + 4 * eventfds.length)
    .setU32(VFIO_IRQ_SET.flags, VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER)
    .setU32(VFIO_IRQ_SET.index, index)
    .setU32(VFIO_IRQ_SET.count, eventfds.length);
  for (const [vector, fd] of eventfds.entries()) set.setS32(VFIO_IRQ_SET.data + 4 * vector, fd);
  return set;
}

/** `struct vfio_irq_set` that disables all vectors of `index` (`count` 0), or fires the first `count` of them. */
export function encodeIrqTrigger(index: number, count: number): Struct {
  return newStruct(VFIO_IRQ_SET)
    .setU32(VFIO_IRQ_SET.flags, VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER)
    .setU32(VFIO_IRQ_SET.index, index)
    .setU32(VFIO_IRQ_SET.count, count);
}

/**
 * The usable ranges in a `struct vfio_iommu_type1_info` and its capabilities, ascending; undefined where the kernel
 * does not say (before Linux 5.4).
 */
export function decodeType1IovaRanges(info: Struct): IovaRange[] | undefined {
  if ((info.u32(VFIO_IOMMU_TYPE1_INFO.flags) & VFIO_IOMMU_INFO_CAPS) === 0) return undefined;
  const first = info.u32(VFIO_IOMMU_TYPE1_INFO.cap_offset);
  const after = VFIO_IOMMU_TYPE1_INFO.cap_offset + 4;
  const at = findCapability(info, first, after, VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE);
  if (at === undefined) return undefined;
  const layout = VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE_LAYOUT;
  return decodeRanges(info, at + layout.iova_ranges, info.u32(at + layout.nr_iovas));
}

/** `count` pairs of first and last address: `vfio_iova_range` and `iommu_iova_range` have one layout. */
export function decodeRanges(array: Struct, start: number, count: number): IovaRange[] {
  requireArray(array, start, count, VFIO_IOVA_RANGE.sizeBytes);
  const ranges: IovaRange[] = [];
  for (let i = 0; i < count; i++) {
    const at = start + i * VFIO_IOVA_RANGE.sizeBytes;
    const range = { first: array.u64(at + VFIO_IOVA_RANGE.start), last: array.u64(at + VFIO_IOVA_RANGE.end) };
    if (range.last >= range.first) ranges.push(range);
  }
  return ranges.sort((a, b) => (a.first < b.first ? -1 : 1));
}

/** `struct vfio_iommu_type1_dma_map`, readable and writable by the device. */
export function encodeDmaMap(address: bigint, iova: bigint, sizeBytes: number): Struct {
  return newStruct(VFIO_IOMMU_TYPE1_DMA_MAP)
    .setU32(VFIO_IOMMU_TYPE1_DMA_MAP.flags, VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE)
    .setU64(VFIO_IOMMU_TYPE1_DMA_MAP.vaddr, address)
    .setU64(VFIO_IOMMU_TYPE1_DMA_MAP.iova, iova)
    .setU64(VFIO_IOMMU_TYPE1_DMA_MAP.size, BigInt(sizeBytes));
}

/** `struct vfio_iommu_type1_dma_unmap`; the kernel writes the number of unmapped bytes back to `size`. */
export function encodeDmaUnmap(iova: bigint, sizeBytes: number): Struct {
  return newStruct(VFIO_IOMMU_TYPE1_DMA_UNMAP)
    .setU64(VFIO_IOMMU_TYPE1_DMA_UNMAP.iova, iova)
    .setU64(VFIO_IOMMU_TYPE1_DMA_UNMAP.size, BigInt(sizeBytes));
}

/** `struct vfio_device_bind_iommufd`. */
export function encodeBind(iommufd: number): Struct {
  return newStruct(VFIO_DEVICE_BIND).setS32(VFIO_DEVICE_BIND.iommufd, iommufd);
}

/** `struct vfio_device_attach_iommufd_pt`. */
export function encodeAttach(ioasId: number): Struct {
  return newStruct(VFIO_DEVICE_ATTACH).setU32(VFIO_DEVICE_ATTACH.pt_id, ioasId);
}

/** `struct iommu_ioas_iova_ranges` whose answer goes to the array of `capacity` ranges at `address`. */
export function encodeIoasIovaRanges(ioasId: number, capacity: number, address: bigint): Struct {
  return newStruct(IOMMU_IOAS_IOVA_RANGES_LAYOUT)
    .setU32(IOMMU_IOAS_IOVA_RANGES_LAYOUT.ioas_id, ioasId)
    .setU32(IOMMU_IOAS_IOVA_RANGES_LAYOUT.num_iovas, capacity)
    .setU64(IOMMU_IOAS_IOVA_RANGES_LAYOUT.allowed_iovas, address);
}

/** `struct iommu_ioas_map`, at exactly `iova`, readable and writable by the device. */
export function encodeIoasMap(ioasId: number, address: bigint, iova: bigint, sizeBytes: number): Struct {
  const flags = IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_READABLE | IOMMU_IOAS_MAP_WRITEABLE;
  return newStruct(IOMMU_IOAS_MAP_LAYOUT)
    .setU32(IOMMU_IOAS_MAP_LAYOUT.flags, flags)
    .setU32(IOMMU_IOAS_MAP_LAYOUT.ioas_id, ioasId)
    .setU64(IOMMU_IOAS_MAP_LAYOUT.user_va, address)
    .setU64(IOMMU_IOAS_MAP_LAYOUT.length, BigInt(sizeBytes))
    .setU64(IOMMU_IOAS_MAP_LAYOUT.iova, iova);
}

/** `struct iommu_ioas_unmap`; the kernel writes the number of unmapped bytes back to `length`. */
export function encodeIoasUnmap(ioasId: number, iova: bigint, sizeBytes: number): Struct {
  return newStruct(IOMMU_IOAS_UNMAP_LAYOUT)
    .setU32(IOMMU_IOAS_UNMAP_LAYOUT.ioas_id, ioasId)
    .setU64(IOMMU_IOAS_UNMAP_LAYOUT.iova, iova)
    .setU64(IOMMU_IOAS_UNMAP_LAYOUT.length, BigInt(sizeBytes));
}

/**
 * Offset of the capability `id` in the chain that starts at `first` (0: there is none), or undefined. All
 * capabilities looked for here are at least 16 bytes long, so that much must be inside the structure.
 */
export function findCapability(info: Struct, first: number, after: number, id: number): number | undefined {
  let at = first;
  for (let n = 0; at !== 0; n++) {
    if (n === MAX_CAPABILITIES || at < after || at + VFIO_INFO_CAP_HEADER.sizeBytes > info.bytes.length) {
      throw damagedChain(at);
    }
    if (info.u16(at + VFIO_INFO_CAP_HEADER.id) === id) {
      if (at + 16 > info.bytes.length) throw damagedChain(at);
      return at;
    }
    at = info.u32(at + VFIO_INFO_CAP_HEADER.next);
  }
  return undefined;
}

function damagedChain(at: number): NicError {
  return new NicError('VFIO', `The kernel's capability chain is damaged at offset ${at}`);
}

function requireArray(info: Struct, start: number, count: number, elementBytes: number): void {
  if (start + count * elementBytes > info.bytes.length) throw damagedChain(start);
}

function toNumber(value: bigint, what: string): number {
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) {
    throw new NicError('VFIO', `The kernel reports a ${what} of 0x${value.toString(16)}, more than 2^53`);
  }
  return Number(value);
}
