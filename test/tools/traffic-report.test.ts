import * as assert from 'uvu/assert';
import { every, ManualClock } from '../../src/clock.js';
import type { NetStats, QueueStats } from '../../src/driver/device.js';
import { NicError } from '../../src/errors.js';
import type { PaceReport } from '../../tools/pace.js';
import { type PortTotals, portRates, scaled, TrafficReport } from '../../tools/traffic-report.js';
import { captureLines } from '../support/capture.js';
import { suite } from '../support/suite.js';

const NOTHING: NetStats = {
  rxPackets: 0,
  rxBytes: 0,
  txPackets: 0,
  txBytes: 0,
  rxMissed: 0,
  rxErrors: 0,
  rxTooLong: 0,
  rxDamaged: 0,
  rxNoBuffer: 0,
  txErrors: 0,
  wireRxPackets: 0,
  wireRxBytes: 0,
  wireTxPackets: 0,
  wireTxBytes: 0,
};

const totals = (stats: Partial<PortTotals>): PortTotals => ({
  address: '0000:03:00.0',
  dropped: 0,
  ...NOTHING,
  ...stats,
});

/** A port whose counters the test sets. */
function port(address = '0000:03:00.0') {
  const state = { stats: { ...NOTHING }, dropped: 0, up: true };
  const device = {
    address,
    stats: () => ({ ...state.stats }),
    linkState: () => ({ up: state.up, speedMbps: 0, fullDuplex: true }),
  };
  return { state, report: { device, dropped: () => state.dropped } };
}

const rates = suite('traffic rates');

rates('10 Gbit/s of the shortest frames are 14.88 Mpps', () => {
  // 64 bytes with FCS, 8 preamble and delimiter, 12 gap: 84 bytes, 672 bits (IEEE 802.3, 4.4.2).
  const packets = Math.round(10e9 / 672);
  const result = portRates(totals({}), totals({ rxPackets: packets, rxBytes: packets * 60 }), 1);
  assert.is(result.rxMpps, 14.880952);
  assert.is(Math.round(result.rxMbitPerS), 10_000);
  assert.is(result.txMpps, 0);
});

rates('1 Gbit/s of the longest frames', () => {
  const packets = 81_274;
  const onRing = { txPackets: packets, txBytes: packets * 1514 };
  const sent = totals({ ...onRing, wireTxPackets: packets, wireTxBytes: packets * 1518 });
  const { wireTxPackets: _, wireTxBytes: __, ...uncounted } = sent;
  for (const port of [sent, uncounted as PortTotals]) {
    const before = totals({});
    const result = portRates(before, port, 1);
    assert.is(Math.round(result.txMbitPerS), 1000);
    assert.is(result.txMpps, 0.081274);
  }
});

rates('what did not reach the wire is not sent', () => {
  const onRing = { txPackets: 900, txBytes: 54_000, txInRing: 500 };
  const { txMpps, txMbitPerS } = portRates(totals({}), totals(onRing), 1);
  assert.equal([txMpps, txMbitPerS], [0, 0]);
  const { wireTxPackets: _, ...uncounted } = totals(onRing);
  assert.is(
    portRates(totals({}), uncounted as PortTotals, 1).txMpps,
    0.0004,
    'without such a counter: what was reported',
  );
});

rates('are differences, by time', () => {
  const before = totals({ rxPackets: 1000, rxBytes: 60_000, rxMissed: 5, rxErrors: 1, dropped: 7 });
  const now = totals({
    rxPackets: 3_001_000,
    rxBytes: 180_060_000,
    rxMissed: 8,
    rxErrors: 3,
    rxDamaged: 10,
    txErrors: 100,
    rxTooLong: 20,
    dropped: 9,
  });
  const result = portRates(before, now, 2);
  assert.is(result.rxMpps, 1.5);
  assert.is(result.rxMbitPerS, 1.5 * 672);
  assert.is(result.missed, 3);
  assert.is(result.drops, 22, 'by the command and too long');
  assert.is(result.errors, 112, 'wire, descriptor, impossible to send');
});

rates.run();

const report = suite('traffic report');

