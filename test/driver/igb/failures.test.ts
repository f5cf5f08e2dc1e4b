/** Bring-up that fails at each step: the error names the step, and nothing is left behind. */
import { readdirSync } from 'node:fs';
import * as assert from 'uvu/assert';
import { NicError } from '../../../src/errors.js';
import { expectRejection } from '../../support/expect-error.js';
import { R, type Stuck } from '../../support/fake-82576.js';
import { mapFailure } from '../../support/fake-mapper.js';
import { bench, withSteppedClock } from '../../support/open-igb.js';
import { suite } from '../../support/suite.js';

const waits = suite('82576: waits that time out');

for (const [stuck, name] of [
  ['GIO_MASTER', 'STATUS.GIO_MASTER_ENABLE'],
  ['RST', 'CTRL.RST'],
  ['RXDCTL', 'RXDCTL[0].ENABLE'],
  ['TXDCTL', 'TXDCTL[0].ENABLE'],
  ['SMBI', 'SWSM.SMBI'],
  ['SWESMBI', 'SWSM.SWESMBI'],
  ['SW_FW_SYNC', 'SW_FW_SYNC.PHY'],
  ['MDIC', 'MDIC.READY'],
] as readonly (readonly [Stuck, string])[]) {
  waits(`${name} names itself and the value it had last`, async () => {
    const { model, vfio, open, assertReleased } = bench();
    model.stuck.add(stuck);
    await withSteppedClock(20, async () => {
      const error = await expectRejection('DEVICE_TIMEOUT', open());
      assert.match(error.message, `${name} did not become`);
      assert.match(error.message, /last value of the register 0x[0-9a-f]{8}/);
      assert.match(error.message, vfio.address);
      assert.is(error.path, vfio.address);
    });
    assertReleased();
  });
}

waits('a missing EEPROM is no failure', async () => {
  const { model, open, assertReleased } = bench();
  const read = model.read.bind(model);
  model.read = (offset) => (offset === R.EECD ? 0 : read(offset));
  await withSteppedClock(20, async () => {
    const nic = await open();
    await nic.close();
  });
  assertReleased();
});

waits.run();

const gone = suite('82576: pulled out');

gone('at any read of bring-up: DEVICE_GONE, and everything is released', async () => {
  const probe = bench();
  const nic = await probe.open();
  const reads = probe.vfio.reads.length;
  // From here on reads are only to release the semaphore, and of counters, which are thrown away.
  const lastStep = probe.vfio.reads.lastIndexOf(R.SW_FW_SYNC);
  await nic.close();
  probe.assertReleased();
  assert.ok(lastStep > 20 && lastStep < reads, `${reads} reads`);
  for (let after = 0; after < lastStep; after++) {
    const { vfio, open, assertReleased } = bench({}, 64);
    vfio.goneAfterReads = after;
    const error = await expectRejection('DEVICE_GONE', open());
    assert.match(error.message, 'does not answer');
    assert.ok(error.hint !== undefined);
    assertReleased();
  }
});

gone(
  'while it runs: stats and link say so, close releases everything and does not count all ones',
  async () => {
    const { vfio, open, assertReleased } = bench();
    const nic = await open();
    const before = nic.stats();
    vfio.goneAfterReads = vfio.reads.length;
    assert.throws(
      () => nic.stats(),
      (error: unknown) => error instanceof NicError && error.code === 'DEVICE_GONE',
    );
    await expectRejection('DEVICE_GONE', nic.waitForLink({ timeoutMs: 0 }));
    await expectRejection('DEVICE_GONE', nic.drain({ timeoutMs: 0 }));
    await expectRejection('DEVICE_GONE', nic.close());
    assert.equal(nic.stats(), before);
    assertReleased();
  },
);

gone.run();

const releases = suite('82576: a failure in the middle releases everything');

const planted = (): NicError => new NicError('VFIO', 'planted');

releases('mapping the buffers', async () => {
  const { vfio, open, assertReleased } = bench();
  vfio.mapper.mapFailures.push(mapFailure());
  await expectRejection('DMA_MAP', open());
  assertReleased();
});

releases('mapping the rings', async () => {
  const { vfio, open, assertReleased } = bench();
  vfio.mapper.mapFailures.push(undefined, mapFailure());
  await expectRejection('DMA_MAP', open());
  assertReleased();
});

for (const step of ['reset', 'enableBusMaster', 'setIrqEventfds'] as const) {
  releases(step, async () => {
    const { vfio, open, assertReleased } = bench();
    vfio.failures[step] = planted();
    const error = await expectRejection('VFIO', open());
    assert.is(error.message, 'planted');
    assertReleased();
  });
}

releases('two devices that want the same last buffers', async () => {
  const a = bench({}, 100);
  const b = bench();
  const [first, second] = await Promise.allSettled([a.open(), b.open({ pool: a.pool })]);
  assert.equal([first.status, second.status].sort(), ['fulfilled', 'rejected']);
  const reason = [first, second].find((result) => result.status === 'rejected')!.reason as NicError;
  assert.is(reason.code, 'BAD_OPTION');
  assert.match(reason.message, /needs 64 buffers and the pool has 36 free/);
  for (const result of [first, second]) if (result.status === 'fulfilled') await result.value.close();
  a.assertReleased();
  b.assertReleased();
});

releases('an own pool and the rings go back to the system whatever fails', async () => {
  const count = (): number => readdirSync('/proc/self/fd').length;
  const warmUp = bench();
  await expectRejection('BAD_OPTION', warmUp.open({ rxRingSize: 100 }));
  warmUp.pool.close();
  const baseline = count();
  for (const options of [
    { rxRingSize: 100 },
    { txRingSize: 32 },
    { txRingSize: 8192 },
    { rxRingSize: 64.5 },
    { queuePairs: 0 },
    { queuePairs: 9 },
    { queuePairs: 1.5 },
    { buffers: 63 },
    { buffers: 0 },
    { bufferSizeBytes: 3000 },
    { rxMetadata: true },
    { vlanStrip: true },
  ]) {
    const { vfio, open, pool } = bench();
    const error = await expectRejection('BAD_OPTION', openWithOwnPool(open, options));
    assert.ok(error.message.length > 10);
    assert.is(vfio.closed, true);
    pool.close();
    assert.is(count(), baseline, JSON.stringify(options));
  }
  const { vfio, open, pool } = bench();
  vfio.failures.setIrqEventfds = planted();
  await expectRejection('VFIO', openWithOwnPool(open, {}));
  pool.close();
  assert.is(count(), baseline);
});

function openWithOwnPool(open: ReturnType<typeof bench>['open'], options: object): Promise<unknown> {
  // `undefined` as a pool is none.
  return open({ ...options, pool: undefined } as unknown as Parameters<typeof open>[0]);
}

releases.run();
