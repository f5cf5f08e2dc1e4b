import fc from 'fast-check';
import * as assert from 'uvu/assert';
import { LAYOUT } from '../../../src/driver/intel/descriptors.js';
import { connectQueues, type Forwarder, type ForwardOptions } from '../../../src/forward/forwarder.js';
import { CLOSED } from '../../support/closed.js';
import { QueueRig, type RigOptions, withRig } from '../../support/queue-rig.js';
import { RX_ERROR_RXE, RX_STATUS_DD, RX_STATUS_EOP } from '../../support/ring-device.js';
import { suite } from '../../support/suite.js';

const GOOD = RX_STATUS_DD | RX_STATUS_EOP;
const SIZE = 64;
const isClosed = (error: unknown): boolean => error === CLOSED;

/** A rig whose queues are joined; checks at the end that every buffer comes back. */
function withPipe(
  test: (rig: QueueRig, pipe: Forwarder) => void,
  options: ForwardOptions = {},
  rigOptions: RigOptions = {},
): () => void {
  return withRig(rigOptions, (rig) => {
    test(rig, connectQueues(rig.rx, rig.tx, { path: 'pipe', ...options }));
    rig.rx.close(CLOSED);
    rig.tx.close(CLOSED);
    assert.is(rig.pool.available, rig.pool.capacity, 'every buffer is back');
    assert.is(new Set(rig.free()).size, rig.pool.capacity, 'and none twice');
  });
}

/** Frames arrive, as many as find a descriptor; returns them. */
function arrive(rig: QueueRig, lengths: readonly number[]): Uint8Array[] {
  const frames = lengths.map((length) => rig.frame(length));
  return frames.filter((frame) => rig.rxDevice.receive({ frame }));
}

function counters(rig: QueueRig): Record<string, number> {
  const { rx, tx } = rig;
  return {
    rxPackets: rx.counters[LAYOUT.PACKETS]!,
    rxBytes: rx.counters[LAYOUT.BYTES]!,
    rxDamaged: rx.counters[LAYOUT.DAMAGED]!,
    rxTooLong: rx.counters[LAYOUT.TOO_LONG]!,
    rxNoBuffer: rx.counters[LAYOUT.NO_BUFFER]!,
    txPackets: tx.counters[LAYOUT.PACKETS]!,
    txBytes: tx.counters[LAYOUT.BYTES]!,
    txErrors: tx.counters[LAYOUT.ERRORS]!,
  };
}

const NOTHING = {
  rxPackets: 0,
  rxBytes: 0,
  rxDamaged: 0,
  rxTooLong: 0,
  rxNoBuffer: 0,
  txPackets: 0,
  txBytes: 0,
  txErrors: 0,
};

function sentBytes(rig: QueueRig): Uint8Array[] {
  return rig.txDevice.sent.map(({ bytes }) => bytes);
}

const moving = suite('Pipe');

for (const touch of [false, true]) {
  moving(
    `frames of all lengths, over many laps of the rings, unchanged and in order (touch: ${touch})`,
    withPipe(
      (rig, pipe) => {
        const frames: Uint8Array[] = [];
        for (let round = 0; round < 200; round++) {
          const lengths = Array.from(
            { length: (round * 7) % 45 },
            (_, i) => 17 + ((round * 31 + i * 97) % 1968),
          );
          frames.push(...arrive(rig, lengths));
          while (pipe.poll() > 0);
          rig.txDevice.transmit();
        }
        while (pipe.poll() > 0);
        rig.txDevice.transmit();
        assert.ok(frames.length > 20 * SIZE);
        assert.equal(sentBytes(rig), frames);
        const bytes = frames.reduce((sum, frame) => sum + frame.length, 0);
        assert.equal(counters(rig), {
          ...NOTHING,
          rxPackets: frames.length,
          rxBytes: bytes,
          txPackets: frames.length,
          txBytes: bytes,
        });
        assert.is(pipe.dropped, 0);
      },
      { touch },
    ),
  );
}

