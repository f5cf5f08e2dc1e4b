/** The plan of RFC 2544 as it is: which trials it asks for, on outcomes that are made up. */
import * as assert from 'uvu/assert';
import {
  mostTrials,
  type PlanOptions,
  rfc2544Plan,
  type SizeReport,
  type TrialOutcome,
  type TrialSpec,
} from '../../../src/traffic/rfc2544/plan.js';
import { suite } from '../../support/suite.js';

const OPTIONS: PlanOptions = {
  sizesBytes: [64],
  tests: ['loss'],
  search: 'binary',
  lineBitsPerS: 1e9,
  trialMs: 1000,
  tolerance: 0.005,
  repetitions: 1,
};

/** Runs a plan; the device says how many of 1000 frames it loses. */
function run(options: Partial<PlanOptions>, lostOf: (spec: TrialSpec) => number) {
  const specs: TrialSpec[] = [];
  const plan = rfc2544Plan({ ...OPTIONS, ...options });
  let step = plan.next();
  while (!step.done) {
    const lost = lostOf(step.value);
    specs.push(step.value);
    const outcome: TrialOutcome = { offered: step.value.load, sent: 1000, received: 1000 - lost, lost };
    step = plan.next(outcome);
  }
  return { specs, reports: step.value as SizeReport[] };
}

const plans = suite('plan of RFC 2544');

plans('frame loss goes down by tenths until two loads in a row lose nothing', () => {
  const { specs, reports } = run({}, ({ load }) => (load === 0.9 ? 5 : 0));
  assert.equal(
    specs.map(({ test, load }) => [test, load]),
    [
      ['warm-up', 0.1],
      ['warm-up', 1],
      ['loss', 1],
      ['loss', 0.9],
      ['loss', 0.8],
      ['loss', 0.7],
    ],
  );
  assert.equal(
    reports[0]!.losses!.map(({ lossRatio }) => lossRatio),
    [0, 0.005, 0, 0],
  );
});

plans(
  'a device that loses always is tried at ten loads, and has a throughput, a latency and a burst of none',
  () => {
    const { specs, reports } = run({ tests: ['throughput', 'latency', 'loss', 'back-to-back'] }, () => 1000);
    const [{ throughput, latency, losses, backToBack } = {} as SizeReport] = reports;
    assert.equal([throughput!.load, latency, losses!.length], [0, undefined, 10]);
    assert.equal(backToBack, { frames: 0, isWhole: false, offered: 1 });
    assert.ok(!specs.some(({ test }) => test === 'latency'));
  },
);

plans('no size takes more trials than the estimate of the time left counts on', () => {
  const tests = ['throughput', 'latency', 'loss', 'back-to-back'] as const;
  for (const share of [0.004, 0.2, 0.5, 0.77, 1]) {
    const options = { ...OPTIONS, tests, repetitions: 2 };
    const { specs } = run(options, ({ load, count }) =>
      count === undefined ? (load > share ? 400 : 0) : count > 1e6 * share ? 1 : 0,
    );
    // Bursts are counted in frames: some more than a bisection of the whole.
    const ofSize = specs.filter(({ test }) => test !== 'warm-up' && test !== 'back-to-back').length;
    assert.ok(ofSize <= mostTrials({ ...options, tests: tests.slice(0, 3) }), `${share}: ${ofSize}`);
  }
});

plans.run();
