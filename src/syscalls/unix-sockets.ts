/** Unix sockets with descriptors in the messages, for vfio-user: unix(7), cmsg(3). */
import { fchmodSync } from 'node:fs';
import { constants } from 'node:os';
import koffi from 'koffi';
import { isErrno, NicError } from '../errors.js';
import { closeFd } from './descriptors.js';
import { failed, libc, O_CLOEXEC, O_NONBLOCK, resultOrErrno } from './libc.js';

const C = {
  socket: libc.func('int socket(int domain, int type, int protocol)'),
  bind: libc.func('int bind(int fd, const void *address, uint32_t length)'),
  listen: libc.func('int listen(int fd, int backlog)'),
  connect: libc.func('int connect(int fd, const void *address, uint32_t length)'),
  accept4: libc.func('int accept4(int fd, void *address, void *length, int flags)'),
  sendmsg: libc.func('int64_t sendmsg(int fd, const void *message, int flags)'),
  recvmsg: libc.func('int64_t recvmsg(int fd, void *message, int flags)'),
  recv: libc.func('int64_t recv(int fd, void *buffer, size_t length, int flags)'),
  shutdown: libc.func('int shutdown(int fd, int how)'),
  poll: libc.func('int poll(void *fds, uint64_t count, int timeoutMs)'),
};

const { EAGAIN, ECONNREFUSED, EINTR, ENOENT, EPROTO, EPROTOTYPE } = constants.errno;

const AF_UNIX = 1;
const SOCK_STREAM = 1;
const SOCK_DGRAM = 2;
const SOL_SOCKET = 1;
const SCM_RIGHTS = 1;
const SHUT_RDWR = 2;
const MSG_PEEK = 0x2;
const MSG_CTRUNC = 0x8;
const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;
const MSG_CMSG_CLOEXEC = 0x40000000;

/** Longest path of a Unix socket: sun_path holds 108 bytes with the final NUL (unix(7)). */
export const UNIX_PATH_MAX_BYTES = 107;

function unixAddress(path: string): Uint8Array {
  const bytes = new TextEncoder().encode(path);
  if (bytes.length === 0 || bytes.length > UNIX_PATH_MAX_BYTES || bytes.includes(0)) {
    throw new NicError(
      'BAD_ADDRESS',
      `Socket path ${JSON.stringify(path)} does not have 1 to ${UNIX_PATH_MAX_BYTES} bytes`,
      {
        path,
        hint: 'Unix sockets have short paths: use one in /tmp or /run, or a relative one.',
      },
    );
  }
  const address = new Uint8Array(2 + bytes.length + 1);
  address[0] = AF_UNIX;
  address.set(bytes, 2);
  return address;
}

/** Stream socket of the Unix family, non-blocking and close-on-exec. @throws NicError `SYSCALL` */
export function unixSocket(): number {
  const fd = C.socket(AF_UNIX, SOCK_STREAM | O_CLOEXEC | O_NONBLOCK, 0) as number;
  if (fd < 0) throw failed('socket');
  return fd;
}

/** For the user alone, who started the process. */
const SOCKET_MODE = 0o600;

/**
 * Creates the socket file, with mode 0600 at most: the kernel gives it the mode of the open socket, less the umask.
 * False where there is a file of this name already, of whatever kind.
 * @throws NicError `SYSCALL`, `BAD_ADDRESS`
 */
export function unixBind(fd: number, path: string): boolean {
  const address = unixAddress(path);
  fchmodSync(fd, SOCKET_MODE);
  if ((C.bind(fd, address, address.length) as number) === 0) return true;
  const error = failed('bind', path);
  if (isErrno(error, 'EADDRINUSE')) return false;
  throw error;
}

/** @throws NicError `SYSCALL` */
export function unixListen(fd: number, path: string, backlog: number): void {
  if ((C.listen(fd, backlog) as number) < 0) throw failed('listen', path);
}

/**
 * Whether a process has the socket file at `path` open. `dead`: nobody has; `missing`: there is none; `unknown`: it
 * cannot be asked. The owner is not disturbed: a datagram socket is connected, which a stream socket refuses because of
 * its kind, without hearing of it.
 */
export function unixSocketState(path: string): 'alive' | 'dead' | 'missing' | 'unknown' {
  const address = unixAddress(path);
  const probe = C.socket(AF_UNIX, SOCK_DGRAM | O_CLOEXEC | O_NONBLOCK, 0) as number;
  if (probe < 0) throw failed('socket');
  const errno = -resultOrErrno(C.connect(probe, address, address.length) as number);
  closeFd(probe);
  if (errno === 0 || errno === EPROTOTYPE) return 'alive';
  if (errno === ECONNREFUSED) return 'dead';
  return errno === ENOENT ? 'missing' : 'unknown';
}

/** @throws NicError `SYSCALL`, `BAD_ADDRESS` */
export function unixConnect(fd: number, path: string): void {
  const address = unixAddress(path);
  if ((C.connect(fd, address, address.length) as number) < 0) throw failed('connect', path);
}

/** Takes a waiting connection, non-blocking and close-on-exec. Returns the descriptor or the negative errno. */
export function acceptConnection(fd: number): number {
  return resultOrErrno(C.accept4(fd, null, null, O_CLOEXEC | O_NONBLOCK) as number);
}