moving(
  'nothing to do: 0, and no doorbell',
  withPipe((rig, pipe) => {
    const before = [rig.rxDevice.tail.writes.length, rig.txDevice.tail.writes.length];
    assert.is(pipe.poll(), 0);
    assert.equal([rig.rxDevice.tail.writes.length, rig.txDevice.tail.writes.length], before);
  }),
);

moving(
  'at most a batch at a time, with one doorbell; the receive tail follows when a group has left',
  withPipe(
    (rig, pipe) => {
      rig.arrive(40);
      assert.equal([pipe.poll(), pipe.poll(), pipe.poll(), pipe.poll()], [16, 16, 8, 0]);
      assert.equal(rig.txDevice.tail.writes, [16, 32, 40]);
      assert.equal(rig.rxDevice.tail.writes, [SIZE - 1], 'only the start');
      rig.txDevice.transmit(33);
      assert.is(pipe.poll(), 0);
      assert.equal(rig.rxDevice.tail.writes, [SIZE - 1, 31]);
    },
    { batch: 16 },
  ),
);

moving(
  'of several groups only those that have left go back',
  withPipe(
    (rig, pipe) => {
      rig.arrive(100);
      assert.is(pipe.poll(), 100);
      rig.txDevice.transmit(40);
      assert.is(pipe.poll(), 0);
      assert.equal(rig.rxDevice.tail.writes, [127, 31]);
      rig.txDevice.transmit(60);
      assert.is(pipe.poll(), 0);
      assert.equal(rig.rxDevice.tail.writes, [127, 31, 95]);
    },
    { batch: 256 },
    { rxSize: 128, txSize: 128 },
  ),
);

moving(
  'takes nothing from the pool and gives nothing back',
  withPipe((rig, pipe) => {
    const { available } = rig.pool;
    for (let round = 0; round < 20; round++) {
      rig.arrive(32);
      pipe.poll();
      assert.is(rig.pool.available, available);
      rig.txDevice.transmit();
    }
  }),
);

moving(
  'a full transmit ring stops it; the frames wait, and go on in order',
  withPipe((rig, pipe) => {
    const frames: Uint8Array[] = [];
    for (let round = 0; round < 5; round++) {
      frames.push(
        ...arrive(
          rig,
          Array.from({ length: 32 }, () => 60),
        ),
      );
      while (pipe.poll() > 0);
    }
    assert.is(frames.length, SIZE - 1, 'then no descriptor is left to receive into');
    assert.is(rig.txDevice.queued, SIZE - 1);
    assert.not.ok(rig.rx.pending, 'nothing that a poll could do');
    assert.ok(rig.rx.blocked);
    rig.txDevice.transmit(32);
    assert.not.ok(rig.rx.blocked, 'a group has left');
    for (let round = 0; round < 5; round++) {
      rig.txDevice.transmit();
      while (pipe.poll() > 0);
      frames.push(
        ...arrive(
          rig,
          Array.from({ length: 20 }, () => 60),
        ),
      );
    }
    while (pipe.poll() > 0);
    rig.txDevice.transmit();
    assert.equal(sentBytes(rig), frames);
    assert.is(pipe.dropped, 0);
    assert.is(rig.tx.counters[LAYOUT.PACKETS], rig.rx.counters[LAYOUT.PACKETS]);
  }),
);

moving(
  'a device that never reports, and one that reports only in the end',
  withPipe((rig, pipe) => {
    rig.txDevice.reports = false;
    for (let round = 0; round < 4; round++) {
      rig.arrive(32);
      while (pipe.poll() > 0);
      rig.txDevice.transmit();
    }
    assert.is(rig.txDevice.sent.length, SIZE - 1);
  }),
);

