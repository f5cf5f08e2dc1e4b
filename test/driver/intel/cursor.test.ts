/** A cursor over rings: mixed with everything else that works on them, and what is usual and what is not in one stream. */
import fc from 'fast-check';
import * as assert from 'uvu/assert';
import { LAYOUT } from '../../../src/driver/intel/descriptors.js';
import type { PacketCursor } from '../../../src/driver/packet-cursor.js';
import { openCursor } from '../../../src/forward/cursor.js';
import { connectQueues } from '../../../src/forward/forwarder.js';
import { CLOSED } from '../../support/closed.js';
import { expectError } from '../../support/expect-error.js';
import { QueueRig, withRig } from '../../support/queue-rig.js';
import { RX_ERROR_RXE, RX_STATUS_DD, RX_STATUS_EOP } from '../../support/ring-device.js';
import { suite } from '../../support/suite.js';

function arrive(rig: QueueRig, count: number, lengthBytes = 60): Uint8Array[] {
  const frames = Array.from({ length: count }, () => rig.frame(lengthBytes));
  return frames.filter((frame) => rig.rxDevice.receive({ frame }));
}

/** Pushes what has come, at most so many, and rings the doorbells. */
function pushAll({ next, push, flush }: PacketCursor, most = 1000): number {
  let pushed = 0;
  while (pushed < most && next() >= 0 && push()) pushed++;
  flush();
  return pushed;
}

function sent(rig: QueueRig): Uint8Array[] {
  rig.txDevice.transmit();
  return rig.txDevice.sent.splice(0).map(({ bytes }) => bytes);
}

/** Ends the queues: every buffer is in the pool, each once. */
function assertAllBack(rig: QueueRig): void {
  rig.rx.close(CLOSED);
  rig.tx.close(CLOSED);
  assert.is(rig.pool.available, rig.pool.capacity, 'every buffer is back');
  assert.is(new Set(rig.free()).size, rig.pool.capacity, 'and none twice');
}

const cursors = suite('cursor over rings');

cursors(
  'one doorbell each for a batch, and none where nothing was done',
  withRig({}, (rig) => {
    const cursor = openCursor(rig.rx, rig.tx);
    const bells = (): number[] => [rig.rxDevice.tail.writes.length, rig.txDevice.tail.writes.length];
    const [rxBefore, txBefore] = bells();
    assert.is(cursor.flush(), 0);
    assert.equal(bells(), [rxBefore, txBefore]);
    const frames = arrive(rig, 5);
    for (let i = 0; i < 5; i++) {
      cursor.next();
      cursor.push();
    }
    assert.equal(bells(), [rxBefore, txBefore], 'not before flush');
    assert.is(cursor.flush(), 5);
    assert.equal(bells(), [rxBefore! + 1, txBefore! + 1]);
    assert.equal(sent(rig), frames);
    arrive(rig, 3);
    for (let i = 0; i < 3; i++) {
      cursor.next();
      cursor.drop();
    }
    assert.is(cursor.flush(), 0);
    assert.equal(bells(), [rxBefore! + 2, txBefore! + 1], 'nothing to send');
    assertAllBack(rig);
  }),
);

cursors(
  'a dropped packet leaves its buffer to its slot: the pool is not touched',
  withRig({}, (rig) => {
    const cursor = openCursor(rig.rx, rig.tx);
    const armed = new Set(rig.rxBuffers());
    const { available } = rig.pool;
    for (let round = 0; round < 10; round++) {
      arrive(rig, 20);
      while (cursor.next() >= 0) cursor.drop();
      cursor.flush();
    }
    assert.is(rig.pool.available, available);
    assert.equal(new Set(rig.rxBuffers()), armed);
    assert.is(rig.rx.counters[LAYOUT.PACKETS], 200);
    assert.is(rig.rx.counters[LAYOUT.BYTES], 200 * 60);
    assertAllBack(rig);
  }),
);

