/** Opening files of captures, and what went wrong with it, in words. */
import { type BigIntStats, constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { NicError } from '../errors.js';
import { type FileKey, keyOf } from './file-key.js';

/**
 * Opens a file for reading. Does not wait: a pipe is refused, as is all that is no file.
 * @throws NicError `BAD_OPTION` where nothing or no file is there, `NO_PERMISSION`, `SYSCALL`
 */
export async function openForReading(path: string): Promise<{ handle: FileHandle; key: FileKey }> {
  let handle: FileHandle;
  try {
    handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    throw explainOpen(error, path, 'read');
  }
  try {
    const stats = await handle.stat({ bigint: true });
    if (!stats.isFile()) {
      throw new NicError('BAD_OPTION', `${path} is ${kindOf(stats)}, not a file`, {
        path,
        hint: stats.isDirectory()
          ? 'Give the path of a capture file in it.'
          : 'Save the capture to a file first: it is read more than once.',
      });
    }
    return { handle, key: keyOf(stats) };
  } catch (error) {
    await handle.close();
    throw error instanceof NicError ? error : explainOpen(error, path, 'read');
  }
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
