/** Opens what a recording is written to, and refuses what it must not be written over. */
import {
  type BigIntStats,
  closeSync,
  constants,
  fstatSync,
  ftruncateSync,
  openSync,
  statSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { NicError } from '../errors.js';
import { type FileKey, keyOf } from './file-key.js';
import { explainOpen, kindOf } from './files.js';

export interface OutputOptions {
  /** Replace a file that has something in it. By default that is refused: it is somebody's. */
  readonly overwrite?: boolean;
  /** Files that are being read; writing over one of them is refused whatever its path. */
  readonly reading?: readonly FileKey[];
}

/**
 * Opens without touching what is there, looks at it, and only then cuts it to nothing. Of a pipe without a reader the
 * descriptor is -1.
 */
export function openForWriting(path: string, options: OutputOptions): { fd: number; live: boolean } {
  const { O_WRONLY, O_NONBLOCK, O_CREAT } = constants;
  let fd: number;
  try {
    try {
      fd = openSync(path, O_WRONLY | O_NONBLOCK);
    } catch (error) {
      // Not O_CREAT in the first place: the kernel refuses that for another user's pipe in /tmp.
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
      fd = openSync(path, O_WRONLY | O_NONBLOCK | O_CREAT, 0o666);
    }
  } catch (error) {
    const stats = lookAt(path);
    const noReader = (error as NodeJS.ErrnoException).code === 'ENXIO' && stats?.isFIFO() === true;
    if (noReader) return { fd: -1, live: true };
    if (stats?.isSocket() === true) throw cannotWrite(path, 'it is a socket', 'Give the path of a file.');
    throw explainOpen(error, path, 'write');
  }
  try {
    const stats = fstatSync(fd, { bigint: true });
    if (options.reading?.includes(keyOf(stats)) === true) {
      throw cannotWrite(path, 'it is the file that is being read', 'Give another path.');
    }
    if (!stats.isFile()) return { fd, live: true };
    if (stats.size > 0n && options.overwrite !== true) throw refuseOverwrite(path, stats.size);
    ftruncateSync(fd, 0);
    return { fd, live: false };
  } catch (error) {
    closeSync(fd);
    throw error instanceof NicError ? error : explainOpen(error, path, 'write');
  }
}

function cannotWrite(path: string, why: string, hint: string): NicError {
  return new NicError('BAD_OPTION', `Cannot write ${path}: ${why}`, { path, hint });
}

function refuseOverwrite(path: string, sizeBytes: bigint): NicError {
  return cannotWrite(
    path,
    `it exists and has ${sizeBytes} bytes`,
    'Give another path, or have it replaced: --force, in code `overwrite: true`.',
  );
}

function lookAt(path: string): BigIntStats | undefined {
  try {
    return statSync(path, { bigint: true, throwIfNoEntry: false });
  } catch (error) {
    throw explainOpen(error, path, 'write');
  }
}

/**
 * What would keep a recording from `path`, without opening or making it: a check before anything is begun.
 * @throws NicError `BAD_OPTION` as `CaptureWriter.open` does
 */
export function checkWritable(path: string, overwrite: boolean): void {
  const stats = lookAt(path);
  if (stats === undefined) {
    if (lookAt(dirname(path)) === undefined)
      throw cannotWrite(path, 'its folder does not exist', 'Give the path of a file.');
    return;
  }
  if (stats.isDirectory() || stats.isSocket())
    throw cannotWrite(path, `it is ${kindOf(stats)}`, 'Give the path of a file.');
  if (stats.isFile() && stats.size > 0n && !overwrite) throw refuseOverwrite(path, stats.size);
}
