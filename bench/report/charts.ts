/** The charts of docs/performance.md. Each returns an SVG file's text, or undefined where the result has no data for it. */
import { type Measured, SIZES_BYTES, WAYS, type WayName } from '../alternatives/row.js';
import { COMPARED_BATCH, mainRun, measuredRows, nsOf, ratioToIxy } from './figures.js';
import { duration, figure, scaled } from './numbers.js';
import type { BenchResult, CoreRun, Steadiness, SubjectName } from './result.js';
import { Drawing, decades, linear, logarithmic, type SeriesName, spread, steps } from './svg.js';

export const SUBJECT_TITLES: Readonly<Record<SubjectName, string>> = {
  'c-ixy': "C, ixy's way",
  'c-spread': 'C, ixy, spread',
  queues: 'Barewire, receive and send',
  cursor: 'Barewire, cursor',
  general: 'Barewire, general',
  pipe: 'Barewire, pipe',
  'c-pipe': 'C, pipe',
  'c-look': "C, ixy's way, look",
  'queues-look': 'Barewire, receive and send, look',
  'cursor-look': 'Barewire, cursor, look',
  'general-look': 'Barewire, general, hook',
  'pipe-look': 'Barewire, pipe, hook',
  'c-pipe-look': 'C, pipe, look',
};

const WIDTH = 760;
const LABEL_GAP = 17;

/** Without the zeros that show how exact a measured figure is: 5, 0.5, 10 k. */
function tickText(value: number, text: (value: number) => string = figure): string {
  return text(value).replace(/\.0+(?=\D|$)|(\.\d*[1-9])0+(?=\D|$)/, '$1');
}

interface Frame {
  readonly left: number;
  readonly right: number;
  readonly top: number;
  readonly bottom: number;
}

function heading(drawing: Drawing, title: string, subtitle: string): void {
  drawing.text(20, 30, title, 'start', 'title');
  drawing.text(20, 50, subtitle, 'start', 'muted');
}

/** Names beside the right ends of lines, apart from each other. */
function endLabels(
  drawing: Drawing,
  x: number,
  ends: readonly { readonly y: number; readonly text: string; readonly series: SeriesName }[],
): void {
  const places = spread(
    ends.map(({ y }) => y),
    LABEL_GAP,
  );
  for (const [i, { text, series }] of ends.entries()) drawing.text(x, places[i]! + 4, text, 'start', series);
}

/** Nanoseconds per packet against batch size. */
export function batchChart(result: BenchResult): string | undefined {
  const run = mainRun(result);
  if (run === undefined || subjectsOf(run).length === 0) return undefined;
  const title = 'Time per packet by batch size';
  const drawing = new Drawing(WIDTH, 400, title, describeBatch(run));
  heading(
    drawing,
    title,
    `nanoseconds of the forwarder, both ways, 64-byte frames, lockstep device, Node ${run.node}`,
  );
  const frame: Frame = { left: 60, right: 590, top: 75, bottom: 345 };
  const batches = [...new Set(run.cells.map(({ batch }) => batch))].sort((a, b) => a - b);
  const drawn = run.cells.filter(({ subject }) => DRAWN.some((name) => name === subject));
  const ticks = steps(Math.max(...drawn.map(({ nsPerPacket }) => nsPerPacket)), 6);
  const x = logarithmic(
    [batches[0]!, Math.max(batches.at(-1)!, batches[0]! * 2)],
    [frame.left + 10, frame.right - 10],
  );
  const y = linear([0, ticks.at(-1)!], [frame.bottom, frame.top]);
  for (const tick of ticks) {
    drawing.line(frame.left, y(tick), frame.right, y(tick), tick === 0 ? 'axis' : 'grid');
    drawing.text(frame.left - 10, y(tick) + 4, tickText(tick), 'end', 'muted');
  }
  for (const batch of batches) drawing.text(x(batch), frame.bottom + 20, String(batch), 'middle', 'muted');
  drawing.text((frame.left + frame.right) / 2, frame.bottom + 42, 'packets in a batch', 'middle', 'muted');
  const ends = [];
  for (const subject of subjectsOf(run)) {
    const points = batches
      .map((batch) => [batch, nsOf(run, subject, batch)] as const)
      .filter((point): point is readonly [number, number] => point[1] !== undefined)
      .map(([batch, ns]) => [x(batch), y(ns)] as const);
    drawing.path(points, `line ${subject}${subject === 'c-pipe' || subject === 'c-spread' ? ' dashed' : ''}`);
    for (const [px, py] of points) drawing.circle(px, py, 3.5, `fill ${subject}`);
    ends.push({ y: points.at(-1)![1], text: SUBJECT_TITLES[subject], series: subject });
  }
  endLabels(drawing, frame.right + 8, ends);
  return drawing.toString();
}

function describeBatch(run: CoreRun): string {
  const parts = subjectsOf(run).map((subject) => {
    const ns = nsOf(run, subject, COMPARED_BATCH);
    return `${SUBJECT_TITLES[subject]} ${ns === undefined ? 'not measured' : duration(ns)}`;
  });
  return `At batch ${COMPARED_BATCH}: ${parts.join(', ')}.`;
}

