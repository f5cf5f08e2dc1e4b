/**
 * Pages that need nothing beside them: text as the terminal shows it, and bar charts in SVG. Colours follow the reader's choice of a
 * light or dark background.
 */
import type { JunitCase } from './junit.js';
import { escaped } from './report-file.js';

export interface Bar {
  readonly label: string;
  /** From 0. */
  readonly value: number;
  /** The value as it is written at the bar's end. */
  readonly text: string;
}

export interface BarChart {
  readonly title: string;
  readonly bars: readonly Bar[];
  /** Value of a bar of full length. Default: the largest. */
  readonly full?: number;
}

export interface PageSection {
  readonly heading: string;
  /** Lines as on a terminal, with columns under each other. */
  readonly lines: readonly string[];
  readonly charts: readonly BarChart[];
}

const LABEL_WIDTH = 90;
const BAR_WIDTH = 420;
const TEXT_WIDTH = 130;
const ROW_HEIGHT = 20;
const BAR_HEIGHT = 14;
const TEXT_BASE = 11;
/** Shortest bar of a value above 0, so that it can be seen. */
const LEAST_BAR = 1;

const STYLE = `
:root { color-scheme: light dark; --back: #fff; --text: #1c1c1c; --bar: #2a6fb0; --good: #1f7a3a; --bad: #b3261e; }
@media (prefers-color-scheme: dark) {
  :root { --back: #16181b; --text: #e4e4e4; --bar: #6aa9e4; --good: #6cc58b; --bad: #ff8a80; }
}
body { background: var(--back); color: var(--text); font: 15px/1.5 system-ui, sans-serif; max-width: 50rem; margin: 2rem auto; padding: 0 1rem; }
pre { overflow-x: auto; font: 13px/1.4 ui-monospace, monospace; }
svg { display: block; max-width: 100%; height: auto; font: 12px ui-monospace, monospace; }
svg text { fill: var(--text); }
svg rect { fill: var(--bar); }
.good { color: var(--good); }
.bad { color: var(--bad); }
`;

/** @param cases what was asked of the run, and whether it held */
export function htmlPage(
  title: string,
  cases: readonly JunitCase[],
  sections: readonly PageSection[],
): string {
  return [
    '<!DOCTYPE html>',
    '<html lang="en">',
    '<head>',
    '<meta charset="utf-8">',
    '<meta name="viewport" content="width=device-width">',
    `<title>${escaped(title)}</title>`,
    `<style>${STYLE}</style>`,
    '</head>',
    '<body>',
    `<h1>${escaped(title)}</h1>`,
    ...cases.map(verdict),
    ...sections.flatMap(({ heading, lines, charts }) => [
      `<h2>${escaped(heading)}</h2>`,
      `<pre>${escaped(lines.join('\n'))}</pre>`,
      ...charts.filter(({ bars }) => bars.length > 0).flatMap(barChart),
    ]),
    '</body>',
    '</html>',
    '',
  ].join('\n');
}

function verdict({ name, failure }: JunitCase): string {
  const [kind, text] = failure === undefined ? ['good', 'passed'] : ['bad', `failed: ${failure}`];
  return `<p class="${kind}">${escaped(`${name}: ${text}`)}</p>`;
}

function barChart({ title, bars, full }: BarChart): string[] {
  const most = full ?? Math.max(...bars.map(({ value }) => value));
  const width = LABEL_WIDTH + BAR_WIDTH + TEXT_WIDTH;
  const height = bars.length * ROW_HEIGHT;
  return [
    `<h3>${escaped(title)}</h3>`,
    `<svg viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img" aria-label="${escaped(title)}">`,
    ...bars.map((bar, i) => barRow(bar, i * ROW_HEIGHT, most)),
    '</svg>',
  ];
}

function barRow({ label, value, text }: Bar, top: number, most: number): string {
  const share = most > 0 ? Math.min(1, value / most) : 0;
  const length = value > 0 ? Math.max(LEAST_BAR, share * BAR_WIDTH) : 0;
  const base = top + TEXT_BASE;
  return [
    `<text x="${LABEL_WIDTH - 8}" y="${base}" text-anchor="end">${escaped(label)}</text>`,
    `<rect x="${LABEL_WIDTH}" y="${top}" width="${length.toFixed(1)}" height="${BAR_HEIGHT}"/>`,
    `<text x="${(LABEL_WIDTH + length + 6).toFixed(1)}" y="${base}">${escaped(text)}</text>`,
  ].join('');
}
