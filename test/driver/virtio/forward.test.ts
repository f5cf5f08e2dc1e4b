/** virtio-net: receive and send in one loop (`connectQueues`), between rings of one kind and of two. */
import * as assert from 'uvu/assert';
import type { NetDevice } from '../../../src/driver/device.js';
import { foreignNames } from '../../../src/driver/foreign-names.js';
import { makePackedForward } from '../../../src/driver/virtio/packed-forward-loop.js';
import { makePackedReceive } from '../../../src/driver/virtio/packed-rx-loop.js';
import { makePackedReclaim, makePackedSend } from '../../../src/driver/virtio/packed-tx-loop.js';
import { makeSplitForward } from '../../../src/driver/virtio/split-forward-loop.js';
import { makeSplitReceive } from '../../../src/driver/virtio/split-rx-loop.js';
import { makeSplitReclaim, makeSplitSend } from '../../../src/driver/virtio/split-tx-loop.js';
import { connectQueues, type Forwarder } from '../../../src/forward/forwarder.js';
import { PacketPool } from '../../../src/hugepage/packet-pool.js';
import { expectError } from '../../support/expect-error.js';
import { suite } from '../../support/suite.js';
import { ALL_FEATURES, F, VirtioCard } from '../../support/virtio/card.js';
import { openCard, without } from '../../support/virtio/with-card.js';

const RING = 16;
const BATCH = 8;
const SPLIT = without(F.RING_PACKED, F.EVENT_IDX, F.NOTIFICATION_DATA);
const SPLIT_EVENTS = without(F.RING_PACKED);
const PACKED = without(F.EVENT_IDX, F.NOTIFICATION_DATA);

interface Ways {
  readonly pool: PacketPool;
  readonly a: NetDevice;
  readonly b: NetDevice;
  readonly from: VirtioCard;
  readonly to: VirtioCard;
  readonly toB: Forwarder;
}

/** Two cards of these features, the queues of the first connected with those of the second. */
async function withWays(
  features: readonly [readonly number[], readonly number[]],
  test: (ways: Ways) => Promise<void> | void,
  buffers = 200,
): Promise<void> {
  const [from, to] = features.map(
    (list, i) => new VirtioCard({ features: list, address: `0000:0${i}:00.0` }),
  ) as [VirtioCard, VirtioCard];
  const pool = new PacketPool({ buffers, pageSize: '4K' });
  const options = { pool, promiscuous: true, pageSize: '4K', rxRingSize: RING, txRingSize: RING } as const;
  const a = await openCard(from, options);
  const b = await openCard(to, options);
  const toB = connectQueues(a.rxQueues[0], b.txQueues[0], { batch: BATCH });
  try {
    await test({ pool, a, b, from, to, toB });
  } finally {
    await a.close();
    await b.close();
  }
  assert.equal([from.complaints, to.complaints], [[], []]);
  assert.is(pool.available, pool.capacity, 'every buffer is back');
  assert.is(new Set(pool.free.subarray(0, pool.freeCount)).size, pool.capacity, 'each once');
  pool.close();
}

const frame = (number: number, lengthBytes = 60): Uint8Array => {
  const bytes = new Uint8Array(lengthBytes).fill(number & 0xff);
  bytes.set([2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 8].slice(0, lengthBytes));
  return bytes;
};

function poll(forwarder: Forwarder): number {
  let moved = 0;
  for (let now = forwarder.poll(); now > 0; now = forwarder.poll()) moved += now;
  return moved;
}

const loops = suite('virtio: loops');

loops('each queue can take a copy of its own: no loop uses what is outside of it', () => {
  for (const factory of [
    ...[makeSplitReceive, makeSplitSend, makeSplitReclaim, makeSplitForward],
    ...[makePackedReceive, makePackedSend, makePackedReclaim, makePackedForward],
  ]) {
    assert.equal(foreignNames(factory.toString()), [], factory.name);
  }
});

loops.run();