cursors(
  'damaged frames, fragments and frames without a length are dropped and counted, wherever they are',
  withRig({}, (rig) => {
    const cursor = openCursor(rig.rx, rig.tx);
    /** Frames that are no good, and their descriptors. */
    const bad = [
      [{ frame: rig.frame(60), status: RX_STATUS_DD | RX_STATUS_EOP | RX_ERROR_RXE }],
      [{ frame: rig.frame(60), status: RX_STATUS_DD }, { frame: rig.frame(60) }],
      [{ length: 0 }],
    ];
    const good: Uint8Array[] = [];
    for (let round = 0; round < 30; round++) {
      for (const what of bad.slice(0, round % 4).flat()) rig.rxDevice.receive(what);
      good.push(...arrive(rig, 2));
      for (const what of bad.slice(round % 4).flat()) rig.rxDevice.receive(what);
      pushAll(cursor);
      if (round % 3 === 0) rig.txDevice.transmit();
    }
    assert.equal(sent(rig), good);
    const { counters } = rig.rx;
    assert.equal(
      [counters[LAYOUT.PACKETS], counters[LAYOUT.TOO_LONG], counters[LAYOUT.DAMAGED]],
      [60, 30, 60],
    );
    assertAllBack(rig);
  }),
);

cursors(
  'a device that fills slots that are not its own ends no loop',
  withRig({}, (rig) => {
    const cursor = openCursor(rig.rx, rig.tx);
    for (let slot = 0; slot < 64; slot++) {
      rig.rxDevice.writeBack(slot, { length: 0, status: RX_STATUS_DD });
    }
    assert.is(cursor.next(), -1);
  }),
);

cursors(
  'receive, send, a forwarder and a second cursor may be used in between',
  withRig({}, (rig) => {
    const [one, other] = [openCursor(rig.rx, rig.tx), openCursor(rig.rx, rig.tx)];
    const forwarder = connectQueues(rig.rx, rig.tx, { path: 'general', batch: 2 });
    const frames = arrive(rig, 12);
    assert.is(pushAll(one, 2), 2);
    assert.is(forwarder.poll(), 2);
    assert.is(pushAll(other, 2), 2);
    one.next();
    one.push();
    // What was pushed and not flushed leaves in its place.
    assert.is(rig.rx.receive(rig.bufs, 2), 2);
    assert.is(rig.tx.send(rig.bufs, 2), 2);
    one.flush();
    assert.is(pushAll(other), 3);
    assert.equal(sent(rig), frames);
    assert.is(rig.rx.counters[LAYOUT.PACKETS], 12);
    assert.is(rig.tx.counters[LAYOUT.PACKETS], 12);
    assertAllBack(rig);
  }),
);

cursors(
  'a hook of a forwarder on the same queue may not use it',
  withRig({}, (rig) => {
    const cursor = openCursor(rig.rx, rig.tx);
    let calls = 0;
    const forwarder = connectQueues(rig.rx, rig.tx, {
      path: 'general',
      onPacket(_, length) {
        // Only the first of a batch still lies in its slot.
        if (calls++ === 0) expectError('OWNERSHIP', () => void cursor.next());
        else assert.is(cursor.next(), -1);
        for (const method of ['push', 'drop', 'take'] as const)
          expectError('OWNERSHIP', () => void cursor[method]());
        return length;
      },
    });
    const frames = arrive(rig, 3);
    assert.is(forwarder.poll(), 3);
    assert.equal(sent(rig), frames);
    assertAllBack(rig);
  }),
);

cursors(
  'rings that a pipe has: OWNERSHIP',
  withRig({}, (rig) => {
    const cursor = openCursor(rig.rx, rig.tx);
    connectQueues(rig.rx, rig.tx, { path: 'pipe' });
    arrive(rig, 1);
    expectError('OWNERSHIP', () => void cursor.next());
    for (const method of ['push', 'drop', 'take'] as const)
      expectError('OWNERSHIP', () => void cursor[method]());
    cursor.flush();
    assertAllBack(rig);
  }),
);

