/** `fwd --mode`: where frames go between two ports, and with which addresses. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import type { NetDevice } from '../../src/driver/device.js';
import { open } from '../../src/driver/registry.js';
import { startEmulator } from '../../src/emulator/index.js';
import { formatMac } from '../../src/packet/addresses.js';
import { buildUdp } from '../../src/packet/transport-builder.js';
import {
  connectPorts,
  droppedBy,
  type ForwardMode,
  type MakeHook,
  type PortQueues,
} from '../../tools/forward-queues.js';
import { until } from '../support/hang.js';
import { suite } from '../support/suite.js';

const folder = mkdtempSync(join(tmpdir(), 'bw-modes-'));
const paths = ['left', 'a', 'b', 'right'].map((name) => join(folder, `${name}.sock`));
const [SOURCE, DESTINATION] = ['02:00:00:00:00:07', '02:00:00:00:00:08'];
const FRAMES = 40;
const modes = suite('fwd --mode');
modes.after(() => rmSync(folder, { recursive: true, force: true }));

function frame(number: number): Uint8Array {
  return buildUdp({
    sourceMac: SOURCE,
    destinationMac: DESTINATION,
    sourceIp: '10.0.0.1',
    destinationIp: '10.0.0.2',
    sourcePort: number,
    destinationPort: 9,
  });
}

/** What has come to a port: `destination source port`, in order. */
function collect(device: NetDevice, into: string[]): void {
  const bufs = new Uint32Array(64);
  const count = device.rxQueues[0].receive(bufs);
  for (const buffer of bufs.subarray(0, count)) {
    const bytes = device.pool.bytes(buffer);
    into.push(`${formatMac(bytes, 0)} ${formatMac(bytes, 6)} ${(bytes[34]! << 8) | bytes[35]!}`);
  }
  device.pool.release(bufs, count);
}

/** Sends frames into port a from the left; what came out on either side, and how many were dropped. */
async function run(mode: ForwardMode, makeHook?: MakeHook, path: 'auto' | 'general' = 'auto') {
  await using _ = await startEmulator({
    nics: paths.map((socket) => ({ path: socket })),
    links: [{ ends: [{ nic: 0 }, { nic: 1 }] }, { ends: [{ nic: 2 }, { nic: 3 }] }],
  });
  const [left, a, b, right] = paths.map((socket) => `vfio-user:${socket}`);
  await using leftPort = await open(left!, { promiscuous: true });
  await using portA = await open(a!, { promiscuous: true, buffersForDevices: 2 });
  await using portB = await open(b!, { promiscuous: true, pool: portA.pool });
  await using rightPort = await open(right!, { promiscuous: true });
  for (const device of [leftPort, portA, portB, rightPort]) await device.waitForLink({ timeoutMs: 60_000 });
  const queuesAt = ({ rxQueues: rx, txQueues: tx }: NetDevice): PortQueues => ({ rx, tx });
  const settings = { mode, batch: 32, touch: false, path };
  const { toA, toB } = connectPorts([queuesAt(portA), queuesAt(portB)], [0], settings, makeHook);
  const bufs = new Uint32Array(FRAMES);
  assert.is(leftPort.pool.allocate(bufs, FRAMES), FRAMES);
  for (const [i, buffer] of bufs.entries()) {
    leftPort.pool.bytes(buffer).set(frame(i));
    leftPort.pool.lengths[buffer] = 60;
  }
  assert.is(leftPort.txQueues[0].send(bufs, FRAMES), FRAMES);
  const came = { left: [] as string[], right: [] as string[] };
  let dropped = 0;
  await until(
    () => {
      for (const forwarder of [...toA, ...toB]) forwarder.poll();
      collect(leftPort, came.left);
      collect(rightPort, came.right);
      dropped = droppedBy([...toA, ...toB]);
      return came.left.length + came.right.length + dropped >= FRAMES;
    },
    () => `${came.left.length} and ${came.right.length} of ${FRAMES} frames, ${dropped} dropped`,
  );
  return { ...came, dropped };
}

function expected(destination: string, source: string): string[] {
  return Array.from({ length: FRAMES }, (_, i) => `${destination} ${source} ${i}`);
}

modes('io: across, as they are', async () => {
  assert.equal(await run('io'), { left: [], right: expected(DESTINATION, SOURCE), dropped: 0 });
});

for (const path of ['auto', 'general'] as const) {
  modes(`macswap: across, with the addresses turned round (path ${path})`, async () => {
    const { left, right } = await run('macswap', undefined, path);
    assert.equal({ left, right }, { left: [], right: expected(SOURCE, DESTINATION) });
  });

  modes(`reflect: back by the same port (path ${path})`, async () => {
    const { left, right } = await run('reflect', undefined, path);
    assert.equal({ left, right }, { left: expected(SOURCE, DESTINATION), right: [] });
  });
}

modes('rxonly: all are dropped, and counted', async () => {
  assert.equal(await run('rxonly'), { left: [], right: [], dropped: FRAMES });
});

modes('a hook of the user comes first, and may drop', async () => {
  let seen = 0;
  const hook: MakeHook =
    ({ pool }) =>
    (packet, lengthBytes) => {
      seen++;
      const number = pool.bytes(packet)[35]!;
      return number % 2 === 0 ? 0 : lengthBytes;
    };
  const { left, right, dropped } = await run('macswap', hook);
  assert.equal([seen, dropped, left], [FRAMES, FRAMES / 2, []]);
  assert.equal(
    right,
    expected(SOURCE, DESTINATION).filter((_, i) => i % 2 === 1),
  );
});

modes.run();
