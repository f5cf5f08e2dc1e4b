/** The hook inside the fused loop: what it may do meanwhile, and what is usual and what is not in one stream. */
import fc from 'fast-check';
import * as assert from 'uvu/assert';
import { LAYOUT } from '../../../src/driver/intel/descriptors.js';
import { connectQueues, type Forwarder } from '../../../src/forward/forwarder.js';
import { CLOSED } from '../../support/closed.js';
import { QueueRig, withRig } from '../../support/queue-rig.js';
import { RX_ERROR_RXE, RX_STATUS_DD, RX_STATUS_EOP } from '../../support/ring-device.js';
import { suite } from '../../support/suite.js';

const SIZE = 64;

function arrive(rig: QueueRig, count: number): Uint8Array[] {
  const frames = Array.from({ length: count }, (_, i) => rig.frame(60 + (i % 40)));
  return frames.filter((frame) => rig.rxDevice.receive({ frame }));
}

function general(rig: QueueRig, onPacket: (packet: number, length: number) => number, batch = 32): Forwarder {
  return connectQueues(rig.rx, rig.tx, { path: 'general', onPacket, batch });
}

/** Ends the queues: every buffer is in the pool, each once. */
function assertAllBack(rig: QueueRig): void {
  rig.rx.close(CLOSED);
  rig.tx.close(CLOSED);
  assert.is(rig.pool.available, rig.pool.capacity, 'every buffer is back');
  assert.is(new Set(rig.free()).size, rig.pool.capacity, 'and none twice');
}

const hooked = suite('hook in the fused loop');

hooked(
  'a batch goes by the fused loop: the pool is as deep as before, and one doorbell each rings',
  withRig({}, (rig) => {
    const depths: number[] = [];
    const forwarder = general(rig, (_packet, length) => {
      depths.push(rig.pool.available);
      return length;
    });
    const before = rig.pool.available;
    arrive(rig, 3);
    const bells = [rig.rxDevice.tail.writes.length, rig.txDevice.tail.writes.length];
    assert.is(forwarder.poll(), 3);
    // `receive` would have taken a fresh buffer for each before the first call.
    assert.equal(depths, [before, before - 1, before - 2]);
    const rang = [rig.rxDevice.tail.writes.length - bells[0]!, rig.txDevice.tail.writes.length - bells[1]!];
    assert.equal(rang, [1, 1]);
    assertAllBack(rig);
  }),
);

hooked(
  'a dropped packet leaves its buffer to its slot',
  withRig({}, (rig) => {
    const forwarder = general(rig, () => 0);
    const armed = new Set(rig.rxBuffers());
    for (let round = 0; round < 5; round++) {
      arrive(rig, 32);
      assert.is(forwarder.poll(), 32);
    }
    assert.equal(new Set(rig.rxBuffers()), armed);
    assert.is(forwarder.dropped, 160);
    assert.is(rig.txDevice.queued, 0);
    assertAllBack(rig);
  }),
);

hooked(
  'it may send on the same queue: its packets leave before the one it was shown',
  withRig({}, (rig) => {
    const one = new Uint32Array(1);
    const forwarder = general(rig, (_packet, length) => {
      assert.is(rig.pool.allocate(one, 1), 1);
      rig.pool.lengths[one[0]!] = 200;
      assert.is(rig.tx.send(one, 1), 1);
      return length;
    });
    const frames = arrive(rig, 5);
    assert.is(forwarder.poll(), 5);
    rig.txDevice.transmit();
    assert.equal(
      rig.txDevice.sent.map(({ bytes }) => bytes.length),
      frames.flatMap((frame) => [200, frame.length]),
    );
    assertAllBack(rig);
  }),
);

hooked(
  'it may send a packet that it has kept, which changes the transmit ring alone',
  withRig({}, (rig) => {
    const own = rig.allocate(3, 200);
    let calls = 0;
    const forwarder = general(rig, (_packet, length) => {
      if (calls++ % 2 === 0) assert.is(rig.tx.send(own, 1, calls >> 1), 1);
      return length;
    });
    const frames = arrive(rig, 5);
    assert.is(forwarder.poll(), 5);
    rig.txDevice.transmit();
    assert.equal(
      rig.txDevice.sent.map(({ bytes }) => bytes.length),
      frames.flatMap((frame, i) => (i % 2 === 0 ? [200, frame.length] : [frame.length])),
    );
    assertAllBack(rig);
  }),
);

