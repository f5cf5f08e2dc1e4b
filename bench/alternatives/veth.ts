/**
 * Measures the ways through the kernel, on veth pairs. Runs as root of a network namespace of its own (kernel-ways.ts
 * starts it there), and prints a line of JSON for each way, job and size.
 */
import { fork } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { problemOf } from './account.js';
import { library, program } from './compile.js';
import { FAR_MAC, FROM, FROM_MAC, forwarderDropped, Load, TO } from './namespace.js';
import { PATHS, type PathName } from './path.js';
import { JOBS, type Job, SIZES_BYTES } from './row.js';
import type { FromSubject, SubjectOptions, ToSubject, Window } from './subject.js';

export interface VethResult {
  readonly path: PathName;
  readonly job: Job;
  readonly sizeBytes: number;
  readonly window: Window;
  readonly sent: number;
  readonly received: number;
}

const SUBJECT_TIMEOUT_MS = 15_000;

const warmUpMs = Number(process.argv[2] ?? 300);
const measureMs = Number(process.argv[3] ?? 700);
/** Which of them; all without it. */
const chosen = process.argv[4]?.split(',') ?? PATHS;

/** Processors that this process may use. */
function processors(): number[] {
  const list = /^Cpus_allowed_list:\s*(\S+)$/m.exec(readFileSync('/proc/self/status', 'utf8'))![1]!;
  return list.split(',').flatMap((range) => {
    const [first, last] = range.split('-').map(Number) as [number, number?];
    return Array.from({ length: (last ?? first) - first + 1 }, (_, i) => first + i);
  });
}

/** A subject, and what it says. */
class Subject {
  readonly #child;
  readonly #received: FromSubject[] = [];
  #wake: () => void = () => {};

  constructor(options: SubjectOptions, cpus: readonly number[]) {
    this.#child = fork(join(import.meta.dirname, 'subject.js'), [JSON.stringify(options)], {
      ...(cpus.length === 0
        ? {}
        : { execPath: 'taskset', execArgv: ['-c', cpus.join(','), process.execPath] }),
      env: { ...process.env, ...(options.path === 'dgram' ? { LD_PRELOAD: options.counter } : {}) },
    });
    this.#child.on('message', (message: FromSubject) => {
      this.#received.push(message);
      this.#wake();
    });
    this.#child.once('exit', () => this.#wake());
  }

  tell(message: ToSubject): void {
    this.#child.send(message);
  }

  async next<T extends FromSubject['type']>(type: T): Promise<Extract<FromSubject, { type: T }>> {
    const deadline = performance.now() + SUBJECT_TIMEOUT_MS;
    for (;;) {
      const message = this.#received.shift();
      if (message !== undefined) {
        if (message.type !== type) throw new Error(`the subject said ${message.type} instead of ${type}`);
        return message as Extract<FromSubject, { type: T }>;
      }
      if (this.#child.exitCode !== null || this.#child.signalCode !== null)
        throw new Error('the subject ended');
      const left = deadline - performance.now();
      if (left <= 0) throw new Error(`the subject hangs before ${type}`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, left);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }

  kill(): void {
    this.#child.kill('SIGKILL');
  }
}

async function measureOne(load: Load, options: SubjectOptions, cpus: readonly number[]): Promise<VethResult> {
  const { path, job, sizeBytes } = options;
  const subject = new Subject(options, cpus);
  try {
    await subject.next('ready');
    const droppedBefore = load.dropped;
    const lostBefore = forwarderDropped();
    load.start(sizeBytes, path === 'dgram' ? FROM_MAC : FAR_MAC);
    subject.tell({ type: 'begun' });
    const { window } = await subject.next('window');
    const sent = await load.stop();
    subject.tell({ type: 'end' });
    const { totals } = await subject.next('totals');
    const sink = await load.report();
    const problem = problemOf(job, {
      sent: sent.sent,
      lostBefore: load.dropped - droppedBefore,
      noRoom: totals.dropped,
      received: totals.received,
      reordered: totals.reordered,
      wrongLength: totals.wrongLength,
      forwarded: totals.sent,
      lostBehind: forwarderDropped() - lostBefore,
      sink,
    });
    if (problem !== undefined) throw new Error(`${path} ${job} ${sizeBytes}: ${problem}`);
    return { path, job, sizeBytes, window, sent: sent.sent, received: totals.received };
  } finally {
    subject.kill();
  }
}

/** Ways that are compared with each other take turns: what else the machine does hits all alike. */
const GROUPS: readonly (readonly PathName[])[] = [['dgram'], ['packet'], ['ring'], ['xdp', 'xdpC']];
const ROUNDS = 3;

/** The one with the median time per packet. */
function median(results: readonly VethResult[]): VethResult {
  const ns = ({ window }: VethResult): number => window.cpuSeconds / window.packets;
  return [...results].sort((a, b) => ns(a) - ns(b))[results.length >> 1]!;
}

const cpus = processors();
const load = await Load.start(program('veth-load'), cpus.length > 1 ? cpus.at(-1) : undefined);
const counter = library('count-calls');
try {
  for (const group of GROUPS) {
    const paths = group.filter((name) => chosen.includes(name));
    for (const job of JOBS) {
      for (const sizeBytes of SIZES_BYTES) {
        const results = paths.map((): VethResult[] => []);
        for (let round = 0; round < (paths.length > 1 ? ROUNDS : 1); round++) {
          for (const [i, path] of paths.entries()) {
            const options = { path, job, sizeBytes, from: FROM, to: TO, counter, warmUpMs, measureMs };
            results[i]!.push(await measureOne(load, options, cpus.slice(0, -1)));
          }
        }
        for (const rounds of results) process.stdout.write(`${JSON.stringify(median(rounds))}\n`);
      }
    }
  }
} finally {
  await load.close();
}
