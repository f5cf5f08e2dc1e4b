import { readdirSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { NicError } from '../../src/errors.js';
import { headerLengths, PacketPool, type PacketPoolOptions } from '../../src/hugepage/packet-pool.js';
import { expectError } from '../support/expect-error.js';
import { FakeMapper, mapFailure } from '../support/fake-mapper.js';
import { withRig } from '../support/queue-rig.js';

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
    assert.is(pool.allocate(bufs), 8);
    assert.equal([...bufs], [0, 1, 2, 3, 4, 5, 6, 7]);
    assert.is(pool.available, 0);
    pool.release(bufs, 2, 5);
    assert.is(pool.available, 3);
    const again = new Uint32Array(8);
    assert.is(pool.allocate(again), 3);
    assert.equal([...again.subarray(0, 3)].sort(), [2, 3, 4]);
    pool.release(again, 0, 3);
    assert.is(pool.allocate(again, 1), 1);
    assert.is(again[0], 2, 'the last one given back comes first: it is in the cache');
    pool.release(again, 0, 1);
    pool.release(Uint32Array.of(0, 1, 5, 6, 7));
    assert.is(pool.available, 8);
  }),
);

pools(
  'an empty pool gives none',
  withPool({ buffers: 2 }, (pool) => {
    const bufs = new Uint32Array(5);
    assert.is(pool.allocate(bufs, 1), 1);
    assert.is(pool.allocate(bufs), 1);
    assert.is(pool.allocate(bufs), 0);
    assert.is(pool.allocate(bufs, 0), 0);
    assert.is(pool.allocate(new Uint32Array(0)), 0);
  }),
);

pools(
  'count is bounded by the array',
  withPool({ buffers: 16 }, (pool) => {
    assert.is(pool.allocate(new Uint32Array(3), 10), 3);
    assert.is(pool.available, 13);
  }),
);

pools(
  'more buffers than there are cannot come back',
  withPool({ buffers: 4 }, (pool) => {
    const bufs = new Uint32Array(2);
    pool.allocate(bufs);
    pool.release(bufs);
    const error = expectError('OWNERSHIP', () => pool.release(bufs));
    assert.match(error.hint!, 'debug');
    assert.is(pool.available, 4);
  }),
);

for (const index of [4, 5, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff]) {
  pools(
    `buffer ${index} is not of a pool of 4`,
    withPool({ buffers: 4 }, (pool) => {
      pool.allocate(new Uint32Array(4));
      expectError('OWNERSHIP', () => pool.release(Uint32Array.of(index)));
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
]) {
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
      for (let i = 0; i < 5; i++) {
        const bytes = pool.bytes(i);
        assert.is(bytes.length, bufferSizeBytes);
        bytes.fill(i + 1);
        assert.is(pool.bytes(i), bytes, 'the same view each time');
      }
      for (let i = 0; i < 5; i++) {
        assert.is(pool.memory[i << pool.bufferShift], i + 1);
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

pools('header lengths as the context descriptor has them: MACLEN 15:9, IPLEN 8:0 (82599, 7.2.3.2.3)', () => {
  assert.is(headerLengths(14, 20), 0x1c14);
  assert.is(headerLengths(18, 60), (18 << 9) | 60);
});

pools('has an I/O address while a device uses it, and cannot be closed meanwhile', () => {
  const pool = new PacketPool({ buffers: 4, pageSize: '4K' });
  const mapper = new FakeMapper();
  expectError('DMA_MAP', () => pool.iovaLow);
  pool.attach(mapper);
  pool.attach(mapper);
  assert.is(mapper.mapped.get((BigInt(pool.iovaHigh) << 32n) | BigInt(pool.iovaLow)), 8192);
  assert.match(expectError('OWNERSHIP', () => pool.close()).message, '2 device(s)');
  pool.detach(mapper);
  expectError('OWNERSHIP', () => pool.close());
  pool.detach(mapper);
  assert.is(mapper.mapped.size, 0);
  pool.close();
  pool.close();
  expectError('CLOSED', () => pool.attach(mapper));
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
    const error = expectError('OWNERSHIP', () => pool.release(Uint32Array.of(3)));
    assert.match(error.message, 'Buffer 3');
    assert.match(error.hint!, 'never received or allocated');
    assert.is(pool.available, 8);
  }),
);

owners(
  'freed twice: says where the first time was',
  withPool({ buffers: 8, debug: true }, (pool) => {
    const bufs = new Uint32Array(2);
    pool.allocate(bufs);
    function firstRelease(): void {
      pool.release(bufs);
    }
    firstRelease();
    const error = blamed(() => pool.release(bufs, 1));
    assert.match(error.message, 'Buffer 1 is to be given back to the pool');
    assert.match(error.hint!, 'given back to the pool before');
    assert.match((error.cause as Error).stack!, 'firstRelease');
    assert.is(pool.available, 8);
  }),
);

owners(
  'the same buffer twice in one call',
  withPool({ buffers: 8, debug: true }, (pool) => {
    pool.allocate(new Uint32Array(2));
    blamed(() => pool.release(Uint32Array.of(0, 1, 0)));
  }),
);

owners(
  'freed after it was sent: says where it was sent',
  withRig({ debug: true }, (rig) => {
    const bufs = rig.allocate(1);
    function theSend(): void {
      assert.is(rig.tx.send(bufs), 1);
    }
    theSend();
    const error = blamed(() => rig.pool.release(bufs));
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
    rig.pool.release(bufs, 1, 2);
    assert.match(blamed(() => rig.tx.send(bufs.subarray(1))).hint!, 'given back to the pool before');
    expectError('OWNERSHIP', () => rig.tx.send(Uint32Array.of(100)));
    expectError('OWNERSHIP', () => rig.tx.send(Uint32Array.of(9999)));
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
      rig.pool.release(rig.bufs, 30, 32);
      rig.txDevice.transmit();
    }
    rig.tx.reclaim();
    const all = new Uint32Array(rig.pool.available);
    rig.pool.allocate(all);
    rig.pool.release(all);
  }),
);

owners(
  'what found no room stays the caller’s',
  withRig({ debug: true }, (rig) => {
    const bufs = rig.allocate(100);
    const sent = rig.tx.send(bufs);
    rig.pool.release(bufs, sent);
    assert.is(rig.pool.available, 512 - 64 - sent);
  }),
);

owners.run();
