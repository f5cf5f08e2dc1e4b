/** A running 82576: statistics, waiting for packets, link, filters. */
import * as assert from 'uvu/assert';
import type { NetDevice } from '../../../src/driver/device.js';
import type { NicError } from '../../../src/errors.js';
import { PacketPool } from '../../../src/hugepage/packet-pool.js';
import { expectRejection } from '../../support/expect-error.js';
import { QUEUE_STRIDE, R, RAH_AV } from '../../support/fake-82576.js';
import { HANG_MS } from '../../support/hang.js';
import { type Bench, bench, withSteppedClock, written } from '../../support/open-igb.js';
import { suite } from '../../support/suite.js';

/** Opens, runs, closes. */
function withNic(
  test: (nic: NetDevice, bench: Bench) => void | Promise<void>,
  options: Parameters<Bench['open']>[0] = {},
  more = {},
): () => Promise<void> {
  return async () => {
    const made = bench(more);
    const nic = await made.open(options);
    try {
      await test(nic, made);
    } finally {
      await nic.close();
    }
    made.assertReleased();
  };
}

const statistics = suite('82576 statistics');

statistics('counters that were there before the open do not count', async () => {
  const { model, open } = bench();
  model.count(R.GPRC, 1000);
  model.count(R.GORCL, 5);
  model.count(R.GORCH, 5);
  const nic = await open();
  assert.is(nic.stats().wireRxPackets, 0);
  assert.is(nic.stats().wireRxBytes, 0);
  await nic.close();
});

statistics(
  'each read adds up',
  withNic(
    (nic, { model }) => {
      for (let round = 1; round <= 3; round++) {
        model.count(R.GPRC, 10);
        model.count(R.GPTC, 20);
        model.count(R.MPC, 1);
        model.count(R.RQDPC, 2);
        model.count(R.RQDPC + QUEUE_STRIDE, 3);
        model.count(R.CRCERRS, 4);
        // What is too short is in RLEC as well (8.19).
        model.count(R.RUC, 5);
        model.count(R.RLEC, 5);
        const stats = nic.stats();
        assert.is(stats.wireRxPackets, 10 * round);
        assert.is(stats.wireTxPackets, 20 * round);
        assert.is(stats.rxMissed, 6 * round, 'all queues');
        assert.is(stats.rxErrors, 9 * round);
      }
    },
    { queuePairs: 2 },
  ),
);

statistics(
  'octets have 64 bits, and the low half is read first',
  withNic((nic, { model, vfio }) => {
    model.count(R.GORCL, 0xffff_fff0);
    model.count(R.GORCH, 3);
    model.count(R.GOTCL, 7);
    model.count(R.GOTCH, 1);
    const from = vfio.reads.length;
    const stats = nic.stats();
    assert.is(stats.wireRxBytes, 3 * 2 ** 32 + 0xffff_fff0);
    assert.is(stats.wireTxBytes, 2 ** 32 + 7);
    const reads = vfio.reads.slice(from);
    assert.ok(reads.indexOf(R.GORCL) < reads.indexOf(R.GORCH));
    assert.ok(reads.indexOf(R.GOTCL) < reads.indexOf(R.GOTCH));
  }),
);

statistics('counters of the last moment are read by close', async () => {
  const { model, open } = bench();
  const nic = await open();
  model.count(R.GPTC, 42);
  await nic.close();
  assert.is(nic.stats().wireTxPackets, 42);
});

statistics(
  'drain waits for the wire, and gives up',
  withNic(async (nic, { model, pool }) => {
    assert.is(await nic.drain({ timeoutMs: 0 }), true);
    const bufs = new Uint32Array(3);
    pool.allocate(bufs, bufs.length);
    for (const buffer of bufs) pool.lengths[buffer] = 60;
    assert.is(nic.txQueues[0]!.send(bufs, bufs.length), 3);
    model.count(R.GPTC, 2);
    assert.is(await nic.drain({ timeoutMs: 1 }), false);
    model.count(R.GPTC, 1);
    assert.is(await nic.drain({ timeoutMs: HANG_MS }), true);
  }),
);

statistics.run();

const waiting = suite('82576: waiting for packets');

/** Writes back a good frame to a slot of queue 0, as the device would. */
function deliver(made: Bench, slot: number): void {
  const { model, vfio } = made;
  const base = (BigInt(model.get(R.RDBAH)) << 32n) | BigInt(model.get(R.RDBAL));
  const words = new Int32Array(vfio.mapper.memoryAt(base, 64 * 16));
  words[slot * 4 + 3] = 60;
  words[slot * 4 + 2] = 3;
}

