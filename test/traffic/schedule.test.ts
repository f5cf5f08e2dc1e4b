/** When frames are due: to the nanosecond, without an error that adds up, and with pauses that are not caught up without end. */
import fc from 'fast-check';
import * as assert from 'uvu/assert';
import { checkFlow, type FlowOptions } from '../../src/traffic/flow.js';
import { Histogram } from '../../src/traffic/histogram.js';
import { packetsPerSecond, parseRate } from '../../src/traffic/rate.js';
import { Schedule } from '../../src/traffic/schedule.js';
import { suite } from '../support/suite.js';

const GIGABIT = 1e9;
const NO_LIMIT = Number.POSITIVE_INFINITY;

/** Times at which the first frames are due, when each is sent as soon as it is. */
function dueTimes(options: FlowOptions, count: number, frameBytes = 60): number[] {
  const schedule = new Schedule(checkFlow(options, 0), GIGABIT, frameBytes);
  schedule.start(1000);
  return Array.from({ length: count }, () => {
    const { dueNs } = schedule;
    schedule.advance(frameBytes);
    return dueNs;
  });
}

const schedules = suite('schedules');

schedules('packets a second: the millionth frame is due to the nanosecond', () => {
  const times = dueTimes({ rate: '3Mpps' }, 1_000_001);
  assert.equal(times.slice(0, 2), [1000, 1000 + 1e9 / 3e6]);
  assert.is(times[999_999], 1000 + 999_999 * (1e9 / 3e6));
  assert.ok(Math.abs(times[1_000_000]! - 1000 - 1e15 / 3e6) < 1);
});

schedules('bits a second: frames take the time of their own length', () => {
  // 84 octets on the wire are 672 bits; of the frame with its FCS 64 octets are 512.
  assert.equal(dueTimes({ rate: '100Mbit' }, 3), [1000, 7720, 14_440]);
  assert.equal(dueTimes({ rate: '100MbitL2' }, 3), [1000, 6120, 11_240]);
  assert.equal(dueTimes({ rate: '10%' }, 3), [1000, 7720, 14_440]);
  assert.equal(dueTimes({ rate: '100Mbit' }, 2, 1514), [1000, 1000 + 1538 * 80]);
});

schedules('bursts keep the rate; a gap in place of a rate counts from burst to burst', () => {
  assert.equal(dueTimes({ rate: 1e6, burst: 3 }, 7), [1000, 1000, 1000, 4000, 4000, 4000, 7000]);
  assert.equal(dueTimes({ burst: 2, burstGapMs: 1 }, 5), [1000, 1000, 1_001_000, 1_001_000, 2_001_000]);
});

schedules(
  'Poisson: the mean is the rate, the deviation as large as the mean, the same again from the same seed',
  () => {
    const options: FlowOptions = { rate: 1e6, spacing: 'poisson' };
    const times = dueTimes(options, 50_001);
    const gaps = times.slice(1).map((time, i) => time - times[i]!);
    const mean = gaps.reduce((a, b) => a + b) / gaps.length;
    const deviation = Math.sqrt(gaps.reduce((sum, gap) => sum + (gap - mean) ** 2, 0) / gaps.length);
    assert.ok(Math.abs(mean - 1000) < 20, `${mean}`);
    assert.ok(Math.abs(deviation - 1000) < 30, `${deviation}`);
    assert.equal(dueTimes(options, 100), times.slice(0, 100));
    assert.not.equal(dueTimes({ ...options, seed: 2 }, 100), times.slice(0, 100));
  },
);

schedules('count, duration and start delay', () => {
  const none = NO_LIMIT;
  assert.equal(dueTimes({ rate: 1e6, count: 2 }, 4), [1000, 2000, none, none]);
  assert.equal(dueTimes({ rate: 1e6, durationMs: 0.003 }, 5), [1000, 2000, 3000, none, none]);
  assert.equal(dueTimes({ rate: 1e6, startDelayMs: 1 }, 2), [1_001_000, 1_002_000]);
  assert.equal(dueTimes({ count: 2 }, 3), [1000, 1000, none]);
});

