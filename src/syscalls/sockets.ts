/**
 * Sockets of the kernel's network side (AF_XDP, AF_PACKET, AF_NETLINK): socket(2), bind(2), their options, the wake-up of a
 * ring, and messages. None can wait: sockets are made non-blocking and the wake-up says MSG_DONTWAIT.
 */
import { failed, libc, O_CLOEXEC, O_NONBLOCK, resultOrErrno } from './libc.js';

const C = {
  socket: libc.func('int socket(int domain, int type, int protocol)'),
  bind: libc.func('int bind(int fd, const void *address, uint32_t size)'),
  setsockopt: libc.func('int setsockopt(int fd, int level, int option, const void *value, uint32_t size)'),
  getsockopt: libc.func('int getsockopt(int fd, int level, int option, void *value, void *size)'),
  sendto: libc.func(
    'int64_t sendto(int fd, const void *data, size_t size, int flags, const void *to, uint32_t toSize)',
  ),
  recvfrom: libc.func(
    'int64_t recvfrom(int fd, void *data, size_t size, int flags, void *from, void *fromSize)',
  ),
};

const SOCK_RAW = 3;
const SOL_SOCKET = 1;
const SO_ERROR = 4;
const MSG_DONTWAIT = 0x40;

/** A raw socket, non-blocking and closed on exec; the negative errno where there is none. */
export function rawSocket(domain: number, protocol = 0): number {
  return resultOrErrno(C.socket(domain, SOCK_RAW | O_CLOEXEC | O_NONBLOCK, protocol) as number);
}

/** Sends a message to where the socket sends by itself. Returns its size or the negative errno. */
export function sendMessage(fd: number, message: Uint8Array): number {
  return resultOrErrno(Number(C.sendto(fd, message, message.length, MSG_DONTWAIT, null, 0)));
}

/** Receives a message into `buffer`. Returns its size, or the negative errno where none has come. */
export function receiveMessage(fd: number, buffer: Uint8Array): number {
  return resultOrErrno(Number(C.recvfrom(fd, buffer, buffer.length, MSG_DONTWAIT, null, null)));
}

/** bind(2). Returns 0 or the negative errno. */
export function bindSocket(fd: number, address: Uint8Array): number {
  return resultOrErrno(C.bind(fd, address, address.length) as number);
}

/** setsockopt(2). Returns 0 or the negative errno. */
export function setSocketOption(fd: number, level: number, option: number, value: Uint8Array): number {
  return resultOrErrno(C.setsockopt(fd, level, option, value, value.length) as number);
}

/** getsockopt(2) into `value`, which must be at least as large as the option. Returns its size or the negative errno. */
export function getSocketOption(fd: number, level: number, option: number, value: Uint8Array): number {
  const size = Uint32Array.of(value.length);
  const result = resultOrErrno(C.getsockopt(fd, level, option, value, size) as number);
  return result < 0 ? result : size[0]!;
}

/** The error that waits on a socket (SO_ERROR), 0 where there is none; asking clears it. @throws NicError `SYSCALL` */
export function socketError(fd: number): number {
  const value = new Int32Array(1);
  const result = C.getsockopt(fd, SOL_SOCKET, SO_ERROR, value, Uint32Array.of(4)) as number;
  if (result < 0) throw failed('getsockopt(SO_ERROR)');
  return value[0]!;
}

/** Has the kernel look at the transmit ring of an AF_XDP socket. Returns 0 or the negative errno. */
export function wakeTransmit(fd: number): number {
  const result = Number(C.sendto(fd, null, 0, MSG_DONTWAIT, null, 0));
  return result < 0 ? resultOrErrno(result) : 0;
}

/** Has the kernel look at the fill ring of an AF_XDP socket. Returns 0 or the negative errno. */
export function wakeReceive(fd: number): number {
  const result = Number(C.recvfrom(fd, null, 0, MSG_DONTWAIT, null, null));
  return result < 0 ? resultOrErrno(result) : 0;
}