report('JSON: a line a tick with the rates since the last, a line with the totals', async () => {
  const { state, report: reported } = port();
  const lines = await captureLines(() => {
    const clock = new ManualClock();
    clock.advanceNs(5e9);
    const printed = new TrafficReport([reported], true, clock);
    state.stats.rxPackets = 2_000_000;
    state.stats.rxBytes = 120_000_000;
    clock.advanceNs(1e9);
    printed.tick();
    state.dropped = 4;
    clock.advanceNs(0.5e9);
    printed.tick();
    clock.advanceNs(1e9);
    printed.final();
  });
  interface Line {
    readonly type: string;
    readonly timeS: number;
    readonly ports: readonly Record<string, unknown>[];
  }
  const [first, second, last] = lines.map((line) => JSON.parse(line)) as [Line, Line, Line];
  assert.is(lines.length, 3);
  assert.equal(Object.keys(first), ['type', 'timeS', 'ports']);
  assert.equal([first.type, first.timeS, last.type, last.timeS], ['rates', 1, 'totals', 2.5]);
  assert.equal(first.ports, [
    {
      address: '0000:03:00.0',
      rxMpps: 2,
      rxMbitPerS: 1344,
      txMpps: 0,
      txMbitPerS: 0,
      missed: 0,
      drops: 0,
      errors: 0,
    },
  ]);
  assert.is(second.ports[0]!.drops, 4);
  assert.is(second.ports[0]!.rxMpps, 0);
  assert.equal(last.ports, [
    {
      ...totals({ rxPackets: 2_000_000, rxBytes: 120_000_000, dropped: 4 }),
      unsent: 0,
      rxPps: { average: 800_000, min: 0, max: 2_000_000 },
      txPps: { average: 0, min: 0, max: 0 },
    },
  ]);
});

report('table: a legend and a header, a row a port, columns under their names, in 79 columns', async () => {
  const long = `vfio-user:/run/user/1000/${'very-long-name/'.repeat(8)}b.sock`;
  const [a, b] = [port('0000:03:00.0'), port(long)];
  const lines = await captureLines(() => {
    const clock = new ManualClock();
    const printed = new TrafficReport([a.report, b.report], false, clock);
    a.state.stats.rxPackets = 14_880_952;
    a.state.stats.rxBytes = 14_880_952 * 60;
    a.state.stats.rxMissed = 123_456_789;
    Object.assign(b.state.stats, { txPackets: 5, txBytes: 300, wireTxPackets: 5, wireTxBytes: 320 });
    every(clock, 1000, () => printed.tick());
    clock.advanceNs(11e9);
    printed.final();
  });
  assert.equal(lines.slice(0, 2), ['port 0: 0000:03:00.0', `port 1: ${long}`]);
  const table = lines.slice(2);
  assert.equal(table.slice(0, 3), [
    'port  rx pkt/s  rx bit/s  tx pkt/s  tx bit/s    missed     drops    errors',
    '0       14.88M    10.00G        0         0  123456789         0         0',
    '1           0         0     5.000     3.360k         0         0         0',
  ]);
  assert.is(table.filter((line) => line === table[0]).length, 2, 'the header again after 20 rows');
  assert.equal(table.slice(2 + 22), [
    'totals after 11.0 s',
    'port    received        sent      unsent     dropped      missed      errors',
    '0       14880952           0           0           0   123456789           0',
    '1              0           5           0           0           0           0',
    'packets per second',
    'port  rx average  rx minimum  rx maximum  tx average  tx minimum  tx maximum',
    '0         1.353M          0       14.88M          0           0           0 ',
    '1             0           0           0       0.500           0       5.000 ',
  ]);
  for (const line of table) assert.ok(line.length <= 79, `${line.length}: ${line}`);
});

report('pairs of queues: a row each in the totals, and in JSON', async () => {
  const [a, b] = [port(), port('0000:03:00.1')];
  const pair = (rxPackets: number): QueueStats => ({
    rxPackets,
    rxBytes: 60 * rxPackets,
    txPackets: rxPackets - 1,
    txBytes: 60 * (rxPackets - 1),
    rxTooLong: 2,
    rxDamaged: 3,
    rxNoBuffer: 0,
    txErrors: 4,
  });
  const queues = [pair(10), pair(20)];
  const ports = [{ ...a.report, queues: () => queues }, b.report];
  const lines = await captureLines(() => {
    for (const json of [false, true]) new TrafficReport(ports, json, new ManualClock()).final();
  });
  const at = lines.indexOf('pairs of queues');
  assert.equal(lines.slice(at + 1, at + 4), [
    'port    received    rx bytes      queued    tx bytes     dropped      errors',
    '0/0           10         600           9         540           2           7',
    '0/1           20        1200          19        1140           2           7',
  ]);
  const totals = JSON.parse(lines.at(-1)!).ports;
  assert.equal([totals[0].queues, totals[1].queues], [queues, undefined]);
});