cursors(
  'a queue that was closed: CLOSED, and nothing is written to its ring or its doorbell',
  withRig({}, (rig) => {
    const cursor = openCursor(rig.rx, rig.tx);
    arrive(rig, 3);
    cursor.next();
    cursor.push();
    cursor.next();
    rig.rx.close(CLOSED);
    rig.tx.close(CLOSED);
    const rings = [[...rig.rxRing], [...rig.txRing]];
    const bells = [rig.rxDevice.tail.writes.length, rig.txDevice.tail.writes.length];
    for (const method of ['next', 'push', 'drop', 'take'] as const)
      expectError('CLOSED', () => void cursor[method]());
    cursor.flush();
    cursor.close();
    assert.equal([[...rig.rxRing], [...rig.txRing]], rings);
    assert.equal([rig.rxDevice.tail.writes.length, rig.txDevice.tail.writes.length], bells);
    assertAllBack(rig);
  }),
);

cursors(
  'a full ring and an empty pool: what was not flushed is, so that a loop without flush goes on',
  withRig({ rxSize: 1024, buffers: 1200 }, (rig) => {
    const cursor = openCursor(rig.rx, rig.tx);
    const came: Uint8Array[] = [];
    const left: Uint8Array[] = [];
    for (let round = 0; round < 20; round++) {
      came.push(...arrive(rig, 30));
      while (cursor.next() >= 0 && cursor.push());
      left.push(...sent(rig));
    }
    pushAll(cursor);
    left.push(...sent(rig));
    assert.equal(left, came);
    assert.ok(came.length > 400, `${came.length} frames`);
    assertAllBack(rig);
  }),
);

cursors(
  'what is usual and what is not, in any order: each packet leaves once, in order, and no buffer is lost',
  () => {
    const step = fc.oneof(
      { weight: 4, arbitrary: fc.record({ kind: fc.constant('push' as const), flush: fc.boolean() }) },
      {
        weight: 2,
        arbitrary: fc.record({ kind: fc.constantFrom('drop', 'take', 'again'), flush: fc.boolean() }),
      },
      {
        weight: 1,
        arbitrary: fc.record({
          kind: fc.constantFrom('bad', 'fragment', 'transmit'),
          flush: fc.boolean(),
        }),
      },
    );
    const rounds = fc.array(fc.tuple(fc.integer({ min: 0, max: 20 }), fc.array(step, { maxLength: 20 })), {
      maxLength: 30,
    });
    fc.assert(
      fc.property(rounds, (all) => {
        const rig = new QueueRig({ buffers: 200 });
        const cursor = openCursor(rig.rx, rig.tx);
        const waiting: Uint8Array[] = [];
        const wanted: Uint8Array[] = [];
        const left: Uint8Array[] = [];
        const taken: number[] = [];
        for (const [count, steps] of all) {
          waiting.push(...arrive(rig, count));
          for (const { kind, flush } of steps) {
            if (kind === 'bad' || kind === 'fragment') {
              const error = kind === 'bad' ? RX_STATUS_EOP | RX_ERROR_RXE : 0;
              rig.rxDevice.receive({ frame: rig.frame(60), status: RX_STATUS_DD | error });
              // The end of the frame.
              if (kind === 'fragment') rig.rxDevice.receive({ frame: rig.frame(60) });
            } else if (kind === 'transmit') left.push(...sent(rig));
            else {
              const packet = cursor.next();
              assert.is(packet >= 0, waiting.length > 0);
              if (packet >= 0 && kind !== 'again') {
                const frame = waiting[0]!;
                assert.equal(rig.pool.bytes(packet).slice(0, rig.pool.lengths[packet]), frame);
                if (kind === 'drop') {
                  cursor.drop();
                  waiting.shift();
                } else if (kind === 'push' && cursor.push()) wanted.push(waiting.shift()!);
                else if (kind === 'take' && taken.length < 20 && cursor.take()) {
                  taken.push(packet);
                  waiting.shift();
                }
              }
            }
            if (flush) cursor.flush();
          }
        }
        cursor.flush();
        left.push(...sent(rig));
        assert.equal(left, wanted);
        rig.pool.release(Uint32Array.from(taken), taken.length);
        assertAllBack(rig);
        rig.close();
      }),
      { numRuns: 200 },
    );
  },
);

cursors.run();