/** Drawn, in the order of the legend. An application's own loop is in the tables only. */
const DRAWN = ['c-ixy', 'c-spread', 'general', 'pipe', 'c-pipe'] as const satisfies readonly SubjectName[];

function subjectsOf(run: CoreRun): (typeof DRAWN)[number][] {
  return DRAWN.filter((name) => run.cells.some(({ subject }) => subject === name));
}

/** Time per packet relative to the C peer's, for each version of Node.js. */
export function ratioChart(result: BenchResult): string | undefined {
  const runs = result.core?.runs ?? [];
  if (runs.length === 0) return undefined;
  const bars = runs.map((run) => ({
    node: run.node,
    bars: subjectsOf(run).flatMap((subject) => {
      const ratio = subject === 'c-ixy' ? undefined : ratioToIxy(run, subject, COMPARED_BATCH);
      return ratio === undefined ? [] : [{ subject, ratio }];
    }),
  }));
  if (bars.every((group) => group.bars.length === 0)) return undefined;
  const title = `Time per packet relative to C at batch ${COMPARED_BATCH}`;
  const description = bars
    .map(
      ({ node, bars }) =>
        `Node ${node}: ${bars.map(({ subject, ratio }) => `${SUBJECT_TITLES[subject]} ${figure(ratio)}`).join(', ')}.`,
    )
    .join(' ');
  const drawing = new Drawing(WIDTH, 380, title, description);
  heading(
    drawing,
    title,
    "1 = the C forwarder with ixy's algorithm and layout on the same device; less is faster",
  );
  const frame: Frame = { left: 60, right: 740, top: 100, bottom: 330 };
  const most = Math.max(1.05, ...bars.flatMap((group) => group.bars.map(({ ratio }) => ratio)));
  const ticks = steps(most, 5);
  const y = linear([0, ticks.at(-1)!], [frame.bottom, frame.top]);
  for (const tick of ticks) {
    drawing.line(frame.left, y(tick), frame.right, y(tick), tick === 0 ? 'axis' : 'grid');
    drawing.text(frame.left - 10, y(tick) + 4, tickText(tick), 'end', 'muted');
  }
  drawing.line(frame.left, y(1), frame.right, y(1), 'reference');
  const groupWidth = (frame.right - frame.left) / bars.length;
  const barWidth = Math.min(44, (groupWidth * 0.8) / (DRAWN.length - 1));
  for (const [g, group] of bars.entries()) {
    const centre = frame.left + (g + 0.5) * groupWidth;
    for (const [b, { subject, ratio }] of group.bars.entries()) {
      const left = centre + (b - group.bars.length / 2) * barWidth;
      drawing.rectangle(left + 1, y(ratio), barWidth - 2, frame.bottom - y(ratio), `fill ${subject}`);
      drawing.text(left + barWidth / 2, y(ratio) - 5, ratio.toFixed(2), 'middle', 'halo');
    }
    drawing.text(centre, frame.bottom + 22, `Node ${group.node}`, 'middle');
  }
  legend(
    drawing,
    78,
    DRAWN.slice(1).map((name) => [SUBJECT_TITLES[name as SubjectName], name as SeriesName]),
  );
  return drawing.toString();
}

function legend(drawing: Drawing, y: number, entries: readonly (readonly [string, SeriesName])[]): void {
  let x = 60;
  for (const [text, series] of entries) {
    drawing.rectangle(x, y - 10, 12, 12, `fill ${series}`);
    drawing.text(x + 18, y, text);
    x += 40 + text.length * 7.2;
  }
}

const SIZE_SERIES = ['small', 'medium', 'large'] as const;
const ROW_GAP = 19;

/** Packets per second of one core by way and size, on a logarithmic scale. */
export function alternativesChart(result: BenchResult): string | undefined {
  // The pipe with a look is there to be compared with the copy: see the table of copies.
  const rows = measuredRows(result).filter(({ job, way }) => job === 'forward' && way !== 'look');
  if (rows.length === 0) return undefined;
  const ways = (Object.keys(WAYS) as WayName[]).filter((way) => rows.some((row) => row.way === way));
  const title = 'Forwarded packets per second of one core';
  const drawing = new Drawing(WIDTH, 150 + ways.length * 84, title, describeAlternatives(ways, rows));
  heading(
    drawing,
    title,
    `bars: what the forwarder's time allows; rings: what passed where the other side was the limit; Node ${result.node}`,
  );
  const frame: Frame = { left: 40, right: 680, top: 95, bottom: 95 + ways.length * 84 };
  const ticks = decades(
    Math.min(...rows.map((row) => Math.min(capacity(row), row.packetsPerSecond))) / 2,
    Math.max(...rows.map(capacity)),
  );
  const x = logarithmic([ticks[0]!, ticks.at(-1)!], [frame.left, frame.right]);
  for (const tick of ticks) {
    drawing.line(x(tick), frame.top - 5, x(tick), frame.bottom, tick === ticks[0] ? 'axis' : 'grid');
    drawing.text(x(tick), frame.bottom + 20, tickText(tick, scaled), 'middle', 'muted');
  }
  drawing.text(
    (frame.left + frame.right) / 2,
    frame.bottom + 42,
    'packets per second (logarithmic)',
    'middle',
    'muted',
  );
  for (const [w, way] of ways.entries()) {
    const top = frame.top + w * 84 + 14;
    drawing.text(frame.left + 6, top, plain(WAYS[way].title), 'start');
    for (const [s, sizeBytes] of SIZES_BYTES.entries()) {
      const row = rows.find((candidate) => candidate.way === way && candidate.sizeBytes === sizeBytes);
      if (row === undefined) continue;
      const middle = top + 16 + s * ROW_GAP;
      const end = x(capacity(row));
      drawing.rectangle(frame.left, middle - 6, end - frame.left, 12, `fill ${SIZE_SERIES[s]}`);
      drawing.text(end + 8, middle + 4, scaled(capacity(row)));
      if (row.limit === 'source') drawing.circle(x(row.packetsPerSecond), middle, 5, 'ring');
    }
  }
  legend(
    drawing,
    78,
    SIZES_BYTES.map((size, i) => [`${size} bytes`, SIZE_SERIES[i]!]),
  );
  return drawing.toString();
}

