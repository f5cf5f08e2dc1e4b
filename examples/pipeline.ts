/**
 * A pipeline of two threads: one receives, the other works on the packets and sends them, out of the same port. Ctrl-C ends it.
 *
 *     node dist/examples/pipeline.js 0000:03:00.0
 */
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import {
  attachThread,
  open,
  PacketChannel,
  pollLoop,
  type RxQueue,
  shareWithThread,
  type TxQueue,
} from 'barewire';

if (isMainThread) await main();
else if (workerData.stage === 'receive') await receive();
else await answer();

async function main(): Promise<void> {
  const [address] = process.argv.slice(2);
  if (address === undefined) {
    console.error('usage: pipeline.js PORT');
    process.exit(2);
  }
  const nic = await open(address, { promiscuous: true });
  // Packets go one way; their buffers come home the other.
  const there = new PacketChannel(nic.pool);
  const home = new PacketChannel(nic.pool);
  const shares = {
    receive: shareWithThread({ rxQueues: nic.rxQueues, inputs: [home], outputs: [there], buffers: 1024 }),
    answer: shareWithThread({ txQueues: nic.txQueues, inputs: [there], outputs: [home], buffers: 0 }),
  };
  const exits = Object.entries(shares).map(([stage, share]) => {
    const worker = new Worker(new URL(import.meta.url), { workerData: { stage, ticket: share.ticket } });
    share.follow(worker);
    process.once('SIGINT', () => worker.postMessage('stop'));
    return new Promise((resolve) => worker.once('exit', resolve));
  });
  await Promise.all(exits);
  const { rxPackets, txPackets } = nic.stats();
  console.log(`${nic.address}: received ${rxPackets}, sent ${txPackets}`);
  await nic.close();
}

async function receive(): Promise<void> {
  const thread = attachThread(workerData.ticket);
  const [home] = thread.inputs;
  const move = mover(thread.rxQueues[0]!, thread.outputs[0]!);
  const queues = [...thread.rxQueues, ...thread.inputs];
  await pollLoop(() => home!.takeBack() + move(), { signal: stopSignal(), queues });
  thread.close();
}

async function answer(): Promise<void> {
  const thread = attachThread(workerData.ticket);
  const { pool } = thread;
  const [tx] = thread.txQueues;
  const [home] = thread.outputs;
  const move = mover(thread.inputs[0]!, tx!, (packet) => {
    // The work: back to where it came from.
    pool.bytes(packet).copyWithin(0, 6, 12);
  });
  const poll = (): number => {
    const moved = move();
    tx!.reclaim();
    return moved + home!.returnFree(0);
  };
  await pollLoop(poll, { signal: stopSignal(), queues: thread.inputs });
  thread.close();
}

/** Moves a batch at each call; what finds no room is moved first the next time. */
function mover(rx: RxQueue, tx: TxQueue, work: (packet: number) => void = () => {}): () => number {
  const bufs = new Uint32Array(32);
  let count = 0;
  let sent = 0;
  return () => {
    if (sent === count) {
      count = rx.receive(bufs);
      sent = 0;
      for (let i = 0; i < count; i++) work(bufs[i]!);
    }
    const moved = tx.send(bufs, count - sent, sent);
    sent += moved;
    return moved;
  };
}

function stopSignal(): AbortSignal {
  const stop = new AbortController();
  parentPort!.once('message', () => stop.abort());
  return stop.signal;
}
