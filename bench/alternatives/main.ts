/**
 * Measures the alternatives by themselves and puts them into the result file, whose other sections stay as they are.
 *
 *     node dist/bench/alternatives/main.js [RESULT.json]
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { describeMachine } from '../machine.js';
import { RESULT_FILE } from '../paths.js';
import type { BenchResult } from '../report/result.js';
import { measureAlternatives } from './alternatives.js';
import { describeRow } from './describe.js';

const file = process.argv[2] ?? RESULT_FILE;
const before = existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as Partial<BenchResult>) : {};
const alternatives = await measureAlternatives((row) => console.log(describeRow(row)));
const date = new Date().toISOString();
const result: BenchResult = {
  ...before,
  machine: describeMachine(),
  node: process.version,
  date: before.core === undefined ? date : before.date!,
  alternativesDate: date,
  alternatives,
};
mkdirSync(dirname(file), { recursive: true });
writeFileSync(file, `${JSON.stringify(result, null, 2)}\n`);
