/** Conformance of cursors: over the queues of any family, whether it has one of its own or not. */
import * as assert from 'uvu/assert';
import type { PacketCursor } from '../../src/driver/packet-cursor.js';
import { openCursor } from '../../src/forward/cursor.js';
import { expectError } from '../support/expect-error.js';
import { caseSuite } from './results.js';
import { type Family, onRig, type Rig, range } from './rig.js';

function cursorOf({ nic }: Rig): PacketCursor {
  return openCursor(nic.rxQueues[0], nic.txQueues[0]);
}

/** Pushes all that has come, and tells how many that were. */
function pushAll({ next, push, flush }: PacketCursor): number {
  let pushed = 0;
  while (next() >= 0 && push()) pushed++;
  flush();
  return pushed;
}

export function cursors(family: Family): void {
  const test = caseSuite(family, 'cursor');

  test(
    'packets are shown one by one, and leave as they came, in order',
    onRig(family, (rig) => {
      const cursor = cursorOf(rig);
      assert.is(cursor.next(), -1, 'nothing has come');
      const frames = [60, 61, 64, 512, 1513, 1514].flatMap((length) => rig.arrive(1, length));
      const shown: Uint8Array[] = [];
      for (let packet = cursor.next(); packet >= 0; packet = cursor.next()) {
        assert.is(cursor.next(), packet, 'it stays the next one');
        shown.push(rig.copy(packet));
        assert.is(cursor.push(), true);
      }
      assert.equal(shown, frames);
      cursor.flush();
      assert.equal(rig.hardware.transmit(), frames);
      const { rxPackets, txPackets, rxBytes, txBytes } = rig.nic.stats();
      const bytes = frames.reduce((sum, frame) => sum + frame.length, 0);
      assert.equal([rxPackets, txPackets, rxBytes, txBytes], [frames.length, frames.length, bytes, bytes]);
      cursor.close();
    }),
  );

  test(
    'rings go round many times, and the pool is as deep as before',
    onRig(family, (rig) => {
      const cursor = cursorOf(rig);
      for (let round = 0; round < 40; round++) {
        const frames = rig.arrive(11 + (round % 5), 60 + round);
        assert.is(pushAll(cursor), frames.length);
        assert.equal(
          rig.hardware.transmit(),
          frames.map((frame) => rig.padded(frame)),
        );
      }
      cursor.close();
    }),
  );

  test(
    'drop gives a packet back, take leaves it to the caller, and what is pushed may be changed before',
    onRig(family, (rig) => {
      const cursor = cursorOf(rig);
      const frames = rig.arrive(9, 80);
      const taken: number[] = [];
      for (let i = 0; i < 9; i++) {
        const packet = cursor.next();
        if (i % 3 === 0) cursor.drop();
        else if (i % 3 === 1) {
          rig.pool.bytes(packet)[20] = i;
          rig.pool.lengths[packet] = 70;
          assert.is(cursor.push(), true);
        } else {
          assert.is(cursor.take(), true);
          taken.push(packet);
        }
      }
      assert.is(cursor.next(), -1);
      cursor.flush();
      assert.equal(
        rig.hardware.transmit(),
        [1, 4, 7].map((i) => {
          const frame = frames[i]!.slice(0, 70);
          frame[20] = i;
          return frame;
        }),
      );
      assert.equal(
        taken.map((packet) => rig.copy(packet)),
        [2, 5, 8].map((i) => frames[i]!),
      );
      assert.is(rig.nic.stats().rxPackets, 9);
      rig.pool.release(Uint32Array.from(taken), taken.length);
      cursor.close();
    }),
  );

  test(
    'an application that throws loses nothing: what it pushed leaves, and it goes on with the packet that it threw at',
    onRig(family, (rig) => {
      const cursor = cursorOf(rig);
      const frames = rig.arrive(10);
      let shown = 0;
      const loop = (): void => {
        for (let packet = cursor.next(); packet >= 0; packet = cursor.next()) {
          // What an application had begun to do to it.
          rig.pool.lengths[packet] = 61;
          if (++shown === 4) throw new Error('planted');
          rig.pool.lengths[packet] = 60;
          cursor.push();
        }
        cursor.flush();
      };
      assert.throws(loop, /planted/);
      const next = cursor.next();
      assert.equal(rig.copy(next), frames[3]);
      loop();
      assert.equal(rig.hardware.transmit(), frames);
      assert.is(shown, 11, 'one was shown twice');
      cursor.close();
    }),
  );

  test(
    'a loop that ends in the middle: close gives everything back',
    onRig(family, (rig) => {
      const cursor = cursorOf(rig);
      rig.arrive(10);
      for (let i = 0; i < 3; i++) {
        cursor.next();
        cursor.push();
      }
      cursor.next();
      cursor.close();
      cursor.close();
    }),
  );

  test(
    'push, drop and take without a packet are refused, and do nothing',
    onRig(family, (rig) => {
      const cursor = cursorOf(rig);
      const { available } = rig.pool;
      for (const method of ['push', 'drop', 'take'] as const) {
        const error = expectError(
          'OWNERSHIP',
          () => void cursor[method](),
          new RegExp(`^${method}\\(\\) of`),
        );
        assert.match(error.hint!, /next\(\)/);
      }
      const frames = rig.arrive(1);
      cursor.next();
      cursor.push();
      expectError('OWNERSHIP', () => void cursor.push());
      expectError('OWNERSHIP', () => cursor.drop());
      cursor.flush();
      assert.equal(rig.hardware.transmit(), frames);
      assert.ok(rig.pool.available >= available - 1 - family.keepsSent);
      cursor.close();
    }),
  );

  test(
    'a transmit ring without room: push says so, the packet stays, and all leave in the end',
    onRig(family, (rig) => {
      const cursor = cursorOf(rig);
      const came: Uint8Array[] = [];
      let pushed = 0;
      // More than both rings hold.
      while (came.length < 3 * family.ringSize) {
        const frame = rig.frame();
        if (!rig.hardware.arrive(frame)) break;
        came.push(frame);
        if (cursor.next() >= 0 && cursor.push()) pushed++;
        cursor.flush();
      }
      assert.ok(pushed >= family.ringSize / 2 - 1 && pushed < came.length, `${pushed} of ${came.length}`);
      const next = cursor.next();
      assert.is(cursor.push(), false);
      assert.is(cursor.next(), next, 'it stays');
      const left: Uint8Array[] = [];
      for (let tries = 0; tries < 20; tries++) {
        left.push(...rig.hardware.transmit());
        pushAll(cursor);
      }
      assert.equal(left, came);
      cursor.close();
    }),
  );

  test(
    'an empty pool: packets are still dropped and shown, and none is lost',
    onRig(family, (rig) => {
      const cursor = cursorOf(rig);
      const frames = rig.arrive(6);
      const first = cursor.next();
      const own = new Uint32Array(rig.pool.capacity);
      const count = rig.pool.allocate(own, rig.pool.available);
      assert.equal(rig.copy(first), frames[0]);
      cursor.drop();
      rig.pool.release(own, count);
      assert.is(pushAll(cursor), 5);
      assert.equal(rig.hardware.transmit(), frames.slice(1));
      cursor.close();
    }),
  );

  test(
    'a length that no hardware can send: the packet is dropped and counted',
    onRig(family, (rig) => {
      const cursor = cursorOf(rig);
      const frames = rig.arrive(3);
      for (const i of range(3)) {
        const packet = cursor.next();
        if (i === 1) rig.pool.lengths[packet] = 1;
        assert.is(cursor.push(), true);
      }
      cursor.flush();
      assert.equal(rig.hardware.transmit(), [frames[0], frames[2]]);
      const { txErrors, txPackets } = rig.nic.stats();
      assert.equal([txErrors, txPackets], [1, 2]);
      cursor.close();
    }),
  );

  test(
    'a debug pool finds its packets in order',
    onRig(
      family,
      (rig) => {
        const cursor = cursorOf(rig);
        const frames = rig.arrive(5);
        assert.is(pushAll(cursor), 5);
        assert.equal(rig.hardware.transmit(), frames);
        cursor.close();
      },
      {},
      { debug: true },
    ),
  );

  test(
    'a closed device: CLOSED, and close() of the cursor gives back what it held',
    onRig(family, async (rig) => {
      const cursor = cursorOf(rig);
      rig.arrive(4);
      cursor.next();
      cursor.push();
      cursor.next();
      await rig.nic.close();
      expectError('CLOSED', () => {
        for (let i = 0; i < 40; i++) {
          if (cursor.next() >= 0) cursor.drop();
          cursor.flush();
        }
      });
      cursor.close();
    }),
  );

  test.run();
}
