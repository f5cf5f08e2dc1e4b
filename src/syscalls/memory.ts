/** Mapped memory: mmap(2), files in memory (memfd_create(2)), their seals, and views over addresses. */
import koffi from 'koffi';
import { failed, fcntl, libc } from './libc.js';

const C = {
  mmap: libc.func('void *mmap(void *addr, size_t length, int prot, int flags, int fd, int64_t offset)'),
  munmap: libc.func('int munmap(void *addr, size_t length)'),
  memfdCreate: libc.func('int memfd_create(const char *name, uint32_t flags)'),
};

const MAP_FAILED = 0xffffffffffffffffn;

/** Bytes in a page of memory, the unit of mappings and of the IOMMU on x86-64. */
export const PAGE_BYTES = 4096;

/** mmap(2) protection and flag bits, x86-64 Linux (asm-generic/mman.h). */
export const PROT_READ = 1;
export const PROT_WRITE = 2;
export const MAP_SHARED = 0x01;
export const MAP_POPULATE = 0x8000;
const MAP_PRIVATE = 0x02;
const MAP_FIXED = 0x10;
const MAP_ANONYMOUS = 0x20;
const MAP_NORESERVE = 0x4000;

/** memfd_create(2) flags (linux/memfd.h). A hugepage size is the power of two in bits 26 and up. */
export const MFD_CLOEXEC = 0x1;
export const MFD_ALLOW_SEALING = 0x2;
export const MFD_HUGETLB = 0x4;
export const MFD_HUGE_2MB = (21 << 26) >>> 0;
export const MFD_HUGE_1GB = (30 << 26) >>> 0;

const F_ADD_SEALS = 1033;
const F_GET_SEALS = 1034;

/** File seals (linux/fcntl.h): no more seals, cannot shrink, cannot grow. */
export const F_SEAL_SEAL = 0x1;
export const F_SEAL_SHRINK = 0x2;
export const F_SEAL_GROW = 0x4;

/** A piece of mapped memory and the ArrayBuffer over it. */
export interface Mapping {
  readonly address: bigint;
  readonly buffer: ArrayBuffer;
  readonly sizeBytes: number;
}

/**
 * Maps `sizeBytes` of `fd` from `offset` and returns the memory as an ArrayBuffer that shares it.
 * After `munmap` every access through the buffer is a segmentation fault: drop all views first.
 * Node 20 aborts on buffers over 4 GiB.
 * @throws NicError `SYSCALL`
 */
export function mmap(
  fd: number,
  sizeBytes: number,
  offset: number,
  protection: number,
  flags: number,
): Mapping {
  const address = mmapAddress(fd, sizeBytes, offset, protection, flags);
  return { address, buffer: viewMemory(address, sizeBytes), sizeBytes };
}

/**
 * Gives mapped memory back. Views of it cannot be detached, and touching an unmapped page would kill the process,
 * so the address range is kept and filled with private zero pages (no memory until written): a stale view reads
 * zeros and its writes go nowhere. Costs address space only.
 * @throws NicError `SYSCALL`
 */
export function munmap(mapping: Mapping): void {
  const flags = MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS | MAP_NORESERVE;
  const address = C.mmap(mapping.address, mapping.sizeBytes, PROT_READ | PROT_WRITE, flags, -1, 0) as bigint;
  if (address === MAP_FAILED) throw failed('mmap');
}

/** Anonymous file in memory; `flags` as `MFD_*`. @throws NicError `SYSCALL` */
export function memfdCreate(name: string, flags: number): number {
  const fd = C.memfdCreate(name, flags) as number;
  if (fd < 0) throw failed('memfd_create');
  return fd;
}

/** Maps `sizeBytes` of `fd` to read and write, shared with all who map it, as `mmap` does. @throws NicError `SYSCALL` */
export function mapShared(fd: number, sizeBytes: number, offset = 0): Mapping {
  return mmap(fd, sizeBytes, offset, PROT_READ | PROT_WRITE, MAP_SHARED);
}

/** mmap(2) without a view over the memory, for mappings of any size. @throws NicError `SYSCALL` */
export function mmapAddress(
  fd: number,
  sizeBytes: number,
  offset: number,
  protection: number,
  flags: number,
): bigint {
  const address = C.mmap(null, sizeBytes, protection, flags, fd, offset) as bigint;
  if (address === MAP_FAILED) throw failed('mmap');
  return address;
}

/**
 * Gives the memory and its address range back (compare `munmap`): for mappings that come and go by the thousand, whose
 * user keeps no views. @throws NicError `SYSCALL`
 */
export function munmapAddress(address: bigint, sizeBytes: number): void {
  if ((C.munmap(address, sizeBytes) as number) < 0) throw failed('munmap');
}

/** Seals of the file (`F_SEAL_*`), or -1 where this kind of file has none. */
export function fileSeals(fd: number): number {
  return fcntl(fd, F_GET_SEALS, 0) as number;
}

/** Adds seals. False where the file does not take them. */
export function addFileSeals(fd: number, seals: number): boolean {
  return (fcntl(fd, F_ADD_SEALS, seals) as number) === 0;
}

/** The memory at `address` as an ArrayBuffer, at most 4 GiB. The address must stay mapped while it is used. */
export function viewMemory(address: bigint, sizeBytes: number): ArrayBuffer {
  return koffi.view(address, sizeBytes);
}

/**
 * Virtual address of the array's memory, for structures that hold a pointer. The caller keeps the array alive until
 * the kernel is done with it, and makes it over an ArrayBuffer of its own: that memory does not move.
 */
export function addressOf(bytes: Uint8Array): bigint {
  return koffi.address(bytes);
}
