import * as assert from 'uvu/assert';
import {
  alternativesChart,
  batchChart,
  CHARTS,
  gapsChart,
  ratioChart,
  tail,
} from '../../bench/report/charts.js';
import type { BenchResult } from '../../bench/report/result.js';
import { suite } from '../support/suite.js';
import { copyOfResult, RESULT, STEADINESS } from './results.js';

/** Elements that are opened are closed, and every number is one. */
function checkDrawing(svg: string): void {
  const open: string[] = [];
  for (const [, close, name, selfClosing] of svg.matchAll(/<(\/?)([a-z]+)[^<>]*?(\/?)>/g)) {
    if (selfClosing === '/') continue;
    if (close === '/') assert.is(open.pop(), name);
    else open.push(name!);
  }
  assert.equal(open, []);
  assert.not.match(svg, /NaN|undefined|Infinity/);
  const width = Number(/width="(\d+)"/.exec(svg)![1]);
  const height = Number(/height="(\d+)"/.exec(svg)![1]);
  for (const [, axis, value] of svg.matchAll(/ (c?[xy])[12]?="([^"]*)"/g)) {
    const most = axis!.endsWith('x') ? width : height;
    assert.ok(Number(value) >= 0 && Number(value) <= most, `${axis} = ${value}`);
  }
}

/** Heights of rectangles of a series, without the legend's. */
function bars(svg: string, series: string): number[] {
  const pattern = new RegExp(`<rect class="fill ${series}"[^>]*height="([^"]*)"`, 'g');
  return Array.from(svg.matchAll(pattern), ([, height]) => Number(height)).filter((height) => height !== 12);
}

const charts = suite('charts');

for (const [name, draw] of Object.entries(CHARTS)) {
  charts(`${name}: sound, and the same each time`, () => {
    const svg = draw(RESULT);
    checkDrawing(svg!);
    assert.is(draw(copyOfResult()), svg);
  });

  charts(`${name}: none without data`, () => {
    const { core: _, alternatives: __, ...empty } = RESULT;
    assert.is(draw(empty), undefined);
    assert.is(draw({ ...empty, core: { runs: [] }, alternatives: [] }), undefined);
  });
}

charts('batch: the run of the version that the result names', () => {
  const svg = batchChart(RESULT)!;
  assert.match(svg, 'Node v24.1.0');
  assert.match(svg, "At batch 32: C, ixy's way 10.0 ns, C, ixy, spread 9.50 ns, Barewire, general 8.00 ns");
});

charts('ratio: bars are as high as the ratios', () => {
  const svg = ratioChart(RESULT)!;
  const [first, second] = bars(svg, 'general');
  const [pipe] = bars(svg, 'pipe');
  assert.is(first, second, 'both versions have the same ratio');
  assert.ok(Math.abs(pipe! / first! - 0.31 / 0.81) < 0.01);
  assert.match(svg, '>0.81</text>');
  assert.match(svg, '>0.31</text>');
  assert.not.match(svg, 'receive and send');
});

charts('alternatives: capacity by time, and a ring where the source was the limit', () => {
  const svg = alternativesChart(RESULT)!;
  assert.match(svg, '>200 M</text>');
  assert.not.match(svg, 'a look');
  assert.match(svg, '>40.0 M</text>');
  assert.is(svg.match(/class="ring"/g)?.length, 1);
  assert.not.match(svg, 'dgram');
});

charts('gaps: the tail of the distribution', () => {
  assert.equal(tail(STEADINESS), [
    [200, 0.5],
    [400, 0.01],
    [2000, 0.001],
    [14_000, 0.0001],
    [1_900_000, 0.000001],
  ]);
  assert.equal(tail({ ...STEADINESS, polls: 500 }), [
    [200, 0.5],
    [400, 0.01],
    [1_900_000, 0.002],
  ]);
  assert.match(gapsChart(RESULT)!, 'p99.99 14.0 µs, most 1.90 ms');
});

charts('gaps: a single poll can be drawn', () => {
  const run = { ...RESULT.core!.runs[1]!, steadiness: [{ ...STEADINESS, polls: 1 }] };
  const result: BenchResult = { ...RESULT, core: { runs: [run] } };
  checkDrawing(gapsChart(result)!);
});

charts.run();
