/** The queues of AF_XDP over rings in plain memory: arithmetic, ownership, and a kernel that says what is not true. */
import * as assert from 'uvu/assert';
import { COUNTERS } from '../../../src/driver/xdp/counters.js';
import { CLOSED } from '../../support/closed.js';
import { expectError } from '../../support/expect-error.js';
import { suite } from '../../support/suite.js';
import { KernelSide, SIZE } from '../../support/xdp/kernel-side.js';

const { PACKETS, BYTES, NO_BUFFER, DAMAGED, TOO_LONG, ERRORS, FOREIGN } = COUNTERS;

const receive = suite('AF_XDP, receive');

for (const headroomBytes of [0, 64, 256]) {
  receive(`10,000 frames through a ring of ${SIZE}, headroom ${headroomBytes}: each once, unchanged`, () => {
    const kernel = new KernelSide(headroomBytes);
    const { pool } = kernel;
    const queue = kernel.receiver();
    const bufs = new Uint32Array(32);
    let next = 0;
    for (let sent = 0; next < 10_000; ) {
      while (sent < next + 50 && sent < 10_000 && kernel.arrive(Uint8Array.of(sent, sent >> 8, 7))) sent++;
      const count = queue.receive(bufs);
      for (const packet of bufs.subarray(0, count)) {
        assert.equal([...pool.bytes(packet).subarray(0, 3)], [next & 255, (next >> 8) & 255, 7]);
        assert.is(pool.lengths[packet], 3);
        next++;
      }
      pool.release(bufs, count);
    }
    assert.is(queue.counters[PACKETS], 10_000);
    assert.is(queue.counters[BYTES], 30_000);
    assert.is(pool.available, pool.capacity - SIZE);
    queue.close(CLOSED);
    assert.is(pool.available, pool.capacity);
    expectError('CLOSED', () => queue.receive(bufs));
  });
}

for (const [headroomBytes, moved] of [
  [64, true],
  [256, false],
] as const) {
  receive(`zero-copy, headroom ${headroomBytes}: no buffer that is told reaches into another page`, () => {
    const kernel = new KernelSide(headroomBytes);
    const { pool } = kernel;
    const queue = kernel.receiver(1792, { zeroCopy: true });
    const { words, entries } = kernel.fill;
    const told = Array.from({ length: SIZE }, (_, i) => words[entries + 2 * i]! >>> 0);
    for (const address of told) assert.ok((address & 4095) + pool.bufferSizeBytes <= 4096, `${address}`);
    assert.is(
      told.some((address) => address % pool.bufferSizeBytes !== 0),
      moved,
    );
    const bufs = new Uint32Array(SIZE);
    const frame = Uint8Array.from({ length: 1792 }, (_, i) => i % 251);
    for (let round = 0; round < 8; round++) {
      for (let i = 0; i < SIZE; i++) kernel.arrive(frame);
      assert.is(queue.receive(bufs), SIZE);
      for (const packet of bufs) assert.equal(pool.bytes(packet).slice(0, 1792), frame);
      pool.release(bufs, SIZE);
    }
    assert.is(queue.counters[DAMAGED], 0);
    queue.close(CLOSED);
    assert.is(pool.available, pool.capacity);
  });
}

receive('busy polling: the kernel is called whenever there is nothing', () => {
  for (const [busyPoll, calls] of [
    [true, 3],
    [false, 0],
  ] as const) {
    const kernel = new KernelSide();
    const queue = kernel.receiver(1792, { busyPoll });
    const bufs = new Uint32Array(8);
    for (let i = 0; i < 3; i++) queue.receive(bufs);
    kernel.arrive(Uint8Array.of(1));
    assert.is(queue.receive(bufs), 1);
    assert.is(kernel.fillWakeUps, calls);
    queue.close(CLOSED);
  }
});

receive('an empty pool: frames stay in the ring, and it is counted', () => {
  const kernel = new KernelSide(64, SIZE + 2);
  const queue = kernel.receiver();
  const bufs = new Uint32Array(32);
  for (let i = 0; i < 10; i++) kernel.arrive(Uint8Array.of(i));
  const first = queue.receive(bufs);
  assert.is(first, 2);
  assert.is(queue.counters[NO_BUFFER], 1);
  kernel.pool.release(bufs, first);
  let total = first;
  for (let i = 0; i < 20; i++) {
    const count = queue.receive(bufs);
    for (const [at, packet] of bufs.subarray(0, count).entries())
      assert.is(kernel.pool.bytes(packet)[0], total + at);
    total += count;
    kernel.pool.release(bufs, count);
  }
  assert.is(total, 10);
  queue.close(CLOSED);
  assert.is(kernel.pool.available, kernel.pool.capacity);
});

