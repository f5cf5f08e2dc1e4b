/**
 * What happens over a long run, in a process of its own (`node --expose-gc --max-semi-space-size=1 steadiness.js PATH
 * PACKETS`): collections and heap growth while packets are forwarded, and the time between polls in a poll loop. The
 * hardware is played in JavaScript here, since a call to C allocates and would hide what the forwarder does.
 */
import { PerformanceObserver } from 'node:perf_hooks';
import { getHeapStatistics } from 'node:v8';
import { LAYOUT } from '../src/driver/intel/descriptors.js';
import { IntelRxQueue } from '../src/driver/intel/rx-queue.js';
import { IntelTxQueue } from '../src/driver/intel/tx-queue.js';
import { connectQueues } from '../src/forward/forwarder.js';
import { pollLoop } from '../src/forward/poll-loop.js';
import { PacketPool } from '../src/hugepage/packet-pool.js';
import { Histogram } from './histogram.js';
import { LabMapper, RING, RX_ERROR_MASK } from './lab.js';

export interface Steadiness {
  readonly path: 'general' | 'pipe';
  readonly packets: number;
  /** How often it ran until the heap did not grow; what follows is of the last run, collections of all. */
  readonly runs: number;
  readonly seconds: number;
  readonly heapGrowthBytes: number;
  /** Collections of the young generation (1 MiB, so that the smallest garbage shows), and all others. */
  readonly scavenges: number;
  readonly otherCollections: number;
  /** Time from the end of the hardware's turn to its next, which holds one poll each way, in nanoseconds. */
  readonly pollGapNs: Readonly<Record<'p50' | 'p99' | 'p999' | 'p9999' | 'max', number>>;
  readonly polls: number;
}

const BATCH = 32;
const GAP_SECONDS = 2;
const MAX_RUNS = 5;

/** One way: a receive ring that is filled, and a transmit ring that is emptied, by a loop that allocates nothing. */
function makeWay(
  path: 'general' | 'pipe',
  pool: PacketPool,
): { poll(): number; play(): void; sent(): number } {
  const rxRing = new Int32Array(RING * 4);
  const txRing = new Int32Array(RING * 4);
  const rxTail = new Uint32Array(32);
  const txTail = new Uint32Array(32);
  const rx = new IntelRxQueue({ ring: rxRing, tail: rxTail, pool, errorMask: RX_ERROR_MASK });
  const tx = new IntelTxQueue({ ring: txRing, tail: txTail, pool });
  rx.start();
  const forwarder = connectQueues(rx, tx, { batch: BATCH, touch: true, path });
  let rxHead = 0;
  let txHead = 0;
  return {
    poll: () => forwarder.poll(),
    sent: () => Math.min(rx.counters[LAYOUT.PACKETS]!, tx.counters[LAYOUT.PACKETS]!),
    play() {
      const end = txTail[0]!;
      for (; txHead !== end; txHead = (txHead + 1) & (RING - 1)) {
        const word = txHead * 4;
        if ((txRing[word + 2]! & (1 << 27)) !== 0) txRing[word + 3] = 1;
      }
      for (let i = 0; i < BATCH && rxHead !== rxTail[0]; i++, rxHead = (rxHead + 1) & (RING - 1)) {
        const word = rxHead * 4;
        rxRing[word] = 1;
        rxRing[word + 3] = 60;
        rxRing[word + 2] = 3;
      }
    },
  };
}

async function main(path: 'general' | 'pipe', packets: number): Promise<Steadiness> {
  const pool = new PacketPool({ buffers: 4 * RING + 1024 });
  pool.attach(new LabMapper());
  const [a, b] = [makeWay(path, pool), makeWay(path, pool)];
  const run = (batches: number): void => {
    for (let i = 0; i < batches; i++) {
      a.play();
      b.play();
      a.poll();
      b.poll();
    }
  };
  const batches = Math.ceil(packets / (2 * BATCH));
  let scavenges = 0;
  let otherCollections = 0;
  const observer = new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) {
      // NODE_PERFORMANCE_GC_MINOR is 1.
      if ((entry as unknown as { detail: { kind: number } }).detail.kind === 1) scavenges++;
      else otherCollections++;
    }
  });
  /** Growth of the heap while so many batches are forwarded. */
  const grow = (count: number): number => {
    const before = getHeapStatistics().used_heap_size;
    run(count);
    return getHeapStatistics().used_heap_size - before;
  };
  // Compilation allocates as well: warm up first.
  for (const count of [...Array<number>(20).fill(10_000), 300_000]) grow(count);
  await new Promise((resolve) => setTimeout(resolve, 200));
  globalThis.gc?.();
  await new Promise((resolve) => setTimeout(resolve, 50));
  observer.observe({ entryTypes: ['gc'] });
  // What asking alone costs.
  const asked = grow(0);
  let heapGrowthBytes = 0;
  let seconds = 0;
  let forwarded = 0;
  let runs = 0;
  // The engine compiles something again now and then, and that stays. A loop that allocates grows in every run.
  do {
    const before = a.sent() + b.sent();
    const start = performance.now();
    heapGrowthBytes = grow(batches) - asked;
    seconds = (performance.now() - start) / 1000;
    forwarded = a.sent() + b.sent() - before;
    runs++;
  } while (heapGrowthBytes !== 0 && runs < MAX_RUNS);
  await new Promise((resolve) => setTimeout(resolve, 50));
  observer.disconnect();
  const { gaps, polls } = await measureGaps(a, b);
  return {
    path,
    packets: forwarded,
    runs,
    seconds,
    heapGrowthBytes,
    scavenges,
    otherCollections,
    pollGapNs: gaps,
    polls,
  };
}

type Way = ReturnType<typeof makeWay>;

/** In `pollLoop`, as programs run: its turns of the event loop are among the gaps. */
async function measureGaps(a: Way, b: Way): Promise<{ gaps: Steadiness['pollGapNs']; polls: number }> {
  const histogram = new Histogram();
  const stop = new AbortController();
  const timer = setTimeout(() => stop.abort(), GAP_SECONDS * 1000);
  let last = performance.now();
  await pollLoop(
    () => {
      histogram.add((performance.now() - last) * 1e6);
      a.play();
      b.play();
      last = performance.now();
      return a.poll() + b.poll();
    },
    { signal: stop.signal },
  );
  clearTimeout(timer);
  const gaps = {
    p50: histogram.quantile(0.5),
    p99: histogram.quantile(0.99),
    p999: histogram.quantile(0.999),
    p9999: histogram.quantile(0.9999),
    max: histogram.max,
  };
  return { gaps, polls: histogram.count };
}

const [path, packets] = process.argv.slice(2);
console.log(JSON.stringify(await main(path as 'general' | 'pipe', Number(packets))));
