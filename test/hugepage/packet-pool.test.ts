import { readdirSync } from 'node:fs';
import * as assert from 'uvu/assert';
import type { NicError } from '../../src/errors.js';
import { PacketPool, type PacketPoolOptions } from '../../src/hugepage/packet-pool.js';
import { CLOSED } from '../support/closed.js';
import { expectError } from '../support/expect-error.js';
import { FakeMapper, mapFailure } from '../support/fake-mapper.js';
import { withRig } from '../support/queue-rig.js';
import { suite } from '../support/suite.js';

/** Runs with a pool of normal pages and closes it. */
function withPool(options: PacketPoolOptions, test: (pool: PacketPool) => void): () => void {
  return () => {
    const pool = new PacketPool({ pageSize: '4K', ...options });
    test(pool);
    pool.close();
  };
}

const pools = suite('PacketPool');

pools(
  'hands out each buffer once, lowest first, and takes it back',
  withPool({ buffers: 8 }, (pool) => {
    const bufs = new Uint32Array(8);
    assert.is(pool.allocate(bufs, bufs.length), 8);
    assert.equal([...bufs], [0, 1, 2, 3, 4, 5, 6, 7]);
    assert.is(pool.available, 0);
    pool.release(bufs, 3, 2);
    assert.is(pool.available, 3);
    const again = new Uint32Array(8);
    assert.is(pool.allocate(again, again.length), 3);
    assert.equal([...again.subarray(0, 3)].sort(), [2, 3, 4]);
    pool.release(again, 3);
    assert.is(pool.allocate(again, 1), 1);
    assert.is(again[0], 2, 'the last one given back comes first: it is in the cache');
    pool.release(again, 1);
    pool.release(Uint32Array.of(0, 1, 5, 6, 7), 5);
    assert.is(pool.available, 8);
  }),
);

pools(
  'an empty pool gives none',
  withPool({ buffers: 2 }, (pool) => {
    const bufs = new Uint32Array(5);
    assert.is(pool.allocate(bufs, 1), 1);
    assert.is(pool.allocate(bufs, bufs.length), 1);
    assert.is(pool.allocate(bufs, bufs.length), 0);
    assert.is(pool.allocate(bufs, 0), 0);
    assert.is(pool.allocate(new Uint32Array(0), 0), 0);
  }),
);

pools(
  'a range of the array: a count, and where it starts',
  withPool({ buffers: 16 }, (pool) => {
    const bufs = new Uint32Array(6).fill(99);
    assert.is(pool.allocate(bufs, 3, 2), 3);
    assert.equal([...bufs], [99, 99, 0, 1, 2, 99]);
    pool.release(bufs, 2, 3);
    assert.is(pool.available, 15);
    pool.release(bufs, 0, 6);
  }),
);

for (const [what, bufs, count, start] of [
  ['no count', new Uint32Array(3), undefined],
  ['a count beyond the array', new Uint32Array(3), 4],
  ['a range beyond the array', new Uint32Array(3), 2, 2],
  ['a negative count', new Uint32Array(3), -1],
  ['a fraction', new Uint32Array(3), 1.5],
  ['a string', new Uint32Array(3), '1'],
  ['a start that is none', new Uint32Array(3), 1, -1],
  ['an ordinary array', [0, 1, 2], 3],
  ['an array of another class', new Int32Array(3), 3],
  ['no array', undefined, 0],
] as [string, Uint32Array, number, number?][]) {
  pools(
    `allocate and release: ${what}`,
    withPool({ buffers: 16 }, (pool) => {
      for (const attempt of [
        () => pool.allocate(bufs, count, start),
        () => pool.release(bufs, count, start),
      ]) {
        assert.ok(expectError('BAD_ARGUMENT', attempt).hint !== undefined);
      }
      assert.is(pool.available, 16);
    }),
  );
}

pools(
  'release gives back all or none',
  withPool({ buffers: 8 }, (pool) => {
    const bufs = new Uint32Array(4);
    pool.allocate(bufs, 4);
    expectError('OWNERSHIP', () => pool.release(Uint32Array.of(0, 1, 99), 3));
    assert.is(pool.available, 4);
  }),
);

pools(
  'more buffers than there are cannot come back',
  withPool({ buffers: 4 }, (pool) => {
    const bufs = new Uint32Array(2);
    pool.allocate(bufs, bufs.length);
    pool.release(bufs, bufs.length);
    const error = expectError('OWNERSHIP', () => pool.release(bufs, bufs.length));
    assert.match(error.hint!, 'debug');
    assert.is(pool.available, 4);
  }),
);

for (const index of [4, 5, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff]) {
  pools(
    `buffer ${index} is not of a pool of 4`,
    withPool({ buffers: 4 }, (pool) => {
      pool.allocate(new Uint32Array(4), 4);
      expectError('OWNERSHIP', () => pool.release(Uint32Array.of(index), 1));
      assert.is(pool.available, 0);
    }),
  );
}