receive(
  'buffer 0 has no room in front of it: its frame comes further behind, and is where frames are',
  () => {
    for (const headroomBytes of [0, 64, 192, 256, 512]) {
      const kernel = new KernelSide(headroomBytes);
      const queue = kernel.receiver(1536);
      const bufs = new Uint32Array(SIZE);
      const frame = Uint8Array.from({ length: 1536 }, (_, i) => i % 251);
      let seen = 0;
      for (let round = 0; round < 8; round++) {
        for (let i = 0; i < SIZE; i++) kernel.arrive(frame);
        const count = queue.receive(bufs);
        assert.is(count, SIZE);
        for (const packet of bufs) {
          if (packet === 0) seen++;
          assert.equal(kernel.pool.bytes(packet).slice(0, 1536), frame);
        }
        kernel.pool.release(bufs, count);
      }
      assert.ok(seen > 0, `headroom ${headroomBytes}`);
      assert.is(queue.counters[DAMAGED], 0);
      queue.close(CLOSED);
    }
  },
);

receive('a kernel that ran out of buffers and asks to be told of new ones is called', () => {
  const kernel = new KernelSide();
  const queue = kernel.receiver();
  const bufs = new Uint32Array(1);
  assert.is(kernel.fillWakeUps, 0);
  kernel.fill.words[kernel.fill.flags] = 1;
  queue.receive(bufs);
  assert.is(kernel.fillWakeUps, 1, 'when there is nothing');
  kernel.arrive(Uint8Array.of(1));
  assert.is(queue.receive(bufs), 1);
  assert.is(kernel.fillWakeUps, 2, 'with the next buffers');
  kernel.fill.words[kernel.fill.flags] = 0;
  queue.receive(bufs);
  assert.is(kernel.fillWakeUps, 2);
});

receive('nothing there: the sender is looked after', () => {
  const kernel = new KernelSide();
  const queue = kernel.receiver();
  assert.is(queue.receive(new Uint32Array(1)), 0);
  assert.is(kernel.idles, 1);
  assert.is(queue.pending, false);
});

const LIES: readonly (readonly [what: string, low: number, high: number, lengthBytes: number])[] = [
  ['an address outside the memory', 0x7000_0000, 0, 60],
  ['an address of all ones', -1, -1, 60],
  ['an address over 4 GiB', 64, 1, 60],
  ['a buffer that it does not have', 255 * 2048 + 64, 0, 60],
  ['an address inside a frame', 3 * 2048 + 65, 0, 60],
  ['an address in front of the first', 0, 0, 60],
];

for (const [what, low, high, lengthBytes] of LIES) {
  receive(`a lying kernel: ${what}`, () => {
    const kernel = new KernelSide();
    const queue = kernel.receiver();
    const bufs = new Uint32Array(32);
    for (let i = 0; i < 3 * SIZE; i++) {
      kernel.tell(low, high, lengthBytes);
      assert.is(queue.receive(bufs), 0);
    }
    assert.is(queue.counters[DAMAGED], 3 * SIZE);
    // What is true still passes.
    assert.is(kernel.arrive(Uint8Array.of(9)), true);
    assert.is(queue.receive(bufs), 1);
    assert.is(kernel.pool.bytes(bufs[0]!)[0], 9);
    kernel.pool.release(bufs, 1);
    queue.close(CLOSED);
    assert.is(kernel.pool.available, kernel.pool.capacity);
  });
}

receive('a lying kernel: a length that no buffer holds, and none', () => {
  const kernel = new KernelSide();
  const queue = kernel.receiver();
  const bufs = new Uint32Array(32);
  for (const lengthBytes of [1793, 0xffff_ffff, 0x8000_0000, 0]) {
    kernel.tell(kernel.takeFill()!, 256 << 16, lengthBytes);
    assert.is(queue.receive(bufs), 0);
  }
  assert.equal([queue.counters[TOO_LONG], queue.counters[DAMAGED]], [3, 1]);
  kernel.tell(kernel.takeFill()!, 256 << 16, 1792);
  assert.is(queue.receive(bufs), 1);
  kernel.pool.release(bufs, 1);
  queue.close(CLOSED);
  assert.is(kernel.pool.available, kernel.pool.capacity);
});

receive('a lying kernel: the same frame twice, and a producer out of range', () => {
  const kernel = new KernelSide();
  const queue = kernel.receiver();
  const bufs = new Uint32Array(256);
  const address = kernel.takeFill()!;
  kernel.tell(address, 256 << 16, 60);
  kernel.tell(address, 256 << 16, 60);
  assert.is(queue.receive(bufs), 1);
  assert.is(queue.counters[DAMAGED], 1);
  kernel.pool.release(bufs, 1);
  const { rx } = kernel;
  rx.words[rx.producer] = (rx.words[rx.producer]! + 1_000_000) | 0;
  const before = queue.counters[DAMAGED]!;
  const count = queue.receive(bufs);
  assert.ok(count <= SIZE);
  assert.is(queue.counters[DAMAGED]! - before + count, SIZE, 'one ring of entries at a time');
  kernel.pool.release(bufs, count);
  queue.close(CLOSED);
  assert.is(kernel.pool.available, kernel.pool.capacity);
});

receive.run();

const send = suite('AF_XDP, send');

