/**
 * Folders for sockets in the user's runtime folder: of an emulator that was given no paths, of a forwarder that lets others
 * look, of commands that tell their ports' counters. Such a folder is locked as long as its process lives, so a later process
 * can tell the folders of killed ones, which could not remove theirs, and removes them.
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
import { basename, join } from 'node:path';
import { isErrno, NicError } from '../src/errors.js';
import { tryLock } from '../src/syscalls/locks.js';
import { unixSocketState } from '../src/syscalls/unix-sockets.js';

/** Whose folder it is: an emulator's, a forwarder's with viewers, or of any command that runs traffic. */
export type FolderKind = 'emulator' | 'fwd' | 'run';

/** As mkdtemp makes it of `barewire-emulator-`, `barewire-fwd-`, `barewire-run-`. */
const FOLDER = /^barewire-(emulator|fwd|run)-[A-Za-z0-9]{6}$/;
const SOCKET = /^(port[0-9]+|tap|stats)\.sock$/;
/** Somebody else's cleaning may take a new folder for an old one before it is locked. */
const MAX_TRIES = 10;

export interface SocketFolder {
  /** Of the socket of a port in it, or of the one that others ask. */
  socketPath(port: number | 'tap' | 'stats'): string;
  /** Removes the folder with all that is in it. */
  remove(): void;
}

/** XDG_RUNTIME_DIR, or where that is not set, or empty, the folder for temporary files. */
function runtimeFolder(): string {
  return process.env.XDG_RUNTIME_DIR || tmpdir();
}

/** Paths of the sockets that processes of this user serve in folders of one kind, in order. */
export function liveSockets(kind: FolderKind, base = runtimeFolder()): string[] {
  return namesIn(base)
    .filter((name) => FOLDER.exec(name)?.[1] === kind)
    .map((name) => join(base, name))
    .filter(isOurFolder)
    .flatMap((folder) => namesIn(folder).map((name) => join(folder, name)))
    .filter((path) => SOCKET.test(basename(path)) && unixSocketState(path) === 'alive')
    .sort();
}

/** Makes a folder in the runtime folder, and removes those of killed processes. */
export function makeSocketFolder(base = runtimeFolder(), kind: FolderKind = 'emulator'): SocketFolder {
  for (let tries = 0; tries < MAX_TRIES; tries++) {
    const path = makeFolder(kind, base);
    const lock = lockFolder(path);
    if (lock === undefined) continue;
    removeDead(base);
    return {
      socketPath: (port) => join(path, typeof port === 'number' ? `port${port}.sock` : `${port}.sock`),
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
function makeFolder(kind: FolderKind, base: string): string {
  try {
    return mkdtempSync(join(base, `barewire-${kind}-`));
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

/** Of this user, and open to nobody else. */
function isOurFolder(path: string): boolean {
  const { uid, mode } = lstatSync(path, { throwIfNoEntry: false }) ?? { uid: -1, mode: 0 };
  return uid === process.getuid?.() && (mode & 0o077) === 0;
}

/** Removes a folder that is provably of a process of this user's that has ended. */
function removeIfDead(path: string): void {
  if (!isOurFolder(path)) return;
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
