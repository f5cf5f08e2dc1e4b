/** Receive descriptors as no sane NIC writes them. The device is not trusted: nothing may throw, hang or get lost. */
import * as assert from 'uvu/assert';
import { LAYOUT } from '../../../src/driver/intel/descriptors.js';
import { IntelRxQueue } from '../../../src/driver/intel/rx-queue.js';
import { CLOSED } from '../../support/closed.js';
import { type QueueRig, withRig } from '../../support/queue-rig.js';
import { RX_ERROR_RXE, RX_STATUS_DD, RX_STATUS_EOP } from '../../support/ring-device.js';
import { suite } from '../../support/suite.js';

const damaged = suite('damaged receive descriptors');

const GOOD = RX_STATUS_DD | RX_STATUS_EOP;

/** Good frames before and after, so that what is in the middle cannot disturb them. */
function between(rig: QueueRig, middle: () => void): void {
  const { rx, rxDevice, pool, bufs } = rig;
  const before = rig.frame(100);
  const after = rig.frame(200);
  rxDevice.receive({ frame: before });
  middle();
  rxDevice.receive({ frame: after });
  assert.is(rx.receive(bufs), 2);
  assert.equal(pool.bytes(bufs[0]!).subarray(0, 100), before);
  assert.equal(pool.bytes(bufs[1]!).subarray(0, 200), after);
  assert.is(rx.counters[LAYOUT.PACKETS], 2);
  assert.is(rxDevice.available, rxDevice.size - 1, 'every slot is back in the ring');
  rig.checkOwnership([bufs[0]!, bufs[1]!], []);
}

damaged(
  'an error bit drops the frame',
  withRig({}, (rig) => {
    between(rig, () => rig.rxDevice.receive({ frame: rig.frame(60), status: GOOD | RX_ERROR_RXE }));
    assert.is(rig.rx.counters[LAYOUT.DAMAGED], 1);
  }),
);

damaged(
  'bits outside the error mask do not: checksum errors, VLAN, hash and packet type',
  withRig({}, (rig) => {
    const checksumError = 0x4000_0000;
    const status = GOOD | 0x8 | 0x0000_ff00 | checksumError;
    rig.rxDevice.receive({ frame: rig.frame(60), status });
    assert.is(rig.rx.receive(rig.bufs), 1);
    assert.is(rig.pool.lengths[rig.bufs[0]!], 60, 'the VLAN tag beside the length is not part of it');
  }),
);

for (const length of [0, 1985, 2049, 4096, 0xffff]) {
  damaged(
    `a length of ${length} drops the frame`,
    withRig({}, (rig) => {
      between(rig, () => rig.rxDevice.receive({ frame: rig.frame(60), length }));
      const [right, wrong] =
        length === 0 ? [LAYOUT.DAMAGED, LAYOUT.TOO_LONG] : [LAYOUT.TOO_LONG, LAYOUT.DAMAGED];
      assert.equal([rig.rx.counters[right], rig.rx.counters[wrong]], [1, 0]);
    }),
  );
}

damaged(
  'a frame over several buffers counts once and leaves nothing behind',
  withRig({}, (rig) => {
    between(rig, () => {
      for (let part = 0; part < 4; part++) {
        rig.rxDevice.receive({ frame: rig.frame(2048), status: RX_STATUS_DD });
      }
      rig.rxDevice.receive({ frame: rig.frame(10), status: GOOD });
    });
    assert.is(rig.rx.counters[LAYOUT.TOO_LONG], 1);
    assert.is(rig.rx.counters[LAYOUT.DAMAGED], 0);
  }),
);

damaged(
  'so does one whose pieces arrive in several calls',
  withRig({}, (rig) => {
    const { rx, rxDevice, bufs } = rig;
    for (let part = 0; part < 5; part++) {
      rxDevice.receive({ frame: rig.frame(2048), status: RX_STATUS_DD });
      assert.is(rx.receive(bufs), 0, `piece ${part}`);
    }
    assert.ok(!rx.pending);
    rxDevice.receive({ frame: rig.frame(10), status: GOOD });
    assert.is(rx.receive(bufs), 0, 'the last piece is not a packet');
    assert.is(rx.counters[LAYOUT.TOO_LONG], 1);
    rxDevice.receive({ frame: rig.frame(60) });
    assert.is(rx.receive(bufs), 1);
    rig.checkOwnership([bufs[0]!], []);
  }),
);

damaged(
  'so does one across the end of the ring',
  withRig({}, (rig) => {
    const { rx, bufs, pool } = rig;
    rig.arrive(62);
    pool.release(bufs, rx.receive(bufs));
    longFrameThenGood(rig);
    assert.is(rx.counters[LAYOUT.TOO_LONG], 1);
  }),
);

