/** `batches`: what comes in which order, and how it ends. */
import * as assert from 'uvu/assert';
import { batches } from '../../src/driver/batches.js';
import type { RxQueue } from '../../src/driver/device.js';
import { NicError } from '../../src/errors.js';
import { suite } from '../support/suite.js';

/** A queue that gives what it was told, then waits until it is told how that ends. */
function scripted(counts: number[]): RxQueue & { end: (error?: unknown) => void; waits: number } {
  let finish: { resolve: (found: boolean) => void; reject: (error: unknown) => void } | undefined;
  const queue = {
    waits: 0,
    receive(bufs: Uint32Array, max = bufs.length) {
      const count = Math.min(counts.shift() ?? 0, max);
      for (let i = 0; i < count; i++) bufs[i] = i;
      return count;
    },
    wait({ signal }: { signal?: AbortSignal } = {}) {
      queue.waits++;
      return new Promise<boolean>((resolve, reject) => {
        finish = { resolve, reject };
        signal?.addEventListener('abort', () => reject(signal.reason));
        if (counts.length > 0) resolve(true);
      });
    },
    end(error?: unknown) {
      if (error === undefined) finish!.resolve(true);
      else finish!.reject(error);
    },
  };
  return queue as unknown as ReturnType<typeof scripted>;
}

const iteration = suite('batches');

iteration('batches as they come, in one array, with a wait where there is nothing', async () => {
  const queue = scripted([2, 1, 0, 3]);
  const seen: number[] = [];
  const arrays = new Set<Uint32Array>();
  for await (const { packets, count } of batches(queue, { max: 2 })) {
    seen.push(count);
    arrays.add(packets);
    if (seen.length === 3) break;
  }
  assert.equal(seen, [2, 1, 2]);
  assert.is(arrays.size, 1);
  assert.is(queue.waits, 1);
});

iteration('an abort and a device that closes end it; other errors are thrown', async () => {
  const stop = new AbortController();
  const queue = scripted([1]);
  let count = 0;
  const loop = async (signal?: AbortSignal): Promise<void> => {
    for await (const _ of batches(queue, signal === undefined ? {} : { signal })) count++;
  };
  const ended = loop(stop.signal);
  setTimeout(() => stop.abort(), 1);
  await ended;
  assert.is(count, 1);
  const closing = loop();
  setTimeout(() => queue.end(new NicError('CLOSED', 'closed')), 1);
  await closing;
  const gone = loop();
  setTimeout(() => queue.end(new NicError('DEVICE_GONE', 'gone')), 1);
  assert.is(await gone.catch((error: NicError) => error.code), 'DEVICE_GONE');
});

iteration('a queue that is never empty lets the event loop have turns', async () => {
  const queue = scripted(Array.from({ length: 1e6 }, () => 1));
  const stop = new AbortController();
  setTimeout(() => stop.abort(), 1);
  let count = 0;
  for await (const _ of batches(queue, { signal: stop.signal })) count++;
  assert.ok(count > 0 && count < 1e6);
});

iteration('options are checked', async () => {
  const first = (options: object): Promise<unknown> =>
    batches(scripted([]), options)
      .next()
      .catch((error: NicError) => error.code);
  assert.is(await first({ max: 0 }), 'BAD_OPTION');
  assert.is(await first({ most: 1 }), 'BAD_OPTION');
  assert.is(await first({ signal: {} }), 'BAD_OPTION');
});

iteration.run();
