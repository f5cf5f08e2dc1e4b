/**
 * Runs the lab's cases one after the other, all of them or those that are named: `npm run test:lab -- boot`.
 * Ends with `lab: N passed, N failed`, and writes the counts as JSON to the file $BAREWIRE_TOTALS, if set. With `--prepare` it only
 * downloads and builds what they need.
 */
import { writeFileSync } from 'node:fs';
import { byMachine, CASES } from './cases.js';
import { runCases } from './run-case.js';
import { addTotals, formatTotals, NO_TESTS, ONE_FAILED, type Totals } from './totals.js';
import { prepareLab } from './vm.js';

const PREPARE = '--prepare';

async function main(args: readonly string[]): Promise<Totals> {
  const names = args.filter((arg) => arg !== PREPARE);
  const unknown = names.filter((name) => !CASES.some((labCase) => labCase.name === name));
  if (unknown.length > 0) {
    console.error(
      `lab: no case ${unknown.join(', ')}; there are ${CASES.map(({ name }) => name).join(', ')}`,
    );
    return ONE_FAILED;
  }
  const cases = CASES.filter(({ name, optIn }) => (names.length > 0 ? names.includes(name) : !optIn));
  for (const labCase of cases) prepareLab(labCase); // outside the cases' time
  if (args.includes(PREPARE)) return NO_TESTS;
  let sum = NO_TESTS;
  for (const group of byMachine(cases)) {
    console.log(`lab: ${group.map(({ name }) => name).join(', ')} ...`);
    const reports = await runCases(group);
    for (const [index, { totals, durationS, text }] of reports.entries()) {
      const { name } = group[index]!;
      console.log(`${text}lab: ${name}: ${formatTotals(totals)} in ${durationS.toFixed(1)} s\n`);
      sum = addTotals(sum, totals);
    }
  }
  return sum;
}

let totals: Totals;
try {
  totals = await main(process.argv.slice(2));
} catch (error) {
  console.error(`lab: could not run: ${error instanceof Error ? error.message : error}`);
  totals = ONE_FAILED;
}
if (process.env.BAREWIRE_TOTALS) writeFileSync(process.env.BAREWIRE_TOTALS, JSON.stringify(totals));
console.log(`lab: ${formatTotals(totals)}`);
process.exitCode = totals.failed > 0 ? 1 : 0;
