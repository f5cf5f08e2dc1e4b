/**
 * Makes docs/conformance.md, and the table in README.md, from what the conformance suites found: the files that runs left in
 * .cache/conformance, each with one column (see results.ts), come into test/conformance/results.json, in place of what was there of
 * that column; and the documents are made from that.
 *
 *     node dist/test/conformance/report.js            after npm test, or after npm run check for all columns
 *     node dist/test/conformance/report.js --check    only says whether runs and documents agree
 */
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type CaseResult, type Column, type ColumnResult, missingFeatures } from './results.js';

const ROOT = join(import.meta.dirname, '../../..');
const FOUND = join(ROOT, '.cache/conformance');
const RESULTS = join(ROOT, 'test/conformance/results.json');
const DOCUMENT = join(ROOT, 'docs/conformance.md');
const README = join(ROOT, 'README.md');
const FROM = '<!-- conformance: from here -->';
const TO = '<!-- conformance: to here -->';
/** In this order, and then by name. */
const BACKENDS = ['kernel group', 'kernel cdev', 'vfio-user', 'AF_XDP', 'memory'];
/** The family of the tests' own, which proves the suite and drives no hardware. */
const MADE_UP = 'made-up';

const keyOf = ({ driver, backend, device }: ColumnResult): string => `${driver}\n${backend}\n${device}`;

function inOrder(columns: Iterable<ColumnResult>): ColumnResult[] {
  const rank = ({ driver, backend }: ColumnResult): string =>
    `${driver === MADE_UP ? 1 : 0}${driver}${BACKENDS.indexOf(backend)}`;
  return [...columns].sort((a, b) => rank(a).localeCompare(rank(b)) || a.device.localeCompare(b.device));
}

/** Columns of runs take the place of those that were there. */
export function merge(known: readonly ColumnResult[], found: readonly ColumnResult[]): ColumnResult[] {
  const columns = new Map([...known, ...found].map((column) => [keyOf(column), column]));
  return inOrder(columns.values());
}

/** Columns of the same cases, as the file has them: a character for each case. */
interface StoredSet {
  readonly cases: readonly (readonly [suite: string, name: string])[];
  readonly columns: readonly (Column & { readonly missing: readonly string[]; readonly results: string })[];
}

const PASSED = '+';
const FAILED = '-';
/** Before the numbers of missing features. */
const FIRST_FEATURE = 'a'.charCodeAt(0);

/** The file's text. */
export function encode(columns: readonly ColumnResult[]): string {
  const sets = new Map<string, { cases: StoredSet['cases']; columns: StoredSet['columns'][number][] }>();
  for (const { driver, device, backend, cases } of columns) {
    const names = cases.map(({ suite, name }) => [suite, name] as const);
    const set = sets.get(JSON.stringify(names)) ?? { cases: names, columns: [] };
    sets.set(JSON.stringify(names), set);
    const missing = missingFeatures(cases);
    const results = cases.map(({ result }) => {
      if (result === 'passed') return PASSED;
      return result === 'failed'
        ? FAILED
        : String.fromCharCode(FIRST_FEATURE + missing.indexOf(result.missing));
    });
    set.columns.push({ driver, device, backend, missing, results: results.join('') });
  }
  const list = (items: readonly unknown[]): string =>
    items.map((item) => `\n   ${JSON.stringify(item)}`).join(',');
  const texts = [...sets.values()].map(
    (set) => `{\n "cases": [${list(set.cases)}\n ],\n "columns": [${list(set.columns)}\n ]\n}`,
  );
  return `[${texts.join(', ')}]\n`;
}

export function decode(text: string): ColumnResult[] {
  const sets: StoredSet[] = JSON.parse(text);
  return sets.flatMap(({ cases, columns }) =>
    columns.map(({ driver, device, backend, missing, results }) => ({
      ...{ driver, device, backend },
      cases: cases.map(([suite, name], i) => ({ suite, name, result: resultOf(results[i]!, missing) })),
    })),
  );
}

function resultOf(mark: string, missing: readonly string[]): CaseResult['result'] {
  if (mark === PASSED) return 'passed';
  return mark === FAILED ? 'failed' : { missing: missing[mark.charCodeAt(0) - FIRST_FEATURE]! };
}

