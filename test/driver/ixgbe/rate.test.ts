/** Rates of transmit queues: what `setRate` writes (82599 datasheet 8.2.3.10), refuses, and does to frames on the model. */
import * as assert from 'uvu/assert';
import { ManualClock } from '../../../src/clock.js';
import { PciRegion } from '../../../src/vfio/types.js';
import { expectError } from '../../support/expect-error.js';
import { IxgbeRig, MAC_A, MAC_B, numberedFrame } from '../../support/ixgbe-rig.js';
import { suite } from '../../support/suite.js';

const RTTDQSEL = 0x4904;
const RTTBCNRC = 0x4984;

/** Rate factor of a queue, 0 where it has no rate. */
function factorOf(rig: IxgbeRig, queue: number): number {
  const bar = rig.a.vfio.region(PciRegion.BAR0);
  bar.write32(RTTDQSEL, queue);
  const value = bar.read32(RTTBCNRC);
  if (value < 2 ** 31) return 0;
  // RF_INT 23:14, RF_DEC 13:0.
  return ((value >>> 14) & 0x3ff) + (value & 0x3fff) / 2 ** 14;
}

async function withRig(body: (rig: IxgbeRig) => Promise<void> | void, clock = new ManualClock()) {
  const rig = await IxgbeRig.open({ model: { clock }, open: { queuePairs: 2 } });
  try {
    await body(rig);
  } finally {
    await rig.close();
  }
  assert.equal(rig.complaints(), []);
}

const rates = suite('setRate');

rates('writes the factor of its queue, and says which rate that is', () =>
  withRig((rig) => {
    const [first, second] = rig.a.nic.txQueues;
    assert.is(first.setRate!(1e9), 1e9);
    assert.is(second!.setRate!(3e9), (10e9 * 2 ** 14) / Math.round((10 / 3) * 2 ** 14));
    assert.equal([factorOf(rig, 0), factorOf(rig, 1)], [10, Math.round((10 / 3) * 2 ** 14) / 2 ** 14]);
    assert.is(first.setRate!(10e6), 10e6, 'the slowest: a thousandth of the line');
    assert.is(factorOf(rig, 0), 1000);
    assert.is(first.setRate!(10e9), 10e9);
    assert.is(factorOf(rig, 0), 1);
    assert.is(first.setRate!(0), 0);
    assert.equal([factorOf(rig, 0), factorOf(rig, 1) > 3], [0, true]);
    const { leastShare, divisorStep } = rig.a.nic.capabilities.txRate!;
    assert.equal([leastShare, divisorStep], [0.001, 1 / 16_384]);
  }),
);

rates('refuses what is no rate of this line', () =>
  withRig((rig) => {
    const [queue] = rig.a.nic.txQueues;
    queue.setRate!(1e9);
    for (const rate of [9.9e6, 10.1e9, -1, Number.NaN, Number.POSITIVE_INFINITY])
      expectError('BAD_OPTION', () => queue.setRate!(rate), /local:a/);
    assert.is(factorOf(rig, 0), 10, 'the rate before stays');
    rig.link.setCarrier(false);
    expectError('NO_LINK', () => queue.setRate!(1e9), /local:a/);
    rig.link.setCarrier(true);
  }),
);

rates('is over with its device', async () => {
  const rig = await IxgbeRig.open({});
  const [queue] = rig.a.nic.txQueues;
  await rig.close();
  expectError('CLOSED', () => queue.setRate!(1e9));
});

rates('frames leave at the rate, however many are given at once', async () => {
  const clock = new ManualClock();
  await withRig((rig) => {
    const [queue] = rig.a.nic.txQueues;
    rig.settle();
    // 64 bytes with FCS are 512 ns at 1 Gbit/s.
    queue.setRate!(1e9);
    const frames = Array.from({ length: 100 }, (_, i) => numberedFrame(MAC_B, MAC_A, i));
    assert.is(rig.send(rig.a, frames), 100);
    const arrived: Uint8Array[] = [];
    for (let ns = 0; ns < 60_000; ns += 100) {
      rig.settle();
      arrived.push(...rig.receive(rig.b));
      assert.is(arrived.length, Math.min(100, Math.floor(ns / 512) + 1));
      clock.advanceNs(100);
    }
    assert.equal(arrived, frames);
  }, clock);
});

rates.run();