moving(
  'pending: a packet and room for it',
  withPipe((rig, pipe) => {
    assert.not.ok(rig.rx.pending);
    rig.arrive(1);
    assert.ok(rig.rx.pending);
    pipe.poll();
    assert.not.ok(rig.rx.pending);
    rig.rx.close(CLOSED);
    rig.tx.close(CLOSED);
    assert.not.ok(rig.rx.pending);
    assert.not.ok(rig.rx.blocked);
  }),
);

moving(
  'a pool that debugs, and a hook that looks at its buffers, which are its own only meanwhile',
  withRig({ debug: true }, (rig) => {
    let last = 0;
    const pipe = connectQueues(rig.rx, rig.tx, {
      path: 'pipe',
      onPacket: (packet, length) => {
        last = packet;
        return rig.pool.bytes(packet).length > 0 ? length : 0;
      },
    });
    for (let round = 0; round < 10; round++) {
      rig.arrive(20);
      assert.is(pipe.poll(), 20);
      rig.txDevice.transmit();
      pipe.poll();
      assert.throws(
        () => rig.pool.bytes(last),
        (error: { code?: string }) => error.code === 'OWNERSHIP',
      );
    }
  }),
);

moving.run();

const hooks = suite('Pipe, hook');

hooks(
  'sees each packet where it lies and may change it and its length',
  withRig({}, (rig) => {
    const seen: number[] = [];
    const pipe = connectQueues(rig.rx, rig.tx, {
      path: 'pipe',
      onPacket(packet, length) {
        seen.push(length);
        rig.pool.bytes(packet)[0] = 0xee;
        return length - 4;
      },
    });
    const frames = arrive(rig, [60, 100, 1514]);
    assert.is(pipe.poll(), 3);
    rig.txDevice.transmit();
    assert.equal(seen, [60, 100, 1514]);
    const wanted = frames.map((frame) => Uint8Array.from(frame.subarray(0, -4)).fill(0xee, 0, 1));
    assert.equal(sentBytes(rig), wanted);
    assert.equal(counters(rig), { ...NOTHING, rxPackets: 3, rxBytes: 1674, txPackets: 3, txBytes: 1662 });
  }),
);

for (const [name, drops] of [
  ['every third', (n: number) => n % 3 === 0],
  ['the last of each group', (n: number) => n % 32 === 31],
  ['whole groups', (n: number) => (n & 32) !== 0],
  ['all', () => true],
] as const) {
  for (const path of ['pipe', 'general'] as const) {
    hooks(
      `drops ${name}; the others keep their order (${path})`,
      withRig({}, (rig) => {
        let number = 0;
        const onPacket = (_packet: number, length: number): number => (drops(number++) ? 0 : length);
        const forwarder = connectQueues(rig.rx, rig.tx, { onPacket, path });
        assert.is(forwarder.path, path);
        const frames: Uint8Array[] = [];
        for (let round = 0; round < 40; round++) {
          frames.push(
            ...arrive(
              rig,
              Array.from({ length: 25 }, (_, i) => 60 + i),
            ),
          );
          while (forwarder.poll() > 0);
          rig.txDevice.transmit();
          // Slots of what has left go back to the receive ring.
          forwarder.poll();
        }
        const kept = frames.filter((_, i) => !drops(i));
        assert.equal([frames.length, number], [1000, 1000]);
        assert.equal(sentBytes(rig), kept);
        assert.is(forwarder.dropped, 1000 - kept.length);
        assert.is(rig.rx.counters[LAYOUT.PACKETS], rig.tx.counters[LAYOUT.PACKETS]! + forwarder.dropped);
        assert.is(rig.txDevice.nulls, path === 'pipe' ? forwarder.dropped : 0);
      }),
    );
  }
}

