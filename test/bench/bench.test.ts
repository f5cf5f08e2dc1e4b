/** The benchmark finds wrong forwarders, and writes what the report needs. No time is asserted. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { Histogram } from '../../bench/histogram.js';
import type { BenchResult } from '../../bench/result.js';
import { HANG_MS } from '../support/hang.js';
import { suite } from '../support/suite.js';

const MAIN = join(import.meta.dirname, '../../bench/main.js');
const SHORT = [
  '--this-node',
  ...['--batches', '32', '--passes', '1', '--rounds', '1', '--packets', '0', '--capture', '0'],
];

function bench(...args: string[]): { status: number | null; stdout: string; stderr: string } {
  const { status, stdout, stderr } = spawnSync(process.execPath, ['--no-warnings', MAIN, ...SHORT, ...args], {
    encoding: 'utf8',
    timeout: HANG_MS,
    env: { ...process.env, NODE_V8_COVERAGE: '' },
  });
  return { status, stdout, stderr };
}

const ALL = [
  'c-ixy',
  'c-spread',
  'c-pipe',
  'queues',
  'cursor',
  'general',
  'pipe',
  'c-look',
  'c-pipe-look',
  'queues-look',
  'cursor-look',
  'general-look',
  'pipe-look',
];

const hasCompiler = spawnSync('gcc', ['--version']).status === 0;
const running = suite(hasCompiler ? 'bench' : 'bench (skipped: there is no gcc to build its device with)');
/** A test that needs the device. */
const compiled = hasCompiler ? running : running.skip;

compiled('measures every forwarder and writes the result', () => {
  const folder = mkdtempSync(join(tmpdir(), 'barewire-bench-'));
  try {
    const file = join(folder, 'result.json');
    const { status, stdout, stderr } = bench('--json', file, '--packets', '1000000');
    assert.is(status, 0, stderr);
    const headings =
      'ixy in C|spread in C|pipe in C|receive+send|cursor|Forwarder|Pipe|C, look|C pipe, look|r+s, look|cursor, look|Forwarder, hook|Pipe, hook';
    assert.match(stdout.replace(/ +/g, ' '), `batch ${headings.replaceAll('|', ' ')}`);
    const result = JSON.parse(readFileSync(file, 'utf8')) as BenchResult;
    assert.is(result.schema, 1);
    assert.is(result.versions.node, process.version);
    assert.equal(
      result.throughput.map(({ subject, batch }) => [subject, batch]),
      ALL.map((subject) => [subject, 32]),
    );
    for (const { nsPerPacket, ratioToIxy, ratioToCPipe, checkedPackets } of result.throughput) {
      assert.ok(nsPerPacket.p25 > 0 && nsPerPacket.p25 <= nsPerPacket.median);
      assert.ok(nsPerPacket.median <= nsPerPacket.p75);
      assert.ok(ratioToIxy! > 0 && ratioToCPipe! > 0);
      assert.ok(checkedPackets > 10_000);
    }
    assert.equal(
      result.steadiness.map(({ path, heapGrowthBytes, scavenges, otherCollections }) => ({
        path,
        heapGrowthBytes,
        collections: scavenges + otherCollections,
      })),
      [
        { path: 'general', heapGrowthBytes: 0, collections: 0 },
        { path: 'pipe', heapGrowthBytes: 0, collections: 0 },
      ],
    );
  } finally {
    rmSync(folder, { recursive: true });
  }
});

compiled('with nothing in the caches, in rows of their own', () => {
  const folder = mkdtempSync(join(tmpdir(), 'barewire-bench-'));
  try {
    const file = join(folder, 'result.json');
    const subjects = ['c-look', 'general-look'];
    const { status, stdout, stderr } = bench('--json', file, '--cold', '8', '--subjects', subjects.join());
    assert.is(status, 0, stderr);
    assert.match(stdout, 'nothing in the caches');
    const result = JSON.parse(readFileSync(file, 'utf8')) as BenchResult;
    assert.equal(
      result.throughput.map(({ subject, batch, cold }) => [subject, batch, cold]),
      [false, true].flatMap((cold) => subjects.map((subject) => [subject, cold ? 8 : 32, cold])),
    );
    assert.ok(result.throughput.every(({ checkedPackets }) => checkedPackets > 1000));
  } finally {
    rmSync(folder, { recursive: true });
  }
});

// The others share their loops with these.
for (const subject of ['c-ixy', 'c-spread', 'c-pipe', 'queues', 'general', 'pipe', 'general-look']) {
  for (const [fault, message] of [
    ['SKIP_PACKET', /frame \d+ left instead of \d+/],
    ['WRONG_ADDRESS', /points at no buffer|no receive slot delivered|left instead of/],
    ['WRONG_LENGTH', /transmit command/],
  ] as const) {
    compiled(`${subject}: ${fault} ends it with an error`, () => {
      const { status, stderr } = bench('--subjects', subject, '--plant', fault);
      assert.is(status, 1);
      assert.match(stderr, new RegExp(`^bench: ${subject}: `));
      assert.match(stderr, message);
    });
  }
}

for (const args of [
  ['--subjects', 'nothing'],
  ['--plant', 'nothing'],
  ['--rounds', '1.5'],
]) {
  compiled(`${args.join(' ')}: exit 1 and the usage`, () => {
    const { status, stderr } = bench(...args);
    assert.is(status, 1);
    assert.match(stderr, /usage: npm run bench/);
  });
}

running.run();

const histogram = suite('Histogram');

histogram('quantiles are right to a sixteenth', () => {
  const counts = new Histogram();
  for (let ns = 1; ns <= 100_000; ns++) counts.add(ns);
  assert.is(counts.count, 100_000);
  for (const share of [0.001, 0.01, 0.5, 0.99, 0.9999]) {
    const exact = share * 100_000;
    const got = counts.quantile(share);
    assert.ok(got >= exact && got <= exact * (1 + 1 / 16) + 1, `${share}: ${got}`);
  }
  assert.is(counts.max, 100_000);
  assert.is(counts.quantile(1), 100_000);
});

histogram('small values are exact; none, and more than it holds', () => {
  const counts = new Histogram();
  assert.is(counts.quantile(0.5), 0);
  for (const ns of [0, 1, 1.9, 15, 1e12]) counts.add(ns);
  assert.equal(
    [0.2, 0.4, 0.6, 0.8].map((share) => counts.quantile(share)),
    [0, 1, 1, 15],
  );
  assert.is(counts.max, 0x7fff_ffff);
});

histogram.run();
