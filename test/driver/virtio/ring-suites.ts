/** Suites that hold for split and for packed rings (VIRTIO 1.2, 2.7 and 2.8), with a card that lies about them. */
import * as assert from 'uvu/assert';
import type { NetDevice } from '../../../src/driver/device.js';
import { turns } from '../../conformance/rig.js';
import { expectError, expectRejection } from '../../support/expect-error.js';
import { suite } from '../../support/suite.js';
import type { VirtioCard } from '../../support/virtio/card.js';
import { frame, received, send, withCard } from '../../support/virtio/with-card.js';

/** A kind of ring, and how each side tells the other of what is new. */
export interface RingKind {
  readonly name: string;
  readonly features: readonly number[];
  /** How many packets go around in the test of wrapping. */
  readonly positions: number;
}

/** Registers and runs the suites. */
export function ringSuites({ name, features, positions }: RingKind): void {
  const isSplit = name.startsWith('split');
  const hostile = suite(`virtio: a card that lies, ${name}`);

  for (const [what, lengthBytes] of [
    ['no frame behind the header', 12],
    ['less than a header', 3],
    ['more than the buffer', 0xffff_fff0],
  ] as const) {
    hostile(`receive: ${what} is counted, and the ring goes on`, async () => {
      await withCard({ features }, {}, (card, nic) => {
        card.queues[0]!.useFalsely(lengthBytes);
        assert.equal(received(nic), []);
        assert.is(nic.stats().rxDamaged, 1);
        for (let i = 0; i < 40; i++) {
          card.arrive(frame(i));
          assert.equal(received(nic), [i]);
        }
      });
    });
  }

  hostile('receive: the same id twice at once is a packet once', async () => {
    await withCard({ features }, {}, (card, nic) => {
      card.arrive(frame(5));
      card.queues[0]!.use(0, 72);
      assert.equal(received(nic), [5]);
      assert.equal(received(nic), []);
      if (isSplit) assert.is(nic.stats().rxDamaged, 1);
      else expectError('DEVICE_STATE', () => nic.stats(), /receive queue 0/);
    });
  });

  hostile(
    'receive: a frame in several buffers is dropped whole, also where its rest comes later',
    async () => {
      await withCard({ features }, { mtu: 1000 }, (card, nic) => {
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
    },
  );

  for (const [what, lie] of [
    ['an id that was not sent', (card: VirtioCard) => card.queues[1]!.use(3, 0)],
    ['an id outside the ring', (card: VirtioCard) => card.queues[1]!.use(16, 0)],
  ] as const) {
    hostile(`transmit: ${what} frees nothing, and is told`, async () => {
      await withCard({ features }, {}, (card, nic) => {
        const free = nic.pool.available;
        assert.is(send(nic, 1), 1);
        lie(card);
        nic.txQueues[0].reclaim();
        assert.is(nic.pool.available, free - 1);
        expectError('DEVICE_STATE', () => nic.stats(), /transmit queue 1/);
      });
    });
  }

  hostile('transmit: the same id twice gives its buffer back once, and is told', async () => {
    await withCard({ features }, {}, (card, nic) => {
      const free = nic.pool.available;
      assert.is(send(nic, 3), 3);
      card.queues[1]!.use(0, 0);
      card.queues[1]!.use(0, 0);
      nic.txQueues[0].reclaim();
      assert.ok(nic.pool.available <= free - 2);
      expectError('DEVICE_STATE', () => nic.stats(), /transmit queue 1/);
    });
  });

  hostile('the control queue: an answer with another id ends it', async () => {
    await withCard({ features }, {}, async (card, nic) => {
      card.silent = true;
      const asked = expectRejection('DEVICE_STATE', nic.setPromiscuous(true));
      await turns(3);
      card.queues.at(-1)!.use(1, 1, 2);
      await asked;
      await expectRejection('DEVICE_STATE', nic.setPromiscuous(false));
    });
  });

  hostile('a card that asks for a reset ends waits', async () => {
    await withCard({ features }, {}, async (card, nic) => {
      const waiting = expectRejection('DEVICE_STATE', nic.waitForPackets());
      card.breakDown();
      await waiting;
      expectError('DEVICE_STATE', () => nic.linkState());
    });
  });

  hostile.run();

  const rings = suite(`virtio: rings, ${name}`);

  rings('indices and places wrap, nothing is lost or comes twice', async () => {
    await withCard({ features }, {}, (card, nic) => {
      let next = 0;
      for (let round = 0; next < positions; round++) {
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

  rings('a device that uses packets in another order', async () => {
    await withCard({ features }, {}, (card, nic) => {
      card.queues[1]!.isReversed = true;
      for (let round = 0; round < 40; round++) {
        const count = 1 + (round % 12);
        assert.is(send(nic, count), count);
        const sent = card.transmit();
        assert.equal(
          sent.map((bytes) => [bytes.length, bytes[20]]),
          Array.from({ length: count }, (_, i) => [60, i]),
        );
      }
    });
  });

  rings('a buffer that held a short frame takes a long one', async () => {
    await withCard({ features }, {}, (card, nic) => {
      const long = new Uint8Array(1500).fill(7);
      long.set(frame(7));
      for (let i = 0; i < 40; i++) {
        card.arrive(i < 20 ? frame(i) : long);
        assert.equal(received(nic), [i < 20 ? i : 7]);
      }
      assert.is(nic.stats().rxBytes, 20 * 60 + 20 * 1500);
    });
  });

  rings('a device that looks by itself is not notified', async () => {
    await withCard({ features }, {}, (card, nic) => {
      const queue = card.queues[1]!;
      queue.startPolling();
      const before = queue.notifications;
      assert.is(send(nic, 4), 4);
      assert.equal([card.transmit().length, queue.notifications - before], [4, 0]);
    });
  });

  rings('one that names the next position is notified once for a batch, in every lap', async () => {
    await withCard({ features }, {}, (card, nic) => {
      const queue = card.queues[1]!;
      const before = queue.notifications;
      for (let i = 0; i < 30; i++) {
        assert.is(send(nic, 7), 7);
        assert.is(card.transmit().length, 7);
      }
      assert.is(queue.notifications - before, 30);
    });
  });

  rings('a receive queue interrupts while somebody waits, and not else', async () => {
    await withCard({ features }, {}, async (card, nic) => {
      let interrupts = 0;
      const { interrupt } = card;
      card.interrupt = (vector) => {
        interrupts++;
        interrupt.call(card, vector);
      };
      for (let i = 0; i < 50; i++) {
        card.arrive(frame(i));
        assert.equal(received(nic), [i]);
      }
      assert.is(interrupts, 0);
      const waiting = nic.waitForPackets();
      card.arrive(frame(1));
      assert.is(await waiting, true);
      assert.is(interrupts, 1);
      assert.equal(received(nic), [1]);
    });
  });

  rings.run();
}

/** After this lie the queue receives nothing any more, who waits is told, and the error stays. */
export async function endsQueue(nic: NetDevice, lie: () => void): Promise<void> {
  const waiting = expectRejection(
    'DEVICE_STATE',
    nic.rxQueues[0].wait().then(() => nic.rxQueues[0].wait()),
  );
  lie();
  assert.equal(received(nic), []);
  assert.equal(received(nic), []);
  await waiting;
  assert.is(nic.rxQueues[0].pending, false);
  expectError('DEVICE_STATE', () => nic.stats(), /receive queue 0/);
}
