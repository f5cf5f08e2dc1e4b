/** ioctl(2): requests to drivers, with a structure, an integer or a string as the argument. */
import { NicError } from '../errors.js';
import { libc, resultOrErrno } from './libc.js';

const C = {
  ioctlPtr: libc.func('ioctl', 'int', ['int', 'unsigned long', 'void *']),
  ioctlInt: libc.func('ioctl', 'int', ['int', 'unsigned long', 'int64_t']),
  ioctlStr: libc.func('ioctl', 'int', ['int', 'unsigned long', 'str']),
};

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
  if (typeof argument === 'number') return resultOrErrno(C.ioctlInt(fd, request, argument) as number);
  if (typeof argument === 'string') return resultOrErrno(C.ioctlStr(fd, request, argument) as number);
  return resultOrErrno(C.ioctlPtr(fd, request, argument) as number);
}
