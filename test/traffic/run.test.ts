/** Runs of flows and scripts in virtual time: phases, callbacks, rates that change, and accounts that agree with the cable. */
import * as assert from 'uvu/assert';
import { frameMemory } from '../../src/emulator/link.js';
import type { CableOptions } from '../../src/emulator/links/cable.js';
import type { NicError } from '../../src/errors.js';
import { buildUdp } from '../../src/packet/transport-builder.js';
import { TrafficRun } from '../../src/traffic/run.js';
import { defineTraffic, type TrafficScript } from '../../src/traffic/script.js';
import type { TrialOptions } from '../../src/traffic/trial.js';
import { suite } from '../support/suite.js';
import { virtualLink } from '../support/virtual-link.js';

const SLOT = 64;
const STEP_NS = 10_000;
const MOST_STEPS = 2_000_000;

/** Runs a script between two cards to its end. */
async function runScript(
  script: TrafficScript,
  faults: Omit<CableOptions, 'clock'> = {},
  options: Omit<TrialOptions, 'clock'> = {},
) {
  await using link = await virtualLink(SLOT, { seed: 3, ...faults });
  const run = new TrafficRun(link.devices, script, { settleMs: 20, ...options, clock: link.clock });
  for (let steps = 0; !run.done; steps++) {
    if (steps === MOST_STEPS) throw new Error('it does not end');
    run.poll();
    link.step(STEP_NS);
  }
  const { available, capacity } = link.devices[0].pool;
  return { run, cable: link.cable.counters('ab'), endNs: link.clock.nowNs(), available, capacity };
}

const runs = suite('traffic runs');

runs('planted losses, copies, and frames out of order: the account has the counts of the cable', async () => {
  for (const seed of [1, 2, 3]) {
    const faults = { seed, delayNs: 50_000, loss: 0.01, duplicate: 0.01, reorder: 0.01 };
    const { run, cable } = await runScript({ flows: [{ rate: 20_000, count: 5000 }] }, faults);
    const { sent, received, lost, duplicated, flows } = run.reports[0]!.account;
    assert.ok(cable.lost > 0 && cable.duplicated > 0 && cable.reordered > 0);
    assert.equal([sent, received, lost], [5000, cable.carried, cable.lost]);
    assert.equal([duplicated, flows[0]!.reordered], [cable.duplicated, cable.reordered]);
    assert.is(flows[0]!.latency!.minNs >= 50_000, true);
  }
});

runs('the same run again is the same account', async () => {
  const script: TrafficScript = {
    flows: [
      { rate: 5000, count: 300, size: 'imix', srcIp: '10.0.0.1-10.0.0.9~' },
      { rate: '10Mbit', count: 500 },
    ],
  };
  const faults = { loss: 0.02, delayNs: 3e5 };
  const [first, second] = [await runScript(script, faults), await runScript(script, faults)];
  assert.equal(second.run.reports, first.run.reports);
  assert.is(second.endNs, first.endNs);
});

runs('phases: each has an account of its own, and late frames of one are not the next one’s', async () => {
  const flows = [{ name: 'a', rate: 10_000 }];
  const script: TrafficScript = {
    phases: [
      { name: 'first', flows, durationMs: 30 },
      { flows: [...flows, { rate: 1000, port: 1 }], durationMs: 20 },
    ],
    checked: [0, 1],
  };
  // Longer under way than the run waits for quiet: the first phase's last frames come in the second.
  const { run } = await runScript(script, { delayNs: 60e6 });
  assert.equal(
    run.reports.map(({ phase, account }) => [phase, account.flows.map(({ flow, sent }) => [flow, sent])]),
    [
      ['first', [['a', 300]]],
      [
        'phase 1',
        [
          ['a', 200],
          ['flow 1', 20],
        ],
      ],
    ],
  );
  const [first, second] = run.reports.map(({ account }) => account);
  assert.is(first!.lost, 300, 'all were still under way');
  assert.is(second!.unknown, first!.lost, 'and came later, as nobody’s');
  assert.is(second!.duplicated, 0);
});

runs('onTick sees what came, and changes the rate from then on', async () => {
  const seen: number[] = [];
  const { run } = await runScript({
    flows: [{ name: 'one', rate: 1000, durationMs: 40 }],
    tickMs: 10,
    onTick(running) {
      const flow = running.flow('one');
      seen.push(flow.received);
      if (running.timeMs < 15) flow.setRate('5k');
      if (running.timeMs > 25) running.endPhase();
      assert.throws(
        () => running.flow('two'),
        (error: NicError) => error.code === 'BAD_OPTION',
      );
    },
  });
  const [flow] = run.reports[0]!.account.flows;
  // 10 in the first 10 ms, then 5 a millisecond for 20.
  assert.ok(Math.abs(flow!.sent! - 110) <= 1, `${flow!.sent}`);
  assert.equal([flow!.rateChanges, flow!.requestedPps], [1, 5000]);
  assert.ok(Math.abs(seen[0]! - 10) <= 1 && Math.abs(seen[1]! - 60) <= 1, `${seen}`);
});