function longFrameThenGood(rig: QueueRig): void {
  const { rx, rxDevice, bufs } = rig;
  for (let part = 0; part < 3; part++) rxDevice.receive({ frame: rig.frame(2048), status: RX_STATUS_DD });
  rxDevice.receive({ frame: rig.frame(5), status: GOOD });
  const frame = rig.frame(77);
  rxDevice.receive({ frame });
  assert.is(rx.receive(bufs), 1);
  assert.equal(rig.pool.bytes(bufs[0]!).subarray(0, 77), frame);
  assert.is(rxDevice.head, 3, 'the device went round the end');
  rig.checkOwnership([bufs[0]!], []);
}

damaged(
  'two long frames in a row count twice',
  withRig({}, (rig) => {
    between(rig, () => {
      for (let frame = 0; frame < 2; frame++) {
        rig.rxDevice.receive({ frame: rig.frame(2048), status: RX_STATUS_DD });
        rig.rxDevice.receive({ frame: rig.frame(9), status: GOOD | RX_ERROR_RXE });
      }
    });
    assert.is(rig.rx.counters[LAYOUT.TOO_LONG], 2);
    assert.is(rig.rx.counters[LAYOUT.DAMAGED], 0, 'an error in the last piece is of the same frame');
  }),
);

damaged(
  'dropping rings one doorbell a call',
  withRig({}, (rig) => {
    for (let i = 0; i < 30; i++) rig.rxDevice.receive({ frame: rig.frame(60), status: GOOD | RX_ERROR_RXE });
    assert.is(rig.rx.receive(rig.bufs), 0);
    assert.equal(rig.rxDevice.tail.writes, [63, 29]);
  }),
);

/** Writes the same descriptor to every slot again after each call: DD on everything, for ever. */
function hostile(status: number, length: number, expectedPackets: (received: number) => boolean) {
  return withRig({ buffers: 64 + 200 }, (rig) => {
    const { rx, rxDevice, bufs, pool } = rig;
    // No checks of tail writes: this device breaks every rule itself.
    for (let round = 0; round < 50; round++) {
      for (let slot = 0; slot < rxDevice.size; slot++) rxDevice.writeBack(slot, { status, length });
      rxDevice.head = (rxDevice.tail[0]! + 1) % rxDevice.size;
      const received = rx.receive(bufs);
      assert.ok(expectedPackets(received), `${received} packets`);
      const owned = bufs.subarray(0, received);
      for (const buffer of owned) assert.ok(buffer < pool.capacity);
      assert.is(new Set(owned).size, received, 'no buffer twice');
      pool.release(bufs, received);
    }
    rx.close(CLOSED);
    assert.is(pool.available, pool.capacity);
    assert.is(new Set(rig.free()).size, pool.capacity);
  });
}

damaged(
  'DD everywhere, for ever: receive returns, bounded',
  hostile(GOOD, 60, (n) => n <= 200),
);
damaged(
  'errors everywhere, for ever',
  hostile(GOOD | RX_ERROR_RXE, 60, (n) => n === 0),
);
damaged(
  'no end of packet, for ever',
  hostile(RX_STATUS_DD, 60, (n) => n === 0),
);
damaged(
  'all ones in every descriptor',
  hostile(-1, 0xffff, (n) => n === 0),
);

damaged(
  'a ring that never runs out of bad descriptors does not keep receive busy',
  withRig({}, (rig) => {
    // Memory that reads as "done, damaged" whatever the driver writes to it.
    const stuck = new Proxy(rig.rxRing, {
      get: (target, key) => {
        if (typeof key === 'string' && /^\d+$/.test(key)) return RX_STATUS_DD;
        const value: unknown = Reflect.get(target, key);
        return typeof value === 'function' ? value.bind(target) : value;
      },
      set: () => true,
    });
    const queue = new IntelRxQueue({ ring: stuck, tail: [], pool: rig.pool, errorMask: 0 });
    assert.is(queue.receive(rig.bufs), 0);
    assert.is(queue.receive(rig.bufs), 0);
    queue.close(CLOSED);
  }),
);

damaged(
  'counts and ownership stay right where the device fills the one slot that it does not own',
  withRig({ buffers: 64 + 100, debug: true }, (rig) => {
    const { rx, rxDevice, pool, bufs } = rig;
    for (let slot = 0; slot < 64; slot++) rxDevice.writeBack(slot, { length: 60 });
    rxDevice.head = 0;
    const received = rx.receive(bufs);
    assert.is(rx.counters[LAYOUT.PACKETS], received);
    pool.release(bufs, received);
  }),
);

damaged.run();
