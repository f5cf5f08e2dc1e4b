/** Files that a run's report is written to. */
import {
  closeSync,
  constants,
  existsSync,
  fstatSync,
  ftruncateSync,
  openSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { pathKey } from '../src/capture/path-key.js';
import { isErrno, NicError } from '../src/errors.js';

/**
 * Makes the file, so that a long run does not end with a report that cannot be written. What a run leaves that has none to write is what
 * was there before.
 * @param overwrite replace a file that is there
 * @returns writes the report to it
 * @throws NicError `BAD_OPTION` where there is one already; `SYSCALL` where it cannot be made
 */
export function openReportFile(path: string, overwrite: boolean): (text: string) => void {
  const isNew = !existsSync(path);
  // A pipe without a reader is an error at once, and no wait.
  const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_NONBLOCK;
  const fd = attempted(path, () => openSync(path, flags | (overwrite ? 0 : constants.O_EXCL), 0o666));
  const forget = (): void => {
    if (isNew) rmSync(path, { force: true });
  };
  process.once('exit', forget);
  return (text) => {
    process.off('exit', forget);
    attempted(path, () => {
      if (fstatSync(fd).isFile()) ftruncateSync(fd);
      writeFileSync(fd, text);
      closeSync(fd);
    });
  };
}

/**
 * @param files by the option that names them
 * @throws NicError `BAD_OPTION` where two are one file
 */
export function differentFiles(files: Readonly<Record<string, string | undefined>>): void {
  const seen = new Map<string, string>();
  for (const [option, path] of Object.entries(files)) {
    if (path === undefined || path === '-') continue;
    const key = pathKey(path);
    if (statSync(path, { throwIfNoEntry: false })?.isFile() === false) continue;
    const other = seen.get(key);
    if (other !== undefined)
      throw new NicError('BAD_OPTION', `${other} and ${option} name one file`, {
        path,
        hint: 'Give each a file of its own.',
      });
    seen.set(key, option);
  }
}

function attempted<T>(path: string, write: () => T): T {
  try {
    return write();
  } catch (error) {
    if (isErrno(error, 'EEXIST'))
      throw new NicError('BAD_OPTION', `${path} is there already`, {
        path,
        hint: 'Name another file, or give --force.',
      });
    const { errno, syscall } = error as NodeJS.ErrnoException;
    throw new NicError('SYSCALL', `Cannot write ${path}`, {
      path,
      errno,
      syscall,
      hint: 'Name a file in a folder that you may write to.',
    });
  }
}

/** Text in an element or attribute of XML and HTML. Characters that XML 1.0 does not know at all become a question mark. */
export function escaped(text: string): string {
  return text
    .replace(/[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]/gu, '?')
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;');
}
