/**
 * What a second core brings: one worker, two workers of one process, and two processes at the same time, each with a lockstep
 * device, rings and buffers of its own. Only the forwarder's
 * time is counted, not the device's.
 *
 *     node --no-warnings dist/bench/scaling.js [SECONDS]
 */
import { type ChildProcess, fork } from 'node:child_process';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { attachThread } from '../src/driver/attached-thread.js';
import type { RxQueue, TxQueue } from '../src/driver/device.js';
import { shareWithThread } from '../src/driver/thread-share.js';
import { connectQueues } from '../src/forward/forwarder.js';
import { Queues, RING } from './lab.js';
import { native, type Pointer } from './native.js';
import { quantile } from './throughput.js';
import { timedPolls } from './timed-polls.js';

const BATCH = 32;
const WINDOW_FRAMES = 192;
const WARM_UP_MS = 500;
const MAX_WINDOWS = 1 << 20;
const PATHS = ['general', 'pipe'] as const;
type Path = (typeof PATHS)[number];

/** What one thread did. */
interface Run {
  /** Median of its windows: what else the machine does hits few of them. */
  readonly nsPerPacket: number;
  readonly windows: number;
}

interface Task {
  readonly ticket: unknown;
  readonly lab: Pointer;
  readonly path: Path;
  readonly milliseconds: number;
}

/** Forwards both ways for so long. @throws Error where the device found something wrong */
function forward(
  rx: readonly RxQueue[],
  tx: readonly TxQueue[],
  { lab, path, milliseconds }: Omit<Task, 'ticket'>,
): Run {
  const connect = (from: number, to: number) =>
    connectQueues(rx[from]!, tx[to]!, { batch: BATCH, touch: true, path });
  const run = timedPolls(connect(0, 1), connect(1, 0));
  const window = (): number => {
    const frames = native.labStep(lab, RING, WINDOW_FRAMES);
    if (frames < 0) throw new Error(native.labError(lab));
    return run(Math.ceil(frames / BATCH)) / (2 * frames);
  };
  const warmUpEnd = performance.now() + WARM_UP_MS;
  while (performance.now() < warmUpEnd) window();
  const samples = new Float64Array(MAX_WINDOWS);
  let count = 0;
  const end = performance.now() + milliseconds;
  while (performance.now() < end && count < MAX_WINDOWS) samples[count++] = window();
  return { nsPerPacket: quantile([...samples.subarray(0, count)], 0.5), windows: count };
}

/** A worker with queues of its own. */
async function inWorker(path: Path, milliseconds: number): Promise<Run> {
  const queues = new Queues();
  const share = shareWithThread({ rxQueues: queues.rx, txQueues: queues.tx, buffers: queues.pool.available });
  const task: Task = { ticket: share.ticket, lab: queues.lab.pointer, path, milliseconds };
  const worker = new Worker(new URL(import.meta.url), { workerData: task });
  share.follow(worker);
  const exited = new Promise((resolve) => worker.once('exit', resolve));
  const run = await new Promise<Run>((resolve, reject) => {
    worker.once('message', resolve);
    worker.once('error', reject);
  });
  await exited;
  // Wants every buffer back.
  queues.close();
  queues.lab.close();
  return run;
}

function inProcess(path: Path, milliseconds: number): Promise<Run> {
  const child: ChildProcess = fork(import.meta.filename, ['process', path, String(milliseconds)]);
  return new Promise((resolve, reject) => {
    child.once('message', (run) => resolve(run as Run));
    child.once('exit', (code) => reject(new Error(`a process ended with ${code}`)));
  });
}

/** Million packets a second, of all. */
function rate(runs: readonly Run[]): number {
  return runs.reduce((sum, { nsPerPacket }) => sum + 1e3 / nsPerPacket, 0);
}

async function main(): Promise<void> {
  const milliseconds = Number(process.argv[2] ?? '3') * 1000;
  for (const path of PATHS) {
    const one = rate([await inWorker(path, milliseconds)]);
    const workers = await Promise.all([inWorker(path, milliseconds), inWorker(path, milliseconds)]);
    const processes = await Promise.all([inProcess(path, milliseconds), inProcess(path, milliseconds)]);
    const [two, apart] = [rate(workers), rate(processes)];
    console.log(
      `${path}: one worker ${one.toFixed(1)} Mpps, two ${two.toFixed(1)} (${(two / one).toFixed(2)} times), ` +
        `two processes ${apart.toFixed(1)}; two workers are ${(two / apart).toFixed(3)} of that`,
    );
  }
}

if (!isMainThread) {
  const task = workerData as Task;
  const thread = attachThread(task.ticket);
  const run = forward(thread.rxQueues, thread.txQueues, task);
  thread.close();
  parentPort!.postMessage(run);
} else if (process.argv[2] === 'process') {
  const queues = new Queues();
  const [path, milliseconds] = [process.argv[3] as Path, Number(process.argv[4])];
  const run = forward(queues.rx, queues.tx, { lab: queues.lab.pointer, path, milliseconds });
  process.send!(run, () => process.disconnect());
} else await main();
