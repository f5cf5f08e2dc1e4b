import * as assert from 'uvu/assert';
import { LAYOUT } from '../../src/driver/intel/descriptors.js';
import { connectQueues, type Forwarder, type ForwardOptions } from '../../src/forward/forwarder.js';
import { CLOSED } from '../support/closed.js';
import { type QueueRig, withRig } from '../support/queue-rig.js';
import { suite } from '../support/suite.js';

/** The general path, where a pipe would be possible. */
function general(rig: QueueRig, options: ForwardOptions = {}): Forwarder {
  return connectQueues(rig.rx, rig.tx, { path: 'general', ...options });
}

const forwarding = suite('Forwarder');

forwarding(
  'moves what was received, unchanged, and says how much',
  withRig({}, (rig) => {
    const forwarder = general(rig);
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
    const forwarder = general(rig, { batch: 7 });
    rig.arrive(20);
    assert.equal([forwarder.poll(), forwarder.poll(), forwarder.poll(), forwarder.poll()], [7, 7, 6, 0]);
  }),
);

forwarding(
  'a touched frame is the same frame',
  withRig({}, (rig) => {
    const forwarder = general(rig, { touch: true });
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
    const forwarder = general(rig);
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
    const forwarder = general(rig);
    rig.arrive(20);
    assert.is(forwarder.poll(), 6);
    assert.is(forwarder.poll(), 0);
    assert.is(rig.rx.counters[LAYOUT.NO_BUFFER], 2);
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
    const forwarder = general(rig, { touch: true });
    for (let round = 0; round < 50; round++) {
      rig.arrive(40);
      while (forwarder.poll() > 0);
      if (round % 3 === 0) rig.txDevice.transmit();
    }
    assert.ok(forwarder.dropped > 0);
  }),
);

forwarding(
  'a device that sends and is closed: what was received is back in the pool, and the error says so',
  withRig({}, (rig) => {
    for (const onPacket of [undefined, (_packet: number, length: number): number => length]) {
      const forwarder = general(rig, onPacket === undefined ? {} : { onPacket });
      rig.arrive(10);
      forwarder.poll();
    }
    const forwarders = [general(rig), general(rig, { onPacket: (_packet, length) => length })];
    rig.tx.close(CLOSED);
    const { available } = rig.pool;
    for (const forwarder of forwarders) {
      rig.arrive(3);
      assert.throws(
        () => forwarder.poll(),
        (error: unknown) => error === CLOSED,
      );
      assert.is(rig.pool.available, available);
    }
    assert.is(forwarders[1]!.dropped, 0, 'none was taken off the ring');
    rig.rx.close(CLOSED);
    assert.is(rig.pool.available, rig.pool.capacity);
  }),
);

forwarding(
  'a device that receives and is closed',
  withRig({}, (rig) => {
    const forwarder = general(rig);
    rig.arrive(3);
    rig.rx.close(CLOSED);
    for (let i = 0; i < 3; i++)
      assert.throws(
        () => forwarder.poll(),
        (error: unknown) => error === CLOSED,
      );
  }),
);

forwarding(
  'closed, it says so; the queues can be connected again',
  withRig({}, (rig) => {
    const forwarder = general(rig);
    forwarder.close();
    forwarder.close();
    assert.throws(
      () => forwarder.poll(),
      (error: { code?: string }) => error.code === 'CLOSED',
    );
    rig.arrive(3);
    assert.is(general(rig).poll(), 3);
  }),
);

for (const options of [
  { path: 'fast' },
  { touch: 1 },
  { onPacket: 'drop' },
  { bacth: 32 },
  null,
  'pipe',
] as unknown[]) {
  forwarding(
    `options ${JSON.stringify(options)} are refused`,
    withRig({}, (rig) => {
      assert.throws(
        () => connectQueues(rig.rx, rig.tx, options as ForwardOptions),
        (error: { code?: string; hint?: string }) => error.code === 'BAD_OPTION' && error.hint !== undefined,
      );
    }),
  );
}

for (const batch of [0, -1, 1.5, Number.NaN, 4097, '32' as unknown as number]) {
  forwarding(
    `a batch of ${batch} is refused`,
    withRig({}, (rig) => {
      assert.throws(() => general(rig, { batch }), /batch/);
    }),
  );
}

forwarding.run();
