/** Suites of uvu's that print how long each of their tests took, so that the lab's output shows where its time goes. */
import { suite as uvuSuite } from 'uvu';

type Suite = ReturnType<typeof uvuSuite>;

/** As uvu's `suite`. What is done `before` the tests is in the first one's time. */
export function suite(name: string): Suite {
  const timed = uvuSuite(name);
  let startMs = 0;
  timed.before(() => {
    startMs = performance.now();
  });
  const add = (test: string, handler: Parameters<Suite>[1]): void => {
    timed(test, async (context) => {
      try {
        await handler(context);
      } finally {
        const nowMs = performance.now();
        process.stdout.write(`\n   ${((nowMs - startMs) / 1000).toFixed(1).padStart(5)} s  ${test} `);
        startMs = nowMs;
      }
    });
  };
  return Object.assign(add, timed);
}
