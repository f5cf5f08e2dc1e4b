/**
 * Nanoseconds per packet of every forwarder, batch size by batch size. All forwarders of a batch size take turns, round
 * by round, so that whatever drifts in the machine hits all; ratios are taken within a round.
 */
import { type Bench, closeBench, RING, SUBJECTS, type SubjectName } from './lab.js';

/** Frames that the device receives at each port before the forwarder runs. Room for what the pipe has in flight. */
export const WINDOW_FRAMES = 192;
const WARM_UP_MS = 250;
const WINDOWS_PER_ROUND = 200;

export interface Quartiles {
  readonly p25: number;
  readonly median: number;
  readonly p75: number;
}

export interface Throughput {
  readonly subject: SubjectName;
  readonly batch: number;
  readonly nsPerPacket: Quartiles;
  /** Median of the rounds' ratios to ixy's algorithm in C, and to the pipe in C. */
  readonly ratioToIxy: number;
  readonly ratioToCPipe: number;
  /** Packets that the device saw and found right. */
  readonly checkedPackets: number;
}

interface Cell {
  readonly subject: SubjectName;
  readonly bench: Bench;
  readonly rounds: number[];
}

export interface ThroughputOptions {
  readonly subjects: readonly SubjectName[];
  readonly batch: number;
  readonly rounds: number;
  /** A fault of `Fault` to plant, to see that it is found. */
  readonly plant: number;
}

/** @throws Error where a forwarder did something wrong */
export function measureThroughput(options: ThroughputOptions): Throughput[] {
  const { batch } = options;
  const cells: Cell[] = options.subjects.map((subject) => ({
    subject,
    bench: SUBJECTS[subject](batch),
    rounds: [],
  }));
  try {
    for (const { subject, bench } of cells) {
      inSubject(subject, () => {
        bench.lab.plant(options.plant);
        const end = performance.now() + WARM_UP_MS;
        while (performance.now() < end) runWindow(bench, batch);
      });
    }
    for (let round = 0; round < options.rounds; round++) {
      for (const cell of cells) {
        cell.rounds.push(inSubject(cell.subject, () => runRound(cell.bench, batch)));
      }
    }
    return cells.map((cell) => {
      inSubject(cell.subject, () => finish(cell.bench, batch));
      return summary(cell, cells, batch);
    });
  } finally {
    for (const { bench } of cells) closeBench(bench);
  }
}

function inSubject<T>(subject: SubjectName, action: () => T): T {
  try {
    return action();
  } catch (error) {
    throw new Error(`${subject}: ${(error as Error).message}`, { cause: error });
  }
}

/** Nanoseconds per packet, the median of some windows: a disturbance hits few of them. */
function runRound(bench: Bench, batch: number): number {
  const samples = new Float64Array(WINDOWS_PER_ROUND);
  for (let i = 0; i < samples.length; i++) samples[i] = runWindow(bench, batch);
  return quantile([...samples], 0.5);
}

/** The device works, then the forwarder. Returns the forwarder's nanoseconds per packet. */
function runWindow({ lab, subject }: Bench, batch: number): number {
  const frames = lab.step(Math.max(WINDOW_FRAMES, batch));
  if (frames === 0) throw new Error('no descriptor is free to receive into: the forwarder has stopped');
  const ns = subject.run(Math.ceil(frames / batch));
  return ns / (2 * frames);
}

/** The last frames leave; no buffer may be in two places. */
function finish({ lab, subject }: Bench, batch: number): void {
  const received = lab.received;
  lab.step(0);
  subject.run(Math.ceil(RING / batch));
  lab.step(0);
  lab.checkArmed();
  if (lab.forwarded !== received) throw new Error(`${received} frames arrived and ${lab.forwarded} left`);
}

function summary(cell: Cell, cells: readonly Cell[], batch: number): Throughput {
  const { subject, rounds, bench } = cell;
  return {
    subject,
    batch,
    nsPerPacket: {
      p25: quantile(rounds, 0.25),
      median: quantile(rounds, 0.5),
      p75: quantile(rounds, 0.75),
    },
    ratioToIxy: ratio(cell, cells, 'c-ixy'),
    ratioToCPipe: ratio(cell, cells, 'c-pipe'),
    checkedPackets: bench.lab.forwarded,
  };
}

function ratio(cell: Cell, cells: readonly Cell[], to: SubjectName): number {
  const other = cells.find(({ subject }) => subject === to);
  if (other === undefined) return Number.NaN;
  return quantile(
    cell.rounds.map((ns, round) => ns / other.rounds[round]!),
    0.5,
  );
}

export function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))]!;
}