/** Ends both directions; errors do not matter to a socket that is about to be closed. */
export function shutdownSocket(fd: number): void {
  C.shutdown(fd, SHUT_RDWR);
}

/** struct cmsghdr of 16 bytes, then descriptors: 253 are the most that the kernel passes (SCM_MAX_FD). */
const CMSG_HEADER_BYTES = 16;
const MAX_PASSED_FDS = 253;
const controlWords = new BigUint64Array(2 + Math.ceil(MAX_PASSED_FDS / 2));
const controlInts = new Int32Array(controlWords.buffer);
/** struct msghdr as 64-bit words: name, its length, iov, count, control, its length, flags. */
const messageHeader = new BigUint64Array(7);
/** struct iovec: base, length. */
const vector = new BigUint64Array(2);
const peekByte = new Uint8Array(8);
/** The buffer behind `vector`: a bare address does not keep it from being collected before the call. */
let held: Uint8Array = peekByte;

function prepareMessage(bytes: Uint8Array, controlLength: number): void {
  held = bytes;
  vector[0] = koffi.address(held) as bigint;
  vector[1] = BigInt(bytes.length);
  messageHeader[2] = koffi.address(vector) as bigint;
  messageHeader[3] = 1n;
  messageHeader[4] = controlLength === 0 ? 0n : (koffi.address(controlWords) as bigint);
  messageHeader[5] = BigInt(controlLength);
  messageHeader[6] = 0n;
}

/**
 * sendmsg(2) without SIGPIPE, which never waits. `fds` travel with the first byte and stay open here. Returns how many bytes were
 * taken, or the negative errno.
 */
export function sendMessage(fd: number, bytes: Uint8Array, fds: readonly number[]): number {
  if (fds.length > MAX_PASSED_FDS) throw new RangeError(`${fds.length} descriptors in one message`);
  if (fds.length === 0) {
    prepareMessage(bytes, 0);
  } else {
    controlWords[0] = BigInt(CMSG_HEADER_BYTES + 4 * fds.length);
    controlInts[2] = SOL_SOCKET;
    controlInts[3] = SCM_RIGHTS;
    controlInts.set(fds, CMSG_HEADER_BYTES / 4);
    prepareMessage(bytes, CMSG_HEADER_BYTES + 8 * Math.ceil(fds.length / 2));
  }
  return resultOrErrno(Number(C.sendmsg(fd, messageHeader, MSG_NOSIGNAL | MSG_DONTWAIT)));
}

/**
 * recvmsg(2), which never waits. Descriptors that come along are close-on-exec and appended to `fds`; the caller owns
 * them. Returns the number of bytes (0: the peer hung up) or the negative errno; -EPROTO where the kernel had to drop
 * descriptors, which it does with all of them where `takeFds` is false; `fds` has those that were delivered.
 */
export function receiveMessage(fd: number, into: Uint8Array, fds: number[], takeFds: boolean): number {
  prepareMessage(into, takeFds ? controlWords.byteLength : 0);
  const received = resultOrErrno(Number(C.recvmsg(fd, messageHeader, MSG_CMSG_CLOEXEC | MSG_DONTWAIT)));
  if (received < 0) return received;
  const controlLength = Number(messageHeader[5]);
  let at = 0;
  while (at + CMSG_HEADER_BYTES <= controlLength) {
    const length = Number(controlWords[at / 8]);
    if (length < CMSG_HEADER_BYTES || at + length > controlLength) break;
    if (controlInts[at / 4 + 2] === SOL_SOCKET && controlInts[at / 4 + 3] === SCM_RIGHTS) {
      const end = at + length;
      for (let offset = at + CMSG_HEADER_BYTES; offset + 4 <= end; offset += 4) {
        fds.push(controlInts[offset / 4]!);
      }
    }
    at += 8 * Math.ceil(length / 8);
  }
  return (Number(messageHeader[6]) & MSG_CTRUNC) === 0 ? received : -EPROTO;
}

/** True where a read would not block: there is data, or the peer hung up, or the socket has an error. */
export function hasInput(fd: number): boolean {
  if (Number(C.recv(fd, peekByte, 1, MSG_PEEK | MSG_DONTWAIT)) >= 0) return true;
  return koffi.errno() !== EAGAIN;
}

const POLLIN = 0x1;
const POLLOUT = 0x4;
/** struct pollfd: the descriptor, then what is waited for and what has come, 16 bits each. */
const pollRequest = new Int32Array(new ArrayBuffer(8));

/**
 * Waits until the socket can be read or written, hung up or failed, at most `timeoutMs`. False where the time is over.
 * The thread does nothing else meanwhile.
 */
export function waitForSocket(fd: number, direction: 'read' | 'write', timeoutMs: number): boolean {
  const deadlineMs = performance.now() + timeoutMs;
  for (;;) {
    pollRequest[0] = fd;
    pollRequest[1] = direction === 'read' ? POLLIN : POLLOUT;
    const waitMs = Math.max(0, Math.ceil(deadlineMs - performance.now()));
    const ready = resultOrErrno(C.poll(pollRequest, 1, Math.min(waitMs, 0x7fff_ffff)) as number);
    if (ready !== -EINTR) return ready !== 0;
  }
}
