/**
 * A Unix socket that is listened on, and the life of its file. It belongs to the user alone (mode 0600, whatever the
 * umask). What stands at the path is never taken from anybody: a file that is no socket stays, and so does the socket of
 * a living process; a socket that a killed process left is replaced. Processes that replace one at the same time take
 * turns by a lock on the folder, so that exactly one of them has the path in the end.
 */
import {
  closeSync,
  constants,
  existsSync,
  lstatSync,
  openSync,
  rmdirSync,
  type Stats,
  unlinkSync,
} from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { isErrno, NicError } from '../errors.js';
import { closeFd } from './descriptors.js';
import { tryLock } from './locks.js';
import { unixBind, unixListen, unixSocket, unixSocketState } from './unix-sockets.js';

/** How long another process may hold the folder's lock. Replacing takes less than a millisecond. */
const LOCK_TIMEOUT_MS = 3000;
const LOCK_RETRY_MS = 5;
/** Somebody else may take the path between our removing the old file and our binding, but not for ever. */
const MAX_TRIES = 8;

export class ListeningSocket {
  /** As it was given. */
  readonly path: string;
  #fd: number;
  #file: { readonly path: string; readonly stats: Stats } | undefined;

  private constructor(path: string, fd: number) {
    this.path = path;
    this.#fd = fd;
    // the working directory may be another one at the end
    this.#file = { path: resolve(path), stats: lstatSync(path) };
  }

  /**
   * Listens, non-blocking. `fd` may be given to `net.Server.listen({ fd })`, which then closes it: call `removeFile`
   * in place of `close`.
   * @param backlog connections that may wait
   * @throws NicError `ALREADY_OPEN` where a living process has the path, `BAD_ADDRESS` where what is there is no socket
   * or the path cannot be a socket's, `NO_PERMISSION`, `SYSCALL`
   * @example
   * const socket = ListeningSocket.listen('/tmp/wire.sock', 4);
   * const server = createServer(onPeer).listen({ fd: socket.fd });
   * // at the end
   * socket.removeFile();
   * server.close();
   */
  static listen(path: string, backlog: number): ListeningSocket {
    const fd = unixSocket();
    try {
      if (!unixBind(fd, path)) withFolderLocked(path, () => replaceDead(fd, path));
      const socket = new ListeningSocket(path, fd);
      try {
        unixListen(fd, path, backlog);
      } catch (error) {
        socket.removeFile();
        throw error;
      }
      return socket;
    } catch (error) {
      closeFd(fd);
      throw explainBind(error, path);
    }
  }

  /** -1 after `close`. */
  get fd(): number {
    return this.#fd;
  }

  /**
   * Removes the file, unless it has become another's. To be called while the socket is open, which keeps others from
   * taking the path for a dead one. May be called twice.
   */
  removeFile(): void {
    const file = this.#file;
    if (file === undefined) return;
    this.#file = undefined;
    try {
      if (isSameFile(lstatSync(file.path), file.stats)) unlinkSync(file.path);
    } catch (error) {
      // removed by somebody else, or its folder: then there is nothing to do
      if (!isErrno(error, 'ENOENT') && !isErrno(error, 'ENOTDIR')) throw error;
    }
  }

  /** Removes the file and stops listening. May be called twice. */
  close(): void {
    if (this.#fd < 0) return;
    try {
      this.removeFile();
    } finally {
      closeFd(this.#fd);
      this.#fd = -1;
    }
  }
}

function isSameFile(a: Stats, b: Stats): boolean {
  return a.ino === b.ino && a.dev === b.dev;
}

/** Binds to a path where something is, if that is the socket of a process that has ended. */
function replaceDead(fd: number, path: string): void {
  for (let tries = 0; tries < MAX_TRIES; tries++) {
    const found = lstatSync(path, { throwIfNoEntry: false });
    if (found !== undefined) {
      if (!found.isSocket()) throw notASocket(path);
      if (unixSocketState(path) === 'dead') {
        // A process in the middle of bind(2) has made its file, but does not own it yet; it holds the folder meanwhile.
        awaitChangesOf(dirname(path));
      }
      const state = unixSocketState(path);
      if (state === 'alive' || state === 'unknown') throw inUse(path, state);
      if (state === 'missing') continue;
      const still = lstatSync(path, { throwIfNoEntry: false });
      if (still === undefined || !isSameFile(still, found)) continue;
      unlinkSync(path);
    }
    if (unixBind(fd, path)) return;
  }
  throw inUse(path, 'alive');
}

/** Returns when changes of the folder that were under way have been made: its kernel lock is taken and given back. */
function awaitChangesOf(folder: string): void {
  try {
    rmdirSync(join(folder, `.barewire-${process.pid}-none`));
  } catch {
    // there is no such folder; the lock was taken to find out
  }
}

function withFolderLocked(path: string, action: () => void): void {
  const folder = dirname(path);
  const fd = openFolder(folder, path);
  try {
    const deadlineMs = performance.now() + LOCK_TIMEOUT_MS;
    while (!tryLock(fd)) {
      if (performance.now() > deadlineMs) {
        throw new NicError('ALREADY_OPEN', `Cannot replace the socket ${path}: ${folder} is locked`, {
          path,
          hint: `Another process has held the lock of the folder for ${LOCK_TIMEOUT_MS} ms. Choose a path in another folder.`,
        });
      }
      pause(LOCK_RETRY_MS);
    }
    action();
  } finally {
    closeSync(fd);
  }
}

function openFolder(folder: string, path: string): number {
  try {
    return openSync(folder, constants.O_RDONLY | constants.O_DIRECTORY);
  } catch (cause) {
    throw new NicError('NO_PERMISSION', `Cannot replace the socket ${path}: ${folder} cannot be read`, {
      path,
      hint: 'If nobody listens there, remove the socket by hand, or choose another path.',
      cause,
    });
  }
}

function pause(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}

/** The error of a path at which no socket can be made, in words. */
function explainBind(error: unknown, path: string): unknown {
  if (!(error instanceof NicError) || error.syscall !== 'bind') return error;
  const details = { path, errno: error.errno, syscall: error.syscall, cause: error };
  const failed = `Cannot listen at ${path}`;
  if (!existsSync(dirname(path)) || isErrno(error, 'ENOTDIR')) {
    return new NicError('BAD_ADDRESS', failed, {
      ...details,
      hint: `There is no folder ${dirname(path)}. Make it, or choose another path.`,
    });
  }
  if (isErrno(error, 'EACCES') || isErrno(error, 'EROFS') || isErrno(error, 'EPERM')) {
    return new NicError('NO_PERMISSION', failed, {
      ...details,
      hint: `No file can be made in ${dirname(path)}. Choose a folder of your own, such as /tmp.`,
    });
  }
  const hint = `${dirname(path)} takes no sockets. Choose another folder, such as /tmp.`;
  return new NicError('SYSCALL', failed, { ...details, hint });
}

function notASocket(path: string): NicError {
  return new NicError('BAD_ADDRESS', `${path} exists and is not a socket`, {
    path,
    hint: 'Choose another path, or remove the file if it is not needed.',
  });
}

function inUse(path: string, state: 'alive' | 'unknown'): NicError {
  if (state === 'alive') {
    return new NicError('ALREADY_OPEN', `Another process listens at ${path}`, {
      path,
      hint: 'Stop it, or choose another path.',
    });
  }
  return new NicError('ALREADY_OPEN', `The socket ${path} belongs to somebody else`, {
    path,
    hint: 'Choose another path.',
  });
}
