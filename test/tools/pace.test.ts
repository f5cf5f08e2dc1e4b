/** The schedule of a rate: absolute, and after a pause no burst beyond its bound. */
import * as assert from 'uvu/assert';
import { ManualClock } from '../../src/clock.js';
import { open } from '../../src/driver/registry.js';
import { Generator } from '../../tools/generator.js';
import { plugIn } from '../support/made-up-family/scheme.js';
import { suite } from '../support/suite.js';

const generating = suite('pktgen at a rate');

/** A generator on a made-up card that sends when it is told to. */
async function generator(slot: number, rate: number) {
  const clock = new ManualClock();
  const card = plugIn(slot);
  card.automatic = false;
  card.plug({ arrive: () => true });
  const device = await open(`made-up:${slot}`);
  const made = new Generator([device], { flows: [{ size: 64, rate }] }, {}, clock);
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
  assert.is(sent, 257, 'the first at once');
  clock.advanceNs(3e9);
  let burst = 0;
  for (let polls = 0; polls < 100; polls++) burst += poll();
  assert.is(burst, 3, '10 ms of 256 a second');
  assert.equal(report(), {
    requestedPps: 256,
    leftOutNoRoom: 0,
    leftOutLate: 768 - 3,
    longestPauseMs: 3000,
    catchUpMs: 10,
  });
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

generating.run();