waiting(
  'a packet that is there ends the wait at once, with interrupts untouched',
  withNic(async (nic, made) => {
    deliver(made, 0);
    assert.is(await nic.waitForPackets({ timeoutMs: HANG_MS }), true);
    assert.equal(written(made.vfio.events, R.EIMS), []);
  }),
);

waiting(
  'an interrupt ends the wait; vectors are masked afterwards',
  withNic(
    async (nic, made) => {
      const { vfio } = made;
      const from = vfio.events.length;
      const wait = nic.waitForPackets({ timeoutMs: HANG_MS });
      assert.equal(written(vfio.events, R.EIMS), [1, 2], 'both queues are unmasked');
      assert.equal(written(vfio.events.slice(from), R.EIMC), []);
      deliver(made, 0);
      vfio.raise(0);
      assert.is(await wait, true);
      assert.equal(written(vfio.events.slice(from), R.EIMC), [1, 2]);
    },
    { queuePairs: 2 },
  ),
);

waiting(
  'time over ends the wait; vectors are masked afterwards',
  withNic(async (nic, { vfio }) => {
    const from = vfio.events.length;
    assert.is(await nic.waitForPackets({ timeoutMs: 1 }), false);
    assert.equal(written(vfio.events.slice(from), R.EIMC), [1]);
  }),
);

waiting(
  'a packet between the last poll and the unmasking is not slept over',
  withNic(async (nic, made) => {
    const { model } = made;
    model.onWrite = (offset) => {
      if (offset === R.EIMS) deliver(made, 0);
    };
    assert.is(await nic.waitForPackets({ timeoutMs: HANG_MS }), true);
    model.onWrite = () => {};
    const bufs = new Uint32Array(4);
    assert.is(nic.rxQueues[0]!.receive(bufs), 1);
    made.pool.release(bufs, 1);
    assert.is(await nic.waitForPackets({ timeoutMs: 1 }), false, 'the next wait is a new one');
  }),
);

waiting(
  'without MSI-X a wait polls',
  withNic(
    async (nic, made) => {
      assert.equal(made.vfio.eventfds, []);
      assert.is(await nic.waitForPackets({ timeoutMs: 1 }), false);
      const wait = nic.waitForPackets({ timeoutMs: HANG_MS });
      deliver(made, 0);
      assert.is(await wait, true);
    },
    {},
    { vectors: 0 },
  ),
);

waiting('close ends every wait, and a wait after close says so at once', async () => {
  const { open, vfio, assertReleased } = bench();
  const nic = await open();
  const waits = (): Promise<unknown>[] => [nic.waitForPackets(), nic.rxQueues[0].wait()];
  const bufs = new Uint32Array(1);
  nic.pool.allocate(bufs, 1);
  nic.pool.lengths[bufs[0]!] = 60;
  nic.txQueues[0].send(bufs, 1);
  // The frame never leaves.
  const ended = Promise.allSettled([...waits(), nic.drain()]);
  await nic.close();
  for (const settled of [...(await ended), ...(await Promise.allSettled([...waits(), nic.drain()]))]) {
    assert.is(settled.status === 'rejected' && (settled.reason as NicError).code, 'CLOSED');
  }
  assert.throws(
    () => nic.rxQueues[0].receive(bufs),
    (error: NicError) => error.code === 'CLOSED',
  );
  assert.throws(
    () => nic.txQueues[0].send(bufs, 0),
    (error: NicError) => error.code === 'CLOSED',
  );
  assert.ok(vfio.closed);
  assertReleased();
});

waiting(
  'a packet comes from the ring into the pool, and its slot goes back',
  withNic((nic, made) => {
    deliver(made, 0);
    const bufs = new Uint32Array(4);
    assert.is(nic.rxQueues[0]!.receive(bufs), 1);
    assert.is(made.pool.lengths[bufs[0]!], 60);
    assert.equal(written(made.vfio.events, R.RDT), [0, 63, 0]);
    assert.is(nic.stats().rxPackets, 1);
    made.pool.release(bufs, 1);
  }),
);

waiting.run();

const link = suite('82576 link and filters');

link(
  'up: speed and duplex; down: speed 0',
  withNic(async (nic, { model }) => {
    assert.equal(await nic.waitForLink({ timeoutMs: 0 }), { up: true, speedMbps: 1000, fullDuplex: true });
    model.linkUp = false;
    assert.equal(nic.linkState(), { up: false, speedMbps: 0, fullDuplex: false });
    await withSteppedClock(100, async () =>
      assert.is((await nic.waitForLink({ timeoutMs: 1000 })).up, false),
    );
  }),
);

