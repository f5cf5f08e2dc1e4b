/** virtio-net: bring-up and its order, what is refused, and a card that lies. Sections are those of VIRTIO 1.2. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { NetDevice, OpenOptions } from '../../../src/driver/device.js';
import { openOn } from '../../../src/driver/registry.js';
import { onHugepageWarning } from '../../../src/hugepage/dma-region.js';
import { expectError, expectRejection } from '../../support/expect-error.js';
import { ALL_FEATURES, type CardOptions, F, VirtioCard } from '../../support/virtio/card.js';

onHugepageWarning(() => {});

const GROUP = Uint8Array.of(0x01, 0, 0x5e, 1, 2, 3);
const without = (...bits: number[]): number[] => ALL_FEATURES.filter((bit) => !bits.includes(bit));

async function withCard(
  cardOptions: CardOptions,
  options: OpenOptions,
  test: (card: VirtioCard, nic: NetDevice) => Promise<void> | void,
): Promise<void> {
  const card = new VirtioCard(cardOptions);
  const nic = await openOn(card, { pageSize: '4K', rxRingSize: 16, txRingSize: 16, ...options });
  const { pool } = nic;
  try {
    await test(card, nic);
  } finally {
    await nic.close();
  }
  assert.is(pool.available, pool.capacity, 'every buffer is back');
  assert.equal(card.complaints, []);
  assert.is(card.status, 0, 'reset');
  assert.is(card.mapper.mapped.size, 0);
}

const frame = (number: number, to: ArrayLike<number> = [0x52, 0x54, 0, 0x12, 0x34, 0x56]): Uint8Array => {
  const bytes = new Uint8Array(60).fill(number);
  bytes.set(to as number[]);
  return bytes;
};

/** What a queue has, by the byte that `frame` filled it with; the buffers go back. */
function received(nic: NetDevice, queue = 0): number[] {
  const bufs = new Uint32Array(64);
  const count = nic.rxQueues[queue]!.receive(bufs);
  const numbers = Array.from(bufs.subarray(0, count), (packet) => nic.pool.bytes(packet)[20]!);
  nic.pool.release(bufs, count);
  return numbers;
}

function send(nic: NetDevice, count: number): number {
  const bufs = new Uint32Array(count);
  assert.is(nic.pool.allocate(bufs, count), count);
  for (const [i, packet] of bufs.entries()) {
    nic.pool.bytes(packet).set(frame(i));
    nic.pool.lengths[packet] = 60;
  }
  const taken = nic.txQueues[0].send(bufs, count);
  nic.pool.release(bufs, count - taken, taken);
  return taken;
}

const bringUp = suite('virtio: bring-up');

bringUp('accepts what it knows of what is offered, and nothing else', async () => {
  await withCard({}, {}, (card) => {
    const known = without(F.CSUM, F.EVENT_IDX);
    assert.equal([...card.accepted].sort(), known.sort());
    assert.is(card.status, 15);
  });
});

