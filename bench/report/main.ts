/**
 * Makes the tables of docs/performance.md, docs/xdp.md and README.md and the charts in docs/charts from a result.
 *
 *     node dist/bench/report/main.js [RESULT.json]       by default bench/results/performance.json
 *     node dist/bench/report/main.js --check             only says whether they are up to date
 */
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { RESULT_FILE, ROOT } from '../paths.js';
import { CHARTS } from './charts.js';
import { fillDocument } from './document.js';
import { parseResult } from './parse.js';

/** What has generated sections. */
const DOCUMENTS = ['docs/performance.md', 'docs/xdp.md', 'README.md'].map((file) => join(ROOT, file));
const CHART_FOLDER = join(ROOT, 'docs', 'charts');

const { values, positionals } = parseArgs({
  options: { check: { type: 'boolean', default: false } },
  allowPositionals: true,
});
const source = positionals[0] ?? RESULT_FILE;

/** Files and what they should hold; undefined: they should not be there. */
function files(): Map<string, string | undefined> {
  const result = parseResult(readFileSync(source, 'utf8'));
  const made = new Map<string, string | undefined>();
  for (const [name, draw] of Object.entries(CHARTS))
    made.set(join(CHART_FOLDER, `${name}.svg`), draw(result));
  for (const file of DOCUMENTS) made.set(file, fillDocument(readFileSync(file, 'utf8'), result));
  return made;
}

try {
  mkdirSync(CHART_FOLDER, { recursive: true });
  for (const [file, text] of files()) {
    const before = existsSync(file) ? readFileSync(file, 'utf8') : undefined;
    if (before === text) continue;
    if (values.check) {
      console.error(`${file} is not made from ${source}: run "npm run bench:report"`);
      process.exitCode = 1;
    } else if (text === undefined) {
      rmSync(file);
      console.log(`removed ${file}: the result has no data for it`);
    } else {
      writeFileSync(file, text);
      console.log(`wrote ${file}`);
    }
  }
} catch (error) {
  console.error(`bench:report: ${source}: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
}
