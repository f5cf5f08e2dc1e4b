/** Conformance of `NetDevice`: what `open` takes, and refuses. */
import { readdirSync } from 'node:fs';
import * as assert from 'uvu/assert';
import type { NetDevice, OpenOptions, RingLimits } from '../../src/driver/device.js';
import { expectRejection } from '../support/expect-error.js';
import { caseSuite } from './results.js';
import {
  ALL_BUFFERS,
  BUFFERS,
  type Family,
  type Hardware,
  makePool,
  onRig,
  optionsOf,
  pairsOf,
  Rig,
} from './rig.js';

/** Opens with impossible options: says so, with a hint, and leaves pool and memory as they were. */
async function refuses(
  family: Family,
  options: unknown,
  message: RegExp,
  poolOptions = {},
): Promise<Hardware> {
  const hardware = family.makeHardware();
  const pool = makePool(poolOptions);
  const filesBefore = readdirSync('/proc/self/fd').length;
  const given = typeof options === 'function' ? options(pool) : options;
  const error = await expectRejection('BAD_OPTION', hardware.open(given as OpenOptions), message);
  assert.ok(error.hint, `${error.message}: a hint`);
  assert.is(readdirSync('/proc/self/fd').length, filesBefore, 'memory was given back');
  assert.is(pool.available, pool.capacity);
  pool.close();
  return hardware;
}

/** Opens without a pool, looks, and closes. */
async function withOwnPool(
  family: Family,
  options: OpenOptions,
  look: (nic: NetDevice) => void,
): Promise<void> {
  const hardware = family.makeHardware();
  const nic = await hardware.open({ pageSize: '4K', ...options });
  try {
    look(nic);
  } finally {
    await nic.close();
  }
  assert.equal(hardware.complaints(), []);
}

/** Sizes that no ring of these limits has. */
function impossibleSizes({ min, max }: RingLimits, family: Family): unknown[] {
  const numbers = [min - 1, max + 1, 0, -1, min + 0.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 32];
  const others = [String(min), '512', null, true, [min], {}, 64n];
  return [...numbers, ...others, ...family.refusedRingSizes];
}

/** Sizes that both rings can have: the smallest and largest, powers of two and what lies halfway between them. */
function someSizes(rx: RingLimits, tx: RingLimits): number[] {
  const [min, max] = [Math.max(rx.min, tx.min), Math.min(rx.max, tx.max)];
  const isPowerOfTwo = (size: number): boolean => (size & (size - 1)) === 0;
  const sizes = [min, max];
  for (let size = 2; size < max; size *= 2) sizes.push(size, size * 1.5);
  const step = Math.max(rx.multipleOf ?? 1, tx.multipleOf ?? 1);
  const possible = sizes
    .map((size) => size - (size % step))
    .filter((size) => size >= min && size <= max)
    .filter((size) => isPowerOfTwo(size) || !(rx.powerOfTwo || tx.powerOfTwo));
  return [...new Set(possible)].sort((a, b) => a - b);
}

export function options(family: Family): void {
  rings(family);
  pools(family);
  rest(family);
}

