/** virtio-net: the device asks the driver to tell the network where it is (VIRTIO 1.2, 5.1.6.5.4). */
import * as assert from 'uvu/assert';
import { eventually, turns } from '../../conformance/rig.js';
import { suite } from '../../support/suite.js';
import { F } from '../../support/virtio/card.js';
import { withCard, without } from '../../support/virtio/with-card.js';

const test = suite('virtio: GUEST_ANNOUNCE');

test('a frame from its own address to everybody, and the request is acknowledged; as often as it is asked', async () => {
  await withCard({}, {}, async (card, nic) => {
    for (let round = 0; round < 3; round++) {
      card.askToAnnounce();
      await eventually('the acknowledgement', () => !card.announce);
      const [frame, ...more] = card.transmit();
      assert.is(more.length, 0);
      assert.is(frame!.length, 60);
      assert.equal([...frame!.subarray(0, 6)], [255, 255, 255, 255, 255, 255]);
      assert.equal(frame!.slice(6, 12), nic.mac);
      // RARP: a request for the address of the station itself (RFC 903).
      assert.equal([...frame!.subarray(12, 22)], [0x80, 0x35, 0, 1, 8, 0, 6, 4, 0, 3]);
      assert.equal(frame!.slice(22, 28), nic.mac);
      assert.equal(frame!.slice(32, 38), nic.mac);
    }
    assert.is(nic.stats().txPackets, 3);
  });
});

test('a request that is there when the device is opened is answered', async () => {
  await withCard({ startsAnnouncing: true }, {}, async (card) => {
    await eventually('the acknowledgement', () => !card.announce);
    assert.is(card.transmit().length, 1);
  });
});

test('it is asked once more while the answer is on its way: one announcement at a time', async () => {
  await withCard({}, {}, async (card) => {
    card.silent = true;
    card.askToAnnounce();
    await eventually('the frame', () => card.queues[1]!.notifications > 0);
    for (let i = 0; i < 5; i++) card.askToAnnounce();
    await turns(20);
    card.silent = false;
    card.answer();
    await eventually('the acknowledgement', () => !card.announce);
    assert.is(card.transmit().length, 1);
  });
});

test('a pool without a buffer: it is acknowledged all the same', async () => {
  await withCard({}, {}, async (card, nic) => {
    const all = new Uint32Array(nic.pool.available);
    assert.is(nic.pool.allocate(all, all.length), all.length);
    card.askToAnnounce();
    await eventually('the acknowledgement', () => !card.announce);
    assert.equal(card.transmit(), []);
    nic.pool.release(all, all.length);
  });
});

test('a refused acknowledgement, and a device that is closed meanwhile, end quietly', async () => {
  await withCard({}, {}, async (card) => {
    card.refusesCommands = true;
    card.askToAnnounce();
    await eventually('the frame', () => card.queues[1]!.notifications > 0);
    await turns(20);
    card.silent = true;
    card.askToAnnounce();
    await turns(5);
  });
});

for (const [name, missing] of [
  ['STATUS, by which it would be asked', F.STATUS],
  ['the control queue, by which it would answer', F.CTRL_VQ],
] as const) {
  test(`is not accepted without ${name}`, async () => {
    await withCard({ features: without(missing) }, {}, (card) => {
      assert.not(card.accepted.has(F.GUEST_ANNOUNCE));
    });
  });
}

test.run();
