/**
 * What a run of the benchmark leaves: one JSON file, from which docs/performance.md gets its tables and charts. Every
 * section may be missing, as when only a part was run; what is there must be whole.
 */
import type { AlternativeRow } from './alternatives/row.js';

export interface BenchResult {
  readonly machine: Machine;
  /** Version that ran the alternatives, such as `v24.1.0`. */
  readonly node: string;
  /** ISO 8601. */
  readonly date: string;
  readonly core?: CoreResult;
  readonly alternatives?: readonly AlternativeRow[];
}

export interface Machine {
  /** Model, as the kernel names it. */
  readonly cpu: string;
  readonly cores: number;
  readonly kernel: string;
  /** First line of `gcc --version`, and the flags of the C peers. */
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
  readonly cells: readonly Cell[];
  readonly steadiness?: readonly Steadiness[];
}

export const SUBJECT_NAMES = ['c-ixy', 'general', 'pipe', 'c-pipe'] as const;
export type SubjectName = (typeof SUBJECT_NAMES)[number];

/** Median of the rounds of one forwarder at one batch size. */
export interface Cell {
  readonly subject: SubjectName;
  readonly batch: number;
  readonly nsPerPacket: number;
}

/** A long run of one path: what it allocated, and how regularly it polled. */
export interface Steadiness {
  readonly subject: SubjectName;
  readonly packets: number;
  readonly heapGrowthBytes: number;
  readonly collections: number;
  /** Time between two polls, in nanoseconds. */
  readonly gapsNs: {
    readonly p50: number;
    readonly p99: number;
    readonly p999: number;
    readonly p9999: number;
    readonly max: number;
  };
  /** Polls by the time since the one before: more than the previous entry's `upToNs`, at most this one's. */
  readonly histogram: readonly { readonly upToNs: number; readonly count: number }[];
}
