/**
 * Drawing of charts as SVG. Colours come from a style sheet in the file that has a light and a dark half, and the chart
 * brings its own background, so that it can be read whatever surrounds it.
 */

interface Palette {
  readonly paper: string;
  readonly text: string;
  readonly muted: string;
  readonly grid: string;
  readonly axis: string;
  /** By the name of a series. */
  readonly series: Readonly<Record<SeriesName, string>>;
}

export type SeriesName = 'general' | 'pipe' | 'c-ixy' | 'c-spread' | 'c-pipe' | 'small' | 'medium' | 'large';

const LIGHT: Palette = {
  paper: '#ffffff',
  text: '#1f2328',
  muted: '#59636e',
  grid: '#dfe3e8',
  axis: '#8c959f',
  series: {
    general: '#1f6feb',
    pipe: '#bc4c00',
    'c-ixy': '#424a53',
    'c-spread': '#424a53',
    'c-pipe': '#848d97',
    small: '#7fb3f5',
    medium: '#2f81e8',
    large: '#0b4a9e',
  },
};

const DARK: Palette = {
  paper: '#0d1117',
  text: '#e6edf3',
  muted: '#9198a1',
  grid: '#262c36',
  axis: '#656c76',
  series: {
    general: '#58a6ff',
    pipe: '#f0883e',
    'c-ixy': '#d1d7e0',
    'c-spread': '#d1d7e0',
    'c-pipe': '#818b98',
    small: '#b6d8ff',
    medium: '#58a6ff',
    large: '#2a6fd6',
  },
};

/** Not by CSS variables: viewers outside browsers do not know them. */
function colours(palette: Palette): string {
  const series = Object.entries(palette.series).map(
    ([name, ink]) => `.line.${name} { stroke: ${ink}; } .fill.${name}, text.${name} { fill: ${ink}; }`,
  );
  return [
    `.paper { fill: ${palette.paper}; }`,
    `.ring { fill: ${palette.paper}; stroke: ${palette.text}; }`,
    `.halo { stroke: ${palette.paper}; }`,
    `text { fill: ${palette.text}; }`,
    `text.muted { fill: ${palette.muted}; }`,
    `.grid { stroke: ${palette.grid}; }`,
    `.axis { stroke: ${palette.axis}; }`,
    `.reference { stroke: ${palette.muted}; }`,
    ...series,
  ].join('\n');
}

const STYLE = `
svg { font-family: system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif; font-size: 13px; }
.title { font-size: 16px; font-weight: 600; }
.reference { stroke-width: 1.5; stroke-dasharray: 6 4; }
.line { fill: none; stroke-width: 2.5; stroke-linejoin: round; }
.ring { stroke-width: 2; }
.halo { stroke-width: 4; paint-order: stroke; }
.dashed { stroke-dasharray: 3 4; }
${colours(LIGHT)}
@media (prefers-color-scheme: dark) {
${colours(DARK)}
}
`;

export type Anchor = 'start' | 'middle' | 'end';

export class Drawing {
  readonly #width: number;
  readonly #height: number;
  readonly #title: string;
  readonly #description: string;
  readonly #parts: string[] = [];

  /** @param description for those who do not see the picture */
  constructor(width: number, height: number, title: string, description: string) {
    this.#width = width;
    this.#height = height;
    this.#title = title;
    this.#description = description;
  }

