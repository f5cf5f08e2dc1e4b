/** Writes results as JUnit XML, which CI systems read: one suite, a case for each result. */
import { closeSync, openSync, writeFileSync } from 'node:fs';
import { isErrno, NicError } from '../src/errors.js';

export interface JunitCase {
  readonly name: string;
  /** Why it failed; absent where it did not. */
  readonly failure?: string;
}

/**
 * Makes the file, so that a long run does not end with a report that cannot be written.
 * @param overwrite replace a file that is there
 * @returns writes the report to it
 * @throws NicError `BAD_OPTION` where there is one already; `SYSCALL` where it cannot be made
 */
export function openJunit(
  path: string,
  overwrite: boolean,
): (suite: string, cases: readonly JunitCase[]) => void {
  attempted(path, () => closeSync(openSync(path, overwrite ? 'w' : 'wx')));
  return (suite, cases) => attempted(path, () => writeFileSync(path, junitXml(suite, cases)));
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

export function junitXml(suite: string, cases: readonly JunitCase[]): string {
  const failures = cases.filter(({ failure }) => failure !== undefined).length;
  const lines = cases.map(({ name, failure }) => {
    const start = `    <testcase classname="${escaped(suite)}" name="${escaped(name)}"`;
    return failure === undefined
      ? `${start}/>`
      : `${start}>\n      <failure message="${escaped(failure)}"/>\n    </testcase>`;
  });
  return [
    '<?xml version="1.0" encoding="UTF-8"?>',
    '<testsuites>',
    `  <testsuite name="${escaped(suite)}" tests="${cases.length}" failures="${failures}">`,
    ...lines,
    '  </testsuite>',
    '</testsuites>',
    '',
  ].join('\n');
}

/** Characters that XML 1.0 does not know at all become a question mark. */
function escaped(text: string): string {
  return text
    .replace(/[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]/gu, '?')
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;')
    .replaceAll('\n', '&#10;');
}
