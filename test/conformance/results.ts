/**
 * What the conformance suites find out, case by case, for the table in docs/conformance.md. A case that needs what the hardware does not
 * have throws `Missing`, which is a result and no failure. When the process ends, each column's results go to a file of their own
 * in the folder $BAREWIRE_CONFORMANCE, and its sum is printed.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from '../support/suite.js';

/** A column of the table: a driver, the device that it drove, and what was between them. */
export interface Column {
  /** As `NetDevice.driver`. */
  readonly driver: string;
  readonly device: string;
  /** `memory`: no VFIO between driver and device. */
  readonly backend: 'memory' | 'kernel group' | 'kernel cdev' | 'vfio-user' | 'AF_XDP';
}

/** Why a case does not apply: the feature that the hardware does not have. */
export class Missing extends Error {
  constructor(feature: string) {
    super(feature);
    this.name = 'Missing';
  }
}

export interface CaseResult {
  readonly suite: string;
  readonly name: string;
  readonly result: 'passed' | 'failed' | { readonly missing: string };
}

export interface ColumnResult extends Column {
  readonly cases: readonly CaseResult[];
}

type Case = { -readonly [Key in keyof CaseResult]: CaseResult[Key] };
type Suite = ReturnType<typeof suite>;

export interface CaseSuite {
  (name: string, handler: () => unknown): void;
  readonly before: Suite['before'];
  readonly after: Suite['after'];
  readonly run: Suite['run'];
}

const columns = new Map<string, Column & { readonly cases: Case[] }>();

/** A suite of uvu's whose tests are cases of a column. One that never ran has failed. */
export function caseSuite({ driver, device, backend }: Column, title: string): CaseSuite {
  const tests = suite(`${driver}, ${backend}, ${device}: ${title}`);
  const key = `${driver} ${backend} ${device}`;
  if (columns.size === 0) process.once('exit', writeResults);
  const column = columns.get(key) ?? { driver, device, backend, cases: [] };
  columns.set(key, column);
  const add = (name: string, handler: () => unknown): void => {
    const entry: Case = { suite: title, name, result: 'failed' };
    column.cases.push(entry);
    tests(name, async () => {
      try {
        await handler();
        entry.result = 'passed';
      } catch (error) {
        if (!(error instanceof Missing)) throw error;
        entry.result = { missing: error.message };
      }
    });
  };
  const { before, after, run } = tests;
  return Object.assign(add, { before, after, run });
}

/** `3 of 5 cases passed, 1 failed, not there: offloads`. */
export function summary({ cases }: ColumnResult): string {
  const count = (result: string): number => cases.filter((entry) => entry.result === result).length;
  const missing = missingFeatures(cases);
  const failed = count('failed') > 0 ? `, ${count('failed')} failed` : '';
  const absent = missing.length > 0 ? `, not there: ${missing.join('; ')}` : '';
  return `${count('passed')} of ${cases.length} cases passed${failed}${absent}`;
}

/** What the hardware does not have, each once. */
export function missingFeatures(cases: readonly CaseResult[]): string[] {
  return [...new Set(cases.flatMap(({ result }) => (typeof result === 'object' ? [result.missing] : [])))];
}

function writeResults(): void {
  const folder = process.env.BAREWIRE_CONFORMANCE ?? '';
  for (const [key, column] of columns) {
    process.stdout.write(`conformance: ${key}: ${summary(column)}\n`);
    if (folder === '') continue;
    mkdirSync(folder, { recursive: true });
    const file = `${key.replaceAll(/[^A-Za-z0-9]+/g, '-')}.json`;
    writeFileSync(join(folder, file), `${JSON.stringify(column, null, 1)}\n`);
  }
}