for (const length of [-1, 1, 16, 1985, 1e9, Number.NaN]) {
  for (const path of ['pipe', 'general'] as const) {
    hooks(
      `a length of ${length} is no packet that hardware can send (${path})`,
      withRig({}, (rig) => {
        const lengths = [60, length, 60];
        const onPacket = (): number => lengths.shift()!;
        const forwarder = connectQueues(rig.rx, rig.tx, { onPacket, path });
        rig.arrive(3);
        assert.is(forwarder.poll(), 3);
        rig.txDevice.transmit();
        assert.is(rig.txDevice.sent.length, 2);
        const lost = Number.isNaN(length) ? forwarder.dropped : rig.tx.counters[LAYOUT.ERRORS];
        assert.is(lost, 1);
      }),
    );
  }
}

hooks(
  'bad frames among good ones, at every place of a batch: dropped, counted, and the others go on in order',
  withRig({}, (rig) => {
    let seen = 0;
    const pipe = connectQueues(rig.rx, rig.tx, {
      path: 'pipe',
      batch: 8,
      onPacket: (_packet, length) => (++seen % 5 === 0 ? 0 : length - 1),
    });
    const kept: Uint8Array[] = [];
    let good = 0;
    for (let round = 0; round < 64; round++) {
      for (let i = 0; i < 8; i++) {
        const frame = rig.frame(60 + i);
        const bad = i === round % 8 || i === (round >> 3) % 8;
        const status = bad ? GOOD | RX_ERROR_RXE : GOOD;
        assert.ok(rig.rxDevice.receive({ frame, status }));
        if (!bad && ++good % 5 !== 0) kept.push(frame.subarray(0, -1));
      }
      while (pipe.poll() > 0);
      rig.txDevice.transmit();
      pipe.poll();
    }
    assert.equal(sentBytes(rig), kept);
    assert.is(seen, good);
    assert.is(pipe.dropped, good - kept.length);
    const { rxPackets, txPackets, rxDamaged } = counters(rig);
    assert.equal([rxPackets, txPackets, rxDamaged], [good, kept.length, 64 * 8 - good]);
  }),
);

hooks(
  'one that closes a device: the pipe ends, and every buffer is back once',
  withRig({}, (rig) => {
    let calls = 0;
    const pipe = connectQueues(rig.rx, rig.tx, {
      path: 'pipe',
      onPacket(_packet, length) {
        if (++calls === 3) rig.rx.close(CLOSED);
        return length;
      },
    });
    rig.arrive(6);
    pipe.poll();
    assert.is(calls, 3);
    assert.throws(() => pipe.poll(), isClosed);
    rig.tx.close(CLOSED);
    assert.is(rig.pool.available, rig.pool.capacity);
    assert.is(new Set(rig.free()).size, rig.pool.capacity);
  }),
);

for (const path of ['pipe', 'general'] as const) {
  hooks(
    `one that throws: what came before is sent, its packet is shown again (${path})`,
    withRig({}, (rig) => {
      let calls = 0;
      const forwarder = connectQueues(rig.rx, rig.tx, {
        path,
        onPacket(_packet, length) {
          if (++calls === 3) throw new Error('planted');
          return length;
        },
      });
      const frames = arrive(rig, [60, 61, 62, 63]);
      assert.throws(() => forwarder.poll(), /planted/);
      rig.txDevice.transmit();
      assert.equal(sentBytes(rig), frames.slice(0, 2));
      assert.is(forwarder.poll(), 2);
      rig.txDevice.transmit();
      assert.equal(sentBytes(rig), frames);
      assert.is(rig.tx.counters[LAYOUT.PACKETS], 4);
      assert.is(rig.rx.counters[LAYOUT.PACKETS], 4);
      assert.is(forwarder.dropped, 0);
    }),
  );
}

for (const path of ['pipe', 'general'] as const) {
  hooks(
    `one that calls poll again is refused, and nothing is lost (${path})`,
    withRig({}, (rig) => {
      let nested = 0;
      const forwarder: Forwarder = connectQueues(rig.rx, rig.tx, {
        path,
        onPacket(_packet, length) {
          assert.throws(
            () => forwarder.poll(),
            (error: { code?: string }) => error.code === 'OWNERSHIP',
          );
          nested++;
          return length;
        },
      });
      const frames = arrive(rig, [60, 61, 62]);
      assert.is(forwarder.poll(), 3);
      rig.txDevice.transmit();
      assert.equal(sentBytes(rig), frames);
      assert.is(nested, 3);
      rig.arrive(2);
      assert.is(forwarder.poll(), 2, 'and works on');
    }),
  );
}

