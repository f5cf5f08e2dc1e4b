/** A made-up card that lies, is deaf or loses reports: what it says is counted, and costs nobody a buffer or a hang. */
import * as assert from 'uvu/assert';
import type { NetDevice } from '../../src/driver/device.js';
import { open } from '../../src/driver/registry.js';
import { connectQueues } from '../../src/forward/forwarder.js';
import { PacketPool } from '../../src/hugepage/packet-pool.js';
import { expectRejection } from '../support/expect-error.js';
import type { MadeUpCard } from '../support/made-up-family/card.js';
import { DONE, HEADER_BYTES } from '../support/made-up-family/registers.js';
import { plugIn } from '../support/made-up-family/scheme.js';
import { withSteppedClock } from '../support/open-igb.js';
import { suite } from '../support/suite.js';

const RING = 33;
const OTHER = Uint8Array.of(0x02, 0, 0, 0, 0, 0x77);

interface Bench {
  readonly card: MadeUpCard;
  readonly nic: NetDevice;
  readonly pool: PacketPool;
  /** What has left. */
  readonly sent: Uint8Array[];
}

/** Runs a test on a card that works only when it is told to; every buffer has to be back at the end. */
function onCard(test: (bench: Bench) => void | Promise<void>): () => Promise<void> {
  return async () => {
    const card = plugIn(1);
    const sent: Uint8Array[] = [];
    card.automatic = false;
    card.plug({ arrive: (frame) => sent.push(frame) > 0 });
    const pool = new PacketPool({ buffers: 300, pageSize: '4K' });
    const nic = await open('made-up:1', { pool, rxRingSize: RING, txRingSize: RING, pageSize: '4K' });
    try {
      await test({ card, nic, pool, sent });
    } finally {
      await nic.close();
    }
    assert.is(pool.available, pool.capacity, 'every buffer is back');
    assert.is(new Set(pool.free.subarray(0, pool.freeCount)).size, pool.capacity, 'each once');
    assert.equal(card.violations, []);
    pool.close();
  };
}

function frameTo(to: Uint8Array, number: number): Uint8Array {
  const frame = new Uint8Array(60).fill(number);
  frame.set(to);
  frame.set([0x02, 0, 0, 0, 0, 0], 6);
  return frame;
}

const lies = suite('a made-up card that lies');

for (const [what, lie] of [
  ['a length of nothing', { lengthBytes: 0 }],
  ['a length of less than the header', { lengthBytes: HEADER_BYTES - 1 }],
  ['a length of only the header', { lengthBytes: HEADER_BYTES }],
  ['a length that the header does not tell', { lengthBytes: HEADER_BYTES + 65 }],
  ['a length beyond the buffer', { lengthBytes: 0xffff }],
  ['a buffer outside the pool', { buffer: 300 }],
  ['a buffer far outside the pool', { buffer: 0xffff_ffff }],
  ['a buffer that nobody gave it', { buffer: 299 }],
  ['flags that mean nothing', { flags: DONE | (0xfff << 20) }],
] as const) {
  const isHarmless = what.startsWith('flags');
  lies(
    `${what}: counted, and the frames around it pass`,
    onCard(({ card, nic, sent }) => {
      const forwarder = connectQueues(nic.rxQueues[0], nic.txQueues[0]);
      const good: Uint8Array[] = [];
      for (let round = 0; round < 3 * RING; round++) {
        const frame = frameTo(card.mac, round);
        if (round % 9 === 4) assert.ok(card.lie(lie));
        assert.ok(card.arrive(frame));
        good.push(frame);
        while (forwarder.poll() > 0);
        card.work();
      }
      const { rxDamaged, rxPackets, rxTooLong } = nic.stats();
      assert.is(rxDamaged, isHarmless ? 0 : 11);
      assert.is(rxTooLong, 0);
      assert.is(rxPackets, good.length + (isHarmless ? 11 : 0));
      if (!isHarmless) assert.equal(sent, good);
    }),
  );
}

lies(
  'lies without end: every call ends, and the ring takes no more buffers than it may',
  onCard(({ card, nic, pool }) => {
    const bufs = new Uint32Array(64);
    const before = pool.available;
    let told = 0;
    while (card.lie({ buffer: 0x8000_0000 })) {
      told++;
      assert.is(nic.rxQueues[0].receive(bufs), 0);
    }
    assert.is(told, 2 * RING);
    assert.is(nic.stats().rxDamaged, told);
    assert.is(before - pool.available, RING, 'one for each slot, until the end');
    assert.is(nic.rxQueues[0].pending, false);
  }),
);

lies(
  'damaged frames, and frames that were cut',
  onCard(({ card, nic }) => {
    assert.ok(card.arriveDamaged());
    assert.ok(card.arrive(new Uint8Array(nic.maxFrameBytes + 1).fill(0xff)));
    assert.ok(card.arrive(frameTo(card.mac, 1)));
    const bufs = new Uint32Array(4);
    assert.is(nic.rxQueues[0].receive(bufs), 1);
    nic.pool.release(bufs, 1);
    const { rxDamaged, rxTooLong } = nic.stats();
    assert.equal({ rxDamaged, rxTooLong }, { rxDamaged: 1, rxTooLong: 1 });
  }),
);