function rings(family: Family): void {
  const test = caseSuite(family, 'rings');

  test('without options: the sizes that the limits tell, one queue pair, a pool that fills them', () =>
    withOwnPool(family, {}, (nic) => {
      const { rxRing, txRing } = nic.limits;
      assert.is(nic.rxQueues.length, 1);
      assert.is(nic.txQueues.length, 1);
      assert.is(nic.rxQueues[0].size, rxRing.default);
      assert.is(nic.txQueues[0].size, txRing.default);
      assert.is(nic.pool.capacity, rxRing.default + txRing.default + 1024);
      assert.is(nic.pool.available, nic.pool.capacity - rxRing.default);
    }));

  test('the smallest and the largest rings', async () => {
    const { rxRing, txRing } = (await limitsOf(family)).limits;
    const largest = ({ max, multipleOf = 1 }: RingLimits): number => max - (max % multipleOf);
    for (const [rx, tx] of [
      [rxRing.min, largest(txRing)],
      [largest(rxRing), txRing.min],
    ] as const) {
      await withOwnPool(family, { rxRingSize: rx, txRingSize: tx }, (nic) => {
        assert.is(nic.rxQueues[0].size, rx);
        assert.is(nic.txQueues[0].size, tx);
      });
    }
  });

  test('rings of all kinds of sizes: frames go around each', async () => {
    const { limits } = await limitsOf(family);
    for (const size of someSizes(limits.rxRing, limits.txRing)) {
      const sizes = { rxRingSize: size, txRingSize: size };
      const rig = await Rig.open(family, sizes, { buffers: 2 * size + 64 });
      const burst = Math.min(16, size >>> 1);
      for (let moved = 0; moved < size + 2 * burst; moved += burst) {
        const frames = rig.arrive(burst);
        assert.equal(rig.receive(), frames, `rings of ${size}`);
        assert.is(rig.send(frames), burst);
        assert.equal(rig.hardware.transmit(), frames, `rings of ${size}`);
      }
      await rig.close();
    }
  });

  test('sizes that are impossible are refused', async () => {
    const { limits } = await limitsOf(family);
    for (const name of ['rxRingSize', 'txRingSize'] as const) {
      for (const size of impossibleSizes(name === 'rxRingSize' ? limits.rxRing : limits.txRing, family)) {
        await refuses(family, { [name]: size }, new RegExp(`^${name} is `));
      }
    }
  });

  test('queue pairs: from 1 to what the limits tell', async () => {
    const { limits } = await limitsOf(family);
    const most = limits.maxQueuePairs;
    for (const queuePairs of [1, most]) {
      await withOwnPool(family, { ...optionsOf(family), queuePairs }, (nic) => {
        assert.is(nic.rxQueues.length, queuePairs);
        assert.is(nic.txQueues.length, queuePairs);
        for (const queue of [...nic.rxQueues, ...nic.txQueues]) {
          assert.is(queue.size, family.ringSize);
          assert.ok(queue.pool === nic.pool, "the device's pool");
        }
        assert.is(nic.pool.capacity, queuePairs * 2 * family.ringSize + 1024);
      });
    }
    for (const queuePairs of [0, most + 1, -1, 1.5, Number.NaN, '2', [1]]) {
      await refuses(family, { queuePairs }, /^queuePairs is /);
    }
  });

  test.run();
}

