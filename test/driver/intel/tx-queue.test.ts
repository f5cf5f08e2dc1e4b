import * as assert from 'uvu/assert';
import { LAYOUT } from '../../../src/driver/intel/descriptors.js';
import { IntelTxQueue } from '../../../src/driver/intel/tx-queue.js';
import type { NicError } from '../../../src/errors.js';
import { CLOSED } from '../../support/closed.js';
import { withRig } from '../../support/queue-rig.js';
import { suite } from '../../support/suite.js';

const tx = suite('Intel transmit queue');

const isBadArgument = (error: NicError): boolean => error.code === 'BAD_ARGUMENT' && error.hint !== undefined;

tx(
  'frames go out in order, with length and contents',
  withRig({}, (rig) => {
    const { tx, txDevice, pool } = rig;
    const lengths = [17, 60, 61, 1514, 1984];
    const bufs = rig.allocate(lengths.length);
    const frames = lengths.map((length) => rig.frame(length));
    for (const [i, frame] of frames.entries()) {
      pool.bytes(bufs[i]!).set(frame);
      pool.lengths[bufs[i]!] = frame.length;
    }
    assert.is(tx.send(bufs, bufs.length), 5);
    assert.is(txDevice.transmit(), 5);
    assert.equal(
      txDevice.sent.map(({ bytes }) => bytes),
      frames,
    );
    assert.is(tx.counters[LAYOUT.PACKETS], 5);
    assert.is(tx.counters[LAYOUT.BYTES], 17 + 60 + 61 + 1514 + 1984);
  }),
);

tx(
  'a device that reports a group of which not every slot is in use gets no buffer back into the pool',
  withRig({}, (rig) => {
    const { tx, pool } = rig;
    const bufs = rig.allocate(40);
    const before = pool.available;
    const lastOfGroup = 31 * 4 + 3;
    rig.txRing[lastOfGroup]! |= 1;
    tx.reclaim();
    assert.is(tx.send(bufs, 5), 5);
    rig.txRing[lastOfGroup]! |= 1;
    assert.is(tx.send(bufs, 5, 5), 5);
    tx.reclaim();
    assert.is(pool.available, before);
    assert.is(tx.send(bufs, 30, 10), 30);
    rig.txDevice.transmit();
    tx.reclaim();
    assert.is(pool.available, before + 32);
  }),
);

tx(
  'one doorbell a batch, none for nothing',
  withRig({}, (rig) => {
    const { tx, txDevice } = rig;
    const bufs = rig.allocate(20);
    assert.is(tx.send(bufs, 0), 0);
    assert.is(tx.send(new Uint32Array(0), 0), 0);
    assert.equal(txDevice.tail.writes, []);
    assert.is(tx.send(bufs, 12), 12);
    assert.equal(txDevice.tail.writes, [12]);
    assert.is(tx.send(bufs, bufs.length - 12, 12), 8);
    assert.equal(txDevice.tail.writes, [12, 20]);
    tx.reclaim();
    assert.is(txDevice.tail.writes.length, 2);
  }),
);

tx(
  'count is bounded by the array',
  withRig({}, (rig) => {
    const bufs = rig.allocate(7);
    assert.throws(() => rig.tx.send(bufs, 100), isBadArgument);
    assert.is(rig.tx.send(bufs, 7), 7);
    assert.is(rig.txDevice.transmit(), 7);
  }),
);

tx(
  'a full ring takes one fewer than its size, then nothing, then the rest',
  withRig({ buffers: 300 }, (rig) => {
    const { tx, txDevice } = rig;
    const bufs = rig.allocate(100);
    assert.is(tx.send(bufs, bufs.length), 63);
    assert.is(txDevice.queued, 63);
    assert.is(tx.send(bufs, bufs.length - 63, 63), 0);
    assert.is(txDevice.tail.writes.length, 1, 'no doorbell for nothing');
    assert.is(tx.counters[LAYOUT.PACKETS], 63);
    // 40 fetched: the report of slot 31 frees the first 32.
    txDevice.transmit(40);
    assert.is(tx.send(bufs, bufs.length - 63, 63), 32);
    rig.checkOwnership([...bufs.subarray(95)], [...bufs.subarray(0, 95)]);
    txDevice.transmit();
    assert.is(tx.send(bufs, bufs.length - 95, 95), 5);
    txDevice.transmit();
    assert.equal(
      txDevice.sent.map(({ buffer }) => buffer),
      [...bufs],
    );
  }),
);

