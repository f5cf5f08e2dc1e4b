/** File descriptors: event counters, closing, blocking or not, and waiting for one on the event loop. */
import koffi from 'koffi';
import { failed, fcntl, libc, O_CLOEXEC, O_NONBLOCK } from './libc.js';

const C = {
  eventfd: libc.func('int eventfd(uint32_t initval, int flags)'),
  close: libc.func('int close(int fd)'),
};

const F_GETFL = 3;
const F_SETFL = 4;

/** Non-blocking, close-on-exec event counter. @throws NicError `SYSCALL` */
export function eventfd(): number {
  const fd = C.eventfd(0, O_CLOEXEC | O_NONBLOCK) as number;
  if (fd < 0) throw failed('eventfd');
  return fd;
}

/**
 * close(2) for descriptors that came from calls in this folder. fs.closeSync warns in worker threads about those it did
 * not open, and throws what the file's maker decides.
 */
export function closeFd(fd: number): void {
  C.close(fd);
}

/** Sets whether reads and writes on the open file behind `fd` wait. @throws NicError `SYSCALL` */
export function setBlocking(fd: number, blocking: boolean): void {
  const flags = fcntl(fd, F_GETFL, 0) as number;
  const wanted = blocking ? flags & ~O_NONBLOCK : flags | O_NONBLOCK;
  if (flags < 0 || (fcntl(fd, F_SETFL, wanted) as number) < 0) throw failed('fcntl(F_SETFL)');
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
  // close, not stop: a handle that is only stopped unhooks whichever file has its number when it is collected
  return () => handle.close();
}