  line(x1: number, y1: number, x2: number, y2: number, classes: string): void {
    this.#parts.push(
      `<line class="${classes}" x1="${at(x1)}" y1="${at(y1)}" x2="${at(x2)}" y2="${at(y2)}"/>`,
    );
  }

  /** A line through points. */
  path(points: readonly (readonly [number, number])[], classes: string): void {
    const steps = points.map(([x, y], i) => `${i === 0 ? 'M' : 'L'}${at(x)} ${at(y)}`);
    this.#parts.push(`<path class="${classes}" d="${steps.join('')}"/>`);
  }

  rectangle(x: number, y: number, width: number, height: number, classes: string): void {
    this.#parts.push(
      `<rect class="${classes}" x="${at(x)}" y="${at(y)}" width="${at(width)}" height="${at(height)}"/>`,
    );
  }

  circle(x: number, y: number, radius: number, classes: string): void {
    this.#parts.push(`<circle class="${classes}" cx="${at(x)}" cy="${at(y)}" r="${at(radius)}"/>`);
  }

  text(x: number, y: number, text: string, anchor: Anchor = 'start', classes = ''): void {
    const where = `x="${at(x)}" y="${at(y)}" text-anchor="${anchor}"`;
    this.#parts.push(
      `<text ${where}${classes === '' ? '' : ` class="${classes}"`}>${escapeText(text)}</text>`,
    );
  }

  toString(): string {
    const size = `width="${this.#width}" height="${this.#height}"`;
    const box = `viewBox="0 0 ${this.#width} ${this.#height}"`;
    return [
      `<svg xmlns="http://www.w3.org/2000/svg" ${size} ${box} role="img" aria-labelledby="title description">`,
      `<title id="title">${escapeText(this.#title)}</title>`,
      `<desc id="description">${escapeText(this.#description)}</desc>`,
      `<style>${STYLE}</style>`,
      `<rect class="paper" width="${this.#width}" height="${this.#height}" rx="6"/>`,
      ...this.#parts,
      '</svg>',
      '',
    ].join('\n');
  }
}

/** From values to places on the paper. */
export type Scale = (value: number) => number;

export function linear(from: readonly [number, number], to: readonly [number, number]): Scale {
  return (value) => to[0] + ((value - from[0]) / (from[1] - from[0])) * (to[1] - to[0]);
}

export function logarithmic(from: readonly [number, number], to: readonly [number, number]): Scale {
  const scale = linear([Math.log(from[0]), Math.log(from[1])], to);
  return (value) => scale(Math.log(value));
}

/** Round steps from 0 to at least `most`; about `count` of them. */
export function steps(most: number, count: number): number[] {
  const rough = most / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((candidate) => candidate >= rough * 0.999)!;
  const last = Math.ceil(most / step - 1e-9);
  return Array.from({ length: last + 1 }, (_, i) => i * step);
}

/** Powers of ten around the values. */
export function decades(least: number, most: number): number[] {
  const first = Math.floor(Math.log10(least) + 1e-9);
  const last = Math.max(first + 1, Math.ceil(Math.log10(most) - 1e-9));
  return Array.from({ length: last - first + 1 }, (_, i) => 10 ** (first + i));
}

/** Moves places apart that are closer than `gap`, keeping their order and, as far as it goes, where they are. */
export function spread(places: readonly number[], gap: number): number[] {
  const order = places.map((_, i) => i).sort((a, b) => places[a]! - places[b]!);
  const result = [...places];
  // Neighbours that touch become one group, centred where its members wanted to be.
  const groups = order.map((i) => ({ members: [i], centre: places[i]! }));
  for (let g = 0; g + 1 < groups.length; ) {
    const [a, b] = [groups[g]!, groups[g + 1]!];
    if (b.centre - a.centre >= ((a.members.length + b.members.length) / 2) * gap) {
      g++;
      continue;
    }
    const members = [...a.members, ...b.members];
    const centre = members.reduce((sum, i) => sum + places[i]!, 0) / members.length;
    groups.splice(g, 2, { members, centre });
    g = Math.max(0, g - 1);
  }
  for (const { members, centre } of groups) {
    for (const [i, member] of members.entries()) {
      result[member] = centre + (i - (members.length - 1) / 2) * gap;
    }
  }
  return result;
}

function at(value: number): string {
  return String(Math.round(value * 10) / 10);
}

function escapeText(text: string): string {
  return text.replace(/[&<>"]/g, (character) => `&#${character.charCodeAt(0)};`);
}
