/** Opening files of captures, and what went wrong with it, in words. */
import { type BigIntStats, constants, openSync, statSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { Socket } from 'node:net';
import type { Readable } from 'node:stream';
import { NicError } from '../errors.js';
import { type FileKey, keyOf } from './file-key.js';

/** A file, or a pipe as a stream. */
export type OpenedForReading =
  | { readonly handle: FileHandle; readonly key: FileKey }
  | { readonly pipe: Readable };

/**
 * Opens a file or a pipe for reading. Does not wait: a pipe's stream waits for its writer.
 * @throws NicError `BAD_OPTION` where nothing is there, or neither file nor pipe; `NO_PERMISSION`, `SYSCALL`
 */
export async function openForReading(path: string): Promise<OpenedForReading> {
  let handle: FileHandle;
  try {
    handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    throw explainOpen(error, path, 'read');
  }
  try {
    const stats = await handle.stat({ bigint: true });
    if (stats.isFIFO()) {
      // A descriptor of its own for the stream: a FileHandle reads in a thread, which would wait there for a writer. It is
      // opened before the other is closed, so that a writer that has just come always has a reader.
      const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
      await handle.close();
      return { pipe: new Socket({ fd, readable: true, writable: false }) };
    }
    if (stats.isFile()) return { handle, key: keyOf(stats) };
    throw new NicError('BAD_OPTION', `${path} is ${kindOf(stats)}, not a file`, {
      path,
      hint: stats.isDirectory()
        ? 'Give the path of a capture file in it.'
        : 'Save the capture to a file first, or pipe it.',
    });
  } catch (error) {
    await handle.close().catch(() => {});
    throw error instanceof NicError ? error : explainOpen(error, path, 'read');
  }
}

/** Looks, without opening it, whether a capture can be read more than once. @throws NicError `BAD_OPTION` for a pipe */
export function checkReadAgain(path: string): void {
  if (statSync(path, { throwIfNoEntry: false })?.isFIFO() !== true) return;
  throw new NicError('BAD_OPTION', `${path} is a pipe, and is to be read more than once`, {
    path,
    hint: 'Save the capture to a file first.',
  });
}

/** `a directory`, `a pipe`, and so on. */
export function kindOf(stats: Pick<BigIntStats, 'isDirectory' | 'isFIFO' | 'isSocket' | 'isFile'>): string {
  if (stats.isDirectory()) return 'a directory';
  if (stats.isFIFO()) return 'a pipe';
  if (stats.isSocket()) return 'a socket';
  return stats.isFile() ? 'a file' : 'a device';
}

/** The error of opening `path`, in words. */
export function explainOpen(error: unknown, path: string, purpose: 'read' | 'write'): NicError {
  const { code = '' } = error as NodeJS.ErrnoException;
  const details = { path, cause: error };
  const failed = `Cannot ${purpose} ${path}`;
  if (code === 'EACCES' || code === 'EPERM') {
    return new NicError('NO_PERMISSION', `${failed}: permission denied`, {
      ...details,
      hint: 'Run as a user who may, or choose another path.',
    });
  }
  const missing = purpose === 'read' ? 'there is no such file' : 'its folder does not exist';
  const why = { ...WRONG_PATHS, ENOENT: missing, ENOTDIR: missing }[code];
  if (why === undefined) return fileError(failed, error, path);
  return new NicError('BAD_OPTION', `${failed}: ${why}`, { ...details, hint: 'Give the path of a file.' });
}

/** What is wrong with the path itself, by errno. */
const WRONG_PATHS: Readonly<Record<string, string>> = {
  EISDIR: 'it is a directory',
  ELOOP: 'its symbolic links go in a circle',
  ENAMETOOLONG: 'the name is too long',
};

/** An error of a system call on `path`, with its errno; `message` says what was attempted. */
export function fileError(message: string, error: unknown, path: string): NicError {
  const { errno, syscall } = error as NodeJS.ErrnoException;
  return new NicError('SYSCALL', message, {
    path,
    cause: error,
    syscall,
    errno,
  });
}
