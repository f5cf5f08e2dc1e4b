/** The two paths of `fwd`, and pipes on hardware that is not of our making: drops, an interface that goes down. */
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import * as assert from 'uvu/assert';
import { bindDriver, dmarFaults, kernelLog, nicAddresses } from '../guest.js';
import { PacketSocket } from '../packet-socket.js';
import { type Background, run, sleep, start, waitFor } from '../processes.js';
import { suite } from '../suite.js';
import {
  addNamespaces,
  assertAllLengthsPass,
  assertBalanced,
  assertFramesPass,
  assertPings,
  describeTotals,
  finalTotals,
  isTestFrame,
  note,
  startTraffic,
  testFrame,
} from '../wire.js';

const DROPPER = fileURLToPath(new URL('../dropping-forwarder.js', import.meta.url));

const addresses = nicAddresses() as [string, string];
const running: { program?: Background } = {};

function program(): Background {
  assert.ok(running.program, 'it has been started');
  return running.program;
}

async function killProgram(): Promise<void> {
  const left = running.program;
  delete running.program;
  if (left && existsSync(`/proc/${left.pid}`)) await left.stop('SIGKILL');
}

addNamespaces();
for (const address of addresses) bindDriver(address, 'vfio-pci');

for (const [path, args] of [
  ['pipe', ['--ring', '64', '--batch', '256']],
  ['general', ['--path', 'general']],
] as const) {
  const wire = suite(`fwd ${args.join(' ')}`);

  wire.after(killProgram);

  wire(`takes the ${path} path`, async () => {
    running.program = await startTraffic(['fwd', ...addresses, ...args]);
    const { stdout } = program();
    assert.match(stdout, `"path":"${path}"`);
  });

  wire('answers pings, and carries frames of every length both ways', async () => {
    note(`${path}: ping ${assertPings(50)}`);
    note(`${path}: ${await assertAllLengthsPass()} frames`);
  });

  wire('goes on after the interface at one side was down', async () => {
    const a = new PacketSocket('k0', 'A');
    run('ip', ['link', 'set', 'k1', 'down'], { netns: 'B' });
    // Twice what the rings hold: whatever waits where, it must not stand still for good.
    for (let number = 0; number < 200; number++) a.send(testFrame(100, number));
    run('ip', ['link', 'set', 'k1', 'up'], { netns: 'B' });
    const b = new PacketSocket('k1', 'B');
    try {
      // What was under way arrives or not, and the peer's interface may lose what comes while it starts.
      const marker = testFrame(100, 9999);
      const received = (): Uint8Array[] =>
        Array.from({ length: 300 }, () => b.receive()).filter((f) => f !== undefined);
      await waitFor('a frame after the interruption', () => {
        a.offer(marker);
        return received().some((frame) => marker.equals(frame));
      });
      await sleep(1_000); // for the other markers
      received();
      await assertFramesPass(
        a,
        b,
        Array.from({ length: 200 }, (_, i) => testFrame(60 + i, i)),
      );
    } finally {
      a.close();
      b.close();
    }
    assertPings(20);
  });

  wire('ends with totals that agree', async () => {
    const outcome = await program().stop('SIGTERM');
    assert.is(outcome.status, 0, outcome.stderr);
    const totals = finalTotals(outcome);
    note(`${path}: ${describeTotals(totals)}`);
    assertBalanced(totals);
  });

  wire.run();
}

const dropping = suite('a pipe that drops');

dropping.after(killProgram);

dropping('sends the others in order, and none of the dropped', async () => {
  running.program = start(process.execPath, [DROPPER, ...addresses]);
  await program().waitForOutput(/ready/, 150_000);
  const a = new PacketSocket('k0', 'A');
  const b = new PacketSocket('k1', 'B');
  const log = kernelLog();
  try {
    // Runs of dropped frames that fill whole groups of descriptors, and single ones at every place in a group.
    const numbers = Array.from({ length: 1200 }, (_, i) => (i < 300 ? i * 3 : i < 360 ? i : i + 1));
    for (let first = 0; first < numbers.length; first += 48) {
      const burst = numbers.slice(first, first + 48).map((number) => testFrame(60 + (number % 900), number));
      for (const frame of burst) a.send(frame);
      const kept = burst.filter((frame) => frame.readUInt32BE(14) % 3 !== 0);
      const received = await b.collect(kept.length, isTestFrame, 90_000);
      assert.equal(
        received.map((frame) => Buffer.from(frame).toString('hex')),
        kept.map((frame) => frame.toString('hex')),
      );
    }
    assert.is((await b.collect(1, isTestFrame, 200)).length, 0);
  } finally {
    a.close();
    b.close();
  }
  assertPings(20);
  assert.equal(dmarFaults(kernelLog(log)), []);
});

dropping('counts them, and gives every buffer back', async () => {
  const outcome = await program().stop('SIGTERM');
  assert.is(outcome.status, 0, outcome.stderr);
  const [counts, buffers] = outcome.stdout
    .trim()
    .split('\n')
    .slice(-2)
    .map((line) => JSON.parse(line));
  note(`dropping: ${JSON.stringify(counts)}`);
  for (const way of [0, 1]) {
    assert.is(counts.received[way], counts.sent[way] + counts.dropped[way] + counts.errors[way]);
  }
  assert.ok(counts.dropped[0] >= 400);
  assert.is(buffers.free, buffers.capacity);
});

dropping.run();