for (const missing of [F.MAC, F.MTU, F.MRG_RXBUF, F.STATUS, F.CTRL_VQ, F.CTRL_RX, F.MQ, F.SPEED_DUPLEX]) {
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
  ['queues that are no power of two', { queueSize: 100 }, 'DEVICE_STATE', /VIRTIO 1.2/],
  ['an MTU below 68', { mtu: 67 }, 'DEVICE_STATE', /VIRTIO 1.2/],
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

bringUp('over vfio-user no IOMMU is asked for: the server sees only what is mapped', async () => {
  await withCard({ features: without(F.ACCESS_PLATFORM), backend: 'vfio-user' }, {}, () => {});
});

bringUp('limits are those of the device at hand', async () => {
  await withCard({ queueSize: 64, pairs: 2 }, {}, (_card, nic) => {
    assert.is(nic.limits.rxRing.max, 64);
    assert.is(nic.limits.rxRing.default, 64);
    assert.is(nic.limits.maxQueuePairs, 2);
  });
  const card = new VirtioCard({ queueSize: 64 });
  await expectRejection('BAD_OPTION', openOn(card, { pageSize: '4K', rxRingSize: 128 }));
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

const hostile = suite('virtio: a card that lies');

for (const [name, id, lengthBytes, counter] of [
  ['an id outside the ring', 16, 72, 'rxDamaged'],
  ['an id of all ones', 0xffff_ffff, 72, 'rxDamaged'],
  ['no frame behind the header', undefined, 12, 'rxDamaged'],
  ['less than a header', undefined, 3, 'rxDamaged'],
  ['more than the buffer', undefined, 0xffff_fff0, 'rxDamaged'],
] as const) {
  hostile(`receive: ${name} is counted, and the ring goes on`, async () => {
    await withCard({}, {}, (card, nic) => {
      if (id === undefined) card.queues[0]!.useFalsely(lengthBytes);
      else card.queues[0]!.use(id, lengthBytes);
      assert.equal(received(nic), []);
      assert.is(nic.stats()[counter], 1);
      for (let i = 0; i < 40; i++) {
        card.arrive(frame(i));
        assert.equal(received(nic), [i]);
      }
    });
  });
}

hostile('receive: the same id twice at once is a packet once', async () => {
  await withCard({}, {}, (card, nic) => {
    card.arrive(frame(5));
    card.queues[0]!.use(0, 72);
    assert.equal(received(nic), [5]);
    assert.is(nic.stats().rxDamaged, 1);
  });
});

hostile('receive: an index that runs ahead ends the queue with an error, not with packets', async () => {
  await withCard({}, {}, async (card, nic) => {
    const waiting = expectRejection(
      'DEVICE_STATE',
      nic.rxQueues[0].wait().then(() => nic.rxQueues[0].wait()),
    );
    card.queues[0]!.skip(17);
    assert.equal(received(nic), []);
    assert.equal(received(nic), []);
    await waiting;
    expectError('DEVICE_STATE', () => nic.stats(), /receive queue 0/);
  });
});

hostile('receive: a frame in several buffers is dropped whole, also where its rest comes later', async () => {
  await withCard({}, { mtu: 1000 }, (card, nic) => {
    const long = new Uint8Array(3000);
    long.set(frame(9));
    card.arrive(long);
    card.arrive(frame(1));
    const one = new Uint32Array(1);
    assert.is(nic.rxQueues[0].receive(one), 1);
    assert.is(nic.pool.bytes(one[0]!)[20], 1);
    nic.pool.release(one, 1);
    assert.equal([nic.stats().rxTooLong, nic.stats().rxDamaged], [1, 0]);
    assert.equal(received(nic), []);
  });
});

for (const [name, lie] of [
  ['an id that was not sent', (card: VirtioCard) => card.queues[1]!.use(3, 0)],
  ['an id outside the ring', (card: VirtioCard) => card.queues[1]!.use(16, 0)],
  ['an index that runs ahead', (card: VirtioCard) => card.queues[1]!.skip(5)],
] as const) {
  hostile(`transmit: ${name} frees nothing, and is told`, async () => {
    await withCard({}, {}, (card, nic) => {
      const free = nic.pool.available;
      assert.is(send(nic, 1), 1);
      lie(card);
      nic.txQueues[0].reclaim();
      assert.is(nic.pool.available, free - 1);
      expectError('DEVICE_STATE', () => nic.stats(), /transmit queue 1/);
    });
  });
}

hostile('a card that asks for a reset ends waits', async () => {
  await withCard({}, {}, async (card, nic) => {
    const waiting = expectRejection('DEVICE_STATE', nic.waitForPackets());
    card.breakDown();
    await waiting;
    expectError('DEVICE_STATE', () => nic.linkState());
  });
});

hostile.run();

const rings = suite('virtio: rings');

rings('65536 and more positions: indices wrap, nothing is lost or comes twice', async () => {
  await withCard({}, {}, (card, nic) => {
    let next = 0;
    for (let round = 0; next < 66_000; round++) {
      const count = 9 + (round % 8);
      for (let i = 0; i < count; i++) assert.ok(card.arrive(frame((next + i) & 0xff)));
      assert.equal(
        received(nic),
        Array.from({ length: count }, (_, i) => (next + i) & 0xff),
      );
      next += count;
      assert.is(send(nic, count), count);
      assert.is(card.transmit().length, count);
    }
  });
});

rings('a device that looks by itself is not notified', async () => {
  await withCard({}, {}, (card, nic) => {
    const queue = card.queues[1]!;
    queue.startPolling();
    let notified = 0;
    queue.notified = () => notified++;
    assert.is(send(nic, 4), 4);
    assert.equal([card.transmit().length, notified], [4, 0]);
  });
});

rings.run();