report('the legend says how an interface that stays with the kernel is used, and so does JSON', async () => {
  const ports = [port('xdp:an-if-name-of-15/1023'), port('b')];
  const ways = { interfaceMode: 'zero-copy', interfaceProgram: 'generic' } as const;
  Object.assign(ports[0]!.state.stats, ways);
  const printed = (json: boolean) =>
    captureLines(() =>
      new TrafficReport(
        ports.map((one) => one.report),
        json,
        new ManualClock(),
      ).final(),
    );
  const table = await printed(false);
  const json = await printed(true);
  assert.equal(table.slice(0, 2), [
    'port 0: xdp:an-if-name-of-15/1023, zero-copy mode, generic program',
    'port 1: b',
  ]);
  const [{ ports: totals }] = json.map((line) => JSON.parse(line)) as [{ ports: NetStats[] }];
  const { interfaceMode, interfaceProgram } = totals[0]!;
  assert.equal({ interfaceMode, interfaceProgram }, ways);
  assert.not.ok('interfaceMode' in totals[1]!);
});

report('counters that the device lacks are left out of JSON, and a dash in the table', async () => {
  const { report: reported } = port();
  const { rxMissed: _, rxErrors: __, wireTxPackets: ___, ...some } = NOTHING;
  const lacking = { ...reported, device: { ...reported.device, stats: () => some as NetStats } };
  const lines = await captureLines(() => {
    for (const json of [true, false]) {
      const clock = new ManualClock();
      const printed = new TrafficReport([lacking], json, clock);
      clock.advanceNs(1e9);
      printed.tick();
      printed.final();
    }
  });
  const [rates, sums] = lines.slice(0, 2).map((line) => JSON.parse(line).ports[0]);
  assert.equal(Object.keys(rates), [
    'address',
    'rxMpps',
    'rxMbitPerS',
    'txMpps',
    'txMbitPerS',
    'drops',
    'errors',
  ]);
  assert.not.ok('rxMissed' in sums);
  assert.match(lines[4]!, /^0 .* - +0 +0$/);
  assert.is(sums.unsent, undefined);
  assert.match(lines.at(-4)!, /^0 +0 +0 +- +0 +- +0$/);
});

report('a port that is gone: the others go on, the totals have what it said the last time', async () => {
  const [dead, alive] = [port('a'), port('b')];
  const gone = new NicError('DEVICE_GONE', 'planted');
  for (const json of [true, false]) {
    const lines = await captureLines(() => {
      const clock = new ManualClock();
      const printed = new TrafficReport([dead.report, alive.report], json, clock);
      dead.state.stats.rxPackets = 7;
      clock.advanceNs(1e9);
      printed.tick();
      dead.state.stats.rxPackets = 8;
      dead.state.dropped = 3;
      dead.report.device.stats = () => {
        throw gone;
      };
      alive.state.stats.rxPackets = 9;
      clock.advanceNs(1.5e9);
      assert.equal(printed.tick(), [{ port: dead.report, error: gone }]);
      assert.throws(
        () => printed.final(),
        (error: unknown) => error === gone,
      );
    });
    if (json) {
      const [, second, { ports, timeS }] = lines.map((line) => JSON.parse(line)) as [
        unknown,
        { ports: PortTotals[] },
        Record<string, never>,
      ];
      assert.is(lines.length, 3);
      assert.equal(
        second.ports.map(({ address }) => address),
        ['b'],
      );
      assert.is(timeS, 2.5);
      assert.equal(ports, [
        {
          ...totals({ rxPackets: 7, dropped: 3, asOfS: 1 }),
          address: 'a',
          unsent: 0,
          rxPps: { average: 7, min: 7, max: 7 },
          txPps: { average: 0, min: 0, max: 0 },
        },
        {
          ...totals({ rxPackets: 9 }),
          address: 'b',
          unsent: 0,
          rxPps: { average: 3.6, min: 0, max: 6 },
          txPps: { average: 0, min: 0, max: 0 },
        },
      ]);
    } else {
      assert.equal(lines.slice(-7, -5), [
        '0              7           0           0           3           0           0',
        '1              9           0           0           0           0           0',
      ]);
      assert.is(lines.at(-1), 'port 0: no longer answers: these are its counters after 1.0 s');
      assert.match(lines[5]!, /^1 +6.000 /);
    }
    dead.report.device.stats = () => ({ ...dead.state.stats });
    dead.state.stats = { ...NOTHING };
    dead.state.dropped = 0;
    alive.state.stats = { ...NOTHING };
  }
});

