/** Writes results as JUnit XML, which CI systems read: one suite, a case for each result. */
import { escaped, openReportFile } from './report-file.js';

export interface JunitCase {
  readonly name: string;
  /** Why it failed; absent where it did not. */
  readonly failure?: string;
}

/**
 * As `openReportFile`, for a report in this form.
 * @throws NicError `BAD_OPTION` where there is such a file already; `SYSCALL` where it cannot be made
 */
export function openJunit(
  path: string,
  overwrite: boolean,
): (suite: string, cases: readonly JunitCase[]) => void {
  const write = openReportFile(path, overwrite);
  return (suite, cases) => write(junitXml(suite, cases));
}

export function junitXml(suite: string, cases: readonly JunitCase[]): string {
  const failures = cases.filter(({ failure }) => failure !== undefined).length;
  const lines = cases.map(({ name, failure }) => {
    const start = `    <testcase classname="${attribute(suite)}" name="${attribute(name)}"`;
    return failure === undefined
      ? `${start}/>`
      : `${start}>\n      <failure message="${attribute(failure)}"/>\n    </testcase>`;
  });
  return [
    '<?xml version="1.0" encoding="UTF-8"?>',
    '<testsuites>',
    `  <testsuite name="${attribute(suite)}" tests="${cases.length}" failures="${failures}">`,
    ...lines,
    '  </testsuite>',
    '</testsuites>',
    '',
  ].join('\n');
}

/** In an attribute a line end would be read as a space. */
function attribute(text: string): string {
  return escaped(text).replaceAll('\n', '&#10;');
}
