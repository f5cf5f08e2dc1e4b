/** Prints what became of the frames of a run: tables of less than 80 columns with a row for each flow, and the sum. */
import type { FlowReport, HistogramSummary, Losses, TrafficAccount } from '../src/traffic/index.js';
import { octaveLines, shortTime } from './gap-histogram.js';
import { print } from './output.js';
import { count, scaled } from './traffic-report.js';

export const LOSS_NAMES: Readonly<Record<keyof Losses, string>> = {
  atSender: "not sent by the sender's hardware",
  onTheWay: 'lost on the way',
  damaged: 'damaged',
  atReceiverRing: "lost at the receiver's ring",
  atReceiverDriver: "dropped by the receiver's driver",
  unexplained: 'unexplained',
};

const COUNT_COLUMNS = ['sent', 'received', 'lost', 'duplicated', 'reordered', 'damaged'];
const RATE_COLUMNS = ['asked for', 'achieved', 'left out', 'changes', 'jitter', 'furthest'];
const TIME_COLUMNS = ['min', 'p50', 'p90', 'p99', 'p99.9', 'p99.99', 'max'];
const NAME_WIDTH = 12;
const WIDTH = 11;
const TIME_NAME_WIDTH = 14;
const TIME_WIDTH = 9;
const COLUMNS = 79;

/**
 * Prints it as tables, or as a line of JSON.
 * @param phase its name, where there are several
 */
export function printAccount(account: TrafficAccount, json: boolean, phase?: string): void {
  if (json) {
    print(JSON.stringify({ type: 'account', ...(phase === undefined ? {} : { phase }), ...account }));
    return;
  }
  if (phase !== undefined) print(`phase: ${phase}`);
  for (const line of accountLines(account)) print(line);
}

export function accountLines(account: TrafficAccount): string[] {
  const { flows, notNumbered, fillers, unknown = 0 } = account;
  const times = flows.flatMap(timeLines);
  return [
    ...table('flow', COUNT_COLUMNS, flows, countCells),
    ...table('pkt/s', RATE_COLUMNS, flows, rateCells),
    ...times,
    ...(notNumbered === undefined
      ? []
      : [`${notNumbered} frames have no number, so only ports can count them`]),
    ...sumLines(account),
    ...(fillers === undefined ? [] : [`fillers ${fillers}: wrong FCS, dropped by the receiver's hardware`]),
    ...flows.flatMap(({ flow, stale = 0 }) =>
      stale === 0 ? [] : [`${flow}: ${stale} came too late to tell whether they came before`],
    ),
    ...(unknown > 0 ? [`unknown frames: ${unknown}`] : []),
    ...(times.length === 0 ? [] : account.precision.split('; ').map((part) => `precision: ${part}`)),
  ];
}

/** `sum: sent 1000 = received 998 + lost on the way 2`. */
function sumLines({ sent, notNumbered = 0, received, losses }: TrafficAccount): string[] {
  if (sent === undefined || losses === undefined) return [];
  const parts = Object.entries(losses).filter(([, frames]) => frames !== 0);
  const lines = [`sum: sent ${sent - notNumbered} = received ${received}`];
  for (const [name, frames] of parts) {
    const text = ` + ${LOSS_NAMES[name as keyof Losses]} ${frames}`;
    if (lines.at(-1)!.length + text.length <= COLUMNS) lines[lines.length - 1] += text;
    else lines.push(`  ${text}`);
  }
  return lines;
}

/** A header and a row a flow; nothing where no flow has a cell. */
function table(
  title: string,
  columns: readonly string[],
  flows: readonly FlowReport[],
  cellsOf: (flow: FlowReport) => readonly (string | undefined)[],
): string[] {
  const rows = flows.map((flow) => ({ name: flow.flow, cells: cellsOf(flow) }));
  // A column that no flow has is left out.
  const used = columns.map((_, i) => rows.some(({ cells }) => cells[i] !== undefined));
  if (!used.includes(true)) return [];
  const line = (name: string, cells: readonly (string | undefined)[]): string[] =>
    named(
      name,
      NAME_WIDTH,
      cells
        .filter((_, i) => used[i])
        .map((cell) => (cell ?? '-').padStart(WIDTH))
        .join(''),
    );
  return [...line(title, columns), ...rows.flatMap(({ name, cells }) => line(name, cells))];
}

/** The name in front, or on a line of its own where it is too long. */
function named(name: string, width: number, cells: string): string[] {
  if (name.length < width) return [name.padEnd(width) + cells];
  return [name.slice(0, COLUMNS), ' '.repeat(width) + cells];
}

function countCells(flow: FlowReport): (string | undefined)[] {
  const { sent, received, lost, duplicated, reordered, damaged } = flow;
  return [sent, received, lost, duplicated, reordered, damaged].map((value) =>
    value === undefined ? undefined : count(value, WIDTH),
  );
}

function rateCells(flow: FlowReport): (string | undefined)[] {
  const { requestedPps, achievedPps, leftOutLate = 0, leftOutNoRoom = 0, rateChanges, latency } = flow;
  const isPaced = requestedPps !== undefined;
  return [
    achievedPps === undefined ? undefined : isPaced ? scaled(requestedPps) : 'most',
    achievedPps === undefined ? undefined : scaled(achievedPps),
    isPaced ? count(leftOutLate + leftOutNoRoom, WIDTH) : undefined,
    rateChanges === undefined ? undefined : count(rateChanges, WIDTH),
    latency === undefined ? undefined : shortTime(latency.jitterNs),
    flow.mostReordered ? count(flow.mostReordered, WIDTH) : undefined,
  ];
}

function timeLines({ flow, gapErrors, latency, gaps }: FlowReport): string[] {
  const rows = [
    ...timesRow('gap error', gapErrors),
    ...timesRow('latency', latency),
    ...timesRow('arrival gap', gaps),
  ];
  if (rows.length === 0) return [];
  return [
    ...named(flow, TIME_NAME_WIDTH, TIME_COLUMNS.map((cell) => cell.padStart(TIME_WIDTH)).join('')),
    ...rows,
    ...(gapErrors === undefined ? [] : octaveLines('gap errors', gapErrors.octaves, '  ')),
  ];
}

function timesRow(name: string, summary: HistogramSummary | undefined): string[] {
  if (summary === undefined) return [];
  const { minNs, p50Ns, p90Ns, p99Ns, p999Ns, p9999Ns, maxNs } = summary;
  const cells = [minNs, p50Ns, p90Ns, p99Ns, p999Ns, p9999Ns, maxNs].map(shortTime);
  return [`  ${name}`.padEnd(TIME_NAME_WIDTH) + cells.map((cell) => cell.padStart(TIME_WIDTH)).join('')];
}
