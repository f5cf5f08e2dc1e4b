/** virtio-net: bring-up and its order, what is refused, filters. Sections are those of VIRTIO 1.2. */
import * as assert from 'uvu/assert';
import { openOn } from '../../../src/driver/registry.js';
import { shareWithThread } from '../../../src/driver/thread-share.js';
import { expectError, expectRejection } from '../../support/expect-error.js';
import { suite } from '../../support/suite.js';
import { F, VirtioCard } from '../../support/virtio/card.js';
import { frame, received, send, withCard, without } from '../../support/virtio/with-card.js';

const GROUP = Uint8Array.of(0x01, 0, 0x5e, 1, 2, 3);

const bringUp = suite('virtio: bring-up');

bringUp('accepts what it knows of what is offered, and nothing else', async () => {
  await withCard({}, {}, (card) => {
    const known = without(F.GUEST_CSUM, F.IN_ORDER);
    assert.equal([...card.accepted].sort(), known.sort());
    assert.is(card.status, 15);
  });
});

for (const missing of [
  ...[F.MAC, F.MTU, F.MRG_RXBUF, F.STATUS, F.CTRL_VQ, F.CTRL_RX, F.MQ, F.SPEED_DUPLEX],
  ...[F.EVENT_IDX, F.RING_PACKED, F.NOTIFICATION_DATA, F.RSS, F.GUEST_ANNOUNCE, F.CSUM],
]) {
  bringUp(`does without feature ${missing}`, async () => {
    await withCard({ features: without(missing) }, {}, async (card, nic) => {
      assert.is(card.accepted.has(missing), false);
      assert.is(nic.mac.length, 6);
      assert.is(nic.linkState().up, true);
      assert.ok(card.arrive(frame(3, nic.mac)));
      assert.equal(received(nic), [3]);
      assert.is(send(nic, 2), 2);
      assert.is(card.transmit().length, 2);
      await nic.setPromiscuous(true);
      await nic.setMulticast('all');
    });
  });
}

bringUp('a transitional device is driven through its modern interface', async () => {
  for (const features of [without(), without(F.RING_PACKED)]) {
    await withCard({ deviceId: 0x1000, features }, {}, (card, nic) => {
      assert.match(nic.model, /transitional/);
      for (let i = 0; i < 40; i++) {
        assert.ok(card.arrive(frame(i, nic.mac)));
        assert.equal(received(nic), [i]);
        assert.is(send(nic, 3), 3);
        assert.equal(card.transmit(), [frame(0), frame(1), frame(2)]);
      }
    });
  }
});

for (const [name, options, code, hint] of [
  ['a legacy-only device', { legacyOnly: true }, 'UNSUPPORTED_DEVICE', /disable-modern=off/],
  ['a device without VERSION_1', { features: without(F.VERSION_1) }, 'UNSUPPORTED_DEVICE', /legacy/],
  ['DMA past the IOMMU', { features: without(F.ACCESS_PLATFORM) }, 'UNSUPPORTED_DEVICE', /iommu_platform=on/],
  [
    'a device that does not keep FEATURES_OK',
    { refusesFeatures: true },
    'DEVICE_STATE',
    /log of the hypervisor/,
  ],
  [
    'split rings that are no power of two',
    { queueSize: 100, features: without(F.RING_PACKED) },
    'DEVICE_STATE',
    /VIRTIO 1.2/,
  ],
  ['an MTU below 68', { mtu: 67 }, 'DEVICE_STATE', /VIRTIO 1.2/],
  ['an RSS key that is too short', { rssKeyBytes: 39 }, 'DEVICE_STATE', /VIRTIO 1.2/],
  ['no queue pair at all', { pairs: 0 }, 'DEVICE_STATE', /VIRTIO 1.2/],
] as const) {
  bringUp(`refuses ${name}, and closes it`, async () => {
    const card = new VirtioCard(options);
    const error = await expectRejection(code, openOn(card, { pageSize: '4K' }));
    assert.match(error.hint!, hint);
    assert.is(card.closed, true);
    assert.is(card.mapper.mapped.size, 0);
  });
}

bringUp('split rings, where packed ones were not asked for', async () => {
  for (const [value, isPacked] of [
    [undefined, false],
    ['split', false],
    ['packed', true],
  ] as const) {
    await withEnvironment(value, async () => {
      const card = new VirtioCard();
      await using _nic = await openOn(card, { pageSize: '4K' });
      assert.is(card.accepted.has(F.RING_PACKED), isPacked, value);
    });
  }
  await withEnvironment('both', async () => {
    await expectRejection('BAD_OPTION', openOn(new VirtioCard(), { pageSize: '4K' }));
  });
});

async function withEnvironment(value: string | undefined, body: () => Promise<void>): Promise<void> {
  const { BAREWIRE_VIRTIO_RINGS: before } = process.env;
  const set = (to: string | undefined): void => {
    if (to === undefined) delete process.env.BAREWIRE_VIRTIO_RINGS;
    else process.env.BAREWIRE_VIRTIO_RINGS = to;
  };
  set(value);
  try {
    await body();
  } finally {
    set(before);
  }
}

bringUp('over vfio-user no IOMMU is asked for: the server sees only what is mapped', async () => {
  await withCard({ features: without(F.ACCESS_PLATFORM), backend: 'vfio-user' }, {}, () => {});
});

