/** Queues of an 82574 in another thread: the ring stays one of legacy descriptors there. */
import * as assert from 'uvu/assert';
import { LAYOUT } from '../../../src/driver/intel/descriptors.js';
import { IntelRxQueue } from '../../../src/driver/intel/rx-queue.js';
import { intelThreads } from '../../../src/driver/intel/threads.js';
import { IntelTxQueue } from '../../../src/driver/intel/tx-queue.js';
import { openOn } from '../../../src/driver/registry.js';
import { shareWithThread } from '../../../src/driver/thread-share.js';
import { CLOSED } from '../../support/closed.js';
import { expectError } from '../../support/expect-error.js';
import { Fake82574 } from '../../support/fake-82574.js';
import { FakeVfio } from '../../support/fake-vfio.js';
import { withRig } from '../../support/queue-rig.js';
import { suite } from '../../support/suite.js';

const threads = suite('82574: queues in other threads');
const NO_INTERRUPT = { arm: () => {}, disarm: () => {} };

threads(
  'what the other thread sends are legacy descriptors, and it has no offloads',
  withRig({ legacy: true }, (rig) => {
    const { pool, txDevice, txRing } = rig;
    const tail = new Uint32Array(1);
    const opened = new IntelTxQueue({ ring: txRing, tail, pool, legacy: true });
    const { family, data } = opened.handOver({ own: () => {} });
    assert.is(family, intelThreads.name);
    // As a message to a worker copies it.
    const there = intelThreads.attachTx(structuredClone(data), { pool, interrupt: NO_INTERRUPT });
    assert.is(there.sendOffloaded, undefined);
    const bufs = rig.allocate(40);
    for (const [i, buffer] of bufs.entries()) pool.bytes(buffer).fill(i, 0, 60);
    assert.is(there.send(bufs, 40), 40);
    // The model refuses everything that a legacy descriptor may not have.
    txDevice.tail[0] = tail[0]!;
    txDevice.transmit();
    assert.equal(
      txDevice.sent.map(({ bytes }) => [bytes.length, bytes[0]]),
      Array.from(bufs, (_, i) => [60, i]),
    );
    there.reclaim();
    assert.is(opened.counters[LAYOUT.PACKETS], 40);
    there.leave(CLOSED);
    opened.close(CLOSED);
  }),
);

threads('registers that are not mapped: sharing is refused, and the queues go on here', async () => {
  const nic = await openOn(new FakeVfio(new Fake82574(), { device: 0x10d3 }), { pageSize: '4K' });
  const parts = { rxQueues: [...nic.rxQueues], txQueues: [...nic.txQueues] };
  const { hint } = expectError('BAD_OPTION', () => shareWithThread(parts), /registers are not mapped/);
  assert.match(hint!, 'Each doorbell is a message');
  assert.ok(nic.rxQueues[0] instanceof IntelRxQueue);
  assert.not(nic.rxQueues[0].elsewhere);
  assert.is(nic.rxQueues[0].receive(new Uint32Array(4)), 0);
  assert.is(nic.pool.available + nic.rxQueues[0].size, nic.pool.capacity);
  await nic.close();
});

threads.run();
