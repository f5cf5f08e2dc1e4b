/** Conformance of `NetDevice`: the conventions of `receive`, and where frames lie. */
import * as assert from 'uvu/assert';
import { caseSuite, Missing } from './results.js';
import { type Family, onRig, pairsOf, type Rig, range, refusesArrays } from './rig.js';

export function receiving(family: Family): void {
  const test = caseSuite(family, 'receive');

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
    'the longest frame comes; one byte more does not, and is counted where the device sees it',
    onRig(family, (rig) => {
      const { nic } = rig;
      const longest = rig.arrive(1, nic.maxFrameBytes);
      assert.equal(rig.receive(), longest);
      const before = lost(rig);
      rig.hardware.arrive(rig.frame(nic.maxFrameBytes + 1));
      assert.equal(rig.receive(), []);
      assert.is(lost(rig), before + tooLong(family));
      // The ring goes on.
      const frames = rig.arrive(10, nic.maxFrameBytes);
      assert.equal(rig.receive(), frames);
      assert.is(lost(rig), before + tooLong(family));
    }),
  );

  test(
    'every length from 60 bytes to the longest comes as it is',
    onRig(family, (rig) => {
      const { maxFrameBytes } = rig.nic;
      const burst = Math.min(32, family.ringSize - 1);
      for (let first = 60; first <= maxFrameBytes; first += burst) {
        const lengths = range(burst).map((i) => Math.min(first + i, maxFrameBytes));
        const frames = lengths.flatMap((length) => rig.arrive(1, length));
        assert.equal(rig.receive(), frames);
      }
    }),
  );

  test(
    'with an mtu its longest frame comes; one byte more is counted where the device sees it',
    onRig(
      family,
      (rig) => {
        assert.is(rig.nic.maxFrameBytes, 1022);
        assert.equal(rig.arrive(1, 1022), rig.receive());
        rig.hardware.arrive(rig.frame(1023));
        assert.equal(rig.receive(), []);
        assert.is(lost(rig), tooLong(family));
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
        if (pairsOf(family) === 1) throw new Missing('more than one queue pair');
        const byQueue = range(pairsOf(family)).map((q) => [...rig.arrive(4, 80, q), ...rig.arrive(3, 90, q)]);
        for (const q of range(pairsOf(family)).reverse()) assert.equal(rig.receive(q), byQueue[q]!);
        assert.is(rig.nic.stats().rxPackets, 7 * pairsOf(family));
        assert.equal(
          rig.nic.queueStats().map(({ rxPackets, rxBytes }) => [rxPackets, rxBytes]),
          byQueue.map((frames) => [7, frames.reduce((sum, { length }) => sum + length, 0)]),
        );
      },
      { queuePairs: pairsOf(family) },
    ),
  );

  test.run();
}

/** Frames that `lost` has more after one that is too long. */
function tooLong({ portDropsTooLong = false }: Family): number {
  return portDropsTooLong ? 0 : 1;
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
