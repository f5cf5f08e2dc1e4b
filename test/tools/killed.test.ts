/** Commands that are killed with SIGKILL, with and without their emulator: the next start finds nothing of them. */
import { suite } from '../support/suite.js';
import { KilledRuns, SCENARIOS } from './support/killed-runs.js';

const killed = suite('commands that are killed');

killed('seven scenarios at the same time, as soon as there are sockets or a little later', async () => {
  const results = await Promise.allSettled(
    SCENARIOS.map(async (scenario, i) => {
      const runs = new KilledRuns(i);
      try {
        await runs.round(scenario, 20 * i, true);
      } finally {
        runs.close();
      }
    }),
  );
  for (const result of results) if (result.status === 'rejected') throw result.reason;
});

killed.run();