function pools(family: Family): void {
  const test = caseSuite(family, 'pools');

  test(
    'a given pool is the device’s and every queue’s',
    onRig(
      family,
      ({ nic, pool }) => {
        assert.ok(nic.pool === pool);
        assert.ok(nic.rxQueues.every((queue) => queue.pool === pool));
        assert.ok(nic.txQueues.every((queue) => queue.pool === pool));
      },
      { queuePairs: Math.min(2, pairsOf(family)) },
    ),
  );

  test('what is no pool is refused', async () => {
    for (const pool of ['pool', 5, {}, null, []] as const) await refuses(family, { pool }, /^pool is /);
  });

  test('options of an own pool beside a given one are refused', async () => {
    for (const own of [
      { buffers: 4096 },
      { buffersForDevices: 2 },
      { bufferSizeBytes: 4096 },
      { headroomBytes: 128 },
      { debug: true },
    ]) {
      const [name] = Object.keys(own);
      await refuses(
        family,
        (pool: unknown) => ({ ...optionsOf(family), pool, ...own }),
        new RegExp(`given a pool and the option ${name}`),
      );
    }
  });

  test('impossible options of an own pool are refused', async () => {
    for (const own of [
      { buffers: 0 },
      { buffers: '4096' },
      { buffersForDevices: 0 },
      { bufferSizeBytes: 3000 },
      { headroomBytes: 63 },
      { headroomBytes: -64 },
    ]) {
      await refuses(family, own, new RegExp(`^${Object.keys(own)[0]} is `));
    }
  });

  test('a pool with too few buffers is refused', async () => {
    const { ringSize } = family;
    const needs = new RegExp(`needs ${ringSize} buffers .* has ${ringSize - 1} free`);
    await refuses(family, (pool: unknown) => ({ ...optionsOf(family), pool }), needs, {
      buffers: ringSize - 1,
    });
    await refuses(family, { ...optionsOf(family), buffers: ringSize - 1 }, needs);
  });

  test(
    'just enough buffers are enough',
    onRig(
      family,
      (rig) => {
        assert.is(rig.pool.available, 0);
        rig.arrive(5);
        assert.equal(rig.receive(), [], 'none can take their place');
        assert.ok(rig.nic.stats().rxNoBuffer > 0);
      },
      {},
      { buffers: family.ringSize },
    ),
  );

  test('headroom: what the family needs, and any that is more', async () => {
    const { limits } = await limitsOf(family);
    assert.is(limits.headroomBytes ?? 0, family.headerBytes);
    for (const headroomBytes of [64, 512])
      await withOwnPool(family, { headroomBytes }, (nic) => assert.is(nic.pool.headroomBytes, headroomBytes));
    if (family.headerBytes === 0) {
      await withOwnPool(family, { headroomBytes: 0 }, (nic) => assert.is(nic.pool.headroomBytes, 0));
      return;
    }
    const needs = new RegExp(`needs ${family.headerBytes} bytes in front of each frame .* has 0`);
    await refuses(family, { headroomBytes: 0 }, needs);
    await refuses(family, (pool: unknown) => ({ ...optionsOf(family), pool }), needs, { headroomBytes: 0 });
  });

  test.run();
}