for (const [name, features] of [
  ['split', [SPLIT, SPLIT]],
  ['split with EVENT_IDX and NOTIFICATION_DATA', [SPLIT_EVENTS, SPLIT_EVENTS]],
  ['packed', [PACKED, PACKED]],
  ['packed with EVENT_IDX and NOTIFICATION_DATA', [ALL_FEATURES, ALL_FEATURES]],
  ['split to packed', [SPLIT, ALL_FEATURES]],
] as const) {
  const forward = suite(`virtio: forwarding, ${name}`);

  forward('frames of all lengths leave as they came, in every lap', async () => {
    await withWays(features, ({ a, b, from, to, toB }) => {
      assert.is(toB.path, 'general');
      let bytes = 0;
      for (let round = 0; round < 60; round++) {
        const frames = Array.from({ length: 1 + (round % 13) }, (_, i) => frame(round + i, 14 + 25 * round));
        for (const one of frames) assert.ok(from.arrive(one));
        assert.is(poll(toB), frames.length);
        assert.equal(to.transmit(), frames);
        for (const one of frames) bytes += one.length;
      }
      assert.is(toB.dropped, 0);
      assert.is(a.stats().rxBytes, bytes);
      assert.is(b.stats().txBytes, bytes);
    });
  });

  forward('what is no good frame goes the long way, and is counted', async () => {
    await withWays(features, ({ a, b, from, to, toB }) => {
      from.arrive(frame(1));
      from.arrive(frame(2, 13));
      from.queues[0]!.useFalsely(5);
      from.arrive(frame(3, 3000));
      from.arrive(frame(4));
      poll(toB);
      assert.equal(to.transmit(), [frame(1), frame(4)]);
      const { rxDamaged, rxTooLong } = a.stats();
      assert.equal([rxDamaged, rxTooLong, b.stats().txErrors], [1, 1, 1]);
    });
  });

  forward('a full ring: the rest is dropped and counted; it goes on when there is room', async () => {
    await withWays(features, ({ a, b, from, to, toB }) => {
      let sent = 0;
      for (let round = 0; round < 5; round++) {
        for (let i = 0; i < RING; i++) assert.ok(from.arrive(frame(i)));
        poll(toB);
      }
      sent += to.transmit().length;
      assert.is(sent, RING);
      assert.is(sent + toB.dropped, a.stats().rxPackets);
      from.arrive(frame(9));
      poll(toB);
      assert.equal(to.transmit(), [frame(9)]);
      assert.is(b.stats().txPackets, RING + 1);
    });
  });

  forward('an exhausted pool: frames wait in their ring', async () => {
    await withWays(
      features,
      ({ pool, from, to, toB }) => {
        const bufs = new Uint32Array(pool.available);
        pool.allocate(bufs, bufs.length);
        from.arrive(frame(5));
        assert.is(toB.poll(), 0);
        pool.release(bufs, bufs.length);
        assert.is(poll(toB), 1);
        assert.equal(to.transmit(), [frame(5)]);
      },
      2 * RING + 8,
    );
  });

  forward('a batch is one notification for each ring', async () => {
    await withWays(features, ({ from, to, toB }) => {
      for (let i = 0; i < 30; i++) {
        for (let n = 0; n < BATCH; n++) from.arrive(frame(n));
        const before = to.queues[1]!.notifications;
        assert.is(toB.poll(), BATCH);
        assert.is(to.queues[1]!.notifications - before, 1);
        assert.is(to.transmit().length, BATCH);
      }
    });
  });

  forward(
    'a device that asked for a notification, and has passed that place, is not left waiting',
    async () => {
      await withWays(features, ({ from, to, toB }) => {
        const queue = to.queues[1]!;
        for (let round = 0; round < 80; round++) {
          // Split rings: such a device polls.
          queue.forgetsToAsk = to.accepted.has(F.RING_PACKED);
          const first = 1 + (round % BATCH);
          for (let n = 0; n < first; n++) from.arrive(frame(n));
          assert.is(poll(toB), first);
          assert.is(to.transmit().length, first);
          queue.forgetsToAsk = false;
          for (let n = 0; n < BATCH; n++) from.arrive(frame(round));
          assert.is(toB.poll(), BATCH);
          assert.is(to.transmit().length, BATCH);
        }
      });
    },
  );

  forward('an id that the device does not have ends in an error or a count, never in a packet', async () => {
    await withWays(features, ({ a, from, to, toB }) => {
      from.queues[0]!.use(RING, 72);
      poll(toB);
      assert.equal(to.transmit(), []);
      if (name.startsWith('split')) assert.is(a.stats().rxDamaged, 1);
      else expectError('DEVICE_STATE', () => a.stats());
    });
  });

  forward('the same id twice at once is a packet once', async () => {
    await withWays(features, ({ a, from, to, toB }) => {
      from.arrive(frame(5));
      from.queues[0]!.use(0, 72);
      poll(toB);
      assert.equal(to.transmit(), [frame(5)]);
      if (name.startsWith('split')) assert.is(a.stats().rxDamaged, 1);
      else expectError('DEVICE_STATE', () => a.stats());
    });
  });

  for (const closed of ['a', 'b'] as const) {
    forward(`after close of ${closed} it throws`, async () => {
      await withWays(features, async ({ from, toB, ...devices }) => {
        from.arrive(frame(1));
        poll(toB);
        const { poll: kept } = toB;
        await devices[closed].close();
        if (closed === 'b') from.arrive(frame(2));
        expectError('CLOSED', () => kept());
      });
    });
  }

  forward.run();
}
