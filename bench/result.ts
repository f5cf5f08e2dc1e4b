/** The result of a run of the benchmark, as it is written to a JSON file, and as a table for people. */
import { readFileSync } from 'node:fs';
import { availableParallelism, cpus, release, totalmem } from 'node:os';
import { join } from 'node:path';
import { RING, type SubjectName } from './lab.js';
import { COMPILER_FLAGS, compilerVersion, ROOT } from './native.js';
import type { Steadiness } from './steadiness.js';
import { type Throughput, WINDOW_FRAMES } from './throughput.js';

export interface BenchResult {
  /** Grows when fields change their meaning. */
  readonly schema: 1;
  readonly date: string;
  readonly machine: {
    readonly processor: string;
    readonly processors: number;
    readonly memoryBytes: number;
    readonly kernel: string;
    readonly hugepages: boolean;
    /** Runnable processes per processor at the start: much above 0, others were at work. */
    readonly loadPerProcessor: number;
  };
  readonly versions: {
    readonly barewire: string;
    readonly node: string;
    readonly v8: string;
    readonly compiler: string;
    readonly compilerFlags: string;
  };
  readonly method: {
    readonly ringSize: number;
    readonly frameBytes: number;
    readonly windowFrames: number;
    readonly passes: number;
    readonly roundsPerPass: number;
    readonly seconds: number;
  };
  readonly throughput: readonly Throughput[];
  readonly steadiness: readonly Steadiness[];
}

/** What can be told before the measurement. */
export function describeMachine(): Pick<BenchResult, 'schema' | 'date' | 'machine' | 'versions'> {
  const manifest = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string };
  return {
    schema: 1,
    date: new Date().toISOString(),
    machine: {
      processor: cpus()[0]?.model.trim() ?? 'unknown',
      processors: availableParallelism(),
      memoryBytes: totalmem(),
      kernel: release(),
      hugepages: /^HugePages_Free:\s+[1-9]/m.test(readFileSync('/proc/meminfo', 'utf8')),
      loadPerProcessor: Number(readFileSync('/proc/loadavg', 'utf8').split(' ')[0]) / availableParallelism(),
    },
    versions: {
      barewire: manifest.version,
      node: process.version,
      v8: process.versions.v8,
      compiler: compilerVersion(),
      compilerFlags: COMPILER_FLAGS,
    },
  };
}

/** 64 bytes on the wire: 60 and the FCS. */
export const FRAME_BYTES = 64;
export const RING_SIZE = RING;
export const WINDOW = WINDOW_FRAMES;

const HEADINGS: Readonly<Record<SubjectName, string>> = {
  'c-ixy': 'ixy in C',
  'c-spread': 'spread in C',
  'c-pipe': 'pipe in C',
  queues: 'receive+send',
  cursor: 'cursor',
  general: 'Forwarder',
  pipe: 'Pipe',
  'c-look': 'C, look',
  'c-pipe-look': 'C pipe, look',
  'queues-look': 'r+s, look',
  'cursor-look': 'cursor, look',
  'general-look': 'Forwarder, hook',
  'pipe-look': 'Pipe, hook',
};

/** Nanoseconds per packet by batch size, with the ratio to ixy's algorithm in C. */
export function throughputTable<Name extends string = SubjectName>(
  rows: readonly Throughput<Name>[],
  headings: Readonly<Record<string, string>> = HEADINGS,
): string {
  const subjects = [...new Set(rows.map(({ subject }) => subject))];
  const batches = [...new Set(rows.map(({ batch }) => batch))];
  const line = (cells: readonly string[]): string =>
    cells.map((cell, i) => cell.padStart(i === 0 ? 5 : 16)).join('');
  const lines = [line(['batch', ...subjects.map((subject) => headings[subject] ?? subject)])];
  for (const batch of batches) {
    const cells = subjects.map((subject) => {
      const row = rows.find((one) => one.batch === batch && one.subject === subject);
      if (row === undefined) return '';
      const ns = row.nsPerPacket.median.toFixed(2);
      return subject === 'c-ixy' || subject === 'c-look' || row.ratioToIxy === null
        ? ns
        : `${ns} (${row.ratioToIxy.toFixed(2)})`;
    });
    lines.push(line([String(batch), ...cells]));
  }
  return lines.join('\n');
}

export function steadinessTable(rows: readonly Steadiness[]): string {
  return rows
    .map(
      ({ path, packets, runs, seconds, heapGrowthBytes, scavenges, otherCollections, pollGapNs, polls }) => {
        const { p50, p99, p999, p9999, max } = pollGapNs;
        const us = (ns: number): string => `${(ns / 1000).toFixed(ns < 10_000 ? 2 : 0)} us`;
        return [
          `${path}: ${packets} packets in ${seconds.toFixed(1)} s: heap growth ${heapGrowthBytes} bytes, collections ${scavenges + otherCollections} (run ${runs})`,
          `${path}: time between polls p50 ${us(p50)}, p99 ${us(p99)}, p99.9 ${us(p999)}, p99.99 ${us(p9999)}, max ${us(max)} (${polls} polls)`,
        ].join('\n');
      },
    )
    .join('\n');
}
