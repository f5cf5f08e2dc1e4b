/** Queues of emulated NICs in worker threads: traffic, waits, and every order in which things can end. */
import * as assert from 'uvu/assert';
import { attachThread } from '../../../src/driver/attached-thread.js';
import type { OpenOptions } from '../../../src/driver/device.js';
import { PacketChannel } from '../../../src/driver/packet-channel.js';
import { shareWithThread, type ThreadShareOptions } from '../../../src/driver/thread-share.js';
import type { NicError } from '../../../src/errors.js';
import { PciRegion } from '../../../src/vfio/types.js';
import { until } from '../../support/hang.js';
import { suite } from '../../support/suite.js';
import { randomEnds } from './random-ends.js';
import { type Part, Stage } from './stage.js';

/** Interrupt mask of the 82599 (datasheet 8.2.3.5.3). */
const EIMS = 0x880;

function staged(body: (stage: Stage) => Promise<void>, options?: OpenOptions, count?: number) {
  return async () => {
    const stage = await new Stage().open(options, count);
    try {
      await body(stage);
    } finally {
      await stage.close();
    }
  };
}

const moved = ({ a, b }: Stage): number => a.stats().txPackets + b.stats().txPackets;
const heard = (part: Part, message: string): Promise<void> =>
  until(
    () => part.messages.includes(message),
    () => `${message} in ${JSON.stringify(part.messages)}`,
  );
const codeOf = (action: () => unknown): string => {
  try {
    action();
  } catch (error) {
    return (error as NicError).code;
  }
  return 'nothing thrown';
};

const traffic = suite('threads: traffic');

traffic(
  'two workers forward both ways, with a queue pair of each port; the sums are seen here',
  staged(
    async (stage) => {
      const { a, b } = stage;
      for (const i of [0, 1]) {
        stage.start('forward', {
          rxQueues: [a.rxQueues[i]!, b.rxQueues[i]!],
          txQueues: [a.txQueues[i]!, b.txQueues[i]!],
        });
      }
      await until(
        () => moved(stage) === 1200,
        () => `${moved(stage)} packets of 1200`,
      );
      assert.is(a.stats().rxPackets, 600);
      await a.drain();
      await b.drain();
      const { links } = await stage.emulator.report();
      assert.ok(links.length > 0);
    },
    { queuePairs: 2 },
  ),
);

traffic(
  'what a thread sends while the device rests, the device is told of, and only then',
  staged(
    async ({ a }) => {
      const share = shareWithThread({ txQueues: [a.txQueues[0]], buffers: 64 });
      const thread = attachThread(share.ticket);
      const [queue] = thread.txQueues;
      const bar = a.vfio!.region(PciRegion.BAR0);
      const { write32 } = bar;
      let told = 0;
      bar.write32 = (offset, value) => {
        if (offset === EIMS && value === 0) told++;
        write32.call(bar, offset, value);
      };
      const bufs = new Uint32Array(2);
      const send = (): number => {
        assert.is(thread.pool.allocate(bufs, 2), 2);
        for (const packet of bufs) thread.pool.lengths[packet] = 60;
        return queue!.send(bufs, 2);
      };
      const stop = new AbortController();
      await until(
        () => a.rxQueues[0].receive(bufs) > 0,
        () => 'the only packet',
      );
      a.pool.release(bufs, 1);
      const waiting = a.rxQueues[0].wait({ signal: stop.signal }).catch((error: unknown) => error);
      assert.is(send(), 2);
      await until(
        () => told === 1 && a.stats().wireTxPackets === 2,
        () => `told ${told} times`,
      );
      stop.abort();
      assert.is(await waiting, stop.signal.reason);
      assert.is(send(), 2);
      await until(
        () => a.stats().wireTxPackets === 4,
        () => 'the others',
      );
      assert.is(told, 1);
      thread.close();
    },
    {},
    1,
  ),
);

traffic(
  'a pipeline of two threads: packets go one way and buffers come home',
  staged(async (stage) => {
    const { a, b } = stage;
    const there = new PacketChannel(a.pool, { size: 64 });
    const home = new PacketChannel(a.pool, { size: 64 });
    stage.start('first', { rxQueues: [a.rxQueues[0]], inputs: [home], outputs: [there], buffers: 300 });
    stage.start('last', { txQueues: [b.txQueues[0]], inputs: [there], outputs: [home], buffers: 0 });
    // More than the first thread has buffers: without those that come home it would stand still.
    await until(
      () => b.stats().txPackets === 600,
      () => `${b.stats().txPackets} packets`,
    );
  }),
);

