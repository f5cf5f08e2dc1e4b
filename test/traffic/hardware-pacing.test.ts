/** Frames that the hardware spaces: the 82599's driver on its model, both in virtual time. */
import * as assert from 'uvu/assert';
import { ManualClock } from '../../src/clock.js';
import type { NetDevice } from '../../src/driver/device.js';
import { open } from '../../src/driver/registry.js';
import { TrafficRun, type TrafficScript } from '../../src/traffic/index.js';
import { expectError } from '../support/expect-error.js';
import { IxgbeRig } from '../support/ixgbe-rig.js';
import { plugIn } from '../support/made-up-family/scheme.js';
import { suite } from '../support/suite.js';

const MOST_STEPS = 200_000;
const rigs = { open: { promiscuous: true } } as const;

/** Runs a script from one card to the other to its end, and gives the account of each phase. */
async function run(script: TrafficScript, stepNs: number, onStep: (run: TrafficRun) => void = () => {}) {
  const clock = new ManualClock();
  clock.advanceNs(1);
  const rig = await IxgbeRig.open({ ...rigs, model: { clock } });
  try {
    const made = new TrafficRun([rig.a.nic, rig.b.nic], script, { clock, pacing: 'hardware', settleMs: 1 });
    for (let steps = 0; !made.done; steps++) {
      if (steps === MOST_STEPS) throw new Error('it does not end');
      made.poll();
      onStep(made);
      rig.a.model.poll(64);
      rig.b.model.poll(64);
      clock.advanceNs(stepNs);
    }
    assert.equal(rig.complaints(), []);
    return made.reports.map(({ account }) => account);
  } finally {
    await rig.close();
  }
}

/** One card by itself that refuses the flows. */
async function refusal(flows: TrafficScript['flows'], message: RegExp, device?: NetDevice): Promise<void> {
  if (device !== undefined) {
    expectError(
      'BAD_OPTION',
      () => new TrafficRun([device], { flows: flows! }, { pacing: 'hardware' }),
      message,
    );
    return;
  }
  const rig = await IxgbeRig.open(rigs);
  try {
    await refusal(flows, message, rig.a.nic);
  } finally {
    await rig.close();
  }
}

const pacing = suite('hardware pacing');

pacing('frames come as far apart as was asked for, and the account tells both rates', async () => {
  const [account] = await run({ flows: [{ size: 64, rate: '1Mpps', count: 1000 }] }, 500);
  const [flow] = account!.flows;
  assert.equal([account!.sent, account!.received, account!.complete], [1000, 1000, true]);
  assert.equal([flow!.pacing, flow!.requestedPps, flow!.gapErrors], ['hardware', 1e6, undefined]);
  // 64 bytes with FCS, 1 M/s: 512 Mbit/s, which is the line over 19.53125.
  assert.is(flow!.hardwarePps, 1e6);
  assert.ok(Math.abs(flow!.achievedPps! - 1e6) < 1e6 / 300, `${flow!.achievedPps}`);
  assert.equal([flow!.gaps!.minNs, flow!.gaps!.maxNs], [1000, 1000]);
});

for (const [rate, pps] of [
  ['800Mbit', 800e6 / ((64 + 20) * 8)],
  ['800MbitL2', 800e6 / (64 * 8)],
  ['5%', 500e6 / ((64 + 20) * 8)],
] as const) {
  pacing(`${rate} is that on the wire`, async () => {
    const [account] = await run({ flows: [{ size: 64, rate, count: 1000 }] }, 400);
    const [flow] = account!.flows;
    assert.ok(Math.abs(flow!.hardwarePps! / pps - 1) < 1e-4, `${flow!.hardwarePps}`);
    assert.ok(Math.abs(flow!.achievedPps! / pps - 1) < 3e-3, `${flow!.achievedPps}`);
  });
}

pacing('sizes that differ keep the rate of their bits', async () => {
  const sizes = [64, 300, 1518];
  const [account] = await run({ flows: [{ size: sizes, rate: '500MbitL2', count: 900 }] }, 500);
  const [flow] = account!.flows;
  const averageBits = ((64 + 300 + 1518) / 3) * 8;
  assert.ok(Math.abs((flow!.achievedPps! * averageBits) / 500e6 - 1) < 5e-3, `${flow!.achievedPps}`);
  assert.is(account!.complete, true);
});

pacing('a duration is as many frames as are due in it', async () => {
  const [account] = await run({ flows: [{ size: 64, rate: '100kpps', durationMs: 10 }] }, 1000);
  assert.equal([account!.sent, account!.complete], [1000, true]);
});

pacing('a rate that changes is another one in the register, and the duration stays', async () => {
  let changed = false;
  const [account] = await run(
    { flows: [{ name: 'one', size: 64, rate: '100kpps', durationMs: 20 }], tickMs: 1000, onTick() {} },
    1000,
    (running) => {
      if (changed || running.timeMs < 10) return;
      changed = true;
      running.flow('one').setRate('200kpps');
    },
  );
  const [flow] = account!.flows;
  assert.equal([flow!.rateChanges, flow!.requestedPps], [1, 200_000]);
  // What is in the ring by then was given at the old rate, and is sent at the new one.
  assert.ok(account!.sent! >= 3000 && account!.sent! <= 3000 + 128, `${account!.sent}`);
  assert.is(account!.complete, true);
});

pacing('the queue has no rate afterwards: the next run is software’s', async () => {
  const clock = new ManualClock();
  clock.advanceNs(1);
  const rig = await IxgbeRig.open({ ...rigs, model: { clock } });
  for (const kind of ['hardware', 'software'] as const) {
    const flows = [{ size: 64, count: 100, rate: kind === 'hardware' ? '20kpps' : '10Mpps' }];
    const made = new TrafficRun([rig.a.nic, rig.b.nic], { flows }, { clock, pacing: kind, settleMs: 1 });
    const startNs = clock.nowNs();
    while (!made.done) {
      made.poll();
      rig.a.model.poll(64);
      clock.advanceNs(1000);
    }
    const tookNs = clock.nowNs() - startNs;
    assert.is(made.reports[0]!.account.complete, true);
    if (kind === 'hardware') assert.ok(tookNs >= 99 * 50_000);
    else assert.ok(tookNs < 2e6, `${tookNs}`);
  }
  await rig.close();
});

pacing('what no hardware can do is refused, with the reason', async () => {
  await refusal([{ rate: '1Mpps', spacing: 'poisson' }], /evenly/);
  await refusal([{ rate: '1Mpps', burst: 4 }], /evenly/);
  await refusal([{ burstGapMs: 1, burst: 4 }], /evenly/);
  await refusal([{ size: 'imix', rate: '1Mpps' }], /several sizes/);
  await refusal([{ rate: '1k' }], /cannot hold a queue/);
  await refusal([{}], /no rate/);
  await refusal([{ rate: '1Mpps' }, { rate: '1Mpps' }], /2 flows/);
});

pacing('a device without it is refused', async () => {
  plugIn(80);
  const device = await open('made-up:80');
  await refusal([{ rate: '1Mpps' }], /made-up:80 \(MU-5\) cannot space frames/, device);
  await device.close();
});

pacing.run();