bringUp('a configuration that changes while it is read is read again (2.5.1)', async () => {
  await withCard({}, {}, (card, nic) => {
    let reads = 0;
    card.onConfigRead = (offset) => {
      // The speed, behind the state of the link.
      if (offset !== 12 || reads++ > 0) return;
      card.speedMbps = 1000;
      card.setLink(false);
    };
    assert.equal(nic.linkState(), { up: false, speedMbps: 0, fullDuplex: false });
  });
});

bringUp('limits are those of the device at hand', async () => {
  await withCard({ queueSize: 64, pairs: 2 }, {}, (_card, nic) => {
    assert.is(nic.limits.rxRing.max, 64);
    assert.is(nic.limits.rxRing.default, 64);
    assert.is(nic.limits.maxQueuePairs, 2);
  });
  const card = new VirtioCard({ queueSize: 64 });
  await expectRejection('BAD_OPTION', openOn(card, { pageSize: '4K', rxRingSize: 128 }));
  // A packed ring may have any size; what is asked for is a power of two.
  await withCard({ queueSize: 100 }, {}, (_card, nic) => {
    assert.is(nic.limits.txRing.max, 64);
  });
});

bringUp('a control queue that does not answer: an error at its time, and all is given back', async () => {
  const card = new VirtioCard();
  card.silent = true;
  await expectRejection('DEVICE_TIMEOUT', openOn(card, { pageSize: '4K' }));
  assert.is(card.closed, true);
  assert.is(card.mapper.mapped.size, 0);
});

bringUp('several pairs: the device is told, each queue has its vector', async () => {
  await withCard({}, { queuePairs: 3 }, (card, nic) => {
    assert.is(card.activePairs, 3);
    assert.equal(
      card.queues.map(({ vector }) => vector),
      [0, 0xffff, 1, 0xffff, 2, 0xffff, 0xffff, 0xffff, 0xffff],
    );
    assert.is(card.configVector, 3);
    for (const pair of [2, 0, 1]) assert.ok(card.arrive(frame(40 + pair), pair));
    assert.equal(
      [0, 1, 2].map((queue) => received(nic, queue)),
      [[40], [41], [42]],
    );
  });
});

for (const symmetricRss of [false, true]) {
  bringUp(`RSS${symmetricRss ? ', symmetric' : ''}: hash types, table and key go to the device`, async () => {
    await withCard({}, { queuePairs: 3, symmetricRss }, (card) => {
      const { types, table, key } = card.rss!;
      assert.is(card.activePairs, 3);
      // What the card has of them.
      assert.is(types, 0x1b);
      assert.equal(
        table,
        Array.from({ length: 128 }, (_, i) => i % 3),
      );
      assert.is(key.length, 40);
      assert.is(
        key.every((byte, i) => byte === key[i % 2]),
        symmetricRss,
      );
    });
  });
}

bringUp('without RSS the device is told of several pairs, and steers by itself', async () => {
  await withCard({ features: without(F.RSS) }, { queuePairs: 2 }, (card) => {
    assert.equal([card.activePairs, card.rss], [2, undefined]);
  });
});

bringUp(
  'doorbells that are not mapped: handing queues to another thread is refused, with a reason',
  async () => {
    await withCard({}, {}, (card, nic) => {
      const error = expectError(
        'BAD_OPTION',
        () => shareWithThread({ rxQueues: [nic.rxQueues[0]], txQueues: [nic.txQueues[0]] }),
        /registers are not mapped/,
      );
      assert.ok(error.hint);
      // Nothing has changed.
      assert.ok(card.arrive(frame(6)));
      assert.equal(received(nic), [6]);
    });
  },
);

bringUp.run();

const filters = suite('virtio: filters');

filters('MAC, multicast and promiscuous mode go to the device', async () => {
  await withCard({}, {}, async (card, nic) => {
    assert.is(card.promiscuous, false);
    const other = Uint8Array.of(2, 0, 0, 0, 0, 9);
    card.arrive(frame(1, other));
    card.arrive(frame(2, GROUP));
    assert.equal(received(nic), []);
    await nic.setMac(other);
    await nic.setMulticast([GROUP]);
    card.arrive(frame(1, other));
    card.arrive(frame(2, GROUP));
    assert.equal(received(nic), [1, 2]);
    await nic.setMulticast('all');
    assert.is(card.allMulticast, true);
    // More than a command holds: all groups, and none too few.
    await nic.setMulticast(Array.from({ length: 700 }, (_, i) => Uint8Array.of(1, 0, 0x5e, 0, i >>> 8, i)));
    assert.is(card.allMulticast, true);
    await nic.setMulticast([]);
    assert.equal([card.allMulticast, card.groups], [false, []]);
  });
});

filters('commands at the same time are asked one after the other; a refusal is told', async () => {
  await withCard({}, {}, async (card, nic) => {
    await Promise.all([nic.setPromiscuous(true), nic.setMulticast([GROUP]), nic.setPromiscuous(false)]);
    assert.equal([card.promiscuous, card.groups.length], [false, 1]);
    card.refusesCommands = true;
    await expectRejection('DEVICE_STATE', nic.setPromiscuous(true));
    card.refusesCommands = false;
    await nic.setPromiscuous(true);
  });
});

filters.run();