traffic(
  'this thread goes on with the queues that it kept',
  staged(
    async (stage) => {
      const { a, b } = stage;
      stage.start('forward', {
        rxQueues: [a.rxQueues[0], b.rxQueues[0]],
        txQueues: [a.txQueues[0], b.txQueues[0]],
      });
      const bufs = new Uint32Array(32);
      let received = 0;
      await until(() => {
        const count = a.rxQueues[1]!.receive(bufs);
        a.pool.release(bufs, count);
        received += count;
        return received > 0;
      }, 'packets on the second queue');
      assert.is(
        codeOf(() => a.rxQueues[0].receive(bufs)),
        'OWNERSHIP',
      );
      assert.is(
        codeOf(() => a.txQueues[0].send(bufs, 0)),
        'OWNERSHIP',
      );
      assert.is(
        codeOf(() => a.rxQueues[0].wait()),
        'OWNERSHIP',
      );
      assert.ok(a.rxQueues[0].elsewhere);
      for await (const frame of a.frames()) {
        assert.ok(frame.length >= 60);
        break;
      }
    },
    { queuePairs: 2 },
    100_000,
  ),
);

traffic.run();

const ends = suite('threads: ends');
const all = ({ a, b }: Stage): ThreadShareOptions => ({
  rxQueues: [...a.rxQueues, ...b.rxQueues],
  txQueues: [...a.txQueues, ...b.txQueues],
});

ends(
  'a device that closes first: the worker is told, by its poll loop',
  staged(
    async (stage) => {
      const part = stage.start('forward', all(stage));
      await until(() => moved(stage) > 500, 'traffic');
      await stage.closeDevices();
      await heard(part, 'CLOSED');
      assert.is(await part.exited, 0);
    },
    {},
    1e6,
  ),
);

ends(
  'a wait in a worker ends with CLOSED',
  staged(
    async (stage) => {
      const part = stage.start('wait', all(stage));
      await heard(part, 'attached');
      await stage.closeDevices();
      await heard(part, 'CLOSED');
    },
    {},
    0,
  ),
);

for (const job of ['hold', 'throw'] as const) {
  ends(
    `a worker that ${job === 'hold' ? 'is terminated' : 'throws'} with packets in its hands loses no buffer`,
    staged(async (stage) => {
      const part = stage.start(job, all(stage));
      await heard(part, 'holds');
      if (job === 'hold') await part.worker.terminate();
      else await heard(part, 'error the worker fails');
      await part.exited;
      assert.ok(stage.a.pool.available < stage.a.pool.capacity, 'its rings are still at work');
    }),
  );
}

ends(
  'a worker that hangs cannot keep a device from closing, and its buffers wait for its end',
  staged(async (stage) => {
    const part = stage.start('hang', all(stage));
    await heard(part, 'attached');
    await stage.closeDevices();
    assert.ok(stage.a.pool.available < stage.a.pool.capacity);
    assert.is(await part.share.close().catch((error: NicError) => error.code), 'OWNERSHIP');
  }),
);

ends(
  'a share that is closed: its thread leaves, and its rings come back with their devices',
  staged(
    async (stage) => {
      const part = stage.start('forward', all(stage));
      await until(() => moved(stage) > 500, 'traffic');
      await part.share.close();
      await heard(part, 'CLOSED');
      await part.exited;
      assert.ok(stage.a.pool.available < stage.a.pool.capacity);
    },
    {},
    1e6,
  ),
);

ends(
  'a ticket is of use once, and not after its share was closed',
  staged(async (stage) => {
    const { a } = stage;
    const share = shareWithThread({ rxQueues: a.rxQueues, buffers: 10 });
    const thread = attachThread(structuredClone(share.ticket));
    assert.is(
      codeOf(() => attachThread(share.ticket)),
      'OWNERSHIP',
    );
    thread.close();
    await share.close();
    const other = shareWithThread({ txQueues: a.txQueues });
    await other.close();
    assert.is(
      codeOf(() => attachThread(other.ticket)),
      'CLOSED',
    );
    assert.is(
      codeOf(() => attachThread({})),
      'BAD_OPTION',
    );
  }),
);

ends(
  'what cannot be handed over is refused, and nothing has changed',
  staged(async (stage) => {
    const { a, b } = stage;
    const free = a.pool.available;
    const refused = (options: ThreadShareOptions): string => codeOf(() => shareWithThread(options));
    assert.is(refused({}), 'BAD_OPTION');
    assert.is(refused({ rxQueues: a.rxQueues, buffers: a.pool.capacity }), 'BAD_OPTION');
    assert.is(refused({ rxQueues: [a.rxQueues[0], a.rxQueues[0]] }), 'BAD_OPTION');
    const channel = new PacketChannel(a.pool);
    channel.input();
    assert.is(refused({ rxQueues: a.rxQueues, inputs: [channel] }), 'OWNERSHIP');
    assert.is(a.pool.available, free);
    const bufs = new Uint32Array(1);
    await b.rxQueues[0].wait();
    assert.is(b.rxQueues[0].receive(bufs), 1);
    assert.is(refused({ rxQueues: [...a.rxQueues, ...b.rxQueues] }), 'BAD_OPTION', 'used before');
    a.pool.release(bufs, 1);
    assert.is(a.rxQueues[0].elsewhere, false);
    channel.close();
  }),
);

ends('random ends at random moments (200 rounds: random-ends.js by hand)', async () => {
  const tried = await randomEnds(4, 7);
  assert.ok(tried.size > 2, `several ends: ${[...tried.keys()].join(', ')}`);
});

ends.run();
