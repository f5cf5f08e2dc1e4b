/** File descriptors: event counters, closing, blocking or not, and waiting for one on the event loop. */
import { closeSync, openSync } from 'node:fs';
import { isMainThread } from 'node:worker_threads';
import koffi from 'koffi';
import { failed, fcntl, libc, O_CLOEXEC, O_NONBLOCK } from './libc.js';
import { watchInWorker } from './worker-watches.js';

const C = {
  eventfd: libc.func('int eventfd(uint32_t initval, int flags)'),
  close: libc.func('int close(int fd)'),
  dup3: libc.func('int dup3(int from, int to, int flags)'),
};

const F_GETFL = 3;
const F_SETFL = 4;

/** Non-blocking, close-on-exec event counter. @throws NicError `SYSCALL` */
export function eventfd(): number {
  const fd = C.eventfd(0, O_CLOEXEC | O_NONBLOCK) as number;
  if (fd < 0) throw failed('eventfd');
  return fd;
}

/** Descriptors of this thread that Node closes with it. */
const closedWithThread = new Set<number>();

/**
 * close(2) for descriptors that came from calls in this folder. fs.closeSync warns in worker threads about those it did
 * not open, and throws what the file's maker decides.
 */
export function closeFd(fd: number): void {
  if (closedWithThread.delete(fd)) closeSync(fd);
  else C.close(fd);
}

/**
 * Makes a descriptor end with this thread: a worker that is terminated runs no code that could close it. Node closes what
 * a worker opened by `fs` (unless it was started with `trackUnmanagedFds: false`), so the file gets the number of
 * such a descriptor. Returns the number, to be used in place of `fd` from then on; in the main thread `fd` itself.
 * @throws NicError `SYSCALL`
 */
export function closeWithThread(fd: number): number {
  if (isMainThread) return fd;
  const owned = openSync('/dev/null', 'r');
  if ((C.dup3(fd, owned, O_CLOEXEC) as number) < 0) {
    const error = failed('dup3');
    closeSync(owned);
    throw error;
  }
  C.close(fd);
  closedWithThread.add(owned);
  return owned;
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
  if (!isMainThread) return watchInWorker(fd, events, keepAlive, listener);
  const handle = koffi.node.poll(fd, { ...events, disconnect: events.readable === true }, () => listener());
  if (!keepAlive) handle.unref();
  // close, not stop: a handle that is only stopped unhooks whichever file has its number when it is collected
  return () => handle.close();
}
