/**
 * Kills `fwd`, `emulate` and `pktgen` with and without their emulators at random moments, as often as one likes:
 *
 *     node --no-warnings dist/test/tools/killed.js --rounds 100 [--seed N]
 *
 * Fails where a process, a socket or a folder is left after the next start. `npm test` runs some rounds (killed.test.ts).
 */
import { parseArgs } from 'node:util';
import { KilledRuns, SCENARIOS } from './support/killed-runs.js';

const { values } = parseArgs({ options: { rounds: { type: 'string' }, seed: { type: 'string' } } });
const rounds = Number(values.rounds ?? 100);
const seed = Number(values.seed ?? Date.now() % 2 ** 31);
const runs = new KilledRuns(seed);
try {
  for (let round = 0; round < rounds; round++) {
    await runs.round(SCENARIOS[round % SCENARIOS.length]!);
    if (round % 10 === 9) console.log(`${round + 1} rounds`);
  }
  console.log(`seed ${seed}: ${rounds} rounds, nothing is left`);
} catch (error) {
  console.error(`seed ${seed}: ${error instanceof Error ? error.message : error}`);
  process.exitCode = 1;
} finally {
  runs.close();
}
