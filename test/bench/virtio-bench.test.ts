/** The benchmark of virtio's rings measures what it says, and finds wrong forwarders. No time is asserted. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import type { Throughput } from '../../bench/throughput.js';
import type { VirtioSubject } from '../../bench/virtio-lab.js';
import { HANG_MS } from '../support/hang.js';
import { suite } from '../support/suite.js';

const MAIN = join(import.meta.dirname, '../../bench/virtio.js');
const SHORT = ['--batches', '32', '--passes', '1', '--rounds', '1'];

function bench(...args: string[]): { status: number | null; stdout: string; stderr: string } {
  const { status, stdout, stderr } = spawnSync(process.execPath, ['--no-warnings', MAIN, ...SHORT, ...args], {
    encoding: 'utf8',
    timeout: HANG_MS,
    env: { ...process.env, NODE_V8_COVERAGE: '' },
  });
  return { status, stdout, stderr };
}

const hasCompiler = spawnSync('gcc', ['--version']).status === 0;
const running = suite(
  hasCompiler ? 'virtio bench' : 'virtio bench (skipped: there is no gcc for its device)',
);
/** A test that needs the device. */
const compiled = hasCompiler ? running : running.skip;

compiled('measures every forwarder and writes the result', () => {
  const folder = mkdtempSync(join(tmpdir(), 'barewire-bench-'));
  try {
    const file = join(folder, 'result.json');
    const { status, stderr } = bench('--json', file);
    assert.is(status, 0, stderr);
    const { throughput } = JSON.parse(readFileSync(file, 'utf8')) as {
      throughput: readonly Throughput<VirtioSubject>[];
    };
    const names = ['c-ixy', 'c-stack', 'split-queues', 'split-general', 'packed-queues', 'packed-general'];
    assert.equal(
      throughput.map(({ subject }) => subject),
      names,
    );
    for (const { ratioToIxy, checkedPackets } of throughput) {
      assert.ok(ratioToIxy! > 0);
      assert.ok(checkedPackets > 10_000);
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
});

for (const subject of ['c-ixy', 'split-general', 'packed-queues']) {
  for (const [fault, message] of [
    ['SKIP_PACKET', /frame \d+ left instead of \d+/],
    ['WRONG_ADDRESS', /points at no buffer|was not delivered|left instead of|the header of/],
    ['WRONG_LENGTH', /transmit length/],
  ] as const) {
    compiled(`${subject}: ${fault} ends it with an error`, () => {
      const { status, stderr } = bench('--subjects', subject, '--plant', fault);
      assert.is(status, 1);
      assert.match(stderr, new RegExp(`^bench: ${subject}: `));
      assert.match(stderr, message);
    });
  }
}

running.run();