for (const [what, buffer] of [
  ['outside the pool', 0xffff_fff0],
  ['that was not sent', 299],
] as const) {
  lies(
    `a report of a buffer ${what}: nobody gets it, and drain says that a frame is missing`,
    onCard(async ({ card, nic, pool }) => {
      const { available } = pool;
      card.holdsReports = true;
      for (let i = 0; i < 3; i++) await nic.sendFrame(frameTo(OTHER, i));
      card.work();
      card.lieSent(buffer);
      card.holdsReports = false;
      card.work();
      nic.txQueues[0].reclaim();
      assert.is(pool.available, available - 1);
      assert.is(await nic.drain({ timeoutMs: 1 }), false);
      // The slot is free again.
      const bufs = new Uint32Array(2 * RING);
      assert.is(pool.allocate(bufs, bufs.length), bufs.length);
      for (const packet of bufs) pool.lengths[packet] = 60;
      assert.is(nic.txQueues[0].send(bufs, bufs.length), RING);
      pool.release(bufs, RING, RING);
    }),
  );
}

lies.run();

const slow = suite('a made-up card that is slow or deaf');

slow(
  'reports that do not come: the ring fills, sendFrame says so, nothing is lost',
  onCard(async ({ card, nic, pool, sent }) => {
    card.holdsReports = true;
    for (let i = 0; i < RING; i++) {
      await nic.sendFrame(frameTo(OTHER, i));
      card.work();
    }
    assert.is(sent.length, RING);
    const { available } = pool;
    await expectRejection('DEVICE_TIMEOUT', nic.sendFrame(frameTo(OTHER, 99), { timeoutMs: 2 }));
    assert.is(await nic.drain({ timeoutMs: 1 }), false);
    assert.is(pool.available, available);
    card.holdsReports = false;
    card.work();
    assert.is(await nic.drain(), true);
    await nic.sendFrame(frameTo(OTHER, 99));
  }),
);

slow(
  'filters change some turns later, when the promise is kept, and not before',
  onCard(async ({ card, nic }) => {
    const bufs = new Uint32Array(4);
    const [queue] = nic.rxQueues;
    const takes = (frame: Uint8Array): boolean => {
      assert.ok(card.arrive(frame));
      const count = queue.receive(bufs);
      nic.pool.release(bufs, count);
      return count === 1;
    };
    const group = Uint8Array.of(0x01, 0, 0x5e, 0, 0, 0xfb);
    for (const [change, to, before, after] of [
      [() => nic.setPromiscuous(true), OTHER, false, true],
      [() => nic.setPromiscuous(false), OTHER, true, false],
      [() => nic.setMac(OTHER), OTHER, false, true],
      [() => nic.setMac(card.mac), OTHER, true, false],
      [() => nic.setMulticast([group]), group, false, true],
      [() => nic.setMulticast([]), group, true, false],
      [() => nic.setMulticast('all'), group, false, true],
      [() => nic.setMulticast([]), group, true, false],
    ] as const) {
      const changing = change();
      await Promise.resolve();
      assert.is(takes(frameTo(to, 1)), before, `${change}, at once`);
      await changing;
      assert.is(takes(frameTo(to, 1)), after, `${change}, then`);
    }
  }),
);

slow(
  'a deaf card: filters end in DEVICE_TIMEOUT, close ends them, and open fails',
  onCard(async ({ card, nic }) => {
    card.deaf = true;
    const before = nic.macAddress;
    await withSteppedClock(100, () => expectRejection('DEVICE_TIMEOUT', nic.setMac(OTHER)));
    assert.is(nic.macAddress, before);
    const closed = Promise.all([
      expectRejection('CLOSED', nic.setPromiscuous(true)),
      expectRejection('CLOSED', nic.setMulticast('all')),
    ]);
    await Promise.resolve();
    await nic.close();
    await closed;
    await withSteppedClock(100, () =>
      expectRejection('DEVICE_TIMEOUT', open('made-up:1', { pageSize: '4K' })),
    );
    const reason = new Error('no more');
    const stop = new AbortController();
    const opening = open('made-up:1', { pageSize: '4K', signal: stop.signal }).catch(
      (error: unknown) => error,
    );
    setImmediate(() => stop.abort(reason));
    assert.ok((await opening) === reason);
    assert.is(card.claimed, false);
  }),
);

slow(
  'a card is opened once',
  onCard(async () => {
    const error = await expectRejection('ALREADY_OPEN', open('made-up:1'));
    assert.ok(error.hint);
    const none = await expectRejection('NO_SUCH_DEVICE', open('made-up:9999'));
    assert.match(none.hint!, 'made-up:1');
    // What is no address is told with the forms that there are.
    for (const text of ['made-up:', 'made-up', 'eth0']) {
      assert.match((await expectRejection('BAD_ADDRESS', open(text))).hint!, 'made-up:SLOT');
    }
  }),
);

slow.run();
