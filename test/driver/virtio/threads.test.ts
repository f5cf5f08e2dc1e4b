/** virtio-net: queues that were handed to another thread. Their tickets are copied as a message to a worker would copy them. */
import * as assert from 'uvu/assert';
import { type AttachedThread, attachThread } from '../../../src/driver/attached-thread.js';
import type { NetDevice } from '../../../src/driver/device.js';
import { shareWithThread, type ThreadShare } from '../../../src/driver/thread-share.js';
import { connectQueues } from '../../../src/forward/forwarder.js';
import { eventually, isSettled } from '../../conformance/rig.js';
import { expectError, expectRejection } from '../../support/expect-error.js';
import { suite } from '../../support/suite.js';
import { F, VirtioCard } from '../../support/virtio/card.js';
import { frame, openCard, without } from '../../support/virtio/with-card.js';

interface Stage {
  readonly card: VirtioCard;
  readonly nic: NetDevice;
  readonly share: ThreadShare;
  readonly thread: AttachedThread;
}

for (const [rings, features] of [
  ['split', without(F.RING_PACKED)],
  ['packed', without()],
  ['split, plain notifications', without(F.RING_PACKED, F.EVENT_IDX, F.NOTIFICATION_DATA)],
] as const) {
  const test = suite(`virtio: queues in other threads, ${rings}`);

  /** Runs a test with both queues elsewhere; then wants every buffer back, and no complaint of the card's. */
  const onStage = (body: (stage: Stage) => Promise<void> | void) => async (): Promise<void> => {
    const card = new VirtioCard({ features, mapped: true });
    const nic = await openCard(card, { pageSize: '4K', rxRingSize: 16, txRingSize: 16 });
    const { pool } = nic;
    const share = shareWithThread({ rxQueues: [nic.rxQueues[0]], txQueues: [nic.txQueues[0]], buffers: 64 });
    const thread = attachThread(structuredClone(share.ticket));
    try {
      await body({ card, nic, share, thread });
    } finally {
      thread.close();
      await share.close();
      await nic.close();
    }
    assert.is(pool.available, pool.capacity, 'every buffer is back');
    assert.equal(card.complaints, []);
  };

  /** What the thread receives, by the byte that `frame` filled it with; the buffers go back to its slice. */
  const received = ({ pool, rxQueues }: AttachedThread): number[] => {
    const bufs = new Uint32Array(32);
    const count = rxQueues[0]!.receive(bufs);
    const numbers = Array.from(bufs.subarray(0, count), (packet) => pool.bytes(packet)[20]!);
    pool.release(bufs, count);
    return numbers;
  };

  const send = ({ pool, txQueues }: AttachedThread, numbers: readonly number[]): number => {
    const bufs = new Uint32Array(numbers.length);
    assert.is(pool.allocate(bufs, bufs.length), bufs.length);
    for (const [i, packet] of bufs.entries()) {
      pool.bytes(packet).set(frame(numbers[i]!));
      pool.lengths[packet] = 60;
    }
    const taken = txQueues[0]!.send(bufs, bufs.length);
    pool.release(bufs, bufs.length - taken, taken);
    return taken;
  };

  test(
    'frames come and leave there, many times around both rings; the device here counts them',
    onStage(async ({ card, nic, thread }) => {
      let number = 0;
      for (let round = 0; round < 50; round++) {
        const numbers = Array.from({ length: 1 + (round % 12) }, () => number++ % 200);
        for (const one of numbers) assert.ok(card.arrive(frame(one)));
        assert.equal(received(thread), numbers);
        assert.is(send(thread, numbers), numbers.length);
        assert.equal(
          card.transmit(),
          numbers.map((one) => frame(one)),
        );
        thread.txQueues[0]!.reclaim();
      }
      const { rxPackets, txPackets, rxBytes, txBytes } = nic.stats();
      assert.equal([rxPackets, txPackets, rxBytes, txBytes], [number, number, 60 * number, 60 * number]);
    }),
  );

  test(
    'one loop for both halves runs there as well',
    onStage(({ card, thread }) => {
      const forward = connectQueues(thread.rxQueues[0]!, thread.txQueues[0]!, { path: 'general' });
      for (let i = 0; i < 40; i++) {
        assert.ok(card.arrive(frame(i)));
        assert.is(forward.poll(), 1);
        assert.equal(card.transmit(), [frame(i)]);
      }
    }),
  );

  test(
    'a wait there is woken by the interrupt, which comes here; and it can be given up',
    onStage(async ({ card, thread }) => {
      const [queue] = thread.rxQueues;
      for (let i = 0; i < 3; i++) {
        const stop = new AbortController();
        const givenUp = queue!.wait({ signal: stop.signal });
        assert.is(await isSettled(givenUp), false);
        stop.abort(new Error('given up'));
        await givenUp.then(
          () => assert.unreachable('it ended'),
          (error: Error) => assert.is(error.message, 'given up'),
        );
        const waiting = queue!.wait();
        assert.is(await isSettled(waiting), false);
        assert.ok(card.arrive(frame(i)));
        assert.is(await waiting, true);
        assert.equal(received(thread), [i]);
      }
    }),
  );

  test(
    'drain here waits until the card has sent what was sent there',
    onStage(async ({ card, nic, thread }) => {
      assert.is(await nic.drain({ timeoutMs: 1 }), true);
      for (let round = 0; round < 6; round++) {
        assert.is(send(thread, [1, 2, 3, 4, 5]), 5);
        assert.is(await nic.drain({ timeoutMs: 1 }), false);
        assert.is(card.transmit().length, 5);
        assert.is(await nic.drain({ timeoutMs: 1 }), true);
        thread.txQueues[0]!.reclaim();
        assert.is(await nic.drain({ timeoutMs: 1 }), true);
      }
    }),
  );

  test('who kept the functions from before is told, or finds nothing', async () => {
    const card = new VirtioCard({ features, mapped: true });
    const nic = await openCard(card, { pageSize: '4K', rxRingSize: 16, txRingSize: 16 });
    const [rx, tx] = [nic.rxQueues[0], nic.txQueues[0]];
    const { receive } = rx;
    const { send: oldSend, sendOffloaded } = tx;
    const share = shareWithThread({ rxQueues: [rx], txQueues: [tx], buffers: 64 });
    const thread = attachThread(structuredClone(share.ticket));
    const bufs = new Uint32Array(4);
    for (const call of [
      () => rx.receive(bufs),
      () => tx.send(bufs, 1),
      () => tx.reclaim(),
      () => sendOffloaded!(bufs, 1),
    ])
      expectError('OWNERSHIP', call, /handed to another thread/);
    assert.ok(card.arrive(frame(9)));
    expectError('OWNERSHIP', () => receive(bufs), /handed to another thread/);
    assert.is(oldSend(bufs, 1), 0);
    expectError('BAD_OPTION', () => shareWithThread({ rxQueues: [rx] }), /handed to another thread/);
    assert.equal(received(thread), [9], 'it is there for the thread');
    thread.close();
    await share.close();
    await nic.close();
    assert.equal(card.complaints, []);
  });

  test('queues that were used are not handed over', async () => {
    const card = new VirtioCard({ features, mapped: true });
    await using nic = await openCard(card, { pageSize: '4K', rxRingSize: 16, txRingSize: 16 });
    const bufs = new Uint32Array(4);
    assert.ok(card.arrive(frame(1)));
    assert.is(nic.rxQueues[0].receive(bufs), 1);
    expectError('BAD_OPTION', () => shareWithThread({ rxQueues: [nic.rxQueues[0]] }), /received already/);
    assert.is(nic.txQueues[0].send(bufs, 1), 1);
    expectError('BAD_OPTION', () => shareWithThread({ txQueues: [nic.txQueues[0]] }), /sent already/);
  });

  test('a device that closes has the thread leave, with frames on their way; every buffer comes back', async () => {
    const card = new VirtioCard({ features, mapped: true });
    const nic = await openCard(card, { pageSize: '4K', rxRingSize: 16, txRingSize: 16 });
    const { pool } = nic;
    const share = shareWithThread({ rxQueues: [nic.rxQueues[0]], txQueues: [nic.txQueues[0]], buffers: 64 });
    const thread = attachThread(structuredClone(share.ticket));
    const [rx, tx] = [thread.rxQueues[0]!, thread.txQueues[0]!];
    const { receive } = rx;
    for (let i = 0; i < 5; i++) assert.ok(card.arrive(frame(i)));
    assert.is(send(thread, [1, 2, 3]), 3);
    const waiting = rx.wait({ timeoutMs: 100_000 });
    assert.is(await waiting, true);
    const bufs = new Uint32Array(2);
    assert.is(rx.receive(bufs), 2);
    await nic.close();
    for (const call of [() => rx.receive(bufs), () => tx.send(bufs, 1), () => tx.reclaim()])
      expectError('CLOSED', call);
    // Kept from before: a closed ring looks used, or empty.
    try {
      assert.is(receive(bufs), 0);
    } catch (error) {
      assert.is((error as NodeJS.ErrnoException).code, 'CLOSED');
    }
    await expectRejection('CLOSED', rx.wait());
    thread.close();
    await share.close();
    assert.is(pool.available, pool.capacity, 'every buffer is back');
    assert.equal(card.complaints, []);
  });

  test(
    'a device that is pulled out, and one that lies, end the waits there',
    onStage(async ({ card, thread }) => {
      const waiting = thread.rxQueues[0]!.wait();
      assert.is(await isSettled(waiting), false);
      card.queues[0]!.use(0xffff, 60);
      if (features.includes(F.RING_PACKED)) {
        await waiting.catch(() => {});
        received(thread);
        await expectRejection('DEVICE_STATE', thread.rxQueues[0]!.wait(), /broke the rules/);
      } else {
        await waiting;
        assert.equal(received(thread), []);
      }
    }),
  );

  test('pulled out: the thread is told', async () => {
    const card = new VirtioCard({ features, mapped: true });
    const nic = await openCard(card, { pageSize: '4K', rxRingSize: 16, txRingSize: 16 });
    const share = shareWithThread({ rxQueues: [nic.rxQueues[0]], txQueues: [nic.txQueues[0]], buffers: 64 });
    const thread = attachThread(structuredClone(share.ticket));
    const waiting = thread.rxQueues[0]!.wait();
    assert.is(await isSettled(waiting), false);
    card.pullOut(new Error('planted'));
    await expectRejection('DEVICE_GONE', waiting);
    await eventually('the share notices', () => share.attached);
    await nic.close().catch(() => {});
    thread.close();
    await share.close();
  });

  test.run();
}
