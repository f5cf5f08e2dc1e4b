/** The tracker against a model that remembers everything. */
import fc from 'fast-check';
import * as assert from 'uvu/assert';
import { type Arrival, SequenceTracker } from '../../src/packet/sequence-tracker.js';
import { suite } from '../support/suite.js';

/** Sets and plain rules instead of bits: what each number is, and the counters. */
class Model {
  readonly seen = new Set<number>();
  readonly window: number;
  highest = -1;
  reordered = 0;
  duplicated = 0;
  stale = 0;

  constructor(window: number) {
    this.window = window;
  }

  record(sequence: number): Arrival {
    if (sequence > this.highest) {
      this.highest = sequence;
      this.seen.add(sequence);
      return 'next';
    }
    if (sequence <= this.highest - this.window) {
      this.stale++;
      return 'stale';
    }
    if (this.seen.has(sequence)) {
      this.duplicated++;
      return 'duplicate';
    }
    this.seen.add(sequence);
    this.reordered++;
    return 'late';
  }
}

function assertSame(tracker: SequenceTracker, model: Model, calls: number): void {
  assert.equal(
    [tracker.received, tracker.reordered, tracker.duplicated, tracker.stale, tracker.expected],
    [model.seen.size, model.reordered, model.duplicated, model.stale, model.highest + 1],
  );
  assert.is(tracker.received + tracker.duplicated + tracker.stale, calls, 'each call is counted once');
  assert.is(tracker.expected, tracker.received + tracker.lost);
}

const tracker = suite('SequenceTracker');

tracker('numbers in order', () => {
  const numbers = new SequenceTracker();
  for (let i = 0; i < 1000; i++) assert.is(numbers.record(i), 'next');
  assert.equal(
    [numbers.received, numbers.expected, numbers.lost, numbers.reordered, numbers.duplicated],
    [1000, 1000, 0, 0, 0],
  );
});

tracker('lost, late, twice, and so late that it cannot be told', () => {
  const numbers = new SequenceTracker(32);
  const arrivals = [0, 2, 1, 1, 5, 5, 40, 8, 9, 9, 0, 3].map((number) => numbers.record(number));
  assert.equal(arrivals, [
    ...['next', 'next', 'late', 'duplicate', 'next', 'duplicate', 'next'],
    // 40 is the highest: 9 is the lowest that is remembered
    ...['stale', 'late', 'duplicate', 'stale', 'stale'],
  ]);
  assert.equal(
    [numbers.received, numbers.reordered, numbers.duplicated, numbers.stale, numbers.lost],
    [6, 2, 3, 3, 35],
  );
});

/** Steps from the number before: mostly one ahead, and what links do to frames. */
const steps = fc.array(
  fc.oneof(
    { weight: 20, arbitrary: fc.constant(1) },
    { weight: 2, arbitrary: fc.constant(0) },
    { weight: 3, arbitrary: fc.integer({ min: -40, max: 40 }) },
    { weight: 1, arbitrary: fc.integer({ min: -200, max: 200 }) },
  ),
  { maxLength: 400 },
);

tracker('any numbers are what a model with endless memory says', () => {
  fc.assert(
    fc.property(steps, fc.constantFrom(32, 64, 128), (list, window) => {
      const numbers = new SequenceTracker(window);
      const model = new Model(window);
      let number = -1;
      for (const [i, step] of list.entries()) {
        number = Math.max(0, number + step);
        assert.is(numbers.record(number), model.record(number), `number ${number} at step ${i}`);
        assertSame(numbers, model, i + 1);
      }
    }),
    { numRuns: 500 },
  );
});

tracker('the same near 2^32 and 2^53', () => {
  for (const start of [2 ** 31 - 50, 2 ** 32 - 50, Number.MAX_SAFE_INTEGER - 400]) {
    fc.assert(
      fc.property(
        steps.map((list) => list.slice(0, 60)),
        (list) => {
          const numbers = new SequenceTracker(64);
          const model = new Model(64);
          assert.is(numbers.record(start), model.record(start));
          let number = start;
          for (const [i, step] of list.entries()) {
            number = Math.min(Math.max(0, number + step), Number.MAX_SAFE_INTEGER - 1);
            assert.is(numbers.record(number), model.record(number));
            assertSame(numbers, model, i + 2);
          }
        },
      ),
    );
  }
});

tracker('a window is a power of two, and remembers so many', () => {
  for (const [wanted, is] of [
    [1, 32],
    [33, 64],
    [65_536, 65_536],
  ] as const) {
    const numbers = new SequenceTracker(wanted);
    numbers.record(is);
    assert.is(numbers.record(1), 'late');
    assert.is(numbers.record(0), 'stale');
  }
});

tracker('a ring of 4096 that is sent twice is 4096 duplicates', () => {
  const numbers = new SequenceTracker();
  for (let i = 0; i < 50_000; i++) numbers.record(i);
  for (let i = 50_000 - 4096; i < 50_000; i++) assert.is(numbers.record(i), 'duplicate');
  assert.equal([numbers.received, numbers.duplicated, numbers.lost], [50_000, 4096, 0]);
});

tracker('begins again after reset', () => {
  const numbers = new SequenceTracker(64);
  for (const number of [0, 5, 5, 3, 100, 1]) numbers.record(number);
  numbers.reset();
  assert.equal(
    [numbers.received, numbers.expected, numbers.lost, numbers.duplicated, numbers.stale, numbers.reordered],
    [0, 0, 0, 0, 0, 0],
  );
  assert.equal(
    [3, 5, 100].map((number) => numbers.record(number)),
    ['next', 'next', 'next'],
  );
  assert.is(numbers.record(99), 'late');
});

tracker.run();
