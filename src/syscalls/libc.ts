/** The C library, and what its calls have in common: the flags of descriptors, and how a failure becomes an error. */
import koffi from 'koffi';
import { NicError } from '../errors.js';

/** Internal to this folder: `libc.func('int close(int fd)')` makes a function that calls C. */
export const libc = koffi.load('libc.so.6');

export const fcntl = libc.func('int fcntl(int fd, int command, int64_t argument)');

/** Flags of open descriptors, x86-64 Linux (asm-generic/fcntl.h). EFD_* and SOCK_* have the same values. */
export const O_NONBLOCK = 0o4000;
export const O_CLOEXEC = 0o2000000;

/** The error for a call that has just failed; to be made before any other call, which would change errno. */
export function failed(syscall: string, path?: string): NicError {
  const errno = koffi.errno();
  return new NicError('SYSCALL', `${syscall}${path === undefined ? '' : ` on ${path}`} failed`, {
    syscall,
    errno,
    path,
  });
}

/** The result of a call that has just returned, or the negative errno where it failed. */
export function resultOrErrno(result: number): number {
  return result < 0 ? -koffi.errno() : result;
}
