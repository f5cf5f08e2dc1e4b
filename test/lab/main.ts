/**
 * Runs the lab's cases, all of them or those that are named: `npm run test:lab -- boot`. Two at a time where there are two
 * processors, for a machine waits as much as it computes: the first from the front of the table, the second from its end.
 * Ends with `lab: N passed, N failed`, and writes the counts as JSON to the file $BAREWIRE_TOTALS, if set.
 */
import { writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { CASES, type LabCase } from './cases.js';
import { runCase } from './run-case.js';
import { addTotals, formatTotals, NO_TESTS, ONE_FAILED, type Totals } from './totals.js';
import { prepareLab } from './vm.js';

async function main(names: readonly string[]): Promise<Totals> {
  const unknown = names.filter((name) => !CASES.some((labCase) => labCase.name === name));
  if (unknown.length > 0) {
    console.error(
      `lab: no case ${unknown.join(', ')}; there are ${CASES.map(({ name }) => name).join(', ')}`,
    );
    return ONE_FAILED;
  }
  const cases = CASES.filter(({ name, optIn }) => (names.length > 0 ? names.includes(name) : !optIn));
  for (const labCase of cases) prepareLab(labCase); // outside the cases' time
  let sum = NO_TESTS;
  const lane = async (next: () => LabCase | undefined): Promise<void> => {
    for (let labCase = next(); labCase !== undefined; labCase = next()) {
      console.log(`lab: ${labCase.name} ...`);
      const { totals, durationS, text } = await runCase(labCase);
      console.log(`${text}lab: ${labCase.name}: ${formatTotals(totals)} in ${durationS.toFixed(1)} s\n`);
      sum = addTotals(sum, totals);
    }
  };
  await Promise.all([
    lane(() => cases.shift()),
    ...(availableParallelism() > 1 ? [lane(() => cases.pop())] : []),
  ]);
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
