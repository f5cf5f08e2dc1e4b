/** The worker threads of `barewire fwd --workers`, seen from the main thread: starts them, sums what they drop, ends them. */
import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import type { NetDevice } from '../src/driver/device.js';
import { shareWithThread } from '../src/driver/thread-share.js';
import { NicError } from '../src/errors.js';
import type { PollPolicy } from '../src/forward/poll-loop.js';
import type { ForwardSettings } from './forward-queues.js';
import type { ForwardTask, FromForwarder } from './forward-worker.js';

export class ForwardWorkers {
  readonly #workers: Worker[] = [];
  readonly #exits: Promise<unknown>[] = [];
  readonly #dropped: Float64Array[] = [];
  /** Rejects when a worker fails. */
  readonly failed: Promise<never>;
  #fail: (error: unknown) => void = () => {};
  #ending = false;

  private constructor() {
    this.failed = new Promise<never>((_, reject) => {
      this.#fail = reject;
    });
    this.failed.catch(() => {});
  }

  /**
   * Starts as many threads and deals the queue pairs of both ports out to them: queue q of both goes to thread q modulo
   * `count`. Resolves with the path that they took when all are at work.
   * @throws NicError what a worker failed with
   */
  static async start(
    ports: readonly [NetDevice, NetDevice],
    count: number,
    settings: ForwardSettings,
    policy: PollPolicy,
  ): Promise<{ readonly workers: ForwardWorkers; readonly path: string }> {
    const workers = new ForwardWorkers();
    try {
      const started: Promise<string>[] = [];
      for (let i = 0; i < count; i++) started.push(workers.#startOne(ports, i, count, settings, policy));
      const [path] = await Promise.race([Promise.all(started), workers.failed]);
      return { workers, path: path! };
    } catch (error) {
      await workers.end();
      throw error;
    }
  }

  #startOne(
    ports: readonly [NetDevice, NetDevice],
    index: number,
    count: number,
    settings: ForwardSettings,
    policy: PollPolicy,
  ): Promise<string> {
    const queues = ports[0].rxQueues.flatMap((_, q) => (q % count === index ? [q] : []));
    const pool = ports[0].pool;
    const share = shareWithThread({
      rxQueues: ports.flatMap(({ rxQueues }) => queues.map((q) => rxQueues[q]!)),
      txQueues: ports.flatMap(({ txQueues }) => queues.map((q) => txQueues[q]!)),
      // What is left is for those that come after.
      buffers: Math.floor(pool.available / (count - index)),
    });
    const dropped = new Float64Array(new SharedArrayBuffer(16));
    const isUser = ports.some(({ vfio }) => vfio?.backend === 'vfio-user');
    const task: ForwardTask = {
      forwardTicket: share.ticket,
      queues,
      settings,
      policy,
      // The emulator needs a CPU as well.
      sharesCpu: isUser && availableParallelism() <= count,
      dropped,
    };
    const worker = new Worker(new URL('./forward-worker.js', import.meta.url), { workerData: task });
    share.follow(worker);
    this.#workers.push(worker);
    this.#dropped.push(dropped);
    this.#exits.push(
      new Promise((resolve) => {
        worker.once('exit', (code) => {
          if (!this.#ending) this.#fail(ended(index, code));
          resolve(undefined);
        });
      }),
    );
    worker.once('error', (error) => this.#fail(error));
    return new Promise((resolve) => {
      worker.on('message', (message: FromForwarder) => {
        if (message.type === 'started') resolve(message.path);
        else this.#fail(new NicError(message.code, message.message, { hint: message.hint }));
      });
    });
  }

  /** Packets that the workers dropped on their way to a port, 0 or 1. */
  dropped(port: 0 | 1): number {
    return this.#dropped.reduce((sum, counts) => sum + counts[port]!, 0);
  }

  /** Stops all and waits for them. May be called twice. */
  async end(): Promise<void> {
    this.#ending = true;
    for (const worker of this.#workers) worker.postMessage('stop');
    await Promise.all(this.#exits);
  }
}

function ended(index: number, code: number): NicError {
  return new NicError('SYSCALL', `Worker ${index} ended with code ${code}`, {
    hint: 'Its error is above; a hook that ends the process ends a worker.',
  });
}
