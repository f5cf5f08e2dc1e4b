/** What a worker of threads.test.ts does with its ticket. */
import { parentPort, workerData } from 'node:worker_threads';
import { attachThread } from '../../../src/driver/attached-thread.js';
import type { RxQueue, TxQueue } from '../../../src/driver/device.js';
import type { PacketOutput } from '../../../src/driver/packet-channel.js';
import { NicError } from '../../../src/errors.js';
import { connectQueues } from '../../../src/forward/forwarder.js';
import { pollLoop } from '../../../src/forward/poll-loop.js';

export interface WorkerTask {
  readonly ticket: unknown;
  /**
   * `forward`: between two devices, until they close. `first`, `last`: a pipeline by channels. `hold`: receives, and keeps what it
   * got. `throw`: does so, and throws. `hang`: attaches and never gives its event loop a turn until `stop` is set.
   */
  readonly job: 'forward' | 'first' | 'last' | 'hold' | 'throw' | 'hang' | 'wait';
  readonly stop: Int32Array;
}

/** Moves packets, and keeps those for which there is no room until the next call. */
function mover(rx: RxQueue, tx: TxQueue): () => number {
  const bufs = new Uint32Array(32);
  let sent = 0;
  let count = 0;
  return () => {
    if (sent === count) {
      sent = 0;
      count = rx.receive(bufs);
    }
    const moved = tx.send(bufs, count - sent, sent);
    sent += moved;
    return moved;
  };
}

function giveHome(tx: TxQueue, home: PacketOutput): number {
  tx.reclaim();
  return home.returnFree(0);
}

async function run({ ticket, job, stop }: WorkerTask): Promise<void> {
  const thread = attachThread(ticket);
  const { rxQueues, txQueues, inputs, outputs } = thread;
  const signal = new AbortController().signal;
  const port = parentPort!;
  // Any message is a failure in the middle of work.
  port.on('message', () => {
    throw new Error('the worker was told to fail');
  });
  port.unref();
  port.postMessage('attached');
  if (job === 'hang') {
    Atomics.wait(stop, 0, 0);
  } else if (job === 'hold' || job === 'throw') {
    const bufs = new Uint32Array(32);
    await rxQueues[0]!.wait();
    const count = rxQueues[0]!.receive(bufs);
    port.postMessage(count > 0 ? 'holds' : 'found nothing');
    if (job === 'throw') throw new Error('the worker fails');
    await new Promise((resolve) => setTimeout(resolve, 2 ** 30));
  } else if (job === 'wait') {
    await rxQueues[0]!.wait().catch((error: unknown) => port.postMessage((error as NicError).code));
  } else {
    const steps =
      job === 'forward'
        ? [connectQueues(rxQueues[0]!, txQueues[1]!), connectQueues(rxQueues[1]!, txQueues[0]!)].map(
            (one) => () => one.poll(),
          )
        : job === 'first'
          ? [mover(rxQueues[0]!, outputs[0]!), () => inputs[0]!.takeBack()]
          : [mover(inputs[0]!, txQueues[0]!), () => giveHome(txQueues[0]!, outputs[0]!)];
    const poll = (): number => steps.reduce((moved, step) => moved + step(), 0);
    const queues = job === 'forward' ? rxQueues : job === 'first' ? [...rxQueues, ...inputs] : inputs;
    try {
      await pollLoop(poll, { signal, queues });
    } catch (error) {
      if (!(error instanceof NicError)) throw error;
      port.postMessage(error.code);
    }
  }
  thread.close();
}

await run(workerData as WorkerTask);
