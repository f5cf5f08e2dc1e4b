import * as assert from 'uvu/assert';
import { LAYOUT } from '../../../src/driver/intel/descriptors.js';
import { IntelRxQueue } from '../../../src/driver/intel/rx-queue.js';
import { NicError } from '../../../src/errors.js';
import { PacketPool } from '../../../src/hugepage/packet-pool.js';
import { CLOSED } from '../../support/closed.js';
import { FakeMapper } from '../../support/fake-mapper.js';
import { withRig } from '../../support/queue-rig.js';
import { suite } from '../../support/suite.js';

const rx = suite('Intel receive queue');

rx(
  'start hands over all slots but one',
  withRig({ rxSize: 64 }, ({ rx, rxDevice, pool }) => {
    assert.is(rx.size, 64);
    assert.equal(rxDevice.tail.writes, [63]);
    assert.is(rxDevice.available, 63);
    assert.is(pool.available, 512 - 64);
  }),
);

rx(
  'an empty ring gives nothing and writes no doorbell',
  withRig({}, ({ rx, rxDevice, bufs }) => {
    for (let i = 0; i < 10; i++) assert.is(rx.receive(bufs), 0);
    assert.not(rx.pending);
    assert.is(rxDevice.tail.writes.length, 1);
  }),
);

rx(
  'frames arrive in order, with length and contents',
  withRig({}, (rig) => {
    const { rx, rxDevice, pool, bufs } = rig;
    const frames = [60, 61, 1514, 1, 1984].map((length) => rig.frame(length));
    for (const frame of frames) assert.ok(rxDevice.receive({ frame }));
    assert.ok(rx.pending);
    assert.is(rx.receive(bufs), frames.length);
    for (const [i, frame] of frames.entries()) {
      const buffer = bufs[i]!;
      assert.is(pool.lengths[buffer], frame.length);
      assert.equal(pool.bytes(buffer).subarray(0, frame.length), frame);
    }
    assert.not(rx.pending);
    assert.is(rx.counters[LAYOUT.PACKETS], 5);
    assert.is(rx.counters[LAYOUT.BYTES], 60 + 61 + 1514 + 1 + 1984);
    rig.checkOwnership([...bufs.subarray(0, 5)], []);
  }),
);

rx(
  'one doorbell a call, however many packets',
  withRig({}, (rig) => {
    rig.arrive(40);
    assert.is(rig.rx.receive(rig.bufs), 40);
    assert.equal(rig.rxDevice.tail.writes, [63, 39]);
    assert.is(rig.rx.receive(rig.bufs), 0);
    assert.is(rig.rxDevice.tail.writes.length, 2);
  }),
);

rx(
  'max and the array bound what is taken; the rest stays',
  withRig({}, (rig) => {
    const { rx, bufs } = rig;
    rig.arrive(20);
    assert.is(rx.receive(bufs, 3), 3);
    assert.is(rx.receive(new Uint32Array(5)), 5);
    assert.is(rx.receive(new Uint32Array(2), 100), 2);
    assert.is(rx.receive(bufs, 0), 0);
    assert.is(rx.receive(new Uint32Array(0)), 0);
    assert.is(rx.receive(bufs), 10);
  }),
);

rx(
  'a full ring is taken whole, and handed back whole but for one slot',
  withRig({}, (rig) => {
    const { rx, rxDevice, bufs, pool } = rig;
    assert.is(rig.arrive(1000), 63);
    assert.is(rxDevice.available, 0);
    assert.is(rx.receive(bufs), 63);
    assert.is(rxDevice.available, 63, 'RDT did not come to equal RDH: that would mean an empty ring');
    pool.release(bufs, 63);
  }),
);

