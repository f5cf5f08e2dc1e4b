/** The page of `rfc2544 --report`: the tables of the terminal, and throughput, latency and frame loss as charts. */
import type { SizeReport } from '../src/traffic/index.js';
import { shortTime } from './gap-histogram.js';
import { type BarChart, htmlPage } from './html-page.js';
import type { JunitCase } from './junit.js';
import { percentText, type Rfc2544Results, rfc2544Lines } from './rfc2544-report.js';

export function rfc2544Page(results: Rfc2544Results, cases: readonly JunitCase[]): string {
  const { reports } = results;
  const section = {
    heading: 'Results',
    lines: rfc2544Lines(results),
    charts: [throughput(reports), latency(reports), ...reports.map(losses)],
  };
  return htmlPage('RFC 2544', cases, [section]);
}

function throughput(reports: readonly SizeReport[]): BarChart {
  return {
    title: 'Throughput without loss, share of the line by frame size',
    full: 1,
    bars: reports.flatMap(({ sizeBytes, throughput: found }) =>
      found === undefined
        ? []
        : [{ label: `${sizeBytes} B`, value: found.load, text: percentText(found.load) }],
    ),
  };
}

function latency(reports: readonly SizeReport[]): BarChart {
  return {
    title: 'Latency at that load, median by frame size',
    bars: reports.flatMap(({ sizeBytes, latency: found }) =>
      found === undefined
        ? []
        : [{ label: `${sizeBytes} B`, value: found.p50Ns, text: shortTime(found.p50Ns) }],
    ),
  };
}

function losses({ sizeBytes, losses: found = [] }: SizeReport): BarChart {
  return {
    title: `${sizeBytes} bytes: frames lost, by load`,
    full: 1,
    bars: found.map(({ load, lossRatio }) => ({
      label: percentText(load),
      value: lossRatio,
      text: percentText(lossRatio),
    })),
  };
}
