/** virtio-net: split rings, and lies that only they know (VIRTIO 1.2, 2.7). */
import * as assert from 'uvu/assert';
import { expectError } from '../../support/expect-error.js';
import { suite } from '../../support/suite.js';
import { F } from '../../support/virtio/card.js';
import { frame, received, send, withCard, without } from '../../support/virtio/with-card.js';
import { endsQueue, ringSuites } from './ring-suites.js';

const features = without(F.RING_PACKED, F.EVENT_IDX, F.NOTIFICATION_DATA);

// Indices have 16 bits.
ringSuites({ name: 'split', features, positions: 66_000 });
ringSuites({
  name: 'split with EVENT_IDX',
  features: without(F.RING_PACKED, F.NOTIFICATION_DATA),
  positions: 2000,
});
ringSuites({
  name: 'split with NOTIFICATION_DATA',
  features: without(F.RING_PACKED, F.EVENT_IDX),
  positions: 2000,
});

const lies = suite('virtio: lies that only split rings know');

for (const [what, id] of [
  ['outside the ring', 16],
  ['of all ones', 0xffff_ffff],
] as const) {
  lies(`receive: an id ${what} is counted, and the ring goes on`, async () => {
    await withCard({ features }, {}, (card, nic) => {
      card.queues[0]!.use(id, 72);
      assert.equal(received(nic), []);
      assert.is(nic.stats().rxDamaged, 1);
      for (let i = 0; i < 40; i++) {
        card.arrive(frame(i));
        assert.equal(received(nic), [i]);
      }
    });
  });
}

lies('receive: an index that runs ahead ends the queue with an error, not with packets', async () => {
  await withCard({ features }, {}, (card, nic) => endsQueue(nic, () => card.queues[0]!.skip(17)));
});

lies('transmit: an index that runs ahead frees nothing, and is told', async () => {
  await withCard({ features }, {}, (card, nic) => {
    const free = nic.pool.available;
    assert.is(send(nic, 1), 1);
    card.queues[1]!.skip(5);
    nic.txQueues[0].reclaim();
    assert.is(nic.pool.available, free - 1);
    expectError('DEVICE_STATE', () => nic.stats(), /transmit queue 1/);
  });
});

lies.run();
