/** Forwarding with a family that none of `src/forward/` knows: between two of it, and between it and others. */
import * as assert from 'uvu/assert';
import type { NetDevice, OpenOptions } from '../../src/driver/device.js';
import type { PacketHook } from '../../src/driver/queue-link.js';
import { connectQueues, type ForwardOptions } from '../../src/forward/forwarder.js';
import { onHugepageWarning } from '../../src/hugepage/dma-region.js';
import type { PacketPool, PacketPoolOptions } from '../../src/hugepage/packet-pool.js';
import { igb } from '../conformance/igb.js';
import { ixgbe } from '../conformance/ixgbe.js';
import { madeUp } from '../conformance/made-up.js';
import { type Family, type Hardware, makePool, optionsOf } from '../conformance/rig.js';
import { expectError } from '../support/expect-error.js';
import { suite } from '../support/suite.js';

onHugepageWarning(() => {});

const FRAMES = 10_000;

interface Port {
  readonly hardware: Hardware;
  readonly nic: NetDevice;
}

interface Pair {
  readonly a: Port;
  readonly b: Port;
  readonly pool: PacketPool;
}

/** Runs a test between two ports of one pool; afterwards every buffer has to be back. */
function onPair(
  families: readonly [Family, Family],
  test: (pair: Pair) => void | Promise<void>,
  options: OpenOptions = {},
  poolOptions: PacketPoolOptions = {},
): () => Promise<void> {
  return async () => {
    const pool = makePool(poolOptions);
    const ports: Port[] = [];
    try {
      for (const family of families) {
        const hardware = family.makeHardware();
        ports.push({ hardware, nic: await hardware.open({ ...optionsOf(family), pool, ...options }) });
      }
      const [a, b] = ports as [Port, Port];
      await test({ a, b, pool });
    } finally {
      for (const { nic } of ports) await nic.close();
    }
    assert.is(pool.available, pool.capacity, 'every buffer is back');
    assert.is(new Set(pool.free.subarray(0, pool.freeCount)).size, pool.capacity, 'each once');
    pool.close();
    assert.equal(
      ports.flatMap(({ hardware }) => hardware.complaints()),
      [],
    );
  };
}

/** Forwards numbered frames of all lengths in bursts of all sizes: each has to leave once, in order, unchanged. */
function forwardAll({ a, b }: Pair, options: ForwardOptions = {}): void {
  const forwarder = connectQueues(a.nic.rxQueues[0], b.nic.txQueues[0], options);
  assert.is(forwarder.path, 'general');
  const longest = Math.min(a.nic.maxFrameBytes, b.nic.maxFrameBytes);
  for (let number = 0, burst = 1; number < FRAMES; burst = (burst % 29) + 1) {
    const frames: Uint8Array[] = [];
    for (let i = 0; i < burst && number < FRAMES; i++, number++) {
      const lengthBytes = number % 50 === 0 ? longest : 60 + ((number * 37) % 200);
      frames.push(a.hardware.frame(number, lengthBytes));
      assert.ok(a.hardware.arrive(frames.at(-1)!), `frame ${number}`);
    }
    const left: Uint8Array[] = [];
    while (forwarder.poll() > 0) left.push(...b.hardware.transmit());
    assert.is(left.length, frames.length);
    for (const [i, frame] of frames.entries()) assert.ok(Buffer.compare(left[i]!, frame) === 0, `frame ${i}`);
  }
  assert.is(forwarder.dropped, 0);
  const [received, sent] = [a.nic.stats(), b.nic.stats()];
  assert.is(received.rxPackets, FRAMES);
  assert.is(sent.txPackets, FRAMES);
  assert.is(received.rxBytes, sent.txBytes);
}

const between = suite('forwarding: made-up to made-up');

for (const [what, options, poolOptions] of [
  ['plain', {}, {}],
  ['one at a time', { batch: 1 }, {}],
  ['in batches of 7, each packet touched', { batch: 7, touch: true }, {}],
  ['with a hook', { onPacket: (_packet: number, lengthBytes: number) => lengthBytes }, {}],
  ['with a debug pool', {}, { debug: true }],
  ['with more headroom', {}, { headroomBytes: 256 }],
  ['with longer buffers', {}, { bufferSizeBytes: 16_384, buffers: 300 }],
] as const) {
  between(
    `${FRAMES} frames in order, none lost: ${what}`,
    onPair([madeUp, madeUp], (pair) => forwardAll(pair, options), {}, poolOptions),
  );
}

