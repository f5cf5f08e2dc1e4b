/** What `rfc2544` prints and writes, and what it refuses. */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command } from 'commander';
import * as assert from 'uvu/assert';
import type { SizeReport, TrialReport } from '../../src/traffic/index.js';
import * as rfc2544 from '../../tools/commands/rfc2544.js';
import { junitXml, openJunit } from '../../tools/junit.js';
import { junitCases, rfc2544Lines, trialLine } from '../../tools/rfc2544-report.js';
import { prepareProgram, run } from '../../tools/run-command.js';
import { captureLines } from '../support/capture.js';
import { suite } from '../support/suite.js';

const folder = mkdtempSync(join(tmpdir(), 'bw-rfc2544-'));
const printing = suite('rfc2544: what it prints');
printing.after(() => rmSync(folder, { recursive: true, force: true }));

const latency = {
  count: 9,
  minNs: 1200,
  meanNs: 2000,
  p50Ns: 1900,
  p90Ns: 2100,
  p99Ns: 4000,
  p999Ns: 5e6,
  p9999Ns: 5e6,
  maxNs: 61e6,
  jitterNs: 300,
};
const REPORTS: SizeReport[] = [
  {
    sizeBytes: 64,
    lineFramesPerS: 148_809.5,
    throughput: { load: 0.6, framesPerS: 89_285.7, bitsPerS: 60e6, tooHigh: 0.604, limit: 'device' },
    partial: { load: 0.605, framesPerS: 90_029.8, bitsPerS: 60.5e6, tooHigh: 0.61, limit: 'device' },
    latency,
    losses: [{ load: 1, offered: 0.998, lossRatio: 0.4 }],
    backToBack: { frames: 400, isWhole: false, offered: 1 },
  },
  {
    sizeBytes: 1518,
    lineFramesPerS: 8127.4,
    throughput: { load: 1, framesPerS: 8127.4, bitsPerS: 100e6, limit: 'line' },
  },
];

printing('tables of less than 80 columns', () => {
  const lines = rfc2544Lines({ reports: REPORTS, lostHere: 3, heldUp: 2 });
  assert.equal(lines, [
    'throughput',
    '  size  line pkt/s     no loss       pkt/s       limit  0.5 % loss       pkt/s',
    '    64      148.8k     60.00 %      89.29k      device     60.50 %      90.03k',
    '  1518      8.127k    100.00 %      8.127k        line           -           -',
    'latency at that load',
    '  size         min         p50         p99       p99.9         max      jitter',
    '    64      1.2 us      1.9 us        4 us        5 ms       61 ms      300 ns',
    'frame loss',
    '  size        load     reached        lost',
    '    64    100.00 %     99.80 %        40 %',
    'longest burst without loss',
    '  size      frames  all of 2 s     reached',
    '    64         400          no    100.00 %',
    '3 frames were lost by the ports here, not by the device',
    '2 trials were held up here at every try: their results may be too low',
  ]);
  assert.ok(lines.every((line) => line.length < 80));
  assert.equal(rfc2544Lines({ reports: [], lostHere: 0, heldUp: 0 }), []);
});

printing('a line for each trial', () => {
  const trial: TrialReport = {
    test: 'throughput',
    sizeBytes: 64,
    load: 1,
    offered: 0.4,
    durationMs: 10_000,
    sent: 595_238,
    received: 595_230,
    lost: 8,
    number: 7,
    leftMs: 61_000,
    lostHere: 0,
    heldUp: false,
    again: false,
  };
  assert.is(
    trialLine(trial),
    '64 throughput: 100.00 % (reached 40.00 %), sent 595238, lost 8; about 61 s left',
  );
  assert.is(
    trialLine({ ...trial, offered: 1, lostHere: 2, again: true }),
    '64 throughput: 100.00 %, sent 595238, lost 8, 2 lost here, once more',
  );
});

printing('JUnit: a case for each size, one that fails where less passes than expected', () => {
  const cases = junitCases(REPORTS, 0.95);
  assert.equal(cases, [
    { name: '64 bytes', failure: '60.00 % of the line without loss, 95.00 % were expected' },
    { name: '1518 bytes' },
  ]);
  const path = join(folder, 'junit.xml');
  openJunit(path, false)('a "suite" & <more>\u0000', cases);
  const text = readFileSync(path, 'utf8');
  assert.match(text, '<testsuite name="a &quot;suite&quot; &amp; &lt;more&gt;?" tests="2" failures="1">');
  assert.is(text, junitXml('a "suite" & <more>\u0000', cases));
  assert.throws(() => openJunit(path, false), /is there already/);
  openJunit(path, true);
  assert.throws(() => openJunit(join(folder, 'no', 'junit.xml'), false), /Cannot write/);
});

async function command(...args: string[]): Promise<{ status: number; lines: string[] }> {
  const program = prepareProgram(new Command('barewire'));
  rfc2544.register(program);
  let status = -1;
  const lines = await captureLines(async () => {
    status = await run(program, ['rfc2544', ...args]);
  }, process.stderr);
  return { status, lines };
}

const PORTS = ['vfio-user:/tmp/bw-none-a.sock', 'vfio-user:/tmp/bw-none-b.sock'];
for (const [args, message] of [
  [[PORTS[0]!], "missing required argument 'RX'"],
  [[...PORTS, '--sizes', '64,63'], 'from 64 to 16384'],
  [[...PORTS, '--tests', 'speed'], 'throughput,latency,loss,back-to-back'],
  [[...PORTS, '--tolerance', '0'], 'a percentage above 0'],
  [[...PORTS, '--expect', '101%'], 'a percentage above 0'],
  [[...PORTS, '--search', 'linear'], 'mlr, binary'],
  [[...PORTS, '--expect', '95%', '--tests', 'loss'], '--expect is about throughput'],
  [[...PORTS, '--junit', '/tmp/bw-r', '--report', '/tmp/bw-r'], '--junit and --report name one file'],
  [[...PORTS, '--force'], '--force is for files that are written'],
] as const) {
  printing(`barewire rfc2544 ${args.join(' ')}`, async () => {
    const { status, lines } = await command(...args);
    assert.is(status, 2);
    assert.match(lines[0] ?? '', message);
    assert.match(lines[1] ?? '', /^hint: /);
  });
}

printing('a report that cannot be written is said before anything is measured', async () => {
  const path = join(folder, 'there.xml');
  writeFileSync(path, 'mine');
  const { status, lines } = await command(...PORTS, '--junit', path);
  assert.is(status, 2);
  assert.match(lines[0] ?? '', 'is there already');
  assert.is(readFileSync(path, 'utf8'), 'mine');
  assert.is(existsSync('/tmp/bw-none-a.sock'), false);
});

printing.run();