link(
  'the PHY is powered and negotiates; MAC speed is not forced',
  withNic((_, { model, vfio }) => {
    // 8.2.1: SLU 6, FRCSPD 11, FRCDPLX 12.
    assert.is(model.get(R.CTRL) & 0x1840, 0x40);
    // 8.2.4: operation 27:26 (1 write), PHY 25:21, register 20:16, data. Control: restart 9, enable 12, power down 11.
    const command = written(vfio.events, R.MDIC).at(-1)!;
    assert.is(command >>> 16, (1 << 10) | (1 << 5) | 0);
    assert.is(command & 0x1a00, 0x1200);
    assert.is(model.get(R.SWSM), 0, 'the semaphore is free again');
    assert.is(model.get(R.SW_FW_SYNC), 0);
  }),
);

link(
  'setMac changes filter and name, and takes no group address',
  withNic(async (nic, { model }) => {
    await nic.setMac(Uint8Array.of(2, 3, 4, 5, 6, 0xf7));
    assert.is(nic.macAddress, '02:03:04:05:06:f7');
    assert.is(model.get(R.RAL0), 0x0504_0302);
    assert.is(model.get(R.RAH0), (RAH_AV | 0xf706) >>> 0);
    for (const bad of [
      [1, 0, 0, 0, 0, 1],
      [0, 0, 0, 0, 0, 0],
      [2, 0, 0, 0, 0],
      [2, 0, 0, 0, 0, 0, 0],
    ]) {
      await expectRejection('BAD_OPTION', nic.setMac(Uint8Array.from(bad)));
    }
    assert.is(nic.macAddress, '02:03:04:05:06:f7');
  }),
);

link(
  'multicast groups by their hash: bits 47:36 of the address',
  withNic(async (nic, { model }) => {
    // 01:00:5e:00:00:fb ends in fb: 0xfb0; word 0x7d, bit 16. 33:33:00:00:00:01: 0x010; word 0, bit 16.
    await nic.setMulticast([Uint8Array.of(1, 0, 0x5e, 0, 0, 0xfb), Uint8Array.of(0x33, 0x33, 0, 0, 0, 1)]);
    const table = Array.from({ length: 128 }, (_, word) => model.get(R.MTA + 4 * word));
    assert.equal(
      table,
      table.map((_, word) => (word === 0x7d || word === 0 ? 1 << 16 : 0)),
    );
    await nic.setMulticast('all');
    for (let word = 0; word < 128; word++) assert.is(model.get(R.MTA + 4 * word), 0xffff_ffff);
    await nic.setMulticast([]);
    for (let word = 0; word < 128; word++) assert.is(model.get(R.MTA + 4 * word), 0);
  }),
);

link.run();

const registry = suite('registry');

for (const [name, code, options] of [
  ['all ones', 'DEVICE_GONE', { vendor: 0xffff, device: 0xffff }],
  ['a disk', 'NOT_A_NIC', { baseClass: 0x01 }],
  ['another NIC', 'UNSUPPORTED_DEVICE', { vendor: 0x10ec, device: 0x8139 }],
] as const) {
  registry(`${name} is ${code}, and the device is closed`, async () => {
    const { vfio, open, assertReleased } = bench(options);
    const error = await expectRejection(code, open());
    assert.match(error.message, vfio.address);
    if (code !== 'DEVICE_GONE') {
      assert.match(error.message, code === 'NOT_A_NIC' ? '(8086:10c9)' : '(10ec:8139)');
    }
    if (code === 'UNSUPPORTED_DEVICE') assert.match(error.hint!, 'Intel 82576 (8086:10c9)');
    assertReleased();
  });
}

registry(
  'an opened device tells what it is',
  withNic((nic) => {
    assert.is(nic.address, '0000:03:00.0');
    assert.is(nic.driver, 'igb');
    assert.is(nic.model, 'Intel 82576');
    assert.is(nic.rxQueues.length, 1);
    assert.is(nic.rxQueues[0]!.size, 64);
  }),
);

registry('a pool too small for the rings is refused before anything is mapped', async () => {
  const { vfio, open } = bench({}, 63);
  const error = await expectRejection('BAD_OPTION', open());
  assert.match(error.message, 'needs 64 buffers');
  assert.equal(vfio.mapper.log, []);
  assert.ok(vfio.closed);
});

registry('the pool of a device without one is its own, and goes with it', async () => {
  const { open, pool } = bench();
  pool.close();
  const nic = await open({ pool: undefined } as never);
  assert.ok(nic.pool instanceof PacketPool);
  assert.is(nic.pool.capacity, 64 + 64 + 1024);
  await nic.close();
  nic.pool.memory[0] = 1;
});

registry.run();
