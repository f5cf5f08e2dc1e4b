/** The searches for a throughput, on devices that are functions: what they find is right, and in few trials. */
import fc from 'fast-check';
import * as assert from 'uvu/assert';
import {
  binarySearch,
  type LoadSearch,
  type Measured,
  mlrSearch,
  NDR,
  PDR,
} from '../../../src/traffic/rfc2544/search.js';
import { suite } from '../../support/suite.js';

/** Runs a search on a device; counts the trials. */
function run<Found>(
  search: LoadSearch<Found>,
  device: (load: number, trial: number) => number,
  most = 1,
): { found: Found; loads: number[] } {
  const loads: number[] = [];
  let step = search.next();
  while (!step.done) {
    const load = step.value;
    assert.ok(load > 0 && load <= 1, `${load}`);
    assert.ok(loads.length < 500, 'it does not end');
    const offered = Math.min(load, most);
    const measured: Measured = { offered, lossRatio: device(offered, loads.length) };
    loads.push(load);
    step = search.next(measured);
  }
  return { found: step.value, loads };
}

/** Passes on a capacity, and drops what is above. */
const capacity = (share: number) => (load: number) => (load <= share ? 0 : 1 - share / load);
const OPTIONS = { tolerance: 0.005, repetitions: 1 };

const searches = suite('searches for a throughput');

searches('a device without loss: one trial, the whole line', () => {
  const { found, loads } = run(binarySearch(OPTIONS), () => 0);
  assert.equal([found, loads], [{ load: 1, tooHigh: undefined, unreached: false }, [1]]);
  const mlr = run(mlrSearch(OPTIONS), () => 0);
  assert.equal([mlr.found.map(({ load }) => load), mlr.loads], [[1, 1], [1]]);
});

searches('a device that passes nothing: a load of 0, and an end', () => {
  assert.is(run(binarySearch(OPTIONS), () => 1).found.load, 0);
  assert.equal(
    run(mlrSearch(OPTIONS), () => 1).found.map(({ load }) => load),
    [0, 0],
  );
});

searches('any capacity: bisection finds it from below, within its tolerance', () => {
  fc.assert(
    fc.property(fc.double({ min: 0.001, max: 1, noNaN: true }), (share) => {
      const { found, loads } = run(binarySearch(OPTIONS), capacity(share));
      assert.ok(found.load <= share && found.load > share - 0.005 - 1e-12, `${share}: ${found.load}`);
      assert.ok(loads.length <= 9, `${loads.length} trials`);
    }),
  );
});

searches(
  'any capacity: MLRsearch finds NDR and PDR, each within its tolerance, in fewer trials than two searches',
  () => {
    fc.assert(
      fc.property(
        fc.double({ min: 0.01, max: 0.99, noNaN: true }),
        fc.integer({ min: 1, max: 5 }),
        (share, repetitions) => {
          const options = { tolerance: 0.005, repetitions };
          const { found, loads } = run(mlrSearch(options), capacity(share));
          const [ndr, pdr] = found;
          // Half a percent of loss is half a percent above the capacity.
          const partial = share / (1 - PDR.lossRatio);
          assert.ok(ndr!.load <= share && ndr!.load >= share - 0.005 - 1e-9, `${share}: ${ndr!.load}`);
          assert.ok(
            pdr!.load <= partial + 1e-9 && pdr!.load >= Math.min(1, partial) - 0.005 - 1e-9,
            `${share}: ${pdr!.load}`,
          );
          const two = [0, PDR.lossRatio].map((ratio) => run(binarySearch(options, ratio), capacity(share)));
          const trials = two.reduce((sum, one) => sum + one.loads.length, 0);
          assert.ok(loads.length <= trials, `${loads.length} of ${trials}`);
        },
      ),
      // What comes through at full load is one rounding above the capacity.
      { examples: [[0.25034516392211564, 5]] },
    );
  },
);

searches('one bad trial in three does not move MLRsearch, and does move bisection', () => {
  // Every third trial loses a frame, whatever the load.
  const flaky = (load: number, trial: number) => Math.max(capacity(0.7)(load), trial % 3 === 2 ? 1e-6 : 0);
  const options = { tolerance: 0.005, repetitions: 5 };
  const [ndr] = run(mlrSearch(options, [NDR]), flaky).found;
  assert.ok(Math.abs(ndr!.load - 0.7) <= 0.006, `${ndr!.load}`);
  assert.ok(run(binarySearch(options), flaky).found.load < 0.1);
});

searches('a sender that reaches less than the line: what it reached is what was tried', () => {
  const { found, loads } = run(binarySearch(OPTIONS), () => 0, 0.31);
  assert.equal([found, loads], [{ load: 0.31, tooHigh: undefined, unreached: true }, [1]]);
  const mlr = run(mlrSearch(OPTIONS), () => 0, 0.31);
  assert.equal([mlr.found.map(({ load }) => load), mlr.loads], [[0.31, 0.31], [1]]);
  const lossy = run(binarySearch(OPTIONS), capacity(0.2), 0.31).found;
  assert.ok(lossy.load <= 0.2 && lossy.load > 0.195 && lossy.tooHigh! <= 0.31);
  const [ndr] = run(mlrSearch(OPTIONS), capacity(0.2), 0.31).found;
  assert.ok(ndr!.load <= 0.2 && ndr!.load > 0.195, `${ndr!.load}`);
});

searches(
  'a sender that is held up ever again: each search ends soon, and says that the sender is the limit',
  () => {
    fc.assert(
      fc.property(
        fc.array(fc.double({ min: 0.2, max: 1, noNaN: true }), { minLength: 1, maxLength: 50 }),
        (shares) => {
          for (const search of [binarySearch(OPTIONS), mlrSearch(OPTIONS)] as LoadSearch<unknown>[]) {
            let trials = 0;
            let step = search.next();
            while (!step.done) {
              assert.ok(trials <= 60, 'it does not end');
              const offered = step.value * shares[trials++ % shares.length]!;
              step = search.next({ offered, lossRatio: capacity(0.6)(offered) });
            }
            const [{ load, tooHigh = 1 }] = [step.value].flat() as [{ load: number; tooHigh?: number }];
            assert.ok(load <= 0.6 + 1e-9 && load < tooHigh + 1e-9, `${load} ${tooHigh}`);
          }
        },
      ),
      // Less than was asked for by a little more than the tolerance, and by a little less where loads are lower.
      { examples: [[[0.9914883099615737]], [[0.9919891284024402]]] },
    );
    // Reaches half of what is asked for, but for the first time.
    let first = true;
    const search = binarySearch(OPTIONS);
    let step = search.next();
    while (!step.done) {
      const offered = first ? step.value : step.value / 2;
      first = false;
      step = search.next({ offered, lossRatio: capacity(0.6)(offered) });
    }
    assert.is(step.value.unreached, true);
  },
);

searches.run();
