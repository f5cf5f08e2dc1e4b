/**
 * Suites that print how long each of their tests took, so that the lab's output shows where its time goes; and after a failure what the
 * programs said that were in use.
 */
import type { Test } from 'uvu';
import { suite as plainSuite } from '../support/suite.js';
import { outputOfRunning } from './processes.js';

/** As `suite` of the unit tests. What is done `before` the tests is in the first one's time. */
export function suite(name: string): Test<Record<string, unknown>> {
  const timed = plainSuite(name);
  let startMs = 0;
  timed.before(() => {
    startMs = performance.now();
  });
  const add = (test: string, handler: Parameters<typeof timed>[1]): void => {
    timed(test, async (context) => {
      try {
        await handler(context);
      } catch (error) {
        process.stdout.write(`\n${outputOfRunning()}`);
        throw error;
      } finally {
        const nowMs = performance.now();
        process.stdout.write(`\n   ${((nowMs - startMs) / 1000).toFixed(1).padStart(5)} s  ${test} `);
        startMs = nowMs;
      }
    });
  };
  return Object.assign(add, timed);
}