hooks.run();

const damaged = suite('Pipe, damaged frames');

/** One arrival: a good frame of a length, a damaged one, one over several descriptors, or an impossible length. */
type Arrival = readonly [kind: 'good' | 'error' | 'long' | 'length', value: number];

function play(path: 'pipe' | 'general', hooked: boolean, rounds: readonly (readonly Arrival[])[]): unknown {
  const rig = new QueueRig({ buffers: 1024 });
  try {
    const options = hooked ? { onPacket: (_packet: number, length: number): number => length } : {};
    const forwarder = connectQueues(rig.rx, rig.tx, { path, ...options });
    for (const arrivals of rounds) {
      for (const [kind, value] of arrivals) {
        if (kind === 'good') rig.rxDevice.receive({ frame: rig.frame(value) });
        if (kind === 'error') rig.rxDevice.receive({ frame: rig.frame(60), status: GOOD | RX_ERROR_RXE });
        if (kind === 'length') rig.rxDevice.receive({ frame: rig.frame(60), length: value });
        if (kind === 'long') {
          for (let i = 0; i < value; i++)
            rig.rxDevice.receive({ frame: rig.frame(60), status: RX_STATUS_DD });
          rig.rxDevice.receive({ frame: rig.frame(60) });
        }
      }
      for (let i = 0; i < 4; i++) forwarder.poll();
      rig.txDevice.transmit();
    }
    return { sent: sentBytes(rig), counters: counters(rig), dropped: forwarder.dropped };
  } finally {
    rig.close();
  }
}

const arrival: fc.Arbitrary<Arrival> = fc.oneof(
  { weight: 6, arbitrary: fc.tuple(fc.constant('good' as const), fc.integer({ min: 1, max: 1984 })) },
  { weight: 1, arbitrary: fc.tuple(fc.constant('error' as const), fc.constant(0)) },
  { weight: 1, arbitrary: fc.tuple(fc.constant('long' as const), fc.integer({ min: 1, max: 3 })) },
  { weight: 1, arbitrary: fc.tuple(fc.constant('length' as const), fc.constantFrom(0, 16, 1985, 0xffff)) },
);

for (const hooked of [false, true]) {
  damaged(`the same frames and counts as on the general path, whatever arrives (hook: ${hooked})`, () => {
    fc.assert(
      fc.property(fc.array(fc.array(arrival, { maxLength: 7 }), { maxLength: 30 }), (rounds) => {
        assert.equal(play('pipe', hooked, rounds), play('general', hooked, rounds));
      }),
      { numRuns: 60 },
    );
  });
}

/** Writes the same to every receive descriptor after each poll, and DD to every transmit descriptor. */
function hostile(status: number, length: number, onPacket?: ForwardOptions['onPacket']): () => void {
  return () => {
    const rig = new QueueRig();
    const tails = { rx: new Uint32Array(1), tx: new Uint32Array(1) };
    rig.rxDevice.tail[0] = SIZE - 1;
    const pipe = connectQueues(rig.rx, rig.tx, {
      path: 'pipe',
      ...(onPacket === undefined ? {} : { onPacket }),
    });
    // From here on nothing is checked: this device breaks every rule itself.
    Object.defineProperty(rig.rxDevice.tail, 0, { set: (value: number) => tails.rx.fill(value) });
    Object.defineProperty(rig.txDevice.tail, 0, { set: (value: number) => tails.tx.fill(value) });
    for (let round = 0; round < 200; round++) {
      for (let slot = 0; slot < SIZE; slot++) {
        rig.rxDevice.writeBack(slot, { status, length });
        if (round % 3 === 0) rig.txRing[slot * 4 + 3] = -1;
      }
      assert.ok(pipe.poll() <= 32);
      assert.ok(tails.rx[0]! < SIZE && tails.tx[0]! < SIZE);
    }
    rig.rx.close(CLOSED);
    rig.tx.close(CLOSED);
    assert.is(rig.pool.available, rig.pool.capacity);
    assert.is(new Set(rig.free()).size, rig.pool.capacity);
    assert.throws(() => pipe.poll(), isClosed);
    rig.pool.detach(rig.mapper);
    rig.pool.close();
  };
}

