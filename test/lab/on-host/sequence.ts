/**
 * Ten million numbered frames through two emulated ports in a second process: none lost, none out of order, none
 * changed, and every buffer back at the end. The sender waits while the forwarder takes no more, as a link with flow
 * control does, so nothing is offered beyond what is taken.
 */
import * as assert from 'uvu/assert';
import type { NetDevice, NetStats } from '../../../src/driver/device.js';
import { open } from '../../../src/driver/registry.js';
import { connectQueues } from '../../../src/forward/forwarder.js';
import { pollLoop } from '../../../src/forward/poll-loop.js';
import { PacketPool } from '../../../src/hugepage/packet-pool.js';
import { EmulatedPorts, type PortTraffic } from '../../../tools/emulated-ports.js';
import { suite } from '../suite.js';

interface Outcome {
  readonly traffic: readonly PortTraffic[];
  readonly stats: readonly NetStats[];
  /** At the port that the packets should have left by. */
  readonly dropped: readonly number[];
  readonly buffersMissing: number;
}

/** Forwards `framesPerPort` frames from each side to the other. */
async function forwardAll(path: 'pipe' | 'general', framesPerPort: number): Promise<Outcome> {
  const emulated = await EmulatedPorts.start(['--lossless', '--count', String(framesPerPort)]);
  const pool = new PacketPool({ buffers: 4096, pageSize: '4K' });
  const devices: NetDevice[] = [];
  try {
    for (const address of emulated.addresses) {
      devices.push(await open(address, { pool, pageSize: '4K', promiscuous: true }));
    }
    const [a, b] = devices as [NetDevice, NetDevice];
    const toB = connectQueues(a.rxQueues[0]!, b.txQueues[0]!, { path });
    const toA = connectQueues(b.rxQueues[0]!, a.txQueues[0]!, { path });
    emulated.resume();
    const done = new AbortController();
    let left = 2 * framesPerPort;
    const poll = (): number => {
      const moved = toB.poll() + toA.poll();
      left -= moved;
      if (left <= 0) done.abort();
      return moved;
    };
    await pollLoop(poll, { signal: done.signal, devices });
    for (const device of devices)
      assert.is(await device.drain({ timeoutMs: 10_000 }), true, 'all has been sent');
    await emulated.pause();
    const traffic = await emulated.count();
    const stats = devices.map((device) => device.stats());
    for (const device of devices.splice(0)) await device.close();
    return {
      traffic,
      stats,
      dropped: [toA.dropped, toB.dropped],
      buffersMissing: pool.capacity - pool.available,
    };
  } finally {
    for (const device of devices) await device.close();
    pool.close();
    await emulated.close();
  }
}

const sequence = suite('numbered frames through emulated ports');

sequence('10,000,000 by pipes: none lost, reordered or corrupted, the pool complete', async () => {
  const count = 5_000_000;
  const { traffic, stats, buffersMissing } = await forwardAll('pipe', count);
  for (const port of [0, 1]) {
    const { sent, received, lost, reordered, duplicated, corrupt } = traffic[port]!;
    assert.equal([sent, received, lost, reordered, duplicated, corrupt], [count, count, 0, 0, 0, 0]);
    const { rxPackets, txPackets, rxMissed, rxErrors } = stats[port]!;
    assert.equal([rxPackets, txPackets, rxMissed, rxErrors], [count, count, 0, 0]);
  }
  assert.is(buffersMissing, 0);
});

sequence(
  '2,000,000 by the general path: what a full ring dropped is counted, the rest is whole',
  async () => {
    const count = 1_000_000;
    const { traffic, stats, dropped, buffersMissing } = await forwardAll('general', count);
    for (const port of [0, 1]) {
      const { sent, received, reordered, duplicated, corrupt } = traffic[port]!;
      assert.equal(
        [sent, received, reordered, duplicated, corrupt],
        [count, count - dropped[port]!, 0, 0, 0],
      );
      const { rxPackets, txPackets, rxMissed } = stats[port]!;
      assert.equal([rxPackets, txPackets, rxMissed], [count, count - dropped[port]!, 0]);
    }
    assert.is(buffersMissing, 0);
  },
);

sequence.run();
