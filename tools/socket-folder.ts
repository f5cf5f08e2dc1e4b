/**
 * The folder for the sockets of an emulator that was given no paths. It is locked as long as its process lives, so a
 * later emulator can tell the folders of killed ones, which could not remove theirs, and removes them.
 */
import {
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  mkdtempSync,
  openSync,
  readdirSync,
  rmdirSync,
  rmSync,
  unlinkSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isErrno, NicError } from '../src/errors.js';
import { tryLock } from '../src/syscalls/locks.js';
import { unixSocketState } from '../src/syscalls/unix-sockets.js';

const PREFIX = 'barewire-emulator-';
/** As mkdtemp makes it of the prefix. */
const FOLDER = /^barewire-emulator-[A-Za-z0-9]{6}$/;
const SOCKET = /^port[0-9]+\.sock$/;
/** Somebody else's cleaning may take a new folder for an old one before it is locked. */
const MAX_TRIES = 10;

export interface SocketFolder {
  /** Of the socket of a port in it. */
  socketPath(port: number): string;
  /** Removes the folder with all that is in it. */
  remove(): void;
}

/** Makes a folder in XDG_RUNTIME_DIR or the folder for temporary files, and removes those of killed emulators. */
export function makeSocketFolder(base = process.env.XDG_RUNTIME_DIR ?? tmpdir()): SocketFolder {
  for (let tries = 0; tries < MAX_TRIES; tries++) {
    const path = makeFolder(base);
    const lock = lockFolder(path);
    if (lock === undefined) continue;
    removeDead(base);
    return {
      socketPath: (port) => join(path, `port${port}.sock`),
      remove: () => {
        rmSync(path, { recursive: true, force: true });
        closeSync(lock);
      },
    };
  }
  throw new NicError('SYSCALL', `Each new folder in ${base} is removed at once by somebody else`, {
    path: base,
  });
}

/** @throws NicError `NO_PERMISSION`, `SYSCALL` where no folder can be made in `base` */
function makeFolder(base: string): string {
  try {
    return mkdtempSync(join(base, PREFIX));
  } catch (error) {
    const { errno, syscall, code } = error as NodeJS.ErrnoException;
    const failed = `Cannot make a folder for sockets in ${base}`;
    throw new NicError(code === 'EACCES' ? 'NO_PERMISSION' : 'SYSCALL', failed, {
      path: base,
      errno,
      syscall,
      cause: error,
      hint: 'XDG_RUNTIME_DIR (or else TMPDIR) names that folder: let it name one of yours. Or give each port a --socket.',
    });
  }
}

/** The descriptor that holds the lock of a folder of ours; undefined where another process has it, or the folder is gone. */
function lockFolder(path: string): number | undefined {
  let fd: number | undefined;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
    if (tryLock(fd) && lstatSync(path).ino === fstatSync(fd).ino) return fd;
  } catch (error) {
    if (!isErrno(error, 'ENOENT')) {
      if (fd !== undefined) closeSync(fd);
      throw error;
    }
  }
  if (fd !== undefined) closeSync(fd);
  return undefined;
}

function removeDead(base: string): void {
  for (const name of namesIn(base)) {
    if (!FOLDER.test(name)) continue;
    try {
      removeIfDead(join(base, name));
    } catch {
      // it is not ours, or somebody else removes it: an old folder is no reason not to start
    }
  }
}

/** Nothing of a folder that may be written to and not read. */
function namesIn(base: string): string[] {
  try {
    return readdirSync(base);
  } catch {
    return [];
  }
}

/** Removes a folder that is provably of an emulator of this user's, and whose process has ended. */
function removeIfDead(path: string): void {
  const { uid, mode } = lstatSync(path);
  const isPrivate = (mode & 0o077) === 0;
  if (uid !== process.getuid?.() || !isPrivate) return;
  const lock = lockFolder(path);
  if (lock === undefined) return;
  try {
    const names = readdirSync(path);
    const isOurs = (name: string): boolean =>
      SOCKET.test(name) &&
      lstatSync(join(path, name)).isSocket() &&
      unixSocketState(join(path, name)) === 'dead';
    if (!names.every(isOurs)) return;
    for (const name of names) unlinkSync(join(path, name));
    rmdirSync(path);
  } finally {
    closeSync(lock);
  }
}
