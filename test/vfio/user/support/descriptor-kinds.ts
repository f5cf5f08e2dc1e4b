/** Descriptors of every kind that a peer may hand over. */
import { closeSync, ftruncateSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import koffi from 'koffi';
import { eventfd, setBlocking } from '../../../../src/syscalls/descriptors.js';
import {
  addFileSeals,
  F_SEAL_GROW,
  F_SEAL_SEAL,
  F_SEAL_SHRINK,
  MFD_ALLOW_SEALING,
  MFD_CLOEXEC,
  MFD_HUGE_2MB,
  MFD_HUGETLB,
  memfdCreate,
} from '../../../../src/syscalls/memory.js';

const libc = koffi.load('libc.so.6');
const C = {
  epoll: libc.func('int epoll_create1(int flags)'),
  inotify: libc.func('int inotify_init1(int flags)'),
  timer: libc.func('int timerfd_create(int clock, int flags)'),
  signal: libc.func('int signalfd(int fd, const void *mask, int flags)'),
  pipe: libc.func('int pipe(void *fds)'),
  pair: libc.func('int socketpair(int domain, int type, int protocol, void *fds)'),
  socket: libc.func('int socket(int domain, int type, int protocol)'),
  eventfd: libc.func('int eventfd(uint32_t initial, int flags)'),
  syscall: libc.func('syscall', 'long', ['long', 'long', 'long']),
};

const SYS_PIDFD_OPEN = 434;
const SYS_MEMFD_SECRET = 447;
const SYS_USERFAULTFD = 323;
const EFD_SEMAPHORE = 1;
const O_PATH = 0o10000000;
const MEMORY_BYTES = 64 * 4096;

function memfd(flags: number, sizeBytes = MEMORY_BYTES, seals = 0): number {
  const fd = memfdCreate('kinds', (MFD_CLOEXEC | flags) >>> 0);
  ftruncateSync(fd, sizeBytes);
  if (seals !== 0) addFileSeals(fd, seals);
  return fd;
}

function pairOf(make: (fds: Int32Array) => unknown, which: 0 | 1): number {
  const fds = new Int32Array(2);
  make(fds);
  closeSync(fds[1 - which]!);
  return fds[which]!;
}

function plainFile(folder: string): number {
  const directory = mkdtempSync(join(folder, 'barewire-'));
  const fd = openSync(join(directory, 'file'), 'w+');
  ftruncateSync(fd, MEMORY_BYTES);
  rmSync(directory, { recursive: true });
  return fd;
}

function readOnly(fd: number): number {
  const reader = openSync(`/proc/self/fd/${fd}`, 'r');
  closeSync(fd);
  return reader;
}

function counter(value: bigint, blocking: boolean): number {
  const fd = eventfd();
  if (value > 0n) writeSync(fd, new BigUint64Array([value]));
  setBlocking(fd, blocking);
  return fd;
}

/** By name; each call opens a new one. The first ones are what peers should hand over. */
export const KINDS: Readonly<Record<string, () => number>> = {
  'memfd that takes seals': () => memfd(MFD_ALLOW_SEALING),
  eventfd: () => counter(0n, false),
  'memfd sealed for good': () =>
    memfd(MFD_ALLOW_SEALING, MEMORY_BYTES, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL),
  'memfd of 1 TiB': () => memfd(MFD_ALLOW_SEALING, 2 ** 40),
  'memfd of nothing': () => memfd(MFD_ALLOW_SEALING, 0),
  'memfd without seals': () => memfd(0),
  'memfd that takes no more seals': () => memfd(MFD_ALLOW_SEALING, MEMORY_BYTES, F_SEAL_SEAL),
  'memfd of hugepages': () => memfd(MFD_ALLOW_SEALING | MFD_HUGETLB | MFD_HUGE_2MB, 2 ** 21),
  'memfd to read only': () => readOnly(memfd(MFD_ALLOW_SEALING)),
  'eventfd that waits': () => counter(0n, true),
  'eventfd that is full and waits': () => counter(0xfffffffffffffffen, true),
  'eventfd that counts down': () => C.eventfd(0x7fffffff, EFD_SEMAPHORE) as number,
  file: () => plainFile(tmpdir()),
  'file in memory': () => plainFile('/dev/shm'),
  folder: () => openSync('/', 'r'),
  'path only': () => openSync('/etc/passwd', O_PATH),
  '/dev/null': () => openSync('/dev/null', 'r+'),
  '/dev/zero': () => openSync('/dev/zero', 'r+'),
  terminal: () => openSync('/dev/ptmx', 'r+'),
  '/proc/self/mem': () => openSync('/proc/self/mem', 'r+'),
  'end of a pipe to read': () => pairOf((fds) => C.pipe(fds), 0),
  'end of a pipe to write': () => pairOf((fds) => C.pipe(fds), 1),
  'Unix socket': () => pairOf((fds) => C.pair(1, 1, 0, fds), 0),
  'TCP socket': () => C.socket(2, 1, 0) as number,
  epoll: () => C.epoll(0) as number,
  inotify: () => C.inotify(0) as number,
  timer: () => C.timer(1, 0) as number,
  signals: () => C.signal(-1, new Uint8Array(8), 0) as number,
  process: () => Number(C.syscall(SYS_PIDFD_OPEN, process.pid, 0)),
  'secret memory': () => Number(C.syscall(SYS_MEMFD_SECRET, 0, 0)),
  'page faults': () => Number(C.syscall(SYS_USERFAULTFD, 1, 0)),
};

/** One descriptor of each kind that this kernel makes for this user. */
export function openAllKinds(): { name: string; fd: number }[] {
  return Object.entries(KINDS).flatMap(([name, make]) => {
    try {
      const fd = make();
      return fd < 0 ? [] : [{ name, fd }];
    } catch {
      return [];
    }
  });
}
