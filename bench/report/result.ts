/**
 * What the page about performance is made from: one JSON file, collected from a run of the benchmark (collect.ts). Sections
 * may be missing, as when only a part was run; what is there must be whole.
 */
import type { AlternativeRow } from '../alternatives/row.js';

export interface BenchResult {
  readonly machine: Machine;
  /** Version that ran the alternatives, such as `v24.1.0`. */
  readonly node: string;
  /** ISO 8601. */
  readonly date: string;
  /** Of the alternatives, where they were measured by themselves. */
  readonly alternativesDate?: string;
  readonly core?: CoreResult;
  readonly alternatives?: readonly AlternativeRow[];
}

export interface Machine {
  /** Model, as the kernel names it. */
  readonly cpu: string;
  readonly cores: number;
  /** Version, without what a builder appended. */
  readonly kernel: string;
  /** First line of `gcc --version`. */
  readonly compiler?: string;
  /** True where the kernel says that it runs under a hypervisor. */
  readonly virtual?: boolean;
}

/** The forwarders on the lockstep device: one entry for each version of Node.js. */
export interface CoreResult {
  readonly runs: readonly CoreRun[];
}

export interface CoreRun {
  readonly node: string;
  readonly hugepages: boolean;
  /** Runnable processes per processor at the start: much above 0, others were at work. */
  readonly loadPerProcessor: number;
  readonly rounds: number;
  /** Frames that the device saw and found right. */
  readonly checkedPackets: number;
  readonly cells: readonly Cell[];
  readonly steadiness: readonly Steadiness[];
}

/** Forwarders that touch a byte of each packet, and those of which an application looks at three fields. */
export const SUBJECT_NAMES = [
  'c-ixy',
  'c-spread',
  'queues',
  'cursor',
  'general',
  'pipe',
  'c-pipe',
  'c-look',
  'queues-look',
  'cursor-look',
  'general-look',
  'pipe-look',
  'c-pipe-look',
] as const;
export type SubjectName = (typeof SUBJECT_NAMES)[number];

/** One forwarder at one batch size. */
export interface Cell {
  readonly subject: SubjectName;
  readonly batch: number;
  /** True where nothing was in the caches. */
  readonly cold?: boolean;
  /** Median of the rounds, and the quartiles. */
  readonly nsPerPacket: number;
  readonly p25: number;
  readonly p75: number;
  /** Median of the rounds' ratios to `c-ixy` and to `c-pipe`; missing where those were not run. */
  readonly ratioToIxy?: number;
  readonly ratioToCPipe?: number;
}

/** A long run of one path: what it allocated, and how regularly it polled. */
export interface Steadiness {
  readonly path: 'general' | 'pipe';
  readonly packets: number;
  readonly heapGrowthBytes: number;
  readonly collections: number;
  readonly polls: number;
  /** Time between two polls, in nanoseconds. */
  readonly gapsNs: {
    readonly p50: number;
    readonly p99: number;
    readonly p999: number;
    readonly p9999: number;
    readonly max: number;
  };
}