/** What the forwarder could do if packets never failed to come. */
function capacity(row: Measured): number {
  return 1e9 / row.nsPerPacket;
}

function plain(markdown: string): string {
  return markdown.replaceAll('`', '');
}

function describeAlternatives(ways: readonly WayName[], rows: readonly Measured[]): string {
  return ways
    .map((way) => {
      const figures = rows
        .filter((row) => row.way === way)
        .map((row) => `${scaled(capacity(row))} with ${row.sizeBytes} bytes`);
      return `${plain(WAYS[way].title)}: ${figures.join(', ')}.`;
    })
    .join(' ');
}

/** Share of the polls that came later than a time after the one before, on two logarithmic scales. */
export function gapsChart(result: BenchResult): string | undefined {
  const run = mainRun(result);
  if (run === undefined || run.steadiness.length === 0) return undefined;
  const title = 'Time between two polls';
  const drawing = new Drawing(WIDTH, 400, title, run.steadiness.map(describeGaps).join(' '));
  heading(drawing, title, `share of polls that came later than this after the one before, Node ${run.node}`);
  const frame: Frame = { left: 90, right: 715, top: 100, bottom: 345 };
  const curves = run.steadiness.map((steadiness) => ({ series: steadiness.path, points: tail(steadiness) }));
  const points = curves.flatMap((curve) => curve.points);
  const xTicks = decades(
    Math.min(...points.map(([time]) => time)),
    Math.max(...points.map(([time]) => time)),
  );
  const yTicks = decades(Math.min(...points.map(([, share]) => share), 0.1), 1);
  const x = logarithmic([xTicks[0]!, xTicks.at(-1)!], [frame.left, frame.right]);
  const y = logarithmic([yTicks[0]!, 1], [frame.bottom, frame.top]);
  for (const tick of yTicks) {
    drawing.line(frame.left, y(tick), frame.right, y(tick), tick === yTicks[0] ? 'axis' : 'grid');
    drawing.text(frame.left - 10, y(tick) + 4, `${Number((tick * 100).toPrecision(2))} %`, 'end', 'muted');
  }
  for (const tick of xTicks) {
    drawing.line(x(tick), frame.top, x(tick), frame.bottom, 'grid');
    drawing.text(x(tick), frame.bottom + 20, tickText(tick, duration), 'middle', 'muted');
  }
  drawing.text(
    (frame.left + frame.right) / 2,
    frame.bottom + 42,
    'time between polls (logarithmic)',
    'middle',
    'muted',
  );
  for (const { series, points } of curves) {
    const places = points.map(([time, share]) => [x(time), y(share)] as const);
    drawing.path(places, `line ${series}`);
    for (const [px, py] of places) drawing.circle(px, py, 3.5, `fill ${series}`);
  }
  legend(
    drawing,
    78,
    curves.map(({ series }) => [SUBJECT_TITLES[series], series]),
  );
  return drawing.toString();
}

function describeGaps({ path, gapsNs: { p50, p99, p999, p9999, max } }: Steadiness): string {
  return (
    `${SUBJECT_TITLES[path]}: median ${duration(p50)}, p99 ${duration(p99)}, p99.9 ${duration(p999)}, ` +
    `p99.99 ${duration(p9999)}, most ${duration(max)}.`
  );
}

/** [time, share of the polls that came later]; the longest gap was that of one poll. */
export function tail({ gapsNs, polls }: Steadiness): (readonly [number, number])[] {
  const { p50, p99, p999, p9999, max } = gapsNs;
  const points: (readonly [number, number])[] = [
    [p50, 0.5],
    [p99, 0.01],
    [p999, 0.001],
    [p9999, 0.0001],
  ];
  return [...points.filter(([, share]) => share > 1 / polls), [max, 1 / polls]];
}

export const CHARTS = {
  batch: batchChart,
  ratio: ratioChart,
  alternatives: alternativesChart,
  gaps: gapsChart,
} as const;

export type ChartName = keyof typeof CHARTS;