damaged('DD everywhere, for ever', hostile(GOOD, 60));
damaged(
  'DD everywhere, for ever, with a hook',
  hostile(GOOD, 60, (_packet, length) => length),
);
damaged('errors everywhere, for ever', hostile(GOOD | RX_ERROR_RXE, 60));
damaged('no end of packet, for ever', hostile(RX_STATUS_DD, 60));
damaged('all ones in every descriptor', hostile(-1, 0xffff));

for (const onPacket of [undefined, (_packet: number, length: number): number => length]) {
  damaged(
    `a device that fills the slot that it does not own (hook: ${onPacket !== undefined})`,
    withPipe(
      (rig, pipe) => {
        for (let slot = 0; slot < SIZE; slot++) rig.rxDevice.writeBack(slot, { length: 60 });
        let moved = 0;
        for (let round = 0; round < 10; round++) moved += pipe.poll();
        assert.is(moved, SIZE - 1, 'the transmit ring has no more places');
        assert.is(rig.txDevice.queued, SIZE - 1);
      },
      onPacket === undefined ? {} : { onPacket },
    ),
  );
}

damaged(
  'reports of groups that were not sent free nothing',
  withPipe((rig, pipe) => {
    for (let slot = 0; slot < SIZE; slot++) rig.txRing[slot * 4 + 3] = 1;
    rig.arrive(31);
    assert.is(pipe.poll(), 31);
    assert.is(pipe.poll(), 0);
    assert.equal(rig.rxDevice.tail.writes, [SIZE - 1], 'no slot is handed back before its packet has left');
  }),
);

damaged.run();

const joining = suite('Pipe, joining and closing');

function refused(rig: QueueRig, reason: RegExp): void {
  assert.throws(
    () => connectQueues(rig.rx, rig.tx, { path: 'pipe' }),
    (error: { code?: string; message: string }) => error.code === 'BAD_OPTION' && reason.test(error.message),
  );
}

joining(
  'rings of different sizes: the general path',
  withRig({ rxSize: 128 }, (rig) => {
    refused(rig, /128 descriptors and the transmit ring 64/);
    const forwarder = connectQueues(rig.rx, rig.tx);
    assert.is(forwarder.path, 'general');
    rig.arrive(3);
    assert.is(forwarder.poll(), 3);
  }),
);

joining(
  'different pools',
  withRig({}, (rig) => {
    const other = new QueueRig();
    for (const path of ['pipe', 'general', 'auto'] as const) {
      assert.throws(
        () => connectQueues(rig.rx, other.tx, { path }),
        (error: { code?: string; message: string }) =>
          error.code === 'BAD_OPTION' && /different pools/.test(error.message),
      );
    }
    rig.arrive(3);
    assert.is(connectQueues(rig.rx, rig.tx).poll(), 3, 'the queues are as before');
    other.close();
  }),
);

joining(
  'queues that have received, or sent',
  withRig({}, (rig) => {
    rig.arrive(1);
    rig.pool.release(rig.bufs, rig.rx.receive(rig.bufs));
    refused(rig, /received already/);
  }),
);

joining(
  'a queue that has sent',
  withRig({}, (rig) => {
    rig.tx.send(rig.allocate(1), 1);
    refused(rig, /sent already/);
  }),
);