/** Buffers of 60 bytes that begin with a number each. */
function fill(kernel: KernelSide, count: number, first = 0): Uint32Array {
  const bufs = new Uint32Array(count);
  assert.is(kernel.pool.allocate(bufs, count), count);
  for (const [i, packet] of bufs.entries()) {
    kernel.pool.bytes(packet)[0] = first + i;
    kernel.pool.lengths[packet] = 60;
  }
  return bufs;
}

send('1,000 batches: each frame once, in order, and every buffer back', () => {
  const kernel = new KernelSide(64, 256, true);
  const queue = kernel.sender();
  for (let i = 0; i < 1000; i++) assert.is(queue.send(fill(kernel, 8, (8 * i) & 255), 8), 8);
  queue.reclaim();
  assert.is(queue.inFlight, 0);
  assert.is(kernel.pool.available, kernel.pool.capacity);
  assert.is(kernel.wakeUps, 1000);
  assert.equal(
    kernel.sent.map((frame) => frame[0]),
    Array.from({ length: 8000 }, (_, i) => i & 255),
  );
  assert.is(kernel.sent[0]!.length, 60);
  assert.equal([queue.counters[PACKETS], queue.counters[BYTES]], [8000, 480_000]);
});

send('a kernel that takes some frames a call is called until it has all', () => {
  const kernel = new KernelSide();
  kernel.takes = 10;
  kernel.returns = -11;
  const queue = kernel.sender();
  assert.is(queue.send(fill(kernel, 50), 50), 50);
  assert.is(kernel.sent.length, 50);
  assert.is(kernel.wakeUps, 5);
});

for (const debug of [false, true]) {
  send(
    `a kernel that takes nothing: the ring fills, no call is repeated, the rest stays with the caller${debug ? '; a debug pool' : ''}`,
    () => {
      const kernel = new KernelSide(64, 256, debug);
      kernel.takes = 0;
      kernel.returns = -100;
      const queue = kernel.sender();
      const bufs = fill(kernel, 100);
      assert.is(queue.send(bufs, 100), SIZE);
      assert.is(queue.send(bufs, 36, SIZE), 0);
      assert.is(kernel.wakeUps, 2);
      assert.is(queue.inFlight, SIZE);
      kernel.takes = 1000;
      queue.kick();
      assert.is(kernel.sent.length, SIZE);
      assert.is(queue.send(bufs, 36, SIZE), 36);
      queue.close(CLOSED);
      assert.is(kernel.pool.available, kernel.pool.capacity);
      expectError('CLOSED', () => queue.send(bufs, 0));
      expectError('CLOSED', () => queue.reclaim());
    },
  );
}

send('zero-copy: the kernel is called until all is reported, once each time', () => {
  const kernel = new KernelSide();
  const queue = kernel.sender(true);
  queue.send(fill(kernel, 4), 4);
  assert.is(kernel.wakeUps, 1);
  queue.kick();
  assert.is(kernel.wakeUps, 2);
  queue.reclaim();
  assert.is(queue.inFlight, 0);
  queue.reclaim();
  assert.is(kernel.wakeUps, 2);
});

send('a kernel that does not ask to be called is not', () => {
  const kernel = new KernelSide();
  const { tx } = kernel;
  tx.words[tx.flags] = 0;
  const queue = kernel.sender();
  assert.is(queue.send(fill(kernel, 3), 3), 3);
  assert.is(kernel.wakeUps, 0);
});

send('frames that are too short or too long are dropped and counted', () => {
  const kernel = new KernelSide();
  const queue = kernel.sender();
  const bufs = fill(kernel, 3);
  kernel.pool.lengths[bufs[0]!] = 13;
  kernel.pool.lengths[bufs[1]!] = 1793;
  assert.is(queue.send(bufs, 3), 3);
  assert.is(kernel.sent.length, 1);
  assert.is(queue.counters[ERRORS], 2);
  queue.reclaim();
  assert.is(kernel.pool.available, kernel.pool.capacity);
});

send('a lying kernel: reports of what was not sent, and a producer out of range', () => {
  const kernel = new KernelSide();
  kernel.takes = 0;
  const queue = kernel.sender();
  const bufs = fill(kernel, 4);
  queue.send(bufs, 4);
  for (const [low, high] of [
    [-1, 0],
    [64, 1],
    [bufs[0]! * 2048 + 65, 0],
    [200 * 2048 + 64, 0],
    [0, 0],
  ] as const)
    kernel.complete(low, high);
  queue.reclaim();
  assert.is(queue.inFlight, 4);
  assert.is(queue.counters[FOREIGN], 5);
  const { completion } = kernel;
  completion.words[completion.producer] = (completion.words[completion.producer]! + 0x7000_0000) | 0;
  queue.reclaim();
  assert.is(queue.counters[FOREIGN], 5 + SIZE, 'one ring of entries at a time');
  assert.is(queue.inFlight, 4);
  queue.close(CLOSED);
  assert.is(kernel.pool.available, kernel.pool.capacity);
});

send.run();
