/** Files that a run's report is written to. */
import { closeSync, openSync, writeFileSync } from 'node:fs';
import { isErrno, NicError } from '../src/errors.js';

/**
 * Makes the file, so that a long run does not end with a report that cannot be written.
 * @param overwrite replace a file that is there
 * @returns writes the report to it
 * @throws NicError `BAD_OPTION` where there is one already; `SYSCALL` where it cannot be made
 */
export function openReportFile(path: string, overwrite: boolean): (text: string) => void {
  attempted(path, () => closeSync(openSync(path, overwrite ? 'w' : 'wx')));
  return (text) => attempted(path, () => writeFileSync(path, text));
}

function attempted(path: string, write: () => void): void {
  try {
    write();
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
