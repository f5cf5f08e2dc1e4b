/**
 * What sleep costs, and what it saves, by policy of `pollLoop`:
 *
 *     node --no-warnings dist/bench/waking.js [PACKETS] [SECONDS]
 *
 * Wake-up: from the moment when the device signals the interrupt to the moment when the application has its first packet. The
 * device is another thread, with a ring in shared memory and a real eventfd; packets come so far apart that the loop sleeps.
 *
 * Idle: CPU time, and how often a thread wakes up, of `barewire fwd` on two emulated ports without traffic, and of its emulator.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { isMainThread, Worker, workerData } from 'node:worker_threads';
import { IntelRxQueue } from '../src/driver/intel/rx-queue.js';
import { NicError } from '../src/errors.js';
import { POLL_POLICIES, type PollPolicy, pollLoop } from '../src/forward/poll-loop.js';
import { PacketPool } from '../src/hugepage/packet-pool.js';
import { closeFd, eventfd, watchFd } from '../src/syscalls/descriptors.js';
import { readEventfd } from '../src/syscalls/event-counters.js';
import { LabMapper, RX_ERROR_MASK } from './lab.js';
import { quantile } from './throughput.js';

const SLOTS = 64;
/** Longer than `balanced` waits before it sleeps. */
const GAP_MS = 30;
const SPREAD_MS = 10;
const WARM_UP = 20;

/** What the device's thread works on; all shared. */
interface Device {
  readonly ring: Int32Array;
  /** 1 while the interrupt is unmasked: firing masks it, as the hardware does. */
  readonly armed: Int32Array;
  readonly fd: number;
  /** When each packet's interrupt was signalled, in nanoseconds. */
  readonly sentNs: BigInt64Array;
  readonly packets: number;
}

function play({ ring, armed, fd, sentNs, packets }: Device): void {
  const never = new Int32Array(new SharedArrayBuffer(4));
  const one = new Uint8Array(BigUint64Array.of(1n).buffer);
  let random = 1;
  for (let i = 0; i < packets; i++) {
    random = (Math.imul(random, 1664525) + 1013904223) >>> 0;
    Atomics.wait(never, 0, 0, GAP_MS + (random / 2 ** 32) * SPREAD_MS);
    const word = (i % SLOTS) * 4;
    ring[word + 3] = 60;
    sentNs[i] = process.hrtime.bigint();
    Atomics.store(ring, word + 2, 3);
    if (Atomics.exchange(armed, 0, 0) === 1) writeSync(fd, one);
  }
}

interface Wakening {
  readonly p50Us: number;
  readonly p99Us: number;
  /** Share of a core that the process used meanwhile, the device's thread included. */
  readonly cpu: number;
}

async function measureWaking(policy: PollPolicy, count: number): Promise<Wakening> {
  const packets = WARM_UP + count;
  const pool = new PacketPool({ buffers: 2 * SLOTS });
  const mapper = new LabMapper();
  pool.attach(mapper);
  const device: Device = {
    ring: new Int32Array(new SharedArrayBuffer(SLOTS * 16)),
    armed: new Int32Array(new SharedArrayBuffer(4)),
    fd: eventfd(),
    sentNs: new BigInt64Array(new SharedArrayBuffer(8 * packets)),
    packets,
  };
  const rx = new IntelRxQueue({
    ring: device.ring,
    tail: new Uint32Array(32),
    pool,
    errorMask: RX_ERROR_MASK,
    interrupt: {
      arm: () => void Atomics.store(device.armed, 0, 1),
      disarm: () => void Atomics.store(device.armed, 0, 0),
    },
  });
  const unwatch = watchFd(device.fd, { readable: true }, true, () => {
    readEventfd(device.fd);
    rx.interrupted();
  });
  const worker = new Worker(new URL(import.meta.url), { workerData: device });
  const stop = new AbortController();
  const bufs = new Uint32Array(1);
  const tookUs: number[] = [];
  let received = 0;
  const before = process.cpuUsage();
  const startMs = performance.now();
  await pollLoop(
    () => {
      if (rx.receive(bufs) === 0) return 0;
      const nowNs = process.hrtime.bigint();
      if (received >= WARM_UP) tookUs.push(Number(nowNs - device.sentNs[received]!) / 1000);
      pool.release(bufs, 1);
      if (++received === packets) stop.abort();
      return 1;
    },
    { signal: stop.signal, queues: [rx], policy },
  );
  const used = process.cpuUsage(before);
  const cpu = (used.user + used.system) / 1000 / (performance.now() - startMs);
  await new Promise((resolve) => {
    if (worker.threadId === -1) resolve(undefined);
    else worker.once('exit', resolve);
  });
  unwatch();
  closeFd(device.fd);
  rx.close(new NicError('CLOSED', 'the benchmark is over'));
  pool.detach(mapper);
  pool.close();
  return { p50Us: quantile(tookUs, 0.5), p99Us: quantile(tookUs, 0.99), cpu };
}