hooked(
  'it fills the transmit ring: its packet and those behind are dropped and counted, and no slot is written over',
  withRig({}, (rig) => {
    const own = new Uint32Array(SIZE);
    let calls = 0;
    const forwarder = general(rig, (_packet, length) => {
      if (++calls === 3) {
        const count = rig.pool.allocate(own, SIZE);
        for (const packet of own.subarray(0, count)) rig.pool.lengths[packet] = 300;
        const sent = rig.tx.send(own, count);
        rig.pool.release(own, count - sent, sent);
      }
      return length;
    });
    arrive(rig, 6);
    assert.is(forwarder.poll(), 6);
    assert.is(rig.txDevice.queued, SIZE - 1);
    assert.is(forwarder.dropped, 4);
    rig.txDevice.transmit();
    const lengths = rig.txDevice.sent.map(({ bytes }) => bytes.length);
    assert.equal(lengths, [60, 61, ...Array.from({ length: SIZE - 3 }, () => 300)]);
    assertAllBack(rig);
  }),
);

hooked(
  'it empties the pool: what finds no fresh buffer is dropped and counted',
  withRig({}, (rig) => {
    const own = new Uint32Array(rig.pool.capacity);
    let taken = 0;
    const forwarder = general(rig, (_packet, length) => {
      if (taken === 0) taken = rig.pool.allocate(own, own.length);
      return length;
    });
    arrive(rig, 1);
    assert.is(forwarder.poll(), 1);
    assert.is(forwarder.dropped, 1);
    assert.is(rig.pool.available, 0);
    rig.pool.release(own, taken);
    arrive(rig, 4);
    assert.is(forwarder.poll(), 4);
    assert.is(forwarder.dropped, 1, 'and it goes on');
    assertAllBack(rig);
  }),
);

hooked(
  'receive of the same queue gives it no packet that the loop is at',
  withRig({}, (rig) => {
    const own = new Uint32Array(8);
    let received = 0;
    let refused = 0;
    const forwarder = general(rig, (_packet, length) => {
      try {
        received += rig.rx.receive(own);
      } catch (error) {
        assert.is((error as { code?: string }).code, 'OWNERSHIP');
        refused++;
      }
      return length;
    });
    const frames = arrive(rig, 5);
    assert.is(forwarder.poll(), 5);
    rig.txDevice.transmit();
    assert.equal(
      rig.txDevice.sent.map(({ bytes }) => bytes),
      frames,
    );
    assert.is(received, 0);
    assert.ok(refused > 0);
    assertAllBack(rig);
  }),
);

for (const what of ['rx', 'tx'] as const) {
  for (const sentBefore of [0, SIZE - 1 - 32]) {
    hooked(
      `it closes the ${what} queue, ${sentBefore} packets after the start: no buffer is lost or twice`,
      withRig({}, (rig) => {
        let calls = 0;
        const forwarder = general(rig, (_packet, length) => {
          if (++calls === sentBefore + 3) rig[what].close(CLOSED);
          return length;
        });
        arrive(rig, sentBefore);
        while (forwarder.poll() > 0);
        arrive(rig, 6);
        const poll = (): number => forwarder.poll();
        assert.throws(poll, (error: unknown) => error === CLOSED);
        assert.throws(poll, (error: unknown) => error === CLOSED);
        assertAllBack(rig);
      }),
    );
  }
}

hooked(
  'one that throws on the long way: its packet and those behind are shown by the next poll, or given back by close',
  withRig({ debug: true }, (rig) => {
    const seen: number[] = [];
    let throwing = true;
    const forwarder = general(rig, (_packet, length) => {
      seen.push(length);
      if (throwing && length === 62) throw new Error('planted');
      return length;
    });
    arrive(rig, 5);
    assert.throws(() => forwarder.poll(), /planted/);
    assert.throws(() => forwarder.poll(), /planted/);
    throwing = false;
    arrive(rig, 1);
    assert.is(forwarder.poll(), 3, 'those that waited');
    assert.is(forwarder.poll(), 1);
    assert.equal(seen, [60, 61, 62, 62, 62, 63, 64, 60]);
    throwing = true;
    arrive(rig, 4);
    assert.throws(() => forwarder.poll(), /planted/);
    forwarder.close();
    assert.is(forwarder.dropped, 2);
    assertAllBack(rig);
  }),
);