function rest(family: Family): void {
  const test = caseSuite(family, 'other options');

  test('names that nobody knows, and what are no options', async () => {
    await refuses(family, { rxRingsize: 64 }, /open has no option "rxRingsize"/);
    for (const wrong of [null, 42, 'fast', [], true]) await refuses(family, wrong, /of open is /);
  });

  test('a device that was not opened so can be opened otherwise', async () => {
    const hardware = await refuses(family, { rxRingSize: '512' }, /^rxRingSize is "512" \(a string\)$/);
    const pool = makePool();
    const nic = await hardware.open({ ...optionsOf(family), pool });
    await nic.close();
    assert.is(pool.available, BUFFERS);
    pool.close();
    assert.equal(hardware.complaints(), []);
  });

  test('flags, page size and signal of the wrong type', async () => {
    for (const wrong of [
      { promiscuous: 1 },
      { debug: 'yes' },
      { rxMetadata: 'false' },
      { vlanStrip: 0 },
      { only: 5 },
      { takeDefaultRoute: 'yes' },
      { pageSize: '3M' },
      { pageSize: 4096 },
      { signal: 5 },
      { signal: {} },
    ]) {
      await refuses(family, wrong, new RegExp(`^${Object.keys(wrong)[0]} is `));
    }
  });

  test('what the capabilities tell is taken, the rest is refused', async () => {
    const { capabilities } = await limitsOf(family);
    for (const name of ['rxMetadata', 'vlanStrip'] as const) {
      if (capabilities[name]) await withOwnPool(family, { [name]: true }, () => {});
      else await refuses(family, { [name]: true }, new RegExp(`does not offer ${name}`));
      await withOwnPool(family, { [name]: false }, () => {});
    }
    for (const shared of [{ only: 'udp port 9' }, { takeDefaultRoute: true }]) {
      const [name] = Object.keys(shared);
      if (capabilities.sharesInterface === true) await withOwnPool(family, shared, () => {});
      else await refuses(family, shared, new RegExp(`cannot be opened with ${name}`));
    }
    if (capabilities.sharesInterface === true)
      await refuses(family, { only: 'udp prot 9' }, /wrong at character 5/);
  });

  test('interrupts are held back as long as the limits tell, and where they cannot be it is refused', async () => {
    const { limits } = await limitsOf(family);
    const range = limits.interruptIntervalUs;
    if (range === undefined) {
      await refuses(family, { interruptIntervalUs: 100 }, /cannot hold interrupts back$/);
      return;
    }
    const { min, max } = range;
    for (const interruptIntervalUs of [min, max]) {
      await withOwnPool(family, { interruptIntervalUs }, () => {});
    }
    for (const wrong of [0, min - 1, max + 1, 10.5, Number.NaN, '100', null]) {
      await refuses(family, { interruptIntervalUs: wrong }, /^interruptIntervalUs is /);
    }
  });

  test('mtu: 22 bytes more are the longest frame; an own pool has buffers for it', async () => {
    await withOwnPool(family, { mtu: 1500 }, (nic) => {
      assert.is(nic.maxFrameBytes, family.longestFrame?.(2048, 1500) ?? 1522);
      assert.is(nic.pool.bufferSizeBytes, 2048);
    });
    await withOwnPool(family, { mtu: 68 }, (nic) => assert.is(nic.maxFrameBytes, 90));
    const { keptBytes, largestBytes, largestMtu } = family.buffers ?? ALL_BUFFERS;
    await withOwnPool(family, { mtu: largestMtu }, (nic) => {
      assert.is(nic.maxFrameBytes, largestMtu + 22);
      assert.is(nic.pool.bufferSizeBytes, 2 ** Math.ceil(Math.log2(largestMtu + 22 + keptBytes)));
    });
    await withOwnPool(family, {}, (nic) =>
      assert.is(nic.maxFrameBytes, family.longestFrame?.(2048) ?? 2048 - keptBytes),
    );
    await withOwnPool(family, { bufferSizeBytes: largestBytes }, (nic) =>
      assert.is(nic.maxFrameBytes, Math.min(nic.limits.maxFrameBytes, largestBytes - keptBytes)),
    );
  });

  test('an impossible mtu is refused, and one that does not fit the buffers', async () => {
    const { limits } = await limitsOf(family);
    for (const mtu of [67, limits.maxFrameBytes - 21, '1500', 1500.5, Number.NaN, -1]) {
      await refuses(family, { mtu }, /^mtu is /);
    }
    if (limits.maxFrameBytes < 1985) return;
    const tooLong = /An MTU of 1963 needs frames of 1985 bytes; the pool's buffers hold 1984/;
    await refuses(family, (pool: unknown) => ({ ...optionsOf(family), pool, mtu: 1963 }), tooLong);
    await refuses(family, { bufferSizeBytes: 2048, mtu: 1963 }, tooLong);
  });

  test('a signal ends the opening with its reason, and the device is as before', async () => {
    const reason = new Error('the user has left');
    const hardware = family.makeHardware();
    const pool = makePool();
    for (const abort of ['before', 'meanwhile'] as const) {
      const stop = new AbortController();
      if (abort === 'before') stop.abort(reason);
      const opening = hardware.open({ ...optionsOf(family), pool, promiscuous: true, signal: stop.signal });
      if (abort === 'meanwhile') stop.abort(reason);
      const caught = await opening.catch((error: unknown) => error);
      assert.ok(caught === reason, `${abort}: ${caught}`);
      assert.is(pool.available, BUFFERS);
      assert.equal(hardware.complaints(), []);
    }
    const unused = new AbortController();
    const nic = await hardware.open({ ...optionsOf(family), pool, signal: unused.signal });
    unused.abort(reason);
    assert.is(
      await nic.waitForPackets({ timeoutMs: 1 }),
      false,
      'an open device does not care for it any more',
    );
    await nic.close();
    pool.close();
  });

  test.run();
}

/** What a device of the family tells. */
async function limitsOf(family: Family): Promise<Pick<NetDevice, 'limits' | 'capabilities'>> {
  const rig = await Rig.open(family);
  const { limits, capabilities } = rig.nic;
  await rig.close();
  return { limits, capabilities };
}