between(
  'both ways at once, three queues each',
  onPair(
    [madeUp, madeUp],
    ({ a, b }) => {
      const forwarders = [0, 1, 2].flatMap((q) => [
        connectQueues(a.nic.rxQueues[q]!, b.nic.txQueues[q]!),
        connectQueues(b.nic.rxQueues[q]!, a.nic.txQueues[q]!),
      ]);
      for (let round = 0; round < 200; round++) {
        const sent = [a, b].map(({ hardware }) =>
          [0, 1, 2].flatMap((q) => [1, 2, 3].map((i) => hardware.frame(round * 9 + i, 100 + q, q))),
        );
        for (const [i, port] of [a, b].entries()) for (const frame of sent[i]!) port.hardware.arrive(frame);
        while (forwarders.some((forwarder) => forwarder.poll() > 0));
        for (const [i, port] of [b, a].entries()) assert.equal(port.hardware.transmit(), sent[i]);
      }
    },
    { queuePairs: 3 },
  ),
);

between(
  'a pipe is refused; the path chosen is the general one',
  onPair([madeUp, madeUp], ({ a, b }) => {
    const [rx, tx] = [a.nic.rxQueues[0], b.nic.txQueues[0]];
    const error = expectError(
      'BAD_OPTION',
      () => connectQueues(rx, tx, { path: 'pipe' }),
      /No pipe is possible/,
    );
    assert.ok(error.hint);
    for (const path of ['auto', 'general'] as const)
      assert.is(connectQueues(rx, tx, { path }).path, 'general');
  }),
);

between(
  'queues of different pools are refused',
  onPair([madeUp, madeUp], async ({ a }) => {
    const hardware = madeUp.makeHardware();
    const nic = await hardware.open(optionsOf(madeUp));
    expectError('BAD_OPTION', () => connectQueues(a.nic.rxQueues[0], nic.txQueues[0]), /different pools/);
    await nic.close();
  }),
);

between(
  'what finds no room is dropped, counted and given back',
  onPair([madeUp, madeUp], ({ a, b, pool }) => {
    const forwarder = connectQueues(a.nic.rxQueues[0], b.nic.txQueues[0]);
    const free = pool.available;
    for (let round = 0; round < 10; round++) {
      for (let i = 0; i < 20; i++) assert.ok(a.hardware.arrive(a.hardware.frame(i, 60)));
      assert.is(forwarder.poll(), 20);
    }
    assert.is(forwarder.dropped, 200 - madeUp.ringSize);
    assert.is(pool.available, free - madeUp.ringSize);
    assert.is(b.hardware.transmit().length, madeUp.ringSize);
  }),
);

between(
  'a hook drops, cuts and asks for what cannot be sent',
  onPair([madeUp, madeUp], ({ a, b }) => {
    const onPacket: PacketHook = (packet, lengthBytes) => {
      const number = a.nic.pool.bytes(packet)[15]!;
      return number % 4 === 0 ? 0 : number % 4 === 1 ? 40 : number % 4 === 2 ? 9 : lengthBytes;
    };
    const forwarder = connectQueues(a.nic.rxQueues[0], b.nic.txQueues[0], { onPacket });
    const frames = Array.from({ length: 16 }, (_, i) => a.hardware.frame(i, 60));
    for (const frame of frames) a.hardware.arrive(frame);
    assert.is(forwarder.poll(), 16);
    const wanted = frames.flatMap((frame, i) =>
      i % 4 === 1 ? [frame.slice(0, 40)] : i % 4 === 3 ? [frame] : [],
    );
    assert.equal(b.hardware.transmit(), wanted);
    assert.is(forwarder.dropped, 4);
    assert.is(b.nic.stats().txErrors, 4);
  }),
);

