/** The schedule of a rate: absolute, and after a pause no burst beyond its bound. */
import fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { ManualClock } from '../../src/clock.js';
import { open } from '../../src/driver/registry.js';
import { Generator } from '../../tools/commands/pktgen.js';
import { Pace } from '../../tools/pace.js';
import { plugIn } from '../support/made-up-family/scheme.js';

const pacing = suite('pace');

pacing('on time: each frame when it is due, none left out', () => {
  const clock = new ManualClock();
  const pace = new Pace(1000, clock);
  let sent = 0;
  for (let us = 0; us < 100_000; us += 250) {
    clock.advanceNs(250e3);
    sent += pace.due(sent, false);
    assert.is(sent, Math.floor((us + 250) / 1000), `${us + 250} us`);
  }
  assert.is(sent, 100);
  assert.equal(pace.report, { requestedPps: 1000, leftOutNoRoom: 0, leftOutLate: 0, longestPauseMs: 0.25 });
});

pacing(
  'any pauses and full rings: at most 10 ms at once, and all send times are sent or left out by name',
  () => {
    const step = fc.record({
      ns: fc.integer({ min: 0, max: 4e9 }),
      full: fc.boolean(),
      take: fc.nat({ max: 400 }),
    });
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 30_000_000 }),
        fc.array(step, { maxLength: 40 }),
        (rate, steps) => {
          const clock = new ManualClock();
          const pace = new Pace(rate, clock);
          const most = Math.max(1, Math.ceil(rate / 100));
          let sent = 0;
          let due = 0;
          for (const { ns, full, take } of steps) {
            clock.advanceNs(ns);
            due = pace.due(sent, full);
            assert.ok(due >= 0 && due <= most, `${due} of ${most}`);
            sent += Math.min(due, take);
            due -= Math.min(due, take);
          }
          const { leftOutNoRoom, leftOutLate } = pace.report;
          assert.is(sent + due + leftOutNoRoom + leftOutLate, Math.floor((clock.nowNs() * rate) / 1e9));
        },
      ),
    );
  },
);

const generating = suite('pktgen at a rate');

/** A generator on a made-up card that sends when it is told to. */
async function generator(slot: number, rate: number) {
  const clock = new ManualClock();
  const card = plugIn(slot);
  card.automatic = false;
  card.plug({ arrive: () => true });
  const device = await open(`made-up:${slot}`);
  const made = new Generator(device, { size: 64, rate, batch: 32 }, clock);
  return { clock, card, device, made, report: () => made.report[0]!.pace!() };
}

generating('a process that was stopped for 3 s goes on at its rate, and says what it left out', async () => {
  const { clock, card, device, made, report } = await generator(70, 256);
  const poll = (): number => {
    const sent = made.poll();
    card.work();
    return sent;
  };
  let sent = 0;
  for (let ms = 0; ms < 1000; ms++) {
    clock.advanceNs(1e6);
    sent += poll();
  }
  assert.is(sent, 256);
  clock.advanceNs(3e9);
  let burst = 0;
  for (let polls = 0; polls < 100; polls++) burst += poll();
  assert.is(burst, 3, '10 ms of 256 a second');
  assert.equal(report(), { requestedPps: 256, leftOutNoRoom: 0, leftOutLate: 768 - 3, longestPauseMs: 3000 });
  for (let ms = 0; ms < 1000; ms++) {
    clock.advanceNs(1e6);
    burst += poll();
  }
  assert.is(burst, 3 + 256, 'at its rate again');
  await device.close();
});

generating('a ring that stays full: the rate is missed, and the reason is named', async () => {
  const { clock, card, device, made, report } = await generator(71, 100_000);
  let sent = 0;
  for (let ms = 0; ms < 500; ms++) {
    clock.advanceNs(1e6);
    for (let polls = 0; polls < 8; polls++) sent += made.poll();
    // 50,000 a second.
    card.work(50);
  }
  const { leftOutNoRoom, leftOutLate } = report();
  assert.is(leftOutLate, 0);
  assert.ok(
    leftOutNoRoom > 20_000 && sent + leftOutNoRoom <= 50_000,
    `${sent} sent, ${leftOutNoRoom} left out`,
  );
  await device.close();
});

pacing.run();
generating.run();