/** One line for each column. */
export function summaryTable(columns: readonly ColumnResult[]): string {
  const lines = columns.map(({ driver, device, backend, cases }) => {
    const passed = cases.filter(({ result }) => result === 'passed').length;
    const failed = cases.filter(({ result }) => result === 'failed').length;
    const absent = missingFeatures(cases).join(', ') || 'nothing';
    const count = `${passed} of ${cases.length}${failed > 0 ? `, ${failed} failed` : ''}`;
    return `| \`${driver}\` | ${device} | ${backend} | ${count} | ${absent} |`;
  });
  const head = [
    '| driver | device | back end | cases passed | hardware does not have |',
    '|---|---|---|---:|---|',
  ];
  return [...head, ...lines].join('\n');
}

/** A table for each set of columns that have the same suites: a row for each case. */
export function caseTables(columns: readonly ColumnResult[]): string {
  const sets = new Map<string, ColumnResult[]>();
  for (const column of columns) {
    const suites = [...new Set(column.cases.map(({ suite }) => suite))].join('\n');
    sets.set(suites, [...(sets.get(suites) ?? []), column]);
  }
  return [...sets.values()].map(caseTable).join('\n\n');
}

function caseTable(columns: readonly ColumnResult[]): string {
  const names = columns.map((_, i) => String.fromCharCode(65 + i));
  const legend = columns.map(
    ({ driver, device, backend }, i) => `${names[i]}: \`${driver}\`, ${device}, ${backend}`,
  );
  const rows = new Map<string, CaseResult>();
  for (const { cases } of columns)
    for (const entry of cases) rows.set(`${entry.suite}\n${entry.name}`, entry);
  const lines: string[] = [];
  let suite = '';
  for (const entry of rows.values()) {
    if (entry.suite !== suite) lines.push(`| **${entry.suite}** |${' |'.repeat(names.length)}`);
    suite = entry.suite;
    const cells = columns.map(({ cases }) =>
      cell(cases.find(({ suite: its, name }) => its === entry.suite && name === entry.name)),
    );
    lines.push(`| ${entry.name} | ${cells.join(' | ')} |`);
  }
  const head = `| case | ${names.join(' | ')} |\n|---|${names.map(() => ':---:|').join('')}`;
  return `${legend.map((line) => `- ${line}`).join('\n')}\n\n${head}\n${lines.join('\n')}`;
}

function cell(entry: CaseResult | undefined): string {
  if (entry === undefined) return 'not run';
  if (entry.result === 'passed') return '✓';
  return entry.result === 'failed' ? '**failed**' : `no ${entry.result.missing}`;
}

/** What stands between the two marks is replaced. @throws Error where they are not there */
export function fillSection(text: string, content: string): string {
  const [from, to] = [text.indexOf(FROM), text.indexOf(TO)];
  if (from < 0 || to < from) throw new Error(`no section between "${FROM}" and "${TO}"`);
  return `${text.slice(0, from + FROM.length)}\n\n${content}\n\n${text.slice(to)}`;
}

function readColumns(): { readonly known: ColumnResult[]; readonly found: ColumnResult[] } {
  const known = existsSync(RESULTS) ? decode(readFileSync(RESULTS, 'utf8')) : [];
  const files = existsSync(FOUND) ? readdirSync(FOUND).filter((file) => file.endsWith('.json')) : [];
  return {
    known,
    found: files.map((file): ColumnResult => JSON.parse(readFileSync(join(FOUND, file), 'utf8'))),
  };
}

function main(isCheck: boolean): void {
  const { known, found: all } = readColumns();
  const isKnown = new Set(known.map(keyOf));
  // A column that the documents do not have yet contradicts nothing.
  const found = isCheck ? all.filter((column) => isKnown.has(keyOf(column))) : all;
  if (found.length < all.length)
    console.log(`${all.length - found.length} columns are new: npm run conformance writes them`);
  const columns = merge(known, found);
  const files = new Map([
    [RESULTS, encode(columns)],
    [DOCUMENT, fillSection(readFileSync(DOCUMENT, 'utf8'), caseTables(columns))],
    [README, fillSection(readFileSync(README, 'utf8'), summaryTable(columns))],
  ]);
  for (const [file, text] of files) {
    if (existsSync(file) && readFileSync(file, 'utf8') === text) continue;
    if (isCheck) {
      console.error(`${file} is not what the runs found: npm run conformance writes it`);
      process.exitCode = 1;
    } else {
      writeFileSync(file, text);
      console.log(`wrote ${file}`);
    }
  }
  console.log(`conformance: ${found.length} columns of runs, ${columns.length} in all`);
}

if (process.argv[1] === import.meta.filename) main(process.argv.includes('--check'));
