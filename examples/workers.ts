/**
 * A worker thread per queue: forwards every frame between two ports, both ways, with as many threads, until Ctrl-C.
 *
 *     node dist/examples/workers.js 0000:03:00.0 0000:03:00.1 2
 */
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { attachThread, connectQueues, open, pollLoop, shareWithThread } from 'barewire';

if (isMainThread) await main();
else await work();

/** Opens the ports, deals their queues out, and counts. */
async function main(): Promise<void> {
  const [first, second, threads = '2'] = process.argv.slice(2);
  const queuePairs = Number(threads);
  if (first === undefined || second === undefined || !(queuePairs >= 1)) {
    console.error('usage: workers.js PORT PORT [THREADS]');
    process.exit(2);
  }
  // With the symmetric key both directions of a flow have queues of the same number: they meet in one thread.
  const all = { queuePairs, symmetricRss: true, promiscuous: true };
  const a = await open(first, { ...all, buffersForDevices: 2 });
  const b = await open(second, { ...all, pool: a.pool });
  const exits = a.rxQueues.map((_, i) => {
    const share = shareWithThread({
      rxQueues: [a.rxQueues[i]!, b.rxQueues[i]!],
      txQueues: [a.txQueues[i]!, b.txQueues[i]!],
    });
    const worker = new Worker(new URL(import.meta.url), { workerData: share.ticket });
    // However the thread ends, its buffers come back.
    share.follow(worker);
    process.once('SIGINT', () => worker.postMessage('stop'));
    return new Promise((resolve) => worker.once('exit', resolve));
  });
  await Promise.all(exits);
  for (const port of [a, b]) {
    // Counters lie in shared memory: these are the sums of all threads.
    const { rxPackets, txPackets } = port.stats();
    console.log(`${port.address}: received ${rxPackets}, sent ${txPackets}`);
  }
  await b.close();
  await a.close();
}

/** One thread: everything here is its own, and nothing is locked. */
async function work(): Promise<void> {
  const thread = attachThread(workerData);
  const stop = new AbortController();
  parentPort!.once('message', () => stop.abort());
  const [rxA, rxB] = thread.rxQueues;
  const [txA, txB] = thread.txQueues;
  const there = connectQueues(rxA!, txB!);
  const back = connectQueues(rxB!, txA!);
  await pollLoop(() => there.poll() + back.poll(), { signal: stop.signal, queues: thread.rxQueues });
  thread.close();
}