/** What the hook answers for a frame, by its length. */
function verdict(length: number): number {
  if (length % 7 === 0) return 0;
  if (length % 11 === 0) return 5000;
  return length % 5 === 0 ? length - 3 : length;
}

hooked(
  'any frames, good and bad, any rings, drops, lengths and throws: in order, and the sums add up',
  () => {
    const event = fc.oneof(
      {
        weight: 6,
        arbitrary: fc.record({ kind: fc.constant('frames'), n: fc.integer({ min: 1, max: 40 }) }),
      },
      {
        weight: 1,
        arbitrary: fc.record({ kind: fc.constantFrom('bad', 'long', 'throw'), n: fc.constant(1) }),
      },
      {
        weight: 3,
        arbitrary: fc.record({ kind: fc.constant('transmit'), n: fc.integer({ min: 1, max: 64 }) }),
      },
      { weight: 5, arbitrary: fc.record({ kind: fc.constant('poll'), n: fc.integer({ min: 1, max: 3 }) }) },
    );
    const batch = fc.constantFrom(1, 3, 8, 32, 100);
    fc.assert(
      fc.property(fc.array(event, { minLength: 5, maxLength: 60 }), batch, (events, size) => {
        const rig = new QueueRig({ buffers: 300 });
        let throws = 0;
        const forwarder = general(
          rig,
          (_packet, length) => {
            if (throws > 0) {
              throws--;
              throw new Error('planted');
            }
            return verdict(length);
          },
          size,
        );
        const good: Uint8Array[] = [];
        const pollAll = (): void => {
          for (;;) {
            try {
              if (forwarder.poll() === 0) return;
            } catch (error) {
              assert.match((error as Error).message, 'planted');
            }
          }
        };
        let number = 0;
        const wanted: Uint8Array[] = [];
        let isHalf = false;
        /** What comes first is the rest of a long frame that found one descriptor; while that finds none, nothing else comes. */
        const receive = (...[part]: Parameters<typeof rig.rxDevice.receive>): boolean => {
          if (isHalf && !rig.rxDevice.receive({ frame: rig.frame(60) })) return false;
          isHalf = false;
          return rig.rxDevice.receive(part);
        };
        for (const { kind, n } of events) {
          if (kind === 'frames') {
            for (let i = 0; i < n; i++) {
              const frame = rig.frame(60 + (number++ % 50));
              if (receive({ frame })) good.push(frame);
            }
          } else if (kind === 'bad') {
            receive({ frame: rig.frame(60), status: RX_STATUS_DD | RX_STATUS_EOP | RX_ERROR_RXE });
          } else if (kind === 'long') {
            if (receive({ frame: rig.frame(60), status: RX_STATUS_DD }))
              isHalf = !rig.rxDevice.receive({ frame: rig.frame(60) });
          } else if (kind === 'throw') {
            throws++;
          } else if (kind === 'transmit') {
            rig.txDevice.transmit(n);
          } else {
            pollAll();
          }
        }
        pollAll();
        rig.txDevice.transmit();
        for (const frame of good) {
          const length = verdict(frame.length);
          if (length >= 17 && length <= 1984) wanted.push(frame.subarray(0, length));
        }
        const sent = rig.txDevice.sent.map(({ bytes }) => bytes);
        const { PACKETS, BYTES, ERRORS } = LAYOUT;
        // What found no room is missing, in order.
        let at = 0;
        for (const bytes of sent) {
          while (at < wanted.length && !Buffer.from(wanted[at]!).equals(bytes)) at++;
          assert.ok(at++ < wanted.length, 'a frame out of order, or one that never came');
        }
        assert.is(rig.rx.counters[PACKETS], good.length);
        assert.is(rig.tx.counters[PACKETS], sent.length);
        const sum = (list: readonly Uint8Array[]): number =>
          list.reduce((total, { length }) => total + length, 0);
        assert.is(rig.rx.counters[BYTES], sum(good));
        assert.is(rig.tx.counters[BYTES], sum(sent));
        assert.is(good.length, sent.length + forwarder.dropped + rig.tx.counters[ERRORS]!);
        assertAllBack(rig);
      }),
      { numRuns: 300 },
    );
  },
);

hooked.run();