rx(
  'the ring wraps around many times',
  withRig({ rxSize: 64 }, (rig) => {
    const { rx, rxDevice, bufs, pool } = rig;
    let sequence = 0;
    let expected = 0;
    for (let round = 0; round < 300; round++) {
      const count = 1 + (round % 63);
      for (let i = 0; i < count; i++) {
        const frame = Uint8Array.of(sequence >>> 8, sequence, ...rig.frame(62));
        assert.ok(rxDevice.receive({ frame }));
        sequence++;
      }
      assert.is(rx.receive(bufs), count);
      for (let i = 0; i < count; i++) {
        const bytes = pool.bytes(bufs[i]!);
        assert.is((bytes[0]! << 8) | bytes[1]!, expected++ & 0xffff);
      }
      pool.release(bufs, count);
      assert.is(rxDevice.available, 63);
    }
    assert.is(rx.counters[LAYOUT.PACKETS], sequence);
    rig.checkOwnership([], []);
  }),
);

rx(
  'an empty pool means fewer packets, counted; the frames stay in the ring',
  withRig({ buffers: 64 + 10 }, (rig) => {
    const { rx, rxDevice, bufs, pool } = rig;
    rig.arrive(30);
    assert.is(rx.receive(bufs), 10);
    assert.is(pool.available, 0);
    assert.is(rx.counters[LAYOUT.NO_BUFFER], 1);
    const doorbells = rxDevice.tail.writes.length;
    assert.is(rx.receive(bufs.subarray(10)), 0);
    assert.is(rx.counters[LAYOUT.NO_BUFFER], 2);
    assert.is(rxDevice.tail.writes.length, doorbells, 'nothing refilled, no doorbell');
    assert.ok(rx.pending);
    pool.release(bufs, 4);
    assert.is(rx.receive(bufs.subarray(20)), 4);
    pool.release(bufs, 6, 4);
    pool.release(bufs, 4, 20);
    assert.is(rx.receive(bufs), 10);
    pool.release(bufs, 10);
    assert.is(rx.receive(bufs), 6);
    assert.is(rx.counters[LAYOUT.PACKETS], 30);
    rig.checkOwnership([...bufs.subarray(0, 6)], []);
  }),
);

rx(
  'a frame can be dropped without a free buffer',
  withRig({ buffers: 64 }, (rig) => {
    rig.rxDevice.receive({ frame: rig.frame(60), status: 0x1 });
    assert.is(rig.rx.receive(rig.bufs), 0);
    assert.is(rig.rx.counters[LAYOUT.TOO_LONG], 1);
    assert.is(rig.rx.counters[LAYOUT.NO_BUFFER], 0);
  }),
);

rx(
  'close gives every buffer back, once',
  withRig({}, (rig) => {
    const { rx, pool, bufs } = rig;
    rig.arrive(50);
    const count = rx.receive(bufs, 20);
    pool.release(bufs, count);
    rx.close(CLOSED);
    rx.close(CLOSED);
    assert.is(pool.available, pool.capacity);
    assert.is(new Set(rig.free()).size, pool.capacity);
  }),
);

rx(
  'after close receive says so, and no doorbell rings',
  withRig({}, (rig) => {
    const { rx, rxDevice, bufs } = rig;
    rig.arrive(5);
    rx.close(CLOSED);
    const doorbells = rxDevice.tail.writes.length;
    assert.not(rx.pending);
    for (let i = 0; i < 3; i++)
      assert.throws(
        () => rx.receive(bufs),
        (error: unknown) => error === CLOSED,
      );
    assert.is(rxDevice.tail.writes.length, doorbells);
  }),
);

rx('a pool that cannot fill the ring is refused, and stays as it was', () => {
  const pool = new PacketPool({ buffers: 63, pageSize: '4K' });
  const mapper = new FakeMapper();
  pool.attach(mapper);
  let error: unknown;
  try {
    new IntelRxQueue({ ring: new Int32Array(64 * 4), tail: [], pool, errorMask: 0 });
  } catch (caught) {
    error = caught;
  }
  assert.ok(error instanceof NicError && error.code === 'BAD_OPTION', String(error));
  assert.is(pool.available, 63);
  pool.detach(mapper);
  pool.close();
});

rx.run();
