/**
 * System calls that Node.js does not offer, by FFI to the C library. The only file that imports koffi.
 * Each function throws a `NicError` that carries the call's name and errno; none is for the packet path.
 */
import { constants } from 'node:os';
import koffi from 'koffi';
import { errnoName, NicError } from './errors.js';

const libc = koffi.load('libc.so.6');

const C = {
  mmap: libc.func('void *mmap(void *addr, size_t length, int prot, int flags, int fd, int64_t offset)'),
  munmap: libc.func('int munmap(void *addr, size_t length)'),
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
  // close, not stop: a handle that is only stopped unhooks whichever file has its number when it is collected
  return () => handle.close();
}

/** True for a `NicError` of a system call with this errno name, for example `ENOENT`. */
export function isErrno(error: unknown, name: string): boolean {
  if (error instanceof NicError) return error.errno !== undefined && errnoName(error.errno) === name;
  return error instanceof Error && (error as NodeJS.ErrnoException).code === name;
}

// Unix sockets with descriptors in the messages, file seals and raw mappings (vfio-user).

const U = {
  socket: libc.func('int socket(int domain, int type, int protocol)'),
  bind: libc.func('int bind(int fd, const void *address, uint32_t length)'),
  listen: libc.func('int listen(int fd, int backlog)'),
  connect: libc.func('int connect(int fd, const void *address, uint32_t length)'),
  accept4: libc.func('int accept4(int fd, void *address, void *length, int flags)'),
  sendmsg: libc.func('int64_t sendmsg(int fd, const void *message, int flags)'),
  recvmsg: libc.func('int64_t recvmsg(int fd, void *message, int flags)'),
  recv: libc.func('int64_t recv(int fd, void *buffer, size_t length, int flags)'),
  setsockopt: libc.func('int setsockopt(int fd, int level, int option, const void *value, uint32_t length)'),
  shutdown: libc.func('int shutdown(int fd, int how)'),
  fcntl: libc.func('int fcntl(int fd, int command, int64_t argument)'),
  close: libc.func('int close(int fd)'),
};

const AF_UNIX = 1;
const SOCK_STREAM = 1;
const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2000000;
const SOL_SOCKET = 1;
const SO_RCVTIMEO = 20;
const SO_SNDTIMEO = 21;
const SCM_RIGHTS = 1;
const SHUT_RDWR = 2;
const MSG_PEEK = 0x2;
const MSG_CTRUNC = 0x8;
const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;
const MSG_CMSG_CLOEXEC = 0x40000000;
const F_GETFL = 3;
const F_SETFL = 4;
const O_NONBLOCK = 0o4000;
const F_ADD_SEALS = 1033;
const F_GET_SEALS = 1034;
const EPROTO = 71;

/** File seals (linux/fcntl.h): no more seals, cannot shrink, cannot grow. */
export const F_SEAL_SEAL = 0x1;
export const F_SEAL_SHRINK = 0x2;
export const F_SEAL_GROW = 0x4;

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

/** Stream socket of the Unix family, close-on-exec. @throws NicError `SYSCALL` */
export function unixSocket(nonBlocking: boolean): number {
  const type = SOCK_STREAM | SOCK_CLOEXEC | (nonBlocking ? SOCK_NONBLOCK : 0);
  const fd = U.socket(AF_UNIX, type, 0) as number;
  if (fd < 0) throw failed('socket');
  return fd;
}

/** Creates the socket file and listens on it. @throws NicError `SYSCALL`, `BAD_ADDRESS` */
export function unixBindAndListen(fd: number, path: string, backlog: number): void {
  const address = unixAddress(path);
  if ((U.bind(fd, address, address.length) as number) < 0) throw failed('bind', path);
  if ((U.listen(fd, backlog) as number) < 0) throw failed('listen', path);
}

/** @throws NicError `SYSCALL`, `BAD_ADDRESS` */
export function unixConnect(fd: number, path: string): void {
  const address = unixAddress(path);
  if ((U.connect(fd, address, address.length) as number) < 0) throw failed('connect', path);
}

/** Takes a waiting connection, non-blocking and close-on-exec. Returns the descriptor or the negative errno. */
export function acceptConnection(fd: number): number {
  const client = U.accept4(fd, null, null, SOCK_CLOEXEC | SOCK_NONBLOCK) as number;
  return client < 0 ? -koffi.errno() : client;
}

