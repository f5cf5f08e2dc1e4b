/** Conformance of `NetDevice`: the conventions of `receive`, `send` and their buffers. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { RxQueue, TxQueue } from '../../src/driver/device.js';
import { expectError } from '../support/expect-error.js';
import { type Family, onRig, type Rig, range } from './conformance-rig.js';

export function queues(family: Family): void {
  receiving(family);
  sending(family);
  both(family);
}

const NO_ARRAYS: readonly unknown[] = [
  undefined,
  null,
  [0, 1],
  new Uint8Array(4),
  new Int32Array(4),
  new DataView(new ArrayBuffer(16)),
  'bufs',
  7,
];

/** Each refused, with a hint. */
function refusesArrays(call: (bufs: Uint32Array) => unknown): void {
  for (const bufs of NO_ARRAYS) {
    const error = expectError('BAD_ARGUMENT', () => call(bufs as Uint32Array), /not a Uint32Array/);
    assert.ok(error.hint);
  }
}

function receiving(family: Family): void {
  const test = suite(`${family.name}: receive`);

  test(
    'nothing has come: 0, and nothing is written',
    onRig(family, ({ nic }) => {
      const bufs = new Uint32Array(4).fill(77);
      assert.is(nic.rxQueues[0].pending, false);
      assert.is(nic.rxQueues[0].receive(bufs), 0);
      assert.equal([...bufs], [77, 77, 77, 77]);
    }),
  );

  test(
    'frames come whole, in order, each in a buffer of its own, and are the caller’s',
    onRig(family, (rig) => {
      const { nic, pool } = rig;
      const [queue] = nic.rxQueues;
      const frames = [60, 61, 64, 512, 1513, 1514].flatMap((length) => rig.arrive(1, length));
      assert.is(queue.pending, true);
      const { available } = pool;
      const bufs = new Uint32Array(32);
      assert.is(queue.receive(bufs), frames.length);
      const packets = bufs.subarray(0, frames.length);
      assert.equal(
        Array.from(packets, (packet) => rig.copy(packet)),
        frames,
      );
      assert.is(new Set(packets).size, frames.length);
      assert.is(pool.available, available - frames.length, 'free buffers took their places');
      assert.is(queue.pending, false);
      pool.release(bufs, frames.length);
    }),
  );

  test(
    'at most as many as asked for, and as the array holds',
    onRig(family, (rig) => {
      const [queue] = rig.nic.rxQueues;
      const frames = rig.arrive(20);
      const bufs = new Uint32Array(8).fill(77);
      const taken: Uint8Array[] = [];
      for (const [max, wanted] of [
        [0, 0],
        [3, 3],
        [undefined, 8],
        [100, 8],
        [8, 1],
      ] as const) {
        const count = max === undefined ? queue.receive(bufs) : queue.receive(bufs, max);
        assert.is(count, wanted, `max ${max}`);
        taken.push(...Array.from(bufs.subarray(0, count), (packet) => rig.copy(packet)));
        rig.pool.release(bufs, count);
      }
      assert.equal(taken, frames);
      assert.is(queue.receive(new Uint32Array(0)), 0);
      const one = new Uint32Array(4).fill(77);
      rig.arrive(2);
      assert.is(queue.receive(one, 1), 1);
      assert.equal([...one.subarray(1)], [77, 77, 77], 'no more is written than counted');
      rig.pool.release(one, 1);
    }),
  );

  for (const debug of [false, true]) {
    test(
      `anything but a Uint32Array is refused, and takes nothing${debug ? ', in a debug pool' : ''}`,
      onRig(
        family,
        (rig) => {
          const [queue] = rig.nic.rxQueues;
          const frames = rig.arrive(2);
          refusesArrays((bufs) => queue.receive(bufs));
          refusesArrays((bufs) => queue.receive(bufs, 1));
          assert.equal(rig.receive(), frames);
        },
        {},
        { debug },
      ),
    );
  }

  test(
    'the longest frame comes; one byte more does not, and is counted',
    onRig(family, (rig) => {
      const { nic } = rig;
      const longest = rig.arrive(1, nic.maxFrameBytes);
      assert.equal(rig.receive(), longest);
      const before = lost(rig);
      rig.hardware.arrive(rig.frame(nic.maxFrameBytes + 1));
      assert.equal(rig.receive(), []);
      assert.is(lost(rig), before + 1);
      // The ring goes on.
      const frames = rig.arrive(10, nic.maxFrameBytes);
      assert.equal(rig.receive(), frames);
      assert.is(lost(rig), before + 1);
    }),
  );

  test(
    'with an mtu its longest frame comes; one byte more is counted',
    onRig(
      family,
      (rig) => {
        assert.is(rig.nic.maxFrameBytes, 1022);
        assert.equal(rig.arrive(1, 1022), rig.receive());
        rig.hardware.arrive(rig.frame(1023));
        assert.equal(rig.receive(), []);
        assert.is(lost(rig), 1);
      },
      { mtu: 1000 },
    ),
  );

  test(
    'an empty pool: the frames stay in the ring, and that is counted',
    onRig(family, (rig) => {
      const { nic, pool } = rig;
      const frames = rig.arrive(6);
      const all = new Uint32Array(pool.available);
      assert.is(pool.allocate(all, all.length), all.length);
      const bufs = new Uint32Array(16);
      assert.is(nic.rxQueues[0].receive(bufs), 0);
      assert.is(nic.stats().rxNoBuffer, 1);
      pool.release(all, 2);
      assert.is(nic.rxQueues[0].receive(bufs), 2);
      assert.is(nic.stats().rxNoBuffer, 2);
      const first = [rig.copy(bufs[0]!), rig.copy(bufs[1]!)];
      pool.release(bufs, 2);
      pool.release(all, all.length - 2, 2);
      assert.equal([...first, ...rig.receive()], frames);
      assert.is(nic.stats().rxPackets, 6);
    }),
  );

  test(
    'a full ring takes no more; what it took arrives in order',
    onRig(family, (rig) => {
      const taken: Uint8Array[] = [];
      for (let round = 0; round < 3; round++) {
        for (let i = 0; i < 2 * family.ringSize; i++) {
          const frame = rig.frame();
          if (rig.hardware.arrive(frame)) taken.push(frame);
          else assert.ok(i >= family.ringSize - 1, `lost after ${i}`);
        }
        assert.ok(taken.length > 0);
        assert.equal(rig.receive(), taken.splice(0));
      }
    }),
  );

  test(
    'the frame begins behind the headroom, and nobody writes in front of it',
    onRig(family, (rig) => {
      const { nic, pool } = rig;
      paintHeadroom(rig);
      const frames = [...rig.arrive(5), ...rig.arrive(1, nic.maxFrameBytes)];
      const bufs = new Uint32Array(16);
      assert.is(nic.rxQueues[0].receive(bufs), 6);
      for (const [i, frame] of frames.entries()) {
        const start = (bufs[i]! << pool.bufferShift) + pool.headroomBytes;
        assert.equal(pool.memory.slice(start, start + frame.length), frame);
      }
      assert.is(nic.txQueues[0].send(bufs, 6), 6);
      rig.hardware.transmit();
      assertHeadroom(rig);
    }),
  );

  test(
    'several queues: each has its own frames',
    onRig(
      family,
      (rig) => {
        const byQueue = range(3).map((q) => [...rig.arrive(4, 80, q), ...rig.arrive(3, 90, q)]);
        for (const q of [2, 0, 1]) assert.equal(rig.receive(q), byQueue[q]!);
        assert.is(rig.nic.stats().rxPackets, 21);
      },
      { queuePairs: 3 },
    ),
  );

  test.run();
}

