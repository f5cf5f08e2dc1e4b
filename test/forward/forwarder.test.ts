import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { RX_NO_BUFFER } from '../../src/driver/intel/rx-queue.js';
import { Forwarder } from '../../src/forward/forwarder.js';
import { withRig } from '../support/queue-rig.js';

const forwarding = suite('Forwarder');

forwarding(
  'moves what was received, unchanged, and says how much',
  withRig({}, (rig) => {
    const forwarder = new Forwarder(rig.rx, rig.tx, rig.pool);
    assert.is(forwarder.poll(), 0);
    const frames = [60, 100, 1514].map((length) => rig.frame(length));
    for (const frame of frames) rig.rxDevice.receive({ frame });
    assert.is(forwarder.poll(), 3);
    rig.txDevice.transmit();
    assert.equal(
      rig.txDevice.sent.map(({ bytes }) => bytes),
      frames,
    );
    assert.is(forwarder.dropped, 0);
  }),
);

forwarding(
  'at most a batch at a time',
  withRig({}, (rig) => {
    const forwarder = new Forwarder(rig.rx, rig.tx, rig.pool, { batch: 7 });
    rig.arrive(20);
    assert.equal([forwarder.poll(), forwarder.poll(), forwarder.poll(), forwarder.poll()], [7, 7, 6, 0]);
  }),
);

forwarding(
  'a touched frame is the same frame',
  withRig({}, (rig) => {
    const forwarder = new Forwarder(rig.rx, rig.tx, rig.pool, { touch: true });
    const frame = rig.frame(64);
    rig.rxDevice.receive({ frame });
    assert.is(forwarder.poll(), 1);
    rig.txDevice.transmit();
    assert.equal(rig.txDevice.sent[0]!.bytes, frame);
  }),
);

forwarding(
  'what finds no room is dropped, counted and given back',
  withRig({ buffers: 300 }, (rig) => {
    const forwarder = new Forwarder(rig.rx, rig.tx, rig.pool);
    let received = 0;
    for (let round = 0; round < 10; round++) {
      rig.arrive(32);
      received += forwarder.poll();
    }
    assert.is(received, 320);
    assert.is(forwarder.dropped, 320 - 63);
    assert.is(rig.pool.available, 300 - 64 - 63);
    rig.txDevice.transmit();
    rig.arrive(32);
    assert.is(forwarder.poll(), 32);
    assert.is(forwarder.dropped, 320 - 63, 'there is room again');
  }),
);

forwarding(
  'a pool that runs out: fewer packets, counted, and every buffer in one place',
  withRig({ buffers: 64 + 6 }, (rig) => {
    const forwarder = new Forwarder(rig.rx, rig.tx, rig.pool);
    rig.arrive(20);
    assert.is(forwarder.poll(), 6);
    assert.is(forwarder.poll(), 0);
    assert.is(rig.rx.counters[RX_NO_BUFFER], 2);
    assert.is(rig.txDevice.transmit(), 6);
    assert.is(rig.pool.available, 0);
    rig.checkOwnership(
      [],
      rig.txDevice.sent.map(({ buffer }) => buffer),
    );
  }),
);

forwarding(
  'a pool that debugs finds nothing wrong',
  withRig({ debug: true, buffers: 300 }, (rig) => {
    const forwarder = new Forwarder(rig.rx, rig.tx, rig.pool, { touch: true });
    for (let round = 0; round < 50; round++) {
      rig.arrive(40);
      while (forwarder.poll() > 0);
      if (round % 3 === 0) rig.txDevice.transmit();
    }
    assert.ok(forwarder.dropped > 0);
  }),
);

for (const batch of [0, -1, 1.5, Number.NaN, 4097]) {
  forwarding(
    `a batch of ${batch} is refused`,
    withRig({}, (rig) => {
      assert.throws(() => new Forwarder(rig.rx, rig.tx, rig.pool, { batch }), /batch/);
    }),
  );
}

forwarding.run();
