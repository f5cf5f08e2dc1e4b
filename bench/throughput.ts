/**
 * Nanoseconds per packet of every forwarder, batch size by batch size. All forwarders of a batch size take turns, round
 * by round, so that whatever drifts in the machine hits all; ratios are taken within a round. Batch sizes take turns as
 * well, in passes, so that a disturbance of some seconds does not decide about one of them.
 */
import { type Bench, closeBench, type Place, SUBJECTS, type SubjectName, WARM } from './lab.js';

/** Frames that the device receives at each port before the forwarder runs. */
export const WINDOW_FRAMES: number = WARM.windowFrames;
const WARM_UP_MS = 150;
/** Windows of a round; emptying the caches takes some milliseconds each time. */
const WINDOWS_PER_ROUND = { warm: 200, cold: 10 } as const;

export interface Quartiles {
  readonly p25: number;
  readonly median: number;
  readonly p75: number;
}

export interface Throughput<Name extends string = SubjectName> {
  readonly subject: Name;
  readonly batch: number;
  readonly nsPerPacket: Quartiles;
  /** Nothing was in the caches. */
  readonly cold: boolean;
  /**
   * Median of the rounds' ratios to ixy's algorithm in C, and to the pipe in C; of what looks at packets, to these two with
   * the same look.
   */
  readonly ratioToIxy: number | null;
  readonly ratioToCPipe: number | null;
  /** Packets that the device saw and found right. */
  readonly checkedPackets: number;
}

interface Cell<Name> {
  readonly subject: Name;
  readonly bench: Bench;
}

export interface ThroughputOptions<Name extends string = SubjectName> {
  readonly subjects: readonly Name[];
  /** What makes them. Default: those on the rings of the 82599. */
  readonly table?: Readonly<Record<Name, (batch: number, place: Place) => Bench>>;
  readonly batch: number;
  /** A fault of `Fault` to plant, to see that it is found. */
  readonly plant: number;
  readonly place: Place;
}

/** Forwarders of one batch size, measured as often as wanted. */
export class BatchMeasurement<Name extends string = SubjectName> {
  readonly #options: ThroughputOptions<Name>;
  readonly #nsPerPacket: ReadonlyMap<string, number[]>;
  readonly #checkedPackets = new Map<Name, number>();

  constructor(options: ThroughputOptions<Name>) {
    this.#options = options;
    this.#nsPerPacket = new Map(options.subjects.map((subject) => [subject, []]));
  }

  /** Rounds on new rings. @throws Error where a forwarder did something wrong */
  run(rounds: number): void {
    const { batch, place } = this.#options;
    const table: Readonly<Record<string, (batch: number, place: Place) => Bench>> =
      this.#options.table ?? SUBJECTS;
    const cells: Cell<Name>[] = this.#options.subjects.map((subject) => ({
      subject,
      bench: table[subject]!(batch, place),
    }));
    try {
      for (const { subject, bench } of cells) {
        inSubject(subject, () => {
          bench.lab.plant(this.#options.plant);
          const end = performance.now() + WARM_UP_MS;
          while (performance.now() < end) runWindow(bench, batch);
        });
      }
      for (let round = 0; round < rounds; round++) {
        for (const { subject, bench } of cells) {
          this.#nsPerPacket.get(subject)!.push(inSubject(subject, () => runRound(bench, batch)));
        }
      }
      for (const { subject, bench } of cells) {
        inSubject(subject, () => finish(bench, batch));
        this.#checkedPackets.set(subject, (this.#checkedPackets.get(subject) ?? 0) + bench.lab.forwarded);
      }
    } finally {
      for (const { bench } of cells) closeBench(bench);
    }
  }

  result(): Throughput<Name>[] {
    return this.#options.subjects.map((subject) => {
      const rounds = this.#nsPerPacket.get(subject)!;
      return {
        subject,
        batch: this.#options.batch,
        cold: this.#options.place.walkBytes > 0,
        nsPerPacket: {
          p25: quantile(rounds, 0.25),
          median: quantile(rounds, 0.5),
          p75: quantile(rounds, 0.75),
        },
        ratioToIxy: ratio(rounds, this.#nsPerPacket.get(looks(subject) ? 'c-look' : 'c-ixy')),
        ratioToCPipe: ratio(rounds, this.#nsPerPacket.get(looks(subject) ? 'c-pipe-look' : 'c-pipe')),
        checkedPackets: this.#checkedPackets.get(subject) ?? 0,
      };
    });
  }
}

function looks(subject: string): boolean {
  return subject.endsWith('look');
}

function inSubject<T>(subject: string, action: () => T): T {
  try {
    return action();
  } catch (error) {
    throw new Error(`${subject}: ${(error as Error).message}`, { cause: error });
  }
}

/** Nanoseconds per packet, the median of some windows: a disturbance hits few of them. */
function runRound(bench: Bench, batch: number): number {
  const { warm, cold } = WINDOWS_PER_ROUND;
  const samples = new Float64Array(bench.lab.place.walkBytes > 0 ? cold : warm);
  for (let i = 0; i < samples.length; i++) samples[i] = runWindow(bench, batch);
  return quantile([...samples], 0.5);
}

/** The device works, then the forwarder. Returns the forwarder's nanoseconds per packet. */
function runWindow({ lab, subject }: Bench, batch: number): number {
  const frames = lab.step(Math.max(lab.place.windowFrames, batch));
  lab.cool();
  if (frames === 0) throw new Error('no descriptor is free to receive into: the forwarder has stopped');
  const ns = subject.run(Math.ceil(frames / batch));
  return ns / (2 * frames);
}

/** The last frames leave; no buffer may be in two places. */
function finish({ lab, subject }: Bench, batch: number): void {
  const received = lab.received;
  lab.step(0);
  subject.run(Math.ceil(lab.place.ring / batch));
  lab.step(0);
  lab.checkArmed();
  if (lab.forwarded !== received) throw new Error(`${received} frames arrived and ${lab.forwarded} left`);
}

/** Median of the rounds' ratios; null where the other was not measured. */
function ratio(rounds: readonly number[], others: readonly number[] | undefined): number | null {
  if (others === undefined) return null;
  return quantile(
    rounds.map((ns, round) => ns / others[round]!),
    0.5,
  );
}

export function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))]!;
}