schedules('a flow without a rate ends when its time is over', () => {
  const schedule = new Schedule(checkFlow({ durationMs: 1 }, 0), 0, 60);
  schedule.start(0);
  schedule.look(999_999, NO_LIMIT, false);
  assert.is(schedule.ended, false);
  schedule.look(1e6, NO_LIMIT, false);
  assert.is(schedule.ended, true);
});

schedules('what is later than the bound is left out in whole send times, by its reason', () => {
  const schedule = new Schedule(checkFlow({ rate: 1e6 }, 0), 0, 60);
  schedule.start(0);
  schedule.look(10_000, 10_000, false);
  assert.equal([schedule.dueNs, schedule.leftOutLate], [0, 0]);
  schedule.advance(60);
  schedule.look(13_500, 10_000, false);
  assert.equal([schedule.dueNs, schedule.leftOutLate, schedule.leftOutNoRoom], [4000, 3, 0]);
  schedule.advance(60);
  schedule.look(16_000, 10_000, true);
  assert.equal([schedule.dueNs, schedule.leftOutLate, schedule.leftOutNoRoom], [6000, 3, 1]);
});

schedules('any pauses and full rings: all send times are sent, due, or left out by name', () => {
  const step = fc.record({
    ns: fc.integer({ min: 0, max: 4e9 }),
    full: fc.boolean(),
    take: fc.nat({ max: 400 }),
  });
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 30_000_000 }), fc.array(step, { maxLength: 40 }), (rate, steps) => {
      const schedule = new Schedule(checkFlow({ rate }, 0), 0, 60);
      schedule.start(0);
      let nowNs = 0;
      for (const { ns, full, take } of steps) {
        nowNs += ns;
        schedule.look(nowNs, 10e6, full);
        assert.ok(schedule.dueNs >= nowNs - 10e6 - 1, 'not more than the bound late');
        for (let i = 0; i < take && schedule.dueNs <= nowNs; i++) schedule.advance(60);
      }
      const { sent, leftOutNoRoom, leftOutLate, dueNs } = schedule;
      // The next send time is the one after those that were sent or left out.
      const number = (dueNs * rate) / 1e9;
      assert.ok(Math.abs(number - sent - leftOutNoRoom - leftOutLate) < 1e-3, `${number}`);
    }),
  );
});

schedules('rates of a mix of sizes', () => {
  assert.is(packetsPerSecond(parseRate('672Mbit'), 60), 1e6);
  assert.is(packetsPerSecond(parseRate('1.1M'), 60), 1.1e6);
});

schedules.run();

const histograms = suite('histograms');

histograms('quantiles are at most 1/32 above the true ones, ends and mean are exact', () => {
  const histogram = new Histogram();
  for (let i = 1; i <= 100_000; i++) histogram.record(i * 37);
  const { count, minNs, meanNs, p50Ns, p99Ns, p9999Ns, maxNs } = histogram.summary()!;
  assert.equal([count, minNs, meanNs, maxNs], [100_000, 37, 50_000.5 * 37, 3_700_000]);
  for (const [value, share] of [
    [p50Ns, 0.5],
    [p99Ns, 0.99],
    [p9999Ns, 0.9999],
  ] as const) {
    const exact = share * 3_700_000;
    assert.ok(value >= exact && value <= exact * (1 + 1 / 32), `${share}: ${value}`);
  }
});

histograms('small, large and impossible values', () => {
  const histogram = new Histogram();
  for (const ns of [0, 31, -5, 2 ** 31 - 1, 2 ** 31, 2 ** 40, 1e18]) histogram.record(ns);
  assert.is(histogram.count, 7);
  assert.equal([histogram.quantile(0), histogram.quantile(3 / 7), histogram.quantile(1)], [0, 31, 1e18]);
  assert.is(new Histogram().summary(), undefined);
});

histograms.run();
