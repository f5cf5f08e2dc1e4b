/**
 * System calls that Node.js does not offer, by FFI to the C library. The only file that imports koffi.
 * Each function throws a `NicError` that carries the call's name and errno; none is for the packet path.
 */
import koffi from 'koffi';
import { errnoName, NicError } from './errors.js';

const libc = koffi.load('libc.so.6');

const C = {
  mmap: libc.func('void *mmap(void *addr, size_t length, int prot, int flags, int fd, int64_t offset)'),
  memfdCreate: libc.func('int memfd_create(const char *name, uint32_t flags)'),
  eventfd: libc.func('int eventfd(uint32_t initval, int flags)'),
  ioctlPtr: libc.func('ioctl', 'int', ['int', 'unsigned long', 'void *']),
  ioctlInt: libc.func('ioctl', 'int', ['int', 'unsigned long', 'int64_t']),
  ioctlStr: libc.func('ioctl', 'int', ['int', 'unsigned long', 'str']),
  getrlimit: libc.func('int getrlimit(int resource, void *limit)'),
};

const MAP_FAILED = 0xffffffffffffffffn;

/** mmap(2) protection and flag bits, x86-64 Linux (asm-generic/mman.h). */
export const PROT_READ = 1;
export const PROT_WRITE = 2;
export const MAP_SHARED = 0x01;
export const MAP_POPULATE = 0x8000;
const MAP_PRIVATE = 0x02;
const MAP_FIXED = 0x10;
const MAP_ANONYMOUS = 0x20;
const MAP_NORESERVE = 0x4000;

/** memfd_create(2) flags (linux/memfd.h). The page size is the power of two in bits 26 and up. */
export const MFD_CLOEXEC = 0x1;
export const MFD_ALLOW_SEALING = 0x2;
export const MFD_HUGETLB = 0x4;
export const MFD_HUGE_2MB = (21 << 26) >>> 0;
export const MFD_HUGE_1GB = (30 << 26) >>> 0;

/** eventfd(2) flags (linux/eventfd.h). */
export const EFD_CLOEXEC = 0o2000000;
export const EFD_NONBLOCK = 0o4000;

const RLIMIT_MEMLOCK = 8;

function failed(syscall: string, path?: string): NicError {
  const errno = koffi.errno();
  return new NicError('SYSCALL', `${syscall}${path === undefined ? '' : ` on ${path}`} failed`, {
    syscall,
    errno,
    path,
  });
}

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
  const address = C.mmap(null, sizeBytes, protection, flags, fd, offset) as bigint;
  if (address === MAP_FAILED) throw failed('mmap');
  return { address, buffer: koffi.view(address, sizeBytes), sizeBytes };
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

/** Non-blocking, close-on-exec event counter. @throws NicError `SYSCALL` */
export function eventfd(): number {
  const fd = C.eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) as number;
  if (fd < 0) throw failed('eventfd');
  return fd;
}

/**
 * ioctl(2) with a structure, an integer or a string as its argument. Returns the call's non-negative result.
 * @param name the request's name, for the error
 * @throws NicError `SYSCALL`, with `syscall` = `ioctl(NAME)`
 */
export function ioctl(
  fd: number,
  request: number,
  name: string,
  argument: Uint8Array | number | string,
): number {
  const result = tryIoctl(fd, request, argument);
  if (result < 0) {
    throw new NicError('SYSCALL', `ioctl ${name} failed`, { syscall: `ioctl(${name})`, errno: -result });
  }
  return result;
}

/** Like `ioctl`, but returns the negative errno instead of throwing. */
export function tryIoctl(fd: number, request: number, argument: Uint8Array | number | string): number {
  let result: number;
  if (typeof argument === 'number') result = C.ioctlInt(fd, request, argument) as number;
  else if (typeof argument === 'string') result = C.ioctlStr(fd, request, argument) as number;
  else result = C.ioctlPtr(fd, request, argument) as number;
  return result < 0 ? -koffi.errno() : result;
}

/**
 * Virtual address of the array's memory, for structures that hold a pointer. The caller keeps the array alive until
 * the kernel is done with it, and makes it over an ArrayBuffer of its own: that memory does not move.
 */
export function addressOf(bytes: Uint8Array): bigint {
  return koffi.address(bytes);
}

/** Soft limit of locked memory in bytes; Infinity where there is none. */
export function memlockLimitBytes(): number {
  const limit = new BigUint64Array(2);
  if ((C.getrlimit(RLIMIT_MEMLOCK, limit) as number) < 0) throw failed('getrlimit');
  const soft = limit[0] as bigint;
  return soft === 0xffffffffffffffffn ? Number.POSITIVE_INFINITY : Number(soft);
}

/**
 * Calls `listener` each time `fd` is readable (or hung up) until the returned function is called. Does not keep
 * the process alive.
 */
export function onReadable(fd: number, listener: () => void): () => void {
  const handle = koffi.node.poll(fd, { readable: true, disconnect: true }, () => listener());
  handle.unref();
  return () => handle.stop();
}

/** True for a `NicError` of a system call with this errno name, for example `ENOENT`. */
export function isErrno(error: unknown, name: string): boolean {
  if (error instanceof NicError) return error.errno !== undefined && errnoName(error.errno) === name;
  return error instanceof Error && (error as NodeJS.ErrnoException).code === name;
}