/** Frames that came and are not handed over, by whatever name. */
function lost({ nic }: Rig): number {
  const { rxTooLong, rxDamaged, rxErrors = 0 } = nic.stats();
  return rxTooLong + rxDamaged + rxErrors;
}

const PAINT = 0xa5;

function paintHeadroom({ pool }: Rig): void {
  for (let i = 0; i < pool.capacity; i++) {
    const start = i << pool.bufferShift;
    pool.memory.fill(PAINT, start, start + pool.headroomBytes);
  }
}

function assertHeadroom({ pool, family }: Rig): void {
  for (let i = 0; i < pool.capacity; i++) {
    const start = i << pool.bufferShift;
    const front = pool.memory.subarray(start, start + pool.headroomBytes - family.headerBytes);
    assert.ok(
      front.every((byte) => byte === PAINT),
      `in front of buffer ${i}`,
    );
  }
}

function sending(family: Family): void {
  const test = suite(`${family.name}: send`);

  test(
    'frames leave whole and in order, and their buffers come back',
    onRig(family, (rig) => {
      const { nic, pool } = rig;
      const { available } = pool;
      const frames = range(33).map((i) => rig.frame(60 + i));
      assert.is(rig.send(frames), 33);
      assert.is(pool.available, available - 33, 'the ring has them');
      assert.equal(rig.hardware.transmit(), frames);
      nic.txQueues[0].reclaim();
      assert.ok(pool.available >= available - family.keepsSent);
    }),
  );

  test(
    'start and count choose a part of the array',
    onRig(family, (rig) => {
      const [queue] = rig.nic.txQueues;
      const frames = range(10).map(() => rig.frame());
      const bufs = rig.packets(frames);
      assert.is(queue.send(bufs, 0), 0);
      assert.is(queue.send(bufs, 3, 4), 3);
      assert.is(queue.send(bufs, 1, 9), 1);
      assert.is(queue.send(bufs, 0, 10), 0);
      assert.is(queue.send(bufs, 4), 4);
      assert.is(queue.send(bufs, 2, 7), 2);
      assert.equal(
        rig.hardware.transmit(),
        [4, 5, 6, 9, 0, 1, 2, 3, 7, 8].map((i) => frames[i]!),
      );
    }),
  );

  for (const debug of [false, true]) {
    test(
      `wrong arrays, counts and starts are refused, and send nothing${debug ? ', in a debug pool' : ''}`,
      onRig(
        family,
        (rig) => {
          const [queue] = rig.nic.txQueues;
          const bufs = rig.packets(range(4).map(() => rig.frame()));
          const { available } = rig.pool;
          refusesArrays((wrong) => queue.send(wrong, 1));
          for (const count of [undefined, null, -1, 1.5, Number.NaN, 5, 2 ** 32, '2', true]) {
            expectError('BAD_ARGUMENT', () => queue.send(bufs, count as number), /^count is /);
          }
          for (const start of [-1, 0.5, 5, Number.NaN, '0', null]) {
            expectError('BAD_ARGUMENT', () => queue.send(bufs, 1, start as number), /^start is /);
          }
          expectError('BAD_ARGUMENT', () => queue.send(bufs, 2, 3), /^count is /);
          assert.equal(rig.hardware.transmit(), []);
          assert.is(rig.pool.available, available);
          assert.is(rig.nic.stats().txPackets, 0);
          rig.pool.release(bufs, 4);
        },
        {},
        { debug },
      ),
    );
  }

  test(
    'a full ring takes what fits; the rest stays the caller’s',
    onRig(family, (rig) => {
      const [queue] = rig.nic.txQueues;
      const frames = range(queue.size + 30).map(() => rig.frame());
      const bufs = rig.packets(frames);
      const taken = queue.send(bufs, bufs.length);
      assert.ok(taken <= queue.size && taken > queue.size / 2, `${taken} of ${queue.size}`);
      assert.is(queue.send(bufs, 5, taken), 0);
      assert.equal(rig.hardware.transmit(), frames.slice(0, taken));
      assert.is(queue.send(bufs, bufs.length - taken, taken), bufs.length - taken, 'there is room again');
      assert.equal(rig.hardware.transmit(), frames.slice(taken));
    }),
  );

  test(
    'shortest and longest frame leave; what is shorter or longer is dropped and counted',
    onRig(family, (rig) => {
      const { nic, pool } = rig;
      const [queue] = nic.txQueues;
      const shortest = nic.limits.minFrameBytes;
      const longest = nic.maxFrameBytes;
      const frames = [shortest, longest, 60].map((length) =>
        rig.frame(Math.max(60, length)).slice(0, length),
      );
      const bufs = rig.packets([frames[0]!, rig.frame(), frames[1]!, rig.frame(), frames[2]!, rig.frame()]);
      for (const [i, length] of [
        [1, shortest - 1],
        [3, longest + 1],
        [5, 0],
      ] as const)
        pool.lengths[bufs[i]!] = length;
      const { available } = pool;
      assert.is(queue.send(bufs, bufs.length), bufs.length, 'all are taken');
      assert.is(pool.available, available + 3, 'three came back at once');
      assert.equal(
        rig.hardware.transmit(),
        frames.map((frame) => rig.padded(frame)),
      );
      const { txErrors, txPackets, txBytes } = nic.stats();
      assert.equal(
        { txErrors, txPackets, txBytes },
        { txErrors: 3, txPackets: 3, txBytes: shortest + longest + 60 },
      );
    }),
  );

  test(
    'a packet of no pool is dropped and counted',
    onRig(family, (rig) => {
      const [queue] = rig.nic.txQueues;
      const { available, capacity } = rig.pool;
      assert.is(queue.send(Uint32Array.of(capacity, 0xffff_ffff), 2), 2);
      assert.equal(rig.hardware.transmit(), []);
      assert.is(rig.nic.stats().txErrors, 2);
      assert.is(rig.pool.available, available);
    }),
  );

  test(
    'several queues: all leave',
    onRig(
      family,
      (rig) => {
        const frames = range(3).map((q) => range(5).map(() => rig.frame(100 + q)));
        for (const [q, list] of frames.entries()) assert.is(rig.send(list, q), 5);
        const left = rig.hardware.transmit();
        for (const [q, list] of frames.entries())
          assert.equal(
            left.filter(({ length }) => length === 100 + q),
            list,
          );
        assert.is(left.length, 15);
      },
      { queuePairs: 3 },
    ),
  );

  test(
    'a debug pool knows what was sent',
    onRig(
      family,
      (rig) => {
        const { nic, pool } = rig;
        const [queue] = nic.txQueues;
        const bufs = rig.packets([rig.frame(), rig.frame()]);
        assert.is(queue.send(bufs, 1), 1);
        expectError('OWNERSHIP', () => queue.send(bufs, 1), /does not own it/);
        expectError('OWNERSHIP', () => queue.send(Uint32Array.of(bufs[1]!, bufs[0]!), 2), /does not own it/);
        expectError('OWNERSHIP', () => pool.release(bufs, 1), /does not own it/);
        expectError('OWNERSHIP', () => pool.bytes(bufs[0]!), /does not own it/);
        expectError('OWNERSHIP', () => queue.send(Uint32Array.of(pool.capacity), 1), /does not own it/);
        assert.is(nic.stats().txPackets, 1, 'a call that throws has sent nothing');
        pool.release(bufs, 1, 1);
        assert.is(rig.hardware.transmit().length, 1);
      },
      {},
      { debug: true },
    ),
  );

  test(
    'a debug pool sees what was written to after it was sent',
    onRig(
      family,
      (rig) => {
        const { nic, pool } = rig;
        const [queue] = nic.txQueues;
        const bufs = rig.packets(range(64).map(() => rig.frame()));
        const view = pool.bytes(bufs[0]!);
        assert.is(queue.send(bufs, 64), family.ringSize < 64 ? family.ringSize : 64);
        view[20]! ^= 1;
        rig.hardware.transmit();
        expectError('OWNERSHIP', () => queue.reclaim(), /was written to after it was sent/);
        if (family.ringSize < 64) pool.release(bufs, 64 - family.ringSize, family.ringSize);
      },
      {},
      { debug: true },
    ),
  );

  test.run();
}

