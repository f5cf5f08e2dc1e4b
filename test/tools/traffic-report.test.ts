import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { NetStats } from '../../src/driver/device.js';
import { type PortTotals, portRates, TrafficReport } from '../../tools/traffic-report.js';
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
    const printed = new TrafficReport([reported], true, 5000);
    state.stats.rxPackets = 2_000_000;
    state.stats.rxBytes = 120_000_000;
    printed.tick(6000);
    state.dropped = 4;
    printed.tick(6500);
    printed.final(printed.totals(), 7500);
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

report('table: a header, a row a port, columns under their names', async () => {
  const [a, b] = [port('0000:03:00.0'), port('vfio-user:/tmp/b.sock')];
  const lines = await captureLines(() => {
    const printed = new TrafficReport([a.report, b.report], false, 0);
    a.state.stats.rxPackets = 14_880_952;
    a.state.stats.rxBytes = 14_880_952 * 60;
    for (let second = 1; second <= 11; second++) printed.tick(second * 1000);
    printed.final(printed.totals(), 11_000);
  });
  assert.match(lines[0]!, /^port +rx Mpps +rx Mbit\/s +tx Mpps +tx Mbit\/s +missed +drops +errors$/);
  assert.match(lines[1]!, /^0000:03:00\.0 +14\.881 +10000\.0 +0\.000 +0\.0 +0 +0 +0$/);
  assert.is(lines[1]!.length, lines[0]!.length);
  assert.match(lines[2]!, /^vfio-user:\/tmp\/b\.sock +0\.000/);
  assert.is(lines.filter((line) => line === lines[0]).length, 2, 'the header again after 20 rows');
  assert.is(lines.length, 22 + 2 + 3);
  assert.is(lines.at(-3), 'totals after 11.0 s');
  assert.match(lines.at(-2)!, /^0000:03:00\.0 +received 14880952, sent 0, dropped 0, missed 0, errors 0$/);
});

report.run();