runs('onFrame answers, answers are counted as frames of nobody, and every buffer is given back', async () => {
  const answer = buildUdp({
    sourceMac: '02:00:00:00:00:07',
    destinationMac: '02:00:00:00:00:08',
    sourceIp: '10.0.0.1',
    destinationIp: '10.0.0.2',
    sourcePort: 1,
    destinationPort: 2,
  });
  const asked: number[] = [];
  const { run, available, capacity } = await runScript(
    {
      flows: [
        { name: 'questions', protocol: 'icmp', rate: 1000, count: 50 },
        { name: 'others', rate: 1000, count: 50 },
      ],
      checked: [1],
      onFrame({ packet, bytes, reply }) {
        asked.push(packet.protocol);
        if (packet.protocol === 1) assert.is(reply(answer), true);
        assert.throws(
          () => reply(bytes.subarray(0, 3)),
          (error: NicError) => error.code === 'BAD_ARGUMENT',
        );
      },
    },
    {},
  );
  // Both ports are received from: the questions came to one, their answers to nobody's address.
  assert.is(asked.filter((protocol) => protocol === 1).length, 50);
  const { sent, received, notNumbered, unknown } = run.reports[0]!.account;
  assert.equal([sent, received, notNumbered, unknown], [100, 50, 50, 50]);
  assert.ok(capacity - available <= 512, 'what is not in a ring is free');
});

runs('onPhaseEnd may fail a run, and add a phase', async () => {
  const failed = await runScript({
    phases: [{ flows: [{ count: 5 }] }, { flows: [{ count: 5 }] }],
    onPhaseEnd: ({ sent }, run) => run.fail(`after ${sent}`),
  });
  assert.equal([failed.run.failure, failed.run.reports.length], ['after 5', 1]);
  let phases = 0;
  const more = await runScript({
    flows: [{ count: 5 }],
    onPhaseEnd(_, run) {
      if (++phases < 3) run.addPhase({ name: `more ${phases}`, flows: [{ count: phases }] });
    },
  });
  assert.equal(
    more.run.reports.map(({ phase, account }) => [phase, account.sent]),
    [
      ['phase 0', 5],
      ['more 1', 1],
      ['more 2', 2],
    ],
  );
});

runs('frames of somebody else are not waited for', async () => {
  await using link = await virtualLink(SLOT, {});
  const script: TrafficScript = { flows: [{ rate: 10_000, count: 10 }] };
  const run = new TrafficRun(link.devices, script, { settleMs: 20, clock: link.clock });
  const foreign = frameMemory(60);
  const startNs = link.clock.nowNs();
  while (!run.done) {
    run.poll();
    link.cable.a.deliver(foreign, 0, 60);
    link.step(STEP_NS);
  }
  const { received, unknown } = run.reports[0]!.account;
  assert.is(received, 10);
  assert.ok(unknown! > 1000);
  // In the run's own time: 1 ms of frames, and 20 ms without one.
  assert.ok(link.clock.nowNs() - startNs < 50e6);
});

runs('what a callback throws, poll throws', async () => {
  const boom = new Error('boom');
  const script: TrafficScript = {
    flows: [{ rate: 1000 }],
    tickMs: 1,
    onTick: () => {
      throw boom;
    },
  };
  let thrown: unknown;
  await runScript(script).catch((error: unknown) => {
    thrown = error;
  });
  assert.is(thrown, boom);
});

for (const [what, script, message] of [
  ['an unknown key', { flow: [] }, /flow/],
  ['flows and phases', { flows: [], phases: [{}] }, /flows and phases/],
  ['no phase', { phases: [] }, /phases/],
  ['a flow that cannot be', { flows: [{ srcPort: 70_000 }] }, /srcPort/],
  ['two flows of one name', { flows: [{ name: 'a' }, { name: 'a' }] }, /called a/],
  ['a port that is none', { flows: [{ port: -1 }] }, /port/],
  ['a callback that is none', { onTick: 5 }, /onTick/],
] as const) {
  runs(`a script with ${what} is refused`, async () => {
    const build = async () => {
      // What a port could say of a flow is said when it runs: both must refuse.
      defineTraffic(script as TrafficScript);
      await runScript(script as TrafficScript);
    };
    let refused: NicError | undefined;
    await build().catch((error: NicError) => {
      refused = error;
    });
    assert.is(refused?.code, 'BAD_OPTION');
    assert.match(refused!.message, message);
  });
}

runs('a script that needs more ports than there are is refused', async () => {
  let refused: NicError | undefined;
  await runScript({ flows: [{ port: 2 }] }).catch((error: NicError) => {
    refused = error;
  });
  assert.match(refused?.message ?? '', /needs 3 ports/);
});

runs.run();
