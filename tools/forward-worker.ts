/** What a worker thread of `barewire fwd --workers` runs: forwards between the queues of its ticket until it is told to stop. */
import { isMainThread, parentPort, workerData } from 'node:worker_threads';
import { attachThread } from '../src/driver/attached-thread.js';
import type { ThreadTicket } from '../src/driver/thread-ticket.js';
import { NicError, type NicErrorCode } from '../src/errors.js';
import { type PollPolicy, pollLoop } from '../src/forward/poll-loop.js';
import { connectPorts, droppedBy, emptyRings, type ForwardSettings, loadHook } from './forward-queues.js';

/** Plain data. */
export interface ForwardTask {
  readonly forwardTicket: ThreadTicket;
  /** Numbers of the queues that the ticket has of each port. */
  readonly queues: readonly number[];
  readonly settings: ForwardSettings;
  readonly policy: PollPolicy;
  readonly sharesCpu: boolean;
  /** Element 0 and 1: packets dropped on their way to the first and the second port. Shared. */
  readonly dropped: Float64Array;
}

/** What the worker tells. */
export type FromForwarder =
  | { readonly type: 'started'; readonly path: string }
  | {
      readonly type: 'failed';
      readonly code: NicErrorCode;
      readonly message: string;
      readonly hint: string | undefined;
    };

async function forward(task: ForwardTask): Promise<void> {
  const { queues, settings, dropped, policy, sharesCpu } = task;
  const port = parentPort!;
  const tell = (message: FromForwarder): void => port.postMessage(message);
  const stop = new AbortController();
  // Any message stops it.
  port.once('message', () => stop.abort());
  using thread = attachThread(task.forwardTicket);
  try {
    const count = queues.length;
    const half = (of: 0 | 1) => ({
      rx: thread.rxQueues.slice(of * count, (of + 1) * count),
      tx: thread.txQueues.slice(of * count, (of + 1) * count),
    });
    const makeHook = await loadHook(settings.onPacket);
    const { toA, toB } = connectPorts([half(0), half(1)], queues, settings, makeHook);
    const all = [...toB, ...toA];
    tell({ type: 'started', path: all[0]!.path });
    const poll = (): number => {
      let moved = 0;
      for (let i = 0; i < all.length; i++) moved += all[i]!.poll();
      if (moved > 0) {
        dropped[0] = droppedBy(toA);
        dropped[1] = droppedBy(toB);
      }
      return moved;
    };
    await pollLoop(poll, { signal: stop.signal, queues: thread.rxQueues, policy, sharesCpu });
    emptyRings(poll);
  } catch (error) {
    if (!stop.signal.aborted) tell(failure(error));
  } finally {
    port.close();
  }
}

function failure(error: unknown): FromForwarder {
  if (error instanceof NicError)
    return { type: 'failed', code: error.code, message: error.message, hint: error.hint };
  const message = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return { type: 'failed', code: 'SYSCALL', message, hint: undefined };
}

if (!isMainThread && (workerData as Partial<ForwardTask> | null)?.forwardTicket !== undefined) {
  await forward(workerData as ForwardTask);
}
