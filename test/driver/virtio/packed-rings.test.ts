/** virtio-net: packed rings, and lies that only they know (VIRTIO 1.2, 2.8). */
import * as assert from 'uvu/assert';
import { suite } from '../../support/suite.js';
import { ALL_FEATURES, F } from '../../support/virtio/card.js';
import { withCard, without } from '../../support/virtio/with-card.js';
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