tx(
  'wraps around many times, with the report on each 32nd slot',
  withRig({ txSize: 128, buffers: 512 }, (rig) => {
    const { tx, txDevice, pool } = rig;
    const order: number[] = [];
    const bufs = new Uint32Array(50);
    for (let round = 0; round < 200; round++) {
      const count = pool.allocate(bufs, 1 + ((round * 7) % 50));
      for (let i = 0; i < count; i++) pool.lengths[bufs[i]!] = 60 + i;
      const sent = tx.send(bufs, count);
      order.push(...bufs.subarray(0, sent));
      pool.release(bufs, count - sent, sent);
      // The device checks each field of each descriptor.
      txDevice.transmit(1 + ((round * 5) % 60));
      rig.checkOwnership([], order);
    }
    txDevice.transmit();
    assert.equal(
      txDevice.sent.map(({ buffer }) => buffer),
      order,
    );
    assert.is(tx.counters[LAYOUT.PACKETS], order.length);
    assert.ok(order.length > 10 * 128, 'many laps');
  }),
);

tx(
  'buffers return by whole groups of 32, and only what was reported',
  withRig({ txSize: 128 }, (rig) => {
    const { tx, txDevice, pool } = rig;
    const bufs = rig.allocate(100);
    assert.is(tx.send(bufs, bufs.length), 100);
    const before = pool.available;
    txDevice.transmit(31);
    tx.reclaim();
    assert.is(pool.available, before);
    txDevice.transmit(1);
    tx.reclaim();
    assert.is(pool.available, before + 32);
    txDevice.transmit();
    tx.reclaim();
    assert.is(pool.available, before + 96, 'the last four wait for later ones');
    tx.reclaim();
    assert.is(pool.available, before + 96);
  }),
);

tx(
  'the reports of the lap before are not taken for new ones',
  withRig({ txSize: 64 }, (rig) => {
    const { tx, txDevice, pool } = rig;
    for (let lap = 0; lap < 4; lap++) {
      assert.is(tx.send(rig.allocate(32), 32), 32);
      txDevice.transmit();
      tx.reclaim();
    }
    const before = pool.available;
    assert.is(tx.send(rig.allocate(32), 32), 32);
    tx.reclaim();
    assert.is(pool.available, before - 32, 'queued, not sent');
  }),
);

tx(
  'lost write-backs: send takes nothing once the ring is full, and does not crash',
  withRig({}, (rig) => {
    const { tx, txDevice } = rig;
    txDevice.reports = false;
    const bufs = rig.allocate(80);
    assert.is(tx.send(bufs, bufs.length), 63);
    txDevice.transmit();
    for (let i = 0; i < 100; i++) assert.is(tx.send(bufs, bufs.length - 63, 63), 0);
    assert.is(txDevice.tail.writes.length, 1);
    tx.close(CLOSED);
    assert.is(rig.pool.available, rig.pool.capacity - 64 - 17, 'close gives back what was never reported');
  }),
);

tx(
  'garbage in every descriptor but the reports frees nothing',
  withRig({}, (rig) => {
    const { tx, txRing, pool } = rig;
    assert.is(tx.send(rig.allocate(40), 40), 40);
    const before = pool.available;
    for (let slot = 0; slot < 64; slot++) if (slot !== 31) txRing.fill(-1, slot * 4, slot * 4 + 4);
    txRing[31 * 4 + 3]! &= ~1;
    tx.reclaim();
    assert.is(pool.available, before);
  }),
);

