/**
 * Counts of test runs, as uvu prints them at the end:
 *
 *     Total:     3
 *     Passed:    2
 *     Skipped:   1
 *
 * Skipped tests are not in the total.
 */
import { stripVTControlCharacters } from 'node:util';

export interface Totals {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
}

export const NO_TESTS: Totals = { passed: 0, failed: 0, skipped: 0 };

/** One run that gave no result of its own. */
export const ONE_FAILED: Totals = { passed: 0, failed: 1, skipped: 0 };

const SUMMARY = /^ *Total: +(\d+)\n *Passed: +(\d+)\n *Skipped: +(\d+)$/gm;

/** The sum of all uvu summaries in an output; undefined if there is none, for then the run did not reach its end. */
export function parseTotals(output: string): Totals | undefined {
  const summaries = [...stripVTControlCharacters(output).matchAll(SUMMARY)];
  if (summaries.length === 0) return undefined;
  return summaries
    .map(([, total, passed, skipped]) => ({
      passed: Number(passed),
      failed: Number(total) - Number(passed),
      skipped: Number(skipped),
    }))
    .reduce(addTotals);
}

const REPORT_LINES = 16;
/** Of a case's end, which has the machine's console. */
const CASE_LINES = 80;

/**
 * What uvu said of each failed test, and the lab of each case that failed: a long output is often kept without its
 * middle, where these stand.
 */
export function failureReports(output: string): string[] {
  const lines = stripVTControlCharacters(output).split('\n');
  return lines.flatMap((line, start) => {
    if (/^lab: \S+: .*\b[1-9]\d* failed/.test(line)) return [...caseProblem(lines.slice(0, start)), line];
    if (line.startsWith('still running: ')) return [upToEmptyLine(lines.slice(start, start + REPORT_LINES))];
    if (!/^ *FAIL /.test(line)) return [];
    // Ended by the next failure, suite, file or summary.
    const end = /^ *(FAIL |Total: )|^ \S|^\S+\.test\.js$/;
    const length = lines.slice(start + 1).findIndex((next) => end.test(next)) + 1;
    const report = lines.slice(start, start + Math.min(length || REPORT_LINES, REPORT_LINES));
    return [report.join('\n').trimEnd()];
  });
}

function upToEmptyLine(lines: readonly string[]): string {
  const end = lines.indexOf('');
  return lines.slice(0, end < 0 ? lines.length : end).join('\n');
}

/** What the lab said was wrong with a case that gave no result, and the end of the console, where these are the last lines. */
function caseProblem(lines: readonly string[]): string[] {
  const start = lines.findLastIndex((line) => /^lab: (?!the guest's |\S+: \d+ passed|.* \.\.\.$)/.test(line));
  const isConsole = lines[start + 1] === 'Console:' && lines.length - start <= CASE_LINES;
  if (start < 0 || !(isConsole || start === lines.length - 1)) return [];
  return [[lines[start], ...lines.slice(start + 1).slice(-(REPORT_LINES - 1))].join('\n').trimEnd()];
}

export function addTotals(a: Totals, b: Totals): Totals {
  return { passed: a.passed + b.passed, failed: a.failed + b.failed, skipped: a.skipped + b.skipped };
}

/** `3 passed, 1 failed`, and `, 2 skipped` if there are any. */
export function formatTotals({ passed, failed, skipped }: Totals): string {
  return `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`;
}
