/** Prints what RFC 2544 measured: a line for each trial, and tables of less than 80 columns. */
import type { Rfc2544, SizeReport, ThroughputReport, TrialReport } from '../src/traffic/index.js';
import { shortTime } from './gap-histogram.js';
import type { JunitCase } from './junit.js';
import { scaled } from './traffic-report.js';

const SIZE_WIDTH = 6;
const WIDTH = 12;

/** `64 bytes: 60.00 % of the line, 892,800 frames, lost 0 (about 2 min left)`. */
export function trialLine(trial: TrialReport): string {
  const { test, sizeBytes, load, offered, sent, lost, leftMs, lostHere, again } = trial;
  const reached = load - offered > 0.001 ? ` (reached ${percentText(offered)})` : '';
  const here = lostHere > 0 ? `, ${lostHere} lost here` : '';
  const end = again ? ', once more' : `; ${timeLeft(leftMs)}`;
  return `${sizeBytes} ${test}: ${percentText(load)}${reached}, sent ${sent}, lost ${lost}${here}${end}`;
}

/** What a benchmark has by now. */
export type Rfc2544Results = Pick<Rfc2544, 'reports' | 'lostHere' | 'heldUp'>;

export function rfc2544Lines({ reports, lostHere, heldUp }: Rfc2544Results): string[] {
  return [
    ...throughputTable(reports),
    ...latencyTable(reports),
    ...lossTable(reports),
    ...burstTable(reports),
    ...(lostHere > 0 ? [`${lostHere} frames were lost by the ports here, not by the device`] : []),
    ...(heldUp > 0 ? [`${heldUp} trials were held up here at every try: their results may be too low`] : []),
  ];
}

function throughputTable(reports: readonly SizeReport[]): string[] {
  if (!reports.some(({ throughput }) => throughput)) return [];
  const hasPartial = reports.some(({ partial }) => partial);
  const more = hasPartial ? ['0.5 % loss', 'pkt/s'] : ['bit/s'];
  const titles = ['line pkt/s', 'no loss', 'pkt/s', 'limit', ...more];
  return [
    'throughput',
    row('size', titles),
    ...reports.map(({ sizeBytes, lineFramesPerS, throughput, partial }) =>
      row(`${sizeBytes}`, [
        scaled(lineFramesPerS),
        ...loadCells(throughput),
        throughput?.limit ?? '-',
        ...(hasPartial ? loadCells(partial) : [throughput === undefined ? '-' : scaled(throughput.bitsPerS)]),
      ]),
    ),
  ];
}

function loadCells(found: ThroughputReport | undefined): string[] {
  return found === undefined ? ['-', '-'] : [percentText(found.load), scaled(found.framesPerS)];
}

function latencyTable(reports: readonly SizeReport[]): string[] {
  const rows = reports.flatMap(({ sizeBytes, latency }) =>
    latency === undefined
      ? []
      : [
          row(
            `${sizeBytes}`,
            [
              latency.minNs,
              latency.p50Ns,
              latency.p99Ns,
              latency.p999Ns,
              latency.maxNs,
              latency.jitterNs,
            ].map(shortTime),
          ),
        ],
  );
  if (rows.length === 0) return [];
  return ['latency at that load', row('size', ['min', 'p50', 'p99', 'p99.9', 'max', 'jitter']), ...rows];
}

function lossTable(reports: readonly SizeReport[]): string[] {
  const lines = reports.flatMap(({ sizeBytes, losses = [] }) =>
    losses.map(({ load, offered, lossRatio }) =>
      row(`${sizeBytes}`, [
        percentText(load),
        percentText(offered),
        `${Number((lossRatio * 100).toPrecision(3))} %`,
      ]),
    ),
  );
  return lines.length === 0 ? [] : ['frame loss', row('size', ['load', 'reached', 'lost']), ...lines];
}

function burstTable(reports: readonly SizeReport[]): string[] {
  const lines = reports.flatMap(({ sizeBytes, backToBack }) =>
    backToBack === undefined
      ? []
      : [
          row(`${sizeBytes}`, [
            String(backToBack.frames),
            backToBack.isWhole ? 'yes' : 'no',
            percentText(backToBack.offered),
          ]),
        ],
  );
  return lines.length === 0
    ? []
    : ['longest burst without loss', row('size', ['frames', 'all of 2 s', 'reached']), ...lines];
}

/** A case for each size and test: it fails where less passes than was expected. @param expected share of the line */
export function junitCases(reports: readonly SizeReport[], expected: number): JunitCase[] {
  return reports.map(({ sizeBytes, throughput }) => {
    const name = `${sizeBytes} bytes`;
    if (throughput === undefined || throughput.load >= expected) return { name };
    return {
      name,
      failure: `${percentText(throughput.load)} of the line without loss, ${percentText(expected)} were expected`,
    };
  });
}

export function percentText(share: number): string {
  return `${(share * 100).toFixed(2)} %`;
}

function timeLeft(ms: number): string {
  if (ms === 0) return 'the last';
  const s = Math.ceil(ms / 1000);
  return s < 120 ? `about ${s} s left` : `about ${Math.ceil(s / 60)} min left`;
}

function row(name: string, cells: readonly string[]): string {
  return (name.padStart(SIZE_WIDTH) + cells.map((cell) => cell.padStart(WIDTH)).join('')).trimEnd();
}