tx(
  'a device that reports everything at once frees each buffer once',
  withRig({}, (rig) => {
    const { pool } = rig;
    const ring = new Int32Array(64 * 4);
    const queue = new IntelTxQueue({ ring, tail: [], pool });
    const bufs = rig.allocate(60);
    const before = pool.available;
    for (let i = 0; i < 60; i += 5) {
      assert.is(queue.send(bufs, 5, i), 5);
      ring.fill(-1);
      queue.reclaim();
      assert.is(pool.available, before + (i + 5 >= 32 ? 32 : 0), 'only groups that are wholly in use');
    }
    queue.close(CLOSED);
    assert.is(pool.available, before + 60);
  }),
);

for (const [length, what] of [
  [0, 'no length'],
  [16, 'shorter than the hardware pads'],
  [1985, 'longer than the buffer'],
  [0xffff, 'much longer'],
] as const) {
  tx(
    `a packet of ${length} bytes (${what}) is dropped, counted and returned`,
    withRig({}, (rig) => {
      const { tx, txDevice, pool } = rig;
      const bufs = rig.allocate(5);
      pool.lengths[bufs[2]!] = length;
      const before = pool.available;
      assert.is(tx.send(bufs, bufs.length), 5, 'taken: it is not the caller’s any more');
      assert.is(tx.counters[LAYOUT.ERRORS], 1);
      assert.is(tx.counters[LAYOUT.PACKETS], 4);
      assert.is(tx.counters[LAYOUT.BYTES], 240);
      assert.is(pool.available, before + 1);
      assert.is(txDevice.transmit(), 4);
      assert.equal(
        txDevice.sent.map(({ buffer }) => buffer),
        [bufs[0], bufs[1], bufs[3], bufs[4]],
      );
      rig.checkOwnership([], [bufs[0]!, bufs[1]!, bufs[3]!, bufs[4]!]);
    }),
  );
}

tx(
  'a batch of nothing but bad packets rings no doorbell',
  withRig({}, (rig) => {
    const { tx, txDevice, pool } = rig;
    assert.is(tx.send(rig.allocate(6, 3), 6), 6);
    assert.is(tx.counters[LAYOUT.ERRORS], 6);
    assert.equal(txDevice.tail.writes, []);
    assert.is(pool.available, pool.capacity - 64);
  }),
);

tx(
  'an index outside the pool is dropped and counted, and reaches no descriptor',
  withRig({}, (rig) => {
    const { tx, txDevice, pool } = rig;
    const good = rig.allocate(2);
    const before = pool.available;
    assert.is(tx.send(Uint32Array.of(good[0]!, 512, 0xffff_ffff, 1 << 31, good[1]!), 5), 5);
    assert.is(tx.counters[LAYOUT.ERRORS], 3);
    assert.is(pool.available, before, 'no free buffer of that name appears');
    assert.is(txDevice.transmit(), 2);
    rig.checkOwnership([], [...good]);
  }),
);

tx(
  'close gives every buffer back, once, sent or not',
  withRig({}, (rig) => {
    const { tx, rx, txDevice, pool } = rig;
    const bufs = rig.allocate(63);
    assert.is(tx.send(bufs, bufs.length), 63);
    txDevice.transmit(40);
    tx.close(CLOSED);
    tx.close(CLOSED);
    assert.is(pool.available, pool.capacity - rx.size);
    rx.close(CLOSED);
    assert.is(new Set(rig.free()).size, pool.capacity);
  }),
);

tx(
  'after close send and reclaim say so, and no doorbell rings',
  withRig({}, (rig) => {
    const { tx, txDevice, pool } = rig;
    tx.send(rig.allocate(40), 40);
    txDevice.transmit();
    const extra = rig.allocate(3);
    tx.close(CLOSED);
    const before = pool.available;
    const isClosed = (error: NicError): boolean => error === CLOSED;
    for (let i = 0; i < 3; i++) assert.throws(() => tx.send(extra, extra.length), isClosed);
    assert.throws(() => tx.sendOffloaded!(extra, extra.length), isClosed);
    assert.throws(() => tx.reclaim(), isClosed);
    assert.is(txDevice.tail.writes.length, 1);
    assert.is(pool.available, before);
  }),
);

tx.run();