/** CPU time in nanoseconds, and how often its threads have slept, of a process. */
function usage(pid: number): { cpuNs: number; sleeps: number } {
  let cpuNs = 0;
  let sleeps = 0;
  for (const task of readdirSync(`/proc/${pid}/task`)) {
    const at = (name: string): string => readFileSync(`/proc/${pid}/task/${task}/${name}`, 'utf8');
    cpuNs += Number(at('schedstat').split(' ')[0]);
    sleeps += Number(/^voluntary_ctxt_switches:\s+(\d+)/m.exec(at('status'))?.[1]);
  }
  return { cpuNs, sleeps };
}

const BAREWIRE = join(import.meta.dirname, '..', 'tools', 'barewire.js');

function start(...args: string[]): ChildProcess {
  return spawn(process.execPath, ['--no-warnings', BAREWIRE, ...args], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
}

/** Resolves when a line has come that matches. */
function saying(child: ChildProcess, line: RegExp): Promise<void> {
  return new Promise((resolve, reject) => {
    let text = '';
    child.stdout!.on('data', (piece) => {
      text += piece;
      if (line.test(text)) resolve();
    });
    child.once('exit', (code) => reject(new Error(`a process ended with ${code}: ${text}`)));
  });
}

function ended(child: ChildProcess): Promise<unknown> {
  if (child.exitCode !== null || child.signalCode !== null) return Promise.resolve();
  const exited = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGINT');
  return exited;
}

const SETTLE_MS = 3000;

async function measureIdle(policy: PollPolicy, seconds: number): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'barewire-waking-'));
  const sockets = ['a', 'b'].map((name) => join(folder, `${name}.sock`));
  const emulator = start('emulate', '--link', 'cable', ...sockets.flatMap((path) => ['--socket', path]));
  try {
    await saying(emulator, /port 1/);
    const forwarder = start('fwd', ...sockets.map((path) => `vfio-user:${path}`), '--policy', policy);
    try {
      await saying(forwarder, /path:/);
      await sleep(SETTLE_MS);
      const processes = [forwarder, emulator].map(({ pid }) => pid!);
      const before = processes.map(usage);
      const startMs = performance.now();
      await sleep(seconds * 1000);
      const ms = performance.now() - startMs;
      const cells = processes.map(usage).map(({ cpuNs, sleeps }, i) => {
        const percent = ((cpuNs - before[i]!.cpuNs) / 1e4 / ms).toFixed(2);
        return `${percent} % of a core, ${(((sleeps - before[i]!.sleeps) * 1000) / ms).toFixed(1)} wake-ups/s`;
      });
      console.log(`idle ${policy.padEnd(8)}  fwd ${cells[0]}; emulator ${cells[1]}`);
    } finally {
      await ended(forwarder);
    }
  } finally {
    await ended(emulator);
    rmSync(folder, { recursive: true, force: true });
  }
}

async function main(): Promise<void> {
  const packets = Number(process.argv[2] ?? '200');
  const seconds = Number(process.argv[3] ?? '20');
  for (const policy of POLL_POLICIES) {
    const { p50Us, p99Us, cpu } = await measureWaking(policy, packets);
    console.log(
      `wake-up ${policy.padEnd(8)}  p50 ${p50Us.toFixed(1)} us, p99 ${p99Us.toFixed(1)} us; ` +
        `${(cpu * 100).toFixed(2)} % of a core with a packet in ${GAP_MS + SPREAD_MS / 2} ms`,
    );
  }
  for (const policy of POLL_POLICIES) await measureIdle(policy, seconds);
}

if (!isMainThread) play(workerData as Device);
else await main();