joining(
  'a queue that notes metadata',
  withRig({ metadata: { ipErrorShift: 31, l4ErrorShift: 30 } }, (rig) => refused(rig, /metadata/)),
);

joining(
  'a queue that is in a pipe, or closed',
  withPipe((rig) => {
    refused(rig, /in a pipe already/);
    rig.rx.close(CLOSED);
    rig.tx.close(CLOSED);
    refused(rig, /already|closed/);
  }),
);

joining(
  'queues of another make',
  withRig({}, (rig) => {
    const tx = { size: SIZE, pool: rig.pool, send: () => 0, reclaim: () => {} };
    assert.throws(() => connectQueues(rig.rx, tx, { path: 'pipe' }), /different descriptors/);
    assert.is(connectQueues(rig.rx, tx).path, 'general');
  }),
);

joining(
  'frames that arrived before are moved',
  withRig({}, (rig) => {
    rig.arrive(5);
    assert.is(connectQueues(rig.rx, rig.tx, { path: 'pipe' }).poll(), 5);
    rig.txDevice.transmit();
    assert.is(rig.txDevice.sent.length, 5);
  }),
);

joining(
  'receive and send throw; who kept the functions from before gets nothing done',
  withRig({}, (rig) => {
    const { receive, send } = rig.rx && { receive: rig.rx.receive, send: rig.tx.send };
    const bufs = rig.allocate(2);
    const pipe = connectQueues(rig.rx, rig.tx, { path: 'pipe' });
    for (const attempt of [
      () => rig.rx.receive(rig.bufs),
      () => rig.tx.send(bufs, bufs.length),
      () => rig.tx.sendOffloaded!(bufs, bufs.length),
    ]) {
      assert.throws(attempt, (error: { code?: string }) => error.code === 'OWNERSHIP');
    }
    assert.is(receive(rig.bufs), 0);
    assert.is(send(bufs, bufs.length), 0);
    rig.tx.reclaim();
    rig.arrive(1);
    assert.throws(() => receive(rig.bufs), /belongs to a pipe/);
    assert.is(pipe.poll(), 1);
    rig.pool.release(bufs, bufs.length);
  }),
);

for (const batch of [0, 1.5, 4097]) {
  joining(
    `a batch of ${batch} is refused, and the queues stay usable`,
    withRig({}, (rig) => {
      assert.throws(() => connectQueues(rig.rx, rig.tx, { path: 'pipe', batch }), /batch/);
      assert.is(connectQueues(rig.rx, rig.tx).path, 'pipe');
    }),
  );
}

for (const order of [
  ['rx', 'tx'],
  ['tx', 'rx'],
] as const) {
  joining(
    `closing ${order.join(', then ')}: a packet in the transmit ring is the transmit queue's`,
    withRig({}, (rig) => {
      const pipe = connectQueues(rig.rx, rig.tx, { path: 'pipe' });
      const { available, capacity } = rig.pool;
      for (let round = 0; round < 3; round++) {
        rig.arrive(30);
        pipe.poll();
        if (round === 0) rig.txDevice.transmit();
      }
      // 90 arrived at most; groups that left are back in the receive ring.
      const inRing = new Set(rig.txDevice.queuedBuffers());
      const doorbells = rig.txDevice.tail.writes.length;
      rig[order[0]].close(CLOSED);
      const freed = new Set(rig.free());
      for (const buffer of inRing) assert.is(freed.has(buffer), order[0] === 'tx', `buffer ${buffer}`);
      assert.ok(rig.pool.available > available);
      assert.throws(() => pipe.poll(), isClosed);
      rig[order[1]].close(CLOSED);
      assert.is(rig.pool.available, capacity);
      assert.is(new Set(rig.free()).size, capacity);
      assert.throws(() => pipe.poll(), isClosed);
      assert.is(rig.txDevice.tail.writes.length, doorbells, 'no doorbell after the end');
    }),
  );
}

joining.run();
