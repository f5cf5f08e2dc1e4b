/** virtio-net: packed rings, and lies that only they know (VIRTIO 1.2, 2.8). */
import * as assert from 'uvu/assert';
import type { NetDevice } from '../../../src/driver/device.js';
import { suite } from '../../support/suite.js';
import { ALL_FEATURES, F } from '../../support/virtio/card.js';
import { send, withCard, without } from '../../support/virtio/with-card.js';
import { endsQueue, ringSuites } from './ring-suites.js';

const features = without(F.EVENT_IDX, F.NOTIFICATION_DATA);

ringSuites({ name: 'packed', features, positions: 2000 });
ringSuites({ name: 'packed with EVENT_IDX and NOTIFICATION_DATA', features: ALL_FEATURES, positions: 2000 });

const lies = suite('virtio: lies that only packed rings know');

lies('receive: an id outside the ring ends the queue with an error, not with packets', async () => {
  await withCard({ features }, {}, (card, nic) => endsQueue(nic, () => card.queues[0]!.use(16, 72)));
});

lies('a device that marks everything as used gets one lap and no more', async () => {
  await withCard({ features }, {}, (card, nic) => {
    const queue = card.queues[0]!;
    for (let i = 0; i < 16; i++) queue.use(i, 72);
    const bufs = new Uint32Array(64);
    const count = nic.rxQueues[0].receive(bufs);
    assert.is(count, 16);
    assert.is(new Set(bufs.subarray(0, count)).size, 16);
    nic.pool.release(bufs, count);
  });
});

lies.run();

const asking = suite('virtio: a packed ring whose device asks, and then goes on');

/** By the loop, and by the long way that offloads take. */
const WAYS = [
  ['send', send],
  [
    'sendOffloaded',
    (nic: NetDevice, count: number) =>
      send({ pool: nic.pool, txQueues: [{ send: nic.txQueues[0].sendOffloaded! }] }, count),
  ],
] as const;

for (const [way, sendSome] of WAYS) {
  asking(`${way}: a device that has used the place of its wish is told, in every lap`, async () => {
    for (const [first, then] of [
      [1, 1],
      [3, 2],
      [12, 8],
      [8, 16],
      [16, 16],
      [16, 1],
    ] as const) {
      await withCard({ features: ALL_FEATURES }, {}, (card, nic) => {
        const queue = card.queues[1]!;
        for (let round = 0; round < 40; round++) {
          // It was told of these, used them, and still asks for the first.
          queue.forgetsToAsk = true;
          assert.is(sendSome(nic, first), first);
          assert.is(card.transmit().length, first);
          queue.forgetsToAsk = false;
          const before = queue.notifications;
          assert.is(sendSome(nic, then), then);
          assert.is(queue.notifications - before, 1, `${first} and ${then}, round ${round}`);
          assert.is(card.transmit().length, then, 'nothing stays in the ring');
          // The next wish is one place further.
          assert.is(sendSome(nic, 1), 1);
          assert.is(card.transmit().length, 1);
        }
      });
    }
  });

  asking(`${way}: one that has not come to the place of its wish is told once`, async () => {
    await withCard({ features: ALL_FEATURES }, {}, (card, nic) => {
      const queue = card.queues[1]!;
      assert.is(sendSome(nic, 1), 1);
      assert.is(card.transmit().length, 1);
      for (let round = 0; round < 60; round++) {
        queue.forgetsToAsk = true;
        const before = queue.notifications;
        for (let i = 0; i < 5; i++) assert.is(sendSome(nic, 3), 3);
        assert.is(queue.notifications - before, 1);
        queue.forgetsToAsk = false;
        // What came after the notification it has not seen.
        assert.is(card.transmit().length, 3);
        assert.is(sendSome(nic, 1), 1);
        assert.is(card.transmit().length, 13);
      }
    });
  });
}

asking('a wish outside the ring, or in the lap to come, is none that was passed', async () => {
  await withCard({ features: ALL_FEATURES }, {}, (card, nic) => {
    const queue = card.queues[1]!;
    assert.is(send(nic, 5), 5);
    assert.is(card.transmit().length, 5);
    for (const [place, wrap] of [
      [16, 1],
      [17, 0],
      [0x7fff, 1],
      [0x7fff, 0],
      [5 + 8, 1],
      [2, 0],
    ] as const) {
      queue.askAt(place, wrap);
      const before = queue.notifications;
      assert.is(send(nic, 1), 1);
      assert.is(queue.notifications - before, 0, `place ${place}, wrap counter ${wrap}`);
    }
    queue.askAt(0, 1);
    assert.is(send(nic, 1), 1);
    assert.is(card.transmit().length, 7);
  });
});

asking.run();