between(
  'a hook that polls the forwarder that calls it is refused, and nothing is lost',
  onPair([madeUp, madeUp], ({ a, b }) => {
    let calls = 0;
    const forwarder = connectQueues(a.nic.rxQueues[0], b.nic.txQueues[0], {
      onPacket: (_packet, lengthBytes) => {
        if (++calls === 3) forwarder.poll();
        return lengthBytes;
      },
    });
    const frames = Array.from({ length: 8 }, (_, i) => a.hardware.frame(i, 60));
    for (const frame of frames) a.hardware.arrive(frame);
    expectError('OWNERSHIP', () => forwarder.poll(), /that is calling it/);
    while (forwarder.poll() > 0);
    assert.equal(b.hardware.transmit(), frames);
    assert.is(forwarder.dropped, 0);
  }),
);

between(
  'closed, it says so; a device that is closed, too',
  onPair([madeUp, madeUp], async ({ a, b }) => {
    const forwarder = connectQueues(a.nic.rxQueues[0], b.nic.txQueues[0]);
    const other = connectQueues(a.nic.rxQueues[0], b.nic.txQueues[0]);
    forwarder.close();
    expectError('CLOSED', () => forwarder.poll(), /forwarder is closed/);
    assert.ok(a.hardware.arrive(a.hardware.frame(1, 60)));
    await b.nic.close();
    expectError('CLOSED', () => other.poll());
    assert.is(other.dropped, 1);
    await a.nic.close();
    expectError('CLOSED', () => other.poll());
  }),
);

between.run();

const scarce = suite('forwarding: a pool with few buffers to spare');

/** Buffers beyond those that fill the receive rings and those that a transmit ring keeps until later ones follow. */
const SPARE = 9;

for (const family of [madeUp, igb, ixgbe]) {
  for (const options of [{}, { onPacket: (_packet: number, lengthBytes: number) => lengthBytes }]) {
    const how = 'onPacket' in options ? ', with a hook' : '';
    scarce(
      `it goes on when what was sent has left: ${family.driver}${how}`,
      onPair(
        [family, family],
        ({ a, b }) => {
          const path = { path: 'general', ...options } as const;
          const forwarder = connectQueues(a.nic.rxQueues[0], b.nic.txQueues[0], path);
          let [number, left] = [0, 0];
          while (number < 2000) {
            for (let i = 0; i < 20; i++) if (a.hardware.arrive(a.hardware.frame(number, 60))) number++;
            // All buffers go to the transmit ring before any leaves.
            while (forwarder.poll() > 0);
            const frames = b.hardware.transmit();
            assert.ok(frames.length > 0, `stuck after ${left}`);
            left += frames.length;
          }
          for (let i = 0; i < 3; i++) {
            while (forwarder.poll() > 0);
            left += b.hardware.transmit().length;
          }
          assert.is(left + forwarder.dropped, number);
        },
        {},
        { buffers: 2 * family.ringSize + family.keepsSent + SPARE },
      ),
    );
  }
}

scarce.run();

const mixed = suite('forwarding: made-up and others, one pool');

for (const [name, families] of [
  // The others first: their address spaces are the smaller ones.
  ['igb to made-up', [igb, madeUp]],
  ['ixgbe to made-up', [ixgbe, madeUp]],
] as const) {
  for (const debug of [false, true]) {
    mixed(
      `${FRAMES} frames in order, none lost: ${name}, and back${debug ? '; a debug pool' : ''}`,
      onPair(
        families,
        (pair) => {
          forwardAll(pair);
          forwardAll({ a: pair.b, b: pair.a, pool: pair.pool });
        },
        {},
        { debug },
      ),
    );
  }

  mixed(
    `no pipe: ${name}, and back`,
    onPair(families, ({ a, b }) => {
      for (const [rx, tx] of [
        [a.nic.rxQueues[0], b.nic.txQueues[0]],
        [b.nic.rxQueues[0], a.nic.txQueues[0]],
      ] as const) {
        const error = expectError(
          'BAD_OPTION',
          () => connectQueues(rx, tx, { path: 'pipe' }),
          /No pipe is possible/,
        );
        assert.ok(error.hint);
      }
    }),
  );
}

mixed.run();
