/**
 * The host's half of the case: `barewire emulate` as it ships, the machine, and what the emulator has to say about the
 * drivers. The guest's half is cases/emulate.ts.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { start } from '../processes.js';
import { runInGuest } from '../run-case.js';
import { suite } from '../suite.js';
import { BAREWIRE } from '../wire.js';

/** What Linux's self-test does on purpose: patterns in all bits of registers, and queues without a ring. */
const SELF_TEST = [
  /^port [01]: STATUS: a read-only register was written/,
  /^port [01]: (RDBAL|RDLEN|TDBAL|TDLEN|RAH)\(\d+\): reserved bits/,
  /^port [01]: (RDBAL|RDLEN)\([0-3]\): queue enabled before its ring (base|length) was set/,
];

// A socket's path has 107 bytes at most, so not in the cache, which may be deep down.
const folder = mkdtempSync(join(tmpdir(), 'barewire-lab-'));
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
const sockets = [0, 1].map((i) => join(folder, `port${i}.sock`));

const emulator = start(process.execPath, [
  ...[BAREWIRE, 'emulate', '--link', 'cable', '--mac', '52:54:00:00:00:00'],
  ...sockets.flatMap((path) => ['--socket', path]),
]);
await emulator.waitForOutput(/port 1: /);
const guest = await runInGuest({
  name: 'emulate',
  qemu: 11,
  dpdk: true,
  nics: sockets.map((path) => `vfio-user:${path}`),
  // As for `linux-ixgbe`; DPDK goes without one too.
  iommu: 'none',
  timeoutS: 880,
});
const outcome = await emulator.stop('SIGTERM');
process.stdout.write(guest.text);

const emulate = suite("the emulator's view of the drivers");

emulate('the tests in the guest pass', () => {
  assert.ok(guest.totals.passed > 0);
  assert.is(guest.totals.failed, 0);
});

emulate('nothing was done that the datasheet forbids, and no access missed the memory', () => {
  const lines = outcome.stderr
    .split('\n')
    .map((line) => line.replace(/^warning: /, ''))
    .filter((line) => line !== '');
  assert.equal(
    lines.filter((line) => !SELF_TEST.some((pattern) => pattern.test(line))),
    [],
  );
  assert.ok(lines.length > 0, 'the self-test was noticed');
});

emulate('the emulator ends as it should', () => {
  assert.is(outcome.status, 0, outcome.stderr);
});

emulate.run();
