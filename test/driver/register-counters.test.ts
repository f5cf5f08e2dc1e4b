/** Counters by register name: each event once, whoever asks and however often. */
import * as assert from 'uvu/assert';
import type { NetDevice } from '../../src/driver/device.js';
import { frameMemory } from '../../src/emulator/link.js';
import type { PacketPool } from '../../src/hugepage/packet-pool.js';
import { R } from '../support/fake-82576.js';
import { IxgbeRig, MAC_B } from '../support/ixgbe-rig.js';
import { bench } from '../support/open-igb.js';
import { suite } from '../support/suite.js';

const counters = suite('counters by register name');

function receiveAll(nic: NetDevice, pool: PacketPool): number {
  const bufs = new Uint32Array(64);
  let received = 0;
  for (const queue of nic.rxQueues) {
    for (let count = queue.receive(bufs); count > 0; count = queue.receive(bufs)) {
      pool.release(bufs, count);
      received += count;
    }
  }
  return received;
}

counters('ixgbe: sums since the open, of size classes, octets and drops', async () => {
  const rig = await IxgbeRig.open({ flowControl: false });
  try {
    const { nic, model } = rig.b;
    const arrive = (lengthBytes: number, count: number): void => {
      const memory = frameMemory(lengthBytes);
      memory.bytes.set(MAC_B);
      memory.bytes.set([0x88, 0xb5], 12);
      for (let i = 0; i < count; i++) model.deliver(memory, 0, lengthBytes);
    };
    arrive(60, 3);
    arrive(100, 4);
    model.damaged(1000);
    assert.is(receiveAll(nic, rig.pool), 7);
    const first = nic.registerCounters!();
    const octets = 3 * 64 + 4 * 104;
    assert.equal(
      [first.GPRC, first.PRC64, first.PRC127, first.GORC, first.CRCERRS, first['QPRC(0)'], first.GPTC],
      [7, 3, 4, octets, 1, 7, 0],
    );
    // `stats` reads some of the same registers: neither takes anything from the other.
    assert.is(nic.stats().wireRxPackets, 7);
    assert.is(nic.stats().rxErrors, 1);
    arrive(60, 300);
    assert.is(nic.stats().wireRxPackets, 307);
    const received = receiveAll(nic, rig.pool);
    const { GPRC, PRC64, GORC, CRCERRS, 'QPRDC(0)': dropped } = nic.registerCounters!();
    assert.equal([GPRC, PRC64, GORC, CRCERRS], [307, 303, octets + 300 * 64, 1]);
    assert.is(dropped, 300 - received);
    assert.ok(dropped! > 0);
    assert.is(nic.stats().rxMissed, dropped);
    await nic.close();
    assert.throws(() => nic.registerCounters!(), /closed/);
  } finally {
    await rig.close();
  }
});

counters('igb: what stats() read is in the sums, and what is read here is in stats()', async () => {
  const made = bench();
  const nic = await made.open();
  const BPRC = 0x4078;
  made.model.count(R.GPRC, 5);
  made.model.count(BPRC, 2);
  assert.is(nic.stats().wireRxPackets, 5);
  made.model.count(R.GPRC, 10);
  made.model.count(R.GORCL, 1000);
  made.model.count(R.GORCH, 1);
  const { GPRC, GORC, BPRC: broadcast } = nic.registerCounters!();
  assert.equal([GPRC, GORC, broadcast], [15, 2 ** 32 + 1000, 2]);
  const { wireRxPackets, wireRxBytes } = nic.stats();
  assert.equal([wireRxPackets, wireRxBytes], [15, 2 ** 32 + 1000]);
  assert.equal(nic.registerCounters!().GPRC, 15);
  await nic.close();
  made.assertReleased();
});

counters('each pair of queues has its part of the sums', async () => {
  const rig = await IxgbeRig.open({ open: { queuePairs: 2 } });
  try {
    const { nic } = rig.a;
    const bufs = new Uint32Array(5);
    rig.pool.allocate(bufs, 5);
    for (const packet of bufs) rig.pool.lengths[packet] = 60;
    assert.is(nic.txQueues[0].send(bufs, 2), 2);
    assert.is(nic.txQueues[1]!.send(bufs, 3, 2), 3);
    const queues = nic.queueStats();
    assert.equal(
      queues.map(({ txPackets, txBytes, rxPackets }) => [txPackets, txBytes, rxPackets]),
      [
        [2, 120, 0],
        [3, 180, 0],
      ],
    );
    assert.is(nic.stats().txPackets, 5);
  } finally {
    await rig.close();
  }
});

counters.run();
