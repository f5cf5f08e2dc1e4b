/**
 * Event counters (eventfd(2)) that another process holds as well. Whether a read or a write on one waits is a property
 * of the open file, so O_NONBLOCK is the other side's too: it can be cleared at any moment, and a plain read or write
 * would then wait for ever. The calls here cannot wait, whatever the flag says:
 *
 * - A counter is read by preadv2(2) with RWF_NOWAIT.
 * - A counter is signalled by the kernel itself, as the completion of an asynchronous read (io_submit(2),
 *   IOCB_FLAG_RESFD) of an empty file of our own. Where the counter is full the kernel leaves it full.
 *
 * Specification: linux/aio_abi.h; fs/eventfd.c for what RWF_NOWAIT does to a counter (Linux 5.8).
 */
import { readlinkSync, readSync, writeSync } from 'node:fs';
import { constants } from 'node:os';
import koffi from 'koffi';
import { NicError } from '../errors.js';
import { closeFd, eventfd } from './descriptors.js';
import { failed, libc } from './libc.js';
import { MFD_CLOEXEC, memfdCreate } from './memory.js';

const C = {
  preadv2: libc.func('int64_t preadv2(int fd, const void *vector, int count, int64_t offset, int flags)'),
  ioSetup: libc.func('syscall', 'long', ['long', 'long', 'void *']),
  ioSubmit: libc.func('syscall', 'long', ['long', 'uint64_t', 'long', 'void *']),
};

const { EAGAIN, EINTR, EOPNOTSUPP, ENOSYS } = constants.errno;
const RWF_NOWAIT = 0x8;
/** Numbers of system calls without a function in the C library, x86-64. */
const SYS_IO_SETUP = 206;
const SYS_IO_SUBMIT = 209;
const COUNTER_BYTES = 8;

/** An array whose memory does not move. */
function fixedWords(count: number): BigUint64Array {
  return new BigUint64Array(new ArrayBuffer(8 * count));
}

const counter = fixedWords(1);
/** struct iovec: base, length. */
const vector = fixedWords(2);
vector[0] = koffi.address(counter) as bigint;
vector[1] = BigInt(COUNTER_BYTES);

/** True for an event counter, whoever made it. Does not touch the file itself: its maker could let that wait. */
export function isEventfd(fd: number): boolean {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`) === 'anon_inode:[eventfd]';
  } catch {
    return false;
  }
}

/**
 * The counter's value, which becomes 0; 0 where nothing has happened. Cannot wait, except on a kernel before 5.8
 * (see `canReadWithoutWaiting`) where somebody else cleared O_NONBLOCK.
 * @throws NicError `SYSCALL`
 */
export function readEventfd(fd: number): number {
  for (;;) {
    if (Number(C.preadv2(fd, vector, 1, -1, RWF_NOWAIT)) === COUNTER_BYTES) return Number(counter[0]);
    const errno = koffi.errno();
    if (errno === EAGAIN) return 0;
    if (errno === EOPNOTSUPP) return readPlainly(fd);
    if (errno !== EINTR) throw failed('preadv2');
  }
}

function readPlainly(fd: number): number {
  try {
    readSync(fd, counter, 0, COUNTER_BYTES, null);
    return Number(counter[0]);
  } catch (cause) {
    const errno = -((cause as NodeJS.ErrnoException).errno ?? 0);
    if (errno === EAGAIN) return 0;
    throw new NicError('SYSCALL', 'read failed', { syscall: 'read', errno, cause });
  }
}

let readsWithoutWaiting: boolean | undefined;

/** Whether this kernel can read a counter without waiting, whatever the file's flags are. */
export function canReadWithoutWaiting(): boolean {
  if (readsWithoutWaiting === undefined) {
    const fd = eventfd();
    C.preadv2(fd, vector, 1, -1, RWF_NOWAIT);
    readsWithoutWaiting = koffi.errno() !== EOPNOTSUPP;
    closeFd(fd);
  }
  return readsWithoutWaiting;
}

/** What an asynchronous read needs, set up once a thread and kept to its end. */
interface Signaller {
  readonly context: bigint;
  /** struct aio_ring, which the kernel shares: index 2 is the head, ours to move, 3 the tail. */
  readonly ring: Uint32Array;
  /** struct iocb; its last word is the counter to signal. */
  readonly request: Uint32Array;
  readonly list: BigUint64Array;
}

/** The errno where the kernel has no asynchronous I/O for us. */
let signaller: Signaller | number | undefined;

const RING_HEAD = 2;
const RING_TAIL = 3;
const RING_MAGIC_INDEX = 4;
const RING_MAGIC = 0xa10a10a1;
/** struct iocb as 32-bit words: opcode 0 (read) at 4, the file at 5, flags at 14, the counter at 15. */
const IOCB_BYTES = 64;
const IOCB_FILE = 5;
const IOCB_FLAGS = 14;
const IOCB_COUNTER = 15;
const IOCB_FLAG_RESFD = 1;

function setUp(): Signaller | number {
  const context = fixedWords(1);
  if (Number(C.ioSetup(SYS_IO_SETUP, 1, context)) < 0) return koffi.errno();
  const ring = new Uint32Array(koffi.view(context[0]!, 32));
  // a ring of another layout could not be emptied here
  if (ring[RING_MAGIC_INDEX] !== RING_MAGIC) return ENOSYS;
  const request = new Uint32Array(new ArrayBuffer(IOCB_BYTES));
  request[IOCB_FILE] = memfdCreate('barewire-signals', MFD_CLOEXEC);
  request[IOCB_FLAGS] = IOCB_FLAG_RESFD;
  const list = fixedWords(1);
  list[0] = koffi.address(request) as bigint;
  return { context: context[0]!, ring, request, list };
}

/** 0 where this thread can signal counters without waiting, else the errno of the kernel's refusal. */
export function prepareSignals(): number {
  signaller ??= setUp();
  return typeof signaller === 'number' ? signaller : 0;
}

/**
 * Adds 1 to the counter, or leaves it where it is full. Cannot wait. Takes 2 us. Returns 0, or the errno: EINVAL for
 * what is no counter, EAGAIN where the kernel lacks memory, and what `prepareSignals` returns.
 */
export function signalEventfd(fd: number): number {
  signaller ??= setUp();
  if (typeof signaller === 'number') return signaller;
  const { context, ring, request, list } = signaller;
  request[IOCB_COUNTER] = fd;
  const submitted = Number(C.ioSubmit(SYS_IO_SUBMIT, context, 1, list));
  const errno = submitted === 1 ? 0 : koffi.errno();
  // the read is complete; nobody is interested in how it ended
  ring[RING_HEAD] = ring[RING_TAIL]!;
  return errno;
}

const ONE = new Uint8Array(new BigUint64Array([1n]).buffer);

/**
 * Adds 1 to the counter by a plain write, for kernels that cannot do better: it waits for ever where the other side
 * has cleared O_NONBLOCK and filled the counter. Returns 0 or the errno.
 */
export function signalTrusted(fd: number): number {
  try {
    writeSync(fd, ONE);
    return 0;
  } catch (error) {
    const errno = -((error as NodeJS.ErrnoException).errno ?? 0);
    // full: there is something to see in any case
    return errno === EAGAIN ? 0 : errno;
  }
}
