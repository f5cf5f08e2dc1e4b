/** How far the gaps between frames that were sent are from those that were meant. */
import { Histogram, type Octave } from '../src/traffic/index.js';

export class GapHistogram {
  readonly #errors = new Histogram();
  #lastDueNs = Number.NaN;
  #lastSentNs = Number.NaN;
  /** How late the last frame left, and the latest of all. */
  lastLateNs = 0;
  maxLateNs = 0;

  /** A frame that was due then has left now. */
  add(dueNs: number, sentNs: number): void {
    const errorNs = Math.abs(sentNs - this.#lastSentNs - (dueNs - this.#lastDueNs));
    if (errorNs >= 0) this.#errors.record(errorNs);
    this.#lastDueNs = dueNs;
    this.#lastSentNs = sentNs;
    this.lastLateNs = sentNs - dueNs;
    if (this.lastLateNs > this.maxLateNs) this.maxLateNs = this.lastLateNs;
  }

  get octaves(): Octave[] {
    return this.#errors.octaves();
  }
}

const COLUMNS = 79;

/** `errors of gaps: < 1.02 us: 1262, < 2.05 us: 13`, in lines of less than 80 columns. */
export function octaveLines(title: string, octaves: readonly Octave[], indent = ''): string[] {
  const lines = [`${indent}${title}:`];
  for (const [i, { belowNs, count }] of octaves.entries()) {
    const cell = `< ${shortTime(belowNs)}: ${count}${i + 1 === octaves.length ? '' : ','}`;
    const line = lines.at(-1)!;
    if (line.length + 1 + cell.length <= COLUMNS) lines[lines.length - 1] = `${line} ${cell}`;
    else lines.push(`${indent}  ${cell}`);
  }
  return lines;
}

/** `5 ns`, `1.5 us`, `32 ms`: three digits. */
export function shortTime(ns: number): string {
  const [scale, unit] =
    ns >= 1e9 ? [1e9, 's'] : ns >= 1e6 ? [1e6, 'ms'] : ns >= 1e3 ? [1e3, 'us'] : [1, 'ns'];
  return `${Number((ns / scale).toPrecision(3))} ${unit}`;
}