report('what did not reach the wire is named', async () => {
  const { state, report: reported } = port();
  const run = (stats: Partial<NetStats>): Promise<readonly string[]> => {
    Object.assign(state.stats, stats);
    return captureLines(() => new TrafficReport([reported], false, new ManualClock()).final());
  };
  state.up = false;
  let lines = await run({ txPackets: 900, txInRing: 511, wireTxPackets: 300 });
  assert.is(
    lines.at(-1),
    'port 0: 600 did not reach the wire (no link): 511 wait in the ring, 89 the device took and did not send',
  );
  assert.is(lines[3], '0              0         300         600           0           0           0');
  // A device that claims more than it was given.
  lines = await run({ txInRing: 9000, wireTxPackets: 100 });
  assert.is(lines.at(-1), 'port 0: 800 did not reach the wire (no link): 800 wait in the ring');
  state.up = true;
  lines = await run({ txInRing: 0 });
  assert.is(lines.at(-1), 'port 0: 800 did not reach the wire: 800 the device took and did not send');
  lines = await run({ wireTxPackets: 900 });
  assert.match(lines.at(-1)!, /^0 /, 'nothing to say');
  lines = await run({ wireTxPackets: 1000 });
  assert.match(lines.at(-1)!, /^0 /);
});

report('averages end with the traffic, not when the last packets have left', async () => {
  const { state, report: reported } = port();
  const clock = new ManualClock();
  const lines = await captureLines(() => {
    const printed = new TrafficReport([reported], true, clock);
    clock.advanceNs(2e9);
    printed.end();
    state.stats.wireTxPackets = 5000;
    clock.advanceNs(0.5e9);
    printed.final();
  });
  const { timeS, ports } = JSON.parse(lines[0]!);
  assert.is(timeS, 2.5);
  assert.equal(ports[0].txPps, { average: 2500 }, 'and no second was whole');
});

report('how a rate was kept', async () => {
  const { report: reported } = port();
  const pace = {
    requestedPps: 250_000,
    leftOutNoRoom: 0,
    leftOutLate: 0,
    longestPauseMs: 3.5,
    catchUpMs: 10,
  };
  const run = async (more: Partial<PaceReport>, json: boolean): Promise<string[]> => {
    const given = { ...reported, pace: () => ({ ...pace, ...more }) };
    const lines = await captureLines(() => new TrafficReport([given], json, new ManualClock()).final());
    return lines.slice(-3);
  };
  assert.is((await run({}, false)).at(-1), 'port 0: rate: asked for 250.0k/s, never more than 10 ms late');
  assert.equal(await run({ leftOutNoRoom: 7, leftOutLate: 9, longestPauseMs: 3000.2 }, false), [
    'port 0: rate: asked for 250.0k/s, not reached:',
    'port 0:   7 send times passed while the ring was full',
    'port 0:   9 in pauses of this process of up to 3000 ms',
  ]);
  assert.equal(
    (await run({ pacing: 'hardware', hardwarePps: 249_998, divisorStep: 1 / 16_384 }, false)).slice(1),
    [
      'port 0: rate: asked for 250.0k/s, spaced by the hardware at 250.0k/s',
      "port 0:   its rates are the line's speed over multiples of 1/16384",
    ],
  );
  assert.is(
    (await run({ pacing: 'filler', longestPauseMs: 0 }, false)).at(-1),
    'port 0: rate: asked for 250.0k/s, spaced by fillers',
  );
  assert.equal(await run({ pacing: 'filler', leftOutLate: 3, leftOutNoRoom: 4 }, false), [
    'port 0: rate: asked for 250.0k/s, spaced by fillers',
    'port 0:   the line stood still for up to 3.5 ms: the ring was empty',
    'port 0:   7 send times passed while the line was full or stood still',
  ]);
  const [json] = await run({ leftOutLate: 9 }, true);
  assert.equal(JSON.parse(json!).ports[0].pace, { ...pace, leftOutLate: 9 });
});

report('fillers are on the wire, and not sent', async () => {
  const { report: reported, state } = port();
  const wire = { txPackets: 30, txBytes: 30 * 60 + 10, wireTxPackets: 30, wireTxBytes: 30 * 64 + 10 };
  state.stats = { ...NOTHING, ...wire };
  const given = { ...reported, fillers: () => ({ frames: 10, bytes: 650 }) };
  const lines = await captureLines(() => new TrafficReport([given], true, new ManualClock()).final());
  const [totals] = JSON.parse(lines.at(-1)!).ports;
  assert.equal([totals.fillers, totals.unsent, totals.txPackets], [10, 0, 30]);
  const text = await captureLines(() => new TrafficReport([given], false, new ManualClock()).final());
  assert.match(text.find((line) => line.startsWith('0 '))!, /^0 +0 +20 +0 +0/);
});

report('numbers of any size in four digits', () => {
  for (const [value, text] of [
    [0, '0 '],
    [0.5, '0.500 '],
    [5, '5.000 '],
    [999.94, '999.9 '],
    [999.96, '1.000k'],
    [1000, '1.000k'],
    [1488, '1.488k'],
    [14_880_952, '14.88M'],
    [999_999, '1.000M'],
    [10e9, '10.00G'],
    [2 ** 53, '9007T'],
  ] as const) {
    assert.is(scaled(value), text);
  }
});

report.run();
