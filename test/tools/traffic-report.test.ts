import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { every, ManualClock } from '../../src/clock.js';
import type { NetStats } from '../../src/driver/device.js';
import { NicError } from '../../src/errors.js';
import { type PortTotals, portRates, scaled, TrafficReport } from '../../tools/traffic-report.js';
import { captureLines } from '../support/capture.js';

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
  const state = { stats: { ...NOTHING }, dropped: 0 };
  return {
    state,
    report: { device: { address, stats: () => ({ ...state.stats }) }, dropped: () => state.dropped },
  };
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
  const result = portRates(totals({}), totals({ txPackets: packets, txBytes: packets * 1514 }), 1);
  assert.is(Math.round(result.txMbitPerS), 1000);
  assert.is(result.txMpps, 0.081274);
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
  assert.equal(last.ports, [totals({ rxPackets: 2_000_000, rxBytes: 120_000_000, dropped: 4 })]);
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
    b.state.stats.txPackets = 5;
    b.state.stats.txBytes = 300;
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
    'port       received           sent        dropped         missed         errors',
    '0          14880952              0              0      123456789              0',
    '1                 0              5              0              0              0',
  ]);
  for (const line of table) assert.ok(line.length <= 79, `${line.length}: ${line}`);
});

report('counters that the device lacks are left out of JSON, and a dash in the table', async () => {
  const { report: reported } = port();
  const { rxMissed: _, rxErrors: __, ...some } = NOTHING;
  const lacking = { ...reported, device: { address: 'x', stats: () => some as NetStats } };
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
  assert.match(lines.at(-1)!, /^0 +0 +0 +0 +- +0$/);
});

report('a port that is gone: a tick fails, the totals have what it said the last time', async () => {
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
      for (const attempt of [() => printed.tick(), () => printed.final()])
        assert.throws(attempt, (error: unknown) => error === gone);
    });
    if (json) {
      const [, { ports, timeS }] = lines.map((line) => JSON.parse(line)) as [unknown, Record<string, never>];
      assert.is(lines.length, 2);
      assert.is(timeS, 2.5);
      assert.equal(ports, [
        { ...totals({ rxPackets: 7, dropped: 3, asOfS: 1 }), address: 'a' },
        { ...totals({ rxPackets: 9 }), address: 'b' },
      ]);
    } else {
      assert.equal(lines.slice(-3), [
        '0                 7              0              3              0              0',
        '1                 9              0              0              0              0',
        'port 0 no longer answers: its counters are those after 1.0 s',
      ]);
    }
    dead.report.device.stats = () => ({ ...dead.state.stats });
    dead.state.stats = { ...NOTHING };
    dead.state.dropped = 0;
    alive.state.stats = { ...NOTHING };
  }
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
