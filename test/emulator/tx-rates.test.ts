/** Rates of transmit queues (82599 datasheet 4.6.11.4, 8.2.3.10), in time that the test moves. */
import fc from 'fast-check';
import * as assert from 'uvu/assert';
import { ManualClock } from '../../src/clock.js';
import { connect } from '../../src/emulator/link.js';
import { suite } from '../support/suite.js';
import { BROADCAST, DATA, EOP, frame, IFCS, Recorder, RS, TestNic, TX_RING, tx } from './support.js';

// 8.2.3.10
const RTTDQSEL = 0x04904;
const RTTBCNRM = 0x04980;
const RTTBCNRC = 0x04984;
const RS_ENA = 2 ** 31;

/** Byte times at 10 Gbit/s. */
const BYTE_NS = 0.8;

function sender(flowControl = false): { nic: TestNic; clock: ManualClock; wire: Recorder } {
  const clock = new ManualClock();
  clock.advanceNs(1000);
  const nic = new TestNic({ clock }).setUpTx({ count: 256 });
  const wire = new Recorder();
  connect(nic.model, wire, { flowControl });
  return { nic, clock, wire };
}

/** @param factor the line's speed divided by the rate */
function limit(nic: TestNic, queue: number, factor: number): void {
  nic.write(RTTDQSEL, queue);
  nic.write(RTTBCNRC, factor === 0 ? 0 : RS_ENA + Math.round(factor * 2 ** 14));
}

/** Queues frames of these lengths without FCS. */
function give(nic: TestNic, lengths: readonly number[]): void {
  const iova = nic.putBuffer(0, frame(BROADCAST, 1514));
  for (const length of lengths) nic.putTx([iova, 0, length | DATA | EOP | IFCS | RS, length << 14]);
}

const rates = suite('transmit rates');

rates('a queue has the register that it is asked for, and a reset clears all', () => {
  const { nic } = sender();
  limit(nic, 0, 1.5);
  limit(nic, 127, 1000);
  assert.is(nic.read(RTTBCNRC), RS_ENA + 1000 * 2 ** 14);
  nic.write(RTTDQSEL, 0);
  assert.is(nic.read(RTTBCNRC), RS_ENA + 1.5 * 2 ** 14);
  nic.write(RTTDQSEL, 1);
  assert.is(nic.read(RTTBCNRC), 0);
  nic.write(0, 1 << 26); // CTRL.RST
  nic.write(RTTDQSEL, 0);
  assert.is(nic.read(RTTBCNRC), 0);
});

rates('each frame begins its length times the factor after the one before, whenever it is looked at', () => {
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 60, max: 1514 }), { minLength: 1, maxLength: 60 }),
      fc.integer({ min: 2 ** 14, max: 1000 * 2 ** 14 }),
      fc.array(fc.double({ min: 0, max: 2, noNaN: true }), { minLength: 1, maxLength: 40 }),
      (lengths, factorSteps, pauses) => {
        const { nic, clock, wire } = sender();
        const factor = factorSteps / 2 ** 14;
        limit(nic, 0, factor);
        give(nic, lengths);
        const averageNs = 800 * factor * BYTE_NS;
        let elapsedNs = 0;
        for (const pause of [0, ...pauses]) {
          clock.advanceNs(pause * averageNs);
          elapsedNs += pause * averageNs;
          // Several looks: one takes no more than its budget.
          for (let i = 0; i < 10; i++) nic.model.poll(8);
          let [due, beginNs] = [0, 0];
          while (due < lengths.length && beginNs <= elapsedNs + 1e-3)
            beginNs += (lengths[due++]! + 4) * factor * BYTE_NS;
          // Times that differ by less than rounding may fall to either side.
          const isClose = Math.abs(beginNs - elapsedNs) < 1;
          if (!isClose) assert.is(wire.frames.length, due);
        }
      },
    ),
    { numRuns: 60 },
  );
});

rates('frames of less than 64 octets count as 64', () => {
  const { nic, clock, wire } = sender();
  nic.write(0x04240, nic.read(0x04240) & ~(1 << 10)); // HLREG0.TXPADEN
  limit(nic, 0, 10);
  give(nic, [20, 20]);
  nic.model.poll(64);
  clock.advanceNs(64 * 10 * BYTE_NS - 1);
  nic.model.poll(64);
  assert.is(wire.frames.length, 1);
  clock.advanceNs(1);
  nic.model.poll(64);
  assert.is(wire.frames.length, 2);
});

rates('other queues are not held up', () => {
  const { nic, wire } = sender();
  nic.setUpTx({ queue: 1, count: 8 });
  limit(nic, 1, 100);
  const iova = nic.putBuffer(0, frame(BROADCAST, 100));
  for (let i = 0; i < 3; i++)
    nic.setWords(TX_RING + 0x1000 + i * 16, [iova, 0, 100 | DATA | EOP | IFCS | RS, 100 << 14]);
  nic.write(tx(1, 'TDT'), 3);
  nic.txCount = 256;
  give(
    nic,
    Array.from({ length: 50 }, () => 60),
  );
  for (let i = 0; i < 4; i++) nic.model.poll(64);
  assert.is(wire.frames.filter(({ length }) => length === 100).length, 1);
  assert.is(wire.frames.filter(({ length }) => length === 60).length, 50);
});

rates('a queue that was empty makes up for nothing', () => {
  const { nic, clock, wire } = sender();
  nic.write(RTTBCNRM, 0x14);
  limit(nic, 0, 10);
  nic.model.poll(64);
  clock.advanceNs(1e9);
  nic.model.poll(64);
  give(nic, [60, 60, 60]);
  nic.model.poll(64);
  assert.is(wire.frames.length, 1);
  clock.advanceNs(2 * 64 * 10 * BYTE_NS);
  nic.model.poll(64);
  assert.is(wire.frames.length, 3);
});

for (const [windowKib, atOnce] of [
  [0, 1],
  // 1024 bytes are four frames of 256 with FCS, and the next is due as well.
  [1, 5],
] as const) {
  rates(`a queue that was held up makes up for ${windowKib} KiB`, () => {
    const { nic, clock, wire } = sender(true);
    nic.write(RTTBCNRM, windowKib);
    limit(nic, 0, 10);
    give(
      nic,
      Array.from({ length: 20 }, () => 252),
    );
    wire.available = 0;
    nic.model.poll(64);
    clock.advanceNs(1e6);
    nic.model.poll(64);
    assert.is(wire.frames.length, 0);
    wire.available = 64;
    nic.model.poll(64);
    assert.is(wire.frames.length, atOnce);
    clock.advanceNs(256 * 10 * BYTE_NS);
    nic.model.poll(64);
    assert.is(wire.frames.length, atOnce + 1);
  });
}

rates('without a rate again, all go at once', () => {
  const { nic, wire } = sender();
  limit(nic, 0, 500);
  give(nic, [60, 60, 60]);
  nic.model.poll(64);
  assert.is(wire.frames.length, 1);
  limit(nic, 0, 0);
  nic.model.poll(64);
  assert.is(wire.frames.length, 3);
});

rates.run();