function both(family: Family): void {
  const test = suite(`${family.name}: receive and send`);

  for (const debug of [false, true]) {
    test(
      `5,000 frames through both rings, in bursts of all sizes: in order, none lost${debug ? '; a debug pool' : ''}`,
      onRig(
        family,
        (rig) => {
          const [rx, tx]: [RxQueue, TxQueue] = [rig.nic.rxQueues[0], rig.nic.txQueues[0]];
          const bufs = new Uint32Array(family.ringSize);
          let number = 0;
          for (let round = 0; number < 5000; round++) {
            const frames = rig.arrive(1 + ((round * 7) % (family.ringSize - 1)), 60 + (round % 200));
            number += frames.length;
            const left: Uint8Array[] = [];
            for (
              let count = rx.receive(bufs, 1 + (round % 32));
              count > 0;
              count = rx.receive(bufs, 1 + (round % 32))
            ) {
              for (let sent = 0; sent < count; ) {
                const taken = tx.send(bufs, count - sent, sent);
                sent += taken;
                if (taken === 0 || round % 3 === 0) left.push(...rig.hardware.transmit());
              }
            }
            left.push(...rig.hardware.transmit());
            assert.equal(left, frames);
          }
          const { rxPackets, txPackets, rxBytes, txBytes } = rig.nic.stats();
          assert.is(rxPackets, number);
          assert.is(txPackets, number);
          assert.is(rxBytes, txBytes);
        },
        {},
        { debug, buffers: 600 },
      ),
    );
  }

  test.run();
}