/**
 * close(2) for descriptors that came from calls in this file. fs.closeSync warns in worker threads about those it did
 * not open, and throws what the file's maker decides.
 */
export function closeFd(fd: number): void {
  U.close(fd);
}

/** Lets blocking calls on the socket fail with EAGAIN after `timeoutMs`. @throws NicError `SYSCALL` */
export function setSocketTimeouts(fd: number, timeoutMs: number): void {
  const timeval = new BigInt64Array([
    BigInt(Math.trunc(timeoutMs / 1000)),
    BigInt(Math.trunc((timeoutMs % 1000) * 1000)),
  ]);
  for (const option of [SO_RCVTIMEO, SO_SNDTIMEO]) {
    if ((U.setsockopt(fd, SOL_SOCKET, option, timeval, 16) as number) < 0) throw failed('setsockopt');
  }
}

/** Ends both directions; errors do not matter to a socket that is about to be closed. */
export function shutdownSocket(fd: number): void {
  U.shutdown(fd, SHUT_RDWR);
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
 * sendmsg(2) without SIGPIPE. `fds` travel with the first byte and stay open here. Returns how many bytes were
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
  const sent = Number(U.sendmsg(fd, messageHeader, MSG_NOSIGNAL));
  return sent < 0 ? -koffi.errno() : sent;
}

/**
 * recvmsg(2). Descriptors that come along are close-on-exec and appended to `fds`; the caller owns them. Returns
 * the number of bytes (0: the peer hung up) or the negative errno; -EPROTO where the kernel had to drop
 * descriptors, in which case those it did deliver are closed.
 */
export function receiveMessage(fd: number, into: Uint8Array, fds: number[], dontWait: boolean): number {
  prepareMessage(into, controlWords.byteLength);
  const flags = MSG_CMSG_CLOEXEC | (dontWait ? MSG_DONTWAIT : 0);
  const received = Number(U.recvmsg(fd, messageHeader, flags));
  if (received < 0) return -koffi.errno();
  const controlLength = Number(messageHeader[5]);
  const before = fds.length;
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
  if ((Number(messageHeader[6]) & MSG_CTRUNC) !== 0) {
    for (const dropped of fds.splice(before)) closeFd(dropped);
    return -EPROTO;
  }
  return received;
}

/** True where a read would not block: there is data, or the peer hung up, or the socket has an error. */
export function hasInput(fd: number): boolean {
  if (Number(U.recv(fd, peekByte, 1, MSG_PEEK | MSG_DONTWAIT)) >= 0) return true;
  return koffi.errno() !== constants.errno.EAGAIN;
}

/**
 * Calls `listener` on the event loop each time `fd` can be read (or hung up) or, with `writable`, be written, until
 * the returned function is called, which must happen before the descriptor is closed. One watch a descriptor.
 * `keepAlive`: the process does not end while this is watched.
 */
export function watchFd(
  fd: number,
  events: { readable?: boolean; writable?: boolean },
  keepAlive: boolean,
  listener: () => void,
): () => void {
  const handle = koffi.node.poll(fd, { ...events, disconnect: events.readable === true }, () => listener());
  if (!keepAlive) handle.unref();
  return () => handle.close();
}

/** Sets whether reads and writes on the open file behind `fd` wait. @throws NicError `SYSCALL` */
export function setBlocking(fd: number, blocking: boolean): void {
  const flags = U.fcntl(fd, F_GETFL, 0) as number;
  const wanted = blocking ? flags & ~O_NONBLOCK : flags | O_NONBLOCK;
  if (flags < 0 || (U.fcntl(fd, F_SETFL, wanted) as number) < 0) throw failed('fcntl(F_SETFL)');
}

/** Seals of the file (`F_SEAL_*`), or -1 where this kind of file has none. */
export function fileSeals(fd: number): number {
  return U.fcntl(fd, F_GET_SEALS, 0) as number;
}

/** Adds seals. False where the file does not take them. */
export function addFileSeals(fd: number, seals: number): boolean {
  return (U.fcntl(fd, F_ADD_SEALS, seals) as number) === 0;
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

/** The memory at `address` as an ArrayBuffer, at most 4 GiB. The address must stay mapped while it is used. */
export function viewMemory(address: bigint, sizeBytes: number): ArrayBuffer {
  return koffi.view(address, sizeBytes);
}
