/** Prints what became of the frames of a run: a line for each flow, times, and the sum. */
import type { FlowReport, HistogramSummary, Losses, TrafficAccount } from '../src/traffic/index.js';
import { print } from './output.js';
import { scaled } from './traffic-report.js';

const LOSS_NAMES: Readonly<Record<keyof Losses, string>> = {
  atSender: "not sent by the sender's hardware",
  onTheWay: 'lost on the way',
  damaged: 'damaged',
  atReceiverRing: "lost at the receiver's ring",
  atReceiverDriver: "dropped by the receiver's driver",
  unexplained: 'unexplained',
};

/** Prints it in rows of less than 80 columns, or as a line of JSON. */
export function printAccount(account: TrafficAccount, json: boolean): void {
  if (json) {
    print(JSON.stringify({ type: 'account', ...account }));
    return;
  }
  for (const flow of account.flows) for (const line of flowLines(flow)) print(line);
  if (account.notNumbered !== undefined)
    print(`${account.notNumbered} frames have no number, so only ports can count them`);
  const sum = sumLine(account);
  if (sum !== undefined) print(sum);
  if (account.unknown !== undefined && account.unknown > 0) print(`unknown frames: ${account.unknown}`);
  const hasTimes = account.flows.some(({ latency, gaps, gapErrors }) => latency ?? gaps ?? gapErrors);
  if (hasTimes) for (const part of account.precision.split('; ')) print(`precision: ${part}`);
}

/** `sum: sent 1000 = received 998 + lost on the way 2`. */
function sumLine({ sent, notNumbered = 0, received, losses }: TrafficAccount): string | undefined {
  if (sent === undefined || losses === undefined) return undefined;
  const parts = Object.entries(losses).filter(([, count]) => count !== 0);
  const text = parts.map(([name, count]) => ` + ${LOSS_NAMES[name as keyof Losses]} ${count}`);
  return `sum: sent ${sent - notNumbered} = received ${received}${text.join('')}`;
}

function flowLines(flow: FlowReport): string[] {
  const name = `${flow.flow}: `;
  const { sent, received, requestedPps, achievedPps } = flow;
  const counts = [
    ...(sent === undefined ? [] : [`sent ${sent}`]),
    ...(received === undefined ? [] : [`received ${received}`, `lost ${flow.lost}`]),
  ];
  const lines = [name + counts.join(', ')];
  if (received !== undefined) {
    const by = flow.mostReordered ? ` (by up to ${flow.mostReordered})` : '';
    const stale = flow.stale ? `, too late to tell ${flow.stale}` : '';
    lines.push(
      `  duplicated ${flow.duplicated}, reordered ${flow.reordered}${by}, damaged ${flow.damaged}${stale}`,
    );
  }
  if (sent !== undefined && achievedPps !== undefined) {
    const asked = requestedPps === undefined ? 'as fast as it goes' : `asked for ${rateOf(requestedPps)}`;
    lines.push(`  rate ${rateOf(achievedPps)}, ${asked}`);
  }
  const rows = [
    ...timesRow('gap error', flow.gapErrors),
    ...timesRow('latency', flow.latency),
    ...timesRow('arrival gap', flow.gaps),
  ];
  if (rows.length > 0) lines.push(tableRow('', QUANTILES), ...rows);
  if (flow.latency !== undefined) lines.push(`  jitter ${timeOf(flow.latency.jitterNs)}`);
  return lines;
}

function rateOf(pps: number): string {
  return `${scaled(pps).trim()} pkt/s`;
}

const QUANTILES = ['min', 'p50', 'p90', 'p99', 'p99.9', 'p99.99', 'max'];
const NAME_WIDTH = 14;
const CELL_WIDTH = 9;

function timesRow(name: string, summary: HistogramSummary | undefined): string[] {
  if (summary === undefined) return [];
  const { minNs, p50Ns, p90Ns, p99Ns, p999Ns, p9999Ns, maxNs } = summary;
  return [tableRow(name, [minNs, p50Ns, p90Ns, p99Ns, p999Ns, p9999Ns, maxNs].map(timeOf))];
}

function tableRow(name: string, cells: readonly string[]): string {
  return `  ${name}`.padEnd(NAME_WIDTH) + cells.map((cell) => cell.padStart(CELL_WIDTH)).join('');
}

/** `5.12 us`. */
export function timeOf(ns: number): string {
  const [scale, unit] =
    ns >= 1e9 ? [1e9, 's'] : ns >= 1e6 ? [1e6, 'ms'] : ns >= 1e3 ? [1e3, 'us'] : [1, 'ns'];
  return `${Number((ns / scale).toPrecision(3))} ${unit}`;
}