for (const options of [
  { buffers: 0 },
  { buffers: -1 },
  { buffers: 1.5 },
  { buffers: Number.NaN },
  { buffers: 2 ** 20 + 1 },
  { bufferSizeBytes: 0 },
  { bufferSizeBytes: -2048 },
  { bufferSizeBytes: 512 },
  { bufferSizeBytes: 2047 },
  { bufferSizeBytes: 3072 },
  { bufferSizeBytes: 32_768 },
  { bufferSizeBytes: Number.NaN },
  { buffers: '4' },
  { headroomBytes: 63 },
  { headroomBytes: -64 },
  { headroomBytes: 576 },
  { debug: 1 },
  { pageSize: '3K' },
  { bufers: 4 },
] as object[]) {
  pools(`${JSON.stringify(options)} is refused`, () => {
    const before = readdirSync('/proc/self/fd').length;
    const error = expectError('BAD_OPTION', () => new PacketPool({ pageSize: '4K', ...options }));
    assert.ok(error.hint !== undefined);
    assert.is(readdirSync('/proc/self/fd').length, before);
  });
}

for (const bufferSizeBytes of [1024, 2048, 4096, 8192, 16_384]) {
  pools(
    `buffers of ${bufferSizeBytes} bytes lie side by side`,
    withPool({ buffers: 5, bufferSizeBytes }, (pool) => {
      assert.is(1 << pool.bufferShift, bufferSizeBytes);
      assert.is(pool.memory.length, 5 * bufferSizeBytes);
      assert.is(pool.headroomBytes, 64);
      assert.is(pool.maxFrameBytes, bufferSizeBytes - 64);
      for (let i = 0; i < 5; i++) {
        const bytes = pool.bytes(i);
        assert.is(bytes.length, bufferSizeBytes - 64);
        bytes.fill(i + 1);
        assert.is(pool.bytes(i), bytes, 'the same view each time');
      }
      for (let i = 0; i < 5; i++) {
        assert.is(pool.frames[i << pool.bufferShift], i + 1);
        assert.is(pool.memory[(i << pool.bufferShift) + 64], i + 1);
        assert.is(pool.memory[(i << pool.bufferShift) + 63], 0, 'the headroom is left alone');
        assert.is(pool.memory[((i + 1) << pool.bufferShift) - 1], i + 1);
      }
    }),
  );
}

pools(
  'bytes of a buffer that is not there',
  withPool({ buffers: 4 }, (pool) => {
    for (const index of [-1, 4, 1e9, Number.NaN]) assert.throws(() => pool.bytes(index), /No buffer/);
  }),
);

pools('has an I/O address once a device uses it, and its memory until the last one has left', () => {
  const pool = new PacketPool({ buffers: 4, pageSize: '4K' });
  const mapper = new FakeMapper();
  expectError('DMA_MAP', () => pool.frameIovaLow);
  pool.attach(mapper);
  pool.attach(mapper);
  assert.is(
    mapper.mapped.get((BigInt(pool.iovaHigh) << 32n) | BigInt(pool.frameIovaLow - pool.headroomBytes)),
    12_288,
    'a page more than the buffers: what hardware writes behind the last one',
  );
  pool.close();
  pool.close();
  pool.frames[0] = 7;
  const bufs = new Uint32Array(1);
  assert.is(pool.allocate(bufs, 1), 1, 'devices go on');
  pool.release(bufs, 1);
  pool.detach(mapper);
  assert.is(mapper.mapped.size, 1);
  assert.is(pool.frames[0], 7);
  pool.detach(mapper);
  assert.is(mapper.mapped.size, 0);
  assert.is(pool.frames[0], 0, 'gone: a stale view reads zeros');
  for (const attempt of [
    () => pool.attach(mapper),
    () => pool.allocate(bufs, 1),
    () => pool.release(bufs, 1),
  ]) {
    expectError('CLOSED', attempt);
  }
});

pools('an attach that fails is none; a detach that fails is one', () => {
  const pool = new PacketPool({ buffers: 4, pageSize: '4K' });
  const mapper = new FakeMapper();
  mapper.mapFailures.push(mapFailure());
  expectError('DMA_MAP', () => pool.attach(mapper));
  pool.attach(mapper);
  mapper.unmapFailures.push(mapFailure());
  expectError('DMA_MAP', () => pool.detach(mapper));
  pool.close();
});

pools.run();

const owners = suite('PacketPool with debug');

/** The error, and the line of this file that it blames. */
function blamed(action: () => unknown): NicError {
  const error = expectError('OWNERSHIP', action);
  assert.ok(error.cause instanceof Error);
  assert.match((error.cause as Error).stack!, 'packet-pool.test');
  return error;
}

owners(
  'a free buffer was never handed out',
  withPool({ buffers: 8, debug: true }, (pool) => {
    const error = expectError('OWNERSHIP', () => pool.release(Uint32Array.of(3), 1));
    assert.match(error.message, 'Buffer 3');
    assert.match(error.hint!, 'never received or allocated');
    assert.is(pool.available, 8);
  }),
);

