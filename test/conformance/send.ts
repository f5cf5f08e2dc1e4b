/** Conformance of `NetDevice`: the conventions of `send`, and both directions together. */
import * as assert from 'uvu/assert';
import type { RxQueue, TxQueue } from '../../src/driver/device.js';
import { open } from '../../src/driver/registry.js';
import { NicError } from '../../src/errors.js';
import { expectError } from '../support/expect-error.js';
import { plugIn } from '../support/made-up-family/scheme.js';
import { caseSuite, Missing } from './results.js';
import { type Family, onRig, pairsOf, Rig, range, refusesArrays } from './rig.js';

const QUEUES = 'more than one queue pair';

export function sending(family: Family): void {
  const test = caseSuite(family, 'send');

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
    'sendOffloaded has the conventions of send',
    onRig(family, (rig) => {
      const [queue] = rig.nic.txQueues;
      const frames = range(10).map(() => rig.frame());
      const bufs = rig.packets(frames);
      for (const packet of bufs) rig.pool.metadata.txFlags[packet] = 0;
      if (queue.sendOffloaded === undefined) {
        rig.pool.release(bufs, bufs.length);
        throw new Missing('offloads of sent frames');
      }
      refusesArrays((wrong) => queue.sendOffloaded!(wrong, 1));
      expectError('BAD_ARGUMENT', () => queue.sendOffloaded!(bufs, 11), /^count is /);
      expectError('BAD_ARGUMENT', () => queue.sendOffloaded!(bufs, 1, -1), /^start is /);
      assert.is(queue.sendOffloaded(bufs, 0), 0);
      assert.is(queue.sendOffloaded(bufs, 7, 3), 7);
      assert.is(queue.sendOffloaded(bufs, 3), 3);
      assert.equal(rig.hardware.transmit(), [...frames.slice(3), ...frames.slice(0, 3)]);
    }),
  );

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
    'every length from the shortest to the longest leaves as it is',
    onRig(family, (rig) => {
      const { nic } = rig;
      const shortest = nic.limits.minFrameBytes;
      const burst = Math.min(32, family.ringSize);
      for (let first = shortest; first <= nic.maxFrameBytes; first += burst) {
        const lengths = range(burst).map((i) => Math.min(first + i, nic.maxFrameBytes));
        const frames = lengths.map((length) => rig.frame(Math.max(60, length)).slice(0, length));
        for (const queue of nic.txQueues) queue.reclaim();
        assert.is(rig.send(frames), burst);
        assert.equal(
          rig.hardware.transmit(),
          frames.map((frame) => rig.padded(frame)),
        );
      }
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
        if (pairsOf(family) === 1) throw new Missing(QUEUES);
        const frames = range(pairsOf(family)).map((q) => range(5).map(() => rig.frame(100 + q)));
        for (const [q, list] of frames.entries()) assert.is(rig.send(list, q), 5);
        const left = rig.hardware.transmit();
        for (const [q, list] of frames.entries())
          assert.equal(
            left.filter(({ length }) => length === 100 + q),
            list,
          );
        assert.is(left.length, 5 * pairsOf(family));
      },
      { queuePairs: pairsOf(family) },
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

export function both(family: Family): void {
  const test = caseSuite(family, 'receive and send');

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

  test(
    'batches of 1 to 256',
    onRig(
      family,
      async (rig) => {
        const [rx, tx]: [RxQueue, TxQueue] = [rig.nic.rxQueues[0], rig.nic.txQueues[0]];
        for (let batch = 1; batch <= 256; batch += batch < 34 ? 1 : 37) {
          const bufs = new Uint32Array(batch);
          const wanted = Math.min(batch, rx.size - 1);
          const frames = rig.arrive(wanted);
          assert.is(rx.receive(bufs), wanted, `a batch of ${batch}`);
          tx.reclaim();
          const left: Uint8Array[] = [];
          for (let sent = 0; sent < wanted; ) {
            sent += tx.send(bufs, wanted - sent, sent);
            left.push(...rig.hardware.transmit());
          }
          assert.equal(left, frames, `a batch of ${batch}`);
        }
      },
      {},
      { buffers: 1000 },
    ),
  );

  test(
    'a pool shared with a device of another family: what one received the other sends',
    onRig(family, async (rig) => {
      const other = plugIn(OTHER_SLOT);
      other.automatic = false;
      const left: Uint8Array[] = [];
      other.plug({ arrive: (frame) => left.push(frame) > 0 });
      const partner = await open(`made-up:${OTHER_SLOT}`, { pool: rig.pool, promiscuous: true });
      try {
        const bufs = new Uint32Array(16);
        for (let round = 0; round < 20; round++) {
          const frames = rig.arrive(10, 60 + 20 * round);
          assert.is(rig.nic.rxQueues[0].receive(bufs), 10);
          assert.is(partner.txQueues[0].send(bufs, 10), 10);
          other.work(Number.POSITIVE_INFINITY);
          assert.equal(left.splice(0), frames, 'received here, sent there');
          for (const frame of frames) assert.ok(other.arrive(frame));
          assert.is(partner.rxQueues[0].receive(bufs), 10);
          assert.is(rig.nic.txQueues[0].send(bufs, 10), 10);
          assert.equal(rig.hardware.transmit(), frames, 'received there, sent here');
          rig.nic.txQueues[0].reclaim();
        }
      } finally {
        await partner.close();
      }
    }),
  );

  test('a device that writes anything into its rings: lengths and buffers that can be, and all of them back', async () => {
    for (let seed = 1; seed <= 8; seed++) {
      const rig = await Rig.open(family);
      try {
        await abuse(rig, seed);
      } finally {
        await rig.nic.close();
        rig.pool.close();
      }
      rig.assertBack();
    }
  });

  test.run();
}

const OTHER_SLOT = 99;

/** Moves packets while the rings are scribbled over again and again. What throws is an error of the driver's. */
async function abuse(rig: Rig, seed: number): Promise<void> {
  const { nic, pool, hardware } = rig;
  if (hardware.sharedMemory === undefined) throw new Missing('rings that a device writes');
  let state = seed;
  const random = (): number => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) | 0;
    return state ^ (state >>> 15);
  };
  rig.arrive(5);
  const bufs = new Uint32Array(32);
  const mine = new Set<number>();
  for (let round = 0; round < 60; round++) {
    for (const words of hardware.sharedMemory())
      for (let i = 0; i < words.length; i++)
        if ((random() & 3) === 0) words[i] = random() % (1 << (round & 31));
    try {
      const count = nic.rxQueues[0].receive(bufs);
      for (const packet of bufs.subarray(0, count)) {
        assert.ok(packet < pool.capacity && !mine.has(packet), `buffer ${packet} is handed out once`);
        mine.add(packet);
        assert.ok(
          pool.lengths[packet]! > 0 && pool.lengths[packet]! <= nic.maxFrameBytes,
          'its length can be',
        );
      }
      const list = Uint32Array.from(mine).subarray(0, round % 8);
      const taken = nic.txQueues[0].send(list, list.length);
      for (const packet of list.subarray(0, taken)) mine.delete(packet);
      nic.txQueues[0].reclaim();
    } catch (error) {
      if (!(error instanceof NicError)) throw error;
    }
    await Promise.resolve();
  }
  pool.release(Uint32Array.from(mine), mine.size);
}
