/**
 * The kernel as the VFIO back ends see it: one object with every call they make. The default goes to the real kernel;
 * the tests put an emulated one in its place, so that each answer a kernel can give is tried without hardware.
 */
import { accessSync, closeSync, constants, openSync, readSync, writeSync } from 'node:fs';
import { userInfo } from 'node:os';
import { NicError, type NicErrorCode } from '../errors.js';
import { type KernelFiles, systemFiles } from '../pci/files.js';
import { KERNEL_LOG_HINT } from '../pci/vfio-state.js';
import { eventfd, watchFd } from '../syscalls/descriptors.js';
import { readEventfd } from '../syscalls/event-counters.js';
import { tryIoctl } from '../syscalls/ioctl.js';
import { memlockLimitBytes } from '../syscalls/limits.js';
import { addressOf, MAP_SHARED, type Mapping, mmap, munmap } from '../syscalls/memory.js';
import type { IoctlRequest, Struct } from './uapi.js';

export interface KernelApi extends KernelFiles {
  /** Opens for reading and writing, close-on-exec. @throws NicError `SYSCALL` */
  open(path: string): number;
  close(fd: number): void;
  /** Non-negative result, or the negative errno. */
  ioctl(fd: number, request: number, argument: Uint8Array | number | string): number;
  /** Bytes read. @throws NicError `SYSCALL` */
  pread(fd: number, offset: number, into: Uint8Array): number;
  pwrite(fd: number, offset: number, from: Uint8Array): number;
  /** Shared mapping; `protection` as `PROT_*`. @throws NicError `SYSCALL` */
  mmap(fd: number, sizeBytes: number, offset: number, protection: number): Mapping;
  munmap(mapping: Mapping): void;
  /** New non-blocking event counter. @throws NicError `SYSCALL` */
  eventfd(): number;
  /** The counter's value, which becomes 0; 0 where nothing has happened. Does not wait, whoever else has the counter. */
  readEventfd(fd: number): number;
  onReadable(fd: number, listener: () => void): () => void;
  /** Address of memory that a structure has to point at. The caller keeps the array alive. */
  addressOf(bytes: Uint8Array): bigint;
  memlockLimitBytes(): number;
  canReadWrite(path: string): boolean;
  /** Whose process this is. */
  user(): { readonly name: string; readonly isRoot: boolean };
}

/** The kernel this process runs on. */
export const realKernel: KernelApi = {
  ...systemFiles,
  open: (path) => asNicError('open', path, () => openSync(path, constants.O_RDWR)),
  close: (fd) => asNicError('close', undefined, () => closeSync(fd)),
  ioctl: tryIoctl,
  // Region offsets are the region's index << 40 plus less than 2^40: a double holds them exactly.
  pread: (fd, offset, into) =>
    asNicError('pread', undefined, () => readSync(fd, into, 0, into.length, offset)),
  pwrite: (fd, offset, from) =>
    asNicError('pwrite', undefined, () => writeSync(fd, from, 0, from.length, offset)),
  mmap: (fd, sizeBytes, offset, protection) => mmap(fd, sizeBytes, offset, protection, MAP_SHARED),
  munmap,
  eventfd,
  readEventfd,
  onReadable: (fd, listener) => watchFd(fd, { readable: true }, false, listener),
  addressOf,
  memlockLimitBytes,
  canReadWrite: (path) => {
    try {
      accessSync(path, constants.R_OK | constants.W_OK);
      return true;
    } catch {
      return false;
    }
  },
  user,
};

/** A user without an entry in the list of users, as in some containers, has a number for a name: chown takes it. */
function user(): { name: string; isRoot: boolean } {
  const uid = process.geteuid?.() ?? 0;
  try {
    return { name: userInfo().username, isRoot: uid === 0 };
  } catch {
    return { name: String(uid), isRoot: uid === 0 };
  }
}

/**
 * Makes an ioctl with a structure, a number or a string; returns its non-negative result.
 * @param what what was attempted on what, the start of the message: `Cannot reset 0000:03:00.0`
 * @throws NicError with `code` and `syscall` = `ioctl(NAME)`
 */
export function checkedIoctl(
  kernel: KernelApi,
  fd: number,
  request: IoctlRequest,
  argument: Struct | number | string,
  what: string,
  code: NicErrorCode = 'VFIO',
): number {
  const result = rawIoctl(kernel, fd, request, argument);
  if (result < 0) throw ioctlError(request, -result, what, code);
  return result;
}

/** Like `checkedIoctl`, but returns the negative errno. */
export function rawIoctl(
  kernel: KernelApi,
  fd: number,
  request: IoctlRequest,
  argument: Struct | number | string,
): number {
  const raw = typeof argument === 'object' ? argument.bytes : argument;
  return kernel.ioctl(fd, request.number, raw);
}

export function ioctlError(
  request: IoctlRequest,
  errno: number,
  what: string,
  code: NicErrorCode = 'VFIO',
  details: { hint?: string; path?: string } = {},
): NicError {
  return new NicError(code, what, {
    syscall: `ioctl(${request.name})`,
    errno,
    hint: KERNEL_LOG_HINT,
    ...details,
  });
}

function asNicError<T>(syscall: string, path: string | undefined, call: () => T): T {
  try {
    return call();
  } catch (cause) {
    const { errno } = cause as NodeJS.ErrnoException;
    const on = path === undefined ? '' : ` on ${path}`;
    throw new NicError('SYSCALL', `${syscall}${on} failed`, { syscall, errno, path, cause });
  }
}