owners(
  'freed twice: says where the first time was',
  withPool({ buffers: 8, debug: true }, (pool) => {
    const bufs = new Uint32Array(2);
    pool.allocate(bufs, bufs.length);
    function firstRelease(): void {
      pool.release(bufs, bufs.length);
    }
    firstRelease();
    const error = blamed(() => pool.release(bufs, 1));
    assert.match(error.message, 'Buffer 0 is to be given back to the pool');
    assert.match(error.hint!, 'given back to the pool before');
    assert.match((error.cause as Error).stack!, 'firstRelease');
    assert.is(pool.available, 8);
  }),
);

owners(
  'the same buffer twice in one call',
  withPool({ buffers: 8, debug: true }, (pool) => {
    pool.allocate(new Uint32Array(2), 2);
    blamed(() => pool.release(Uint32Array.of(0, 1, 0), 3));
  }),
);

owners(
  'freed after it was sent: says where it was sent',
  withRig({ debug: true }, (rig) => {
    const bufs = rig.allocate(1);
    function theSend(): void {
      assert.is(rig.tx.send(bufs, bufs.length), 1);
    }
    theSend();
    const error = blamed(() => rig.pool.release(bufs, bufs.length));
    assert.match(error.hint!, 'sent before');
    assert.match((error.cause as Error).stack!, 'theSend');
  }),
);

owners(
  'sent twice, or sent after it was freed',
  withRig({ debug: true }, (rig) => {
    const bufs = rig.allocate(2);
    rig.tx.send(bufs, 1);
    const doorbells = rig.txDevice.tail.writes.length;
    assert.match(blamed(() => rig.tx.send(bufs, 1)).message, 'is to be sent');
    rig.pool.release(bufs, 1, 1);
    assert.match(blamed(() => rig.tx.send(bufs, 1, 1)).hint!, 'given back to the pool before');
    expectError('OWNERSHIP', () => rig.tx.send(Uint32Array.of(100), 1));
    expectError('OWNERSHIP', () => rig.tx.send(Uint32Array.of(9999), 1));
    assert.is(rig.txDevice.tail.writes.length, doorbells, 'none of it reached the hardware');
  }),
);

owners(
  'a good life: received, sent, reclaimed, allocated, released',
  withRig({ debug: true }, (rig) => {
    for (let round = 0; round < 20; round++) {
      rig.arrive(32);
      assert.is(rig.rx.receive(rig.bufs), 32);
      assert.is(rig.tx.send(rig.bufs, 30), 30);
      rig.pool.release(rig.bufs, 2, 30);
      rig.txDevice.transmit();
    }
    rig.tx.reclaim();
    const all = new Uint32Array(rig.pool.available);
    rig.pool.allocate(all, all.length);
    rig.pool.release(all, all.length);
  }),
);

owners(
  'written to after it was sent: found when the hardware is done with it, and says where it was sent',
  withRig({ debug: true }, (rig) => {
    const bufs = rig.allocate(32);
    const view = rig.pool.bytes(bufs[5]!);
    function theSend(): void {
      assert.is(rig.tx.send(bufs, 32), 32);
    }
    theSend();
    view[59]! ^= 1;
    rig.txDevice.transmit();
    const error = blamed(() => rig.tx.reclaim());
    assert.match(error.message, `Buffer ${bufs[5]} was written to after it was sent`);
    assert.match((error.cause as Error).stack!, 'theSend');
    assert.is(rig.pool.available, 512 - 64, 'every buffer is back all the same');
    rig.tx.reclaim();
  }),
);

owners(
  'bytes behind the packet do not count, nor do buffers that come back unsent',
  withRig({ debug: true }, (rig) => {
    const bufs = rig.allocate(33);
    const [within, behind] = [rig.pool.bytes(bufs[32]!), rig.pool.bytes(bufs[0]!)];
    assert.is(rig.tx.send(bufs, 33), 33);
    behind[60]! ^= 1;
    rig.txDevice.transmit(32);
    rig.tx.reclaim();
    within[0]! ^= 1;
    rig.tx.close(CLOSED);
    assert.is(rig.pool.available, 512 - 64);
  }),
);

owners(
  'looked at while it is not owned',
  withRig({ debug: true }, (rig) => {
    expectError('OWNERSHIP', () => rig.pool.bytes(3));
    const bufs = rig.allocate(1);
    rig.pool.bytes(bufs[0]!);
    rig.tx.send(bufs, 1);
    assert.match(blamed(() => rig.pool.bytes(bufs[0]!)).message, 'looked at');
  }),
);

owners(
  'what found no room stays the caller’s',
  withRig({ debug: true }, (rig) => {
    const bufs = rig.allocate(100);
    const sent = rig.tx.send(bufs, bufs.length);
    rig.pool.release(bufs, 100 - sent, sent);
    assert.is(rig.pool.available, 512 - 64 - sent);
  }),
);

owners.run();
