import fc from 'fast-check';
import * as assert from 'uvu/assert';
import { Drawing, decades, linear, logarithmic, spread, steps } from '../../bench/report/svg.js';
import { suite } from '../support/suite.js';

const scales = suite('scales');

scales('linear and logarithmic: ends on ends, the middle between', () => {
  const x = linear([0, 10], [100, 200]);
  assert.equal([x(0), x(5), x(10)], [100, 150, 200]);
  const y = logarithmic([1, 100], [300, 100]);
  assert.equal(
    [1, 10, 100].map((value) => Math.round(y(value))),
    [300, 200, 100],
  );
});

scales('steps: round, from 0, up to the largest value', () => {
  assert.equal(steps(18.3, 6), [0, 5, 10, 15, 20]);
  assert.equal(steps(1.05, 5), [0, 0.5, 1, 1.5]);
  fc.assert(
    fc.property(fc.double({ min: 1e-3, max: 1e6, noNaN: true }), (most) => {
      const list = steps(most, 6);
      assert.is(list[0], 0);
      assert.ok(list.at(-1)! >= most * (1 - 1e-9));
      assert.ok(list.length <= 8, `${list.length} steps`);
    }),
  );
});

scales('decades: powers of ten around all values', () => {
  assert.equal(decades(1000, 58e6), [1e3, 1e4, 1e5, 1e6, 1e7, 1e8]);
  assert.equal(decades(5, 5), [1, 10]);
  assert.equal(decades(10, 10), [10, 100]);
});

scales('spread: apart, in order, and where they were if there was room', () => {
  assert.equal(spread([10, 50, 90], 17), [10, 50, 90]);
  assert.equal(spread([50, 50], 20), [40, 60]);
  const places = fc.array(fc.integer({ min: 0, max: 300 }), { maxLength: 8 });
  fc.assert(
    fc.property(places, (list) => {
      const apart = spread(list, 17);
      const order = list.map((_, i) => i).sort((a, b) => list[a]! - list[b]!);
      for (let i = 1; i < order.length; i++) {
        assert.ok(apart[order[i]!]! - apart[order[i - 1]!]! >= 17 - 1e-6);
      }
    }),
  );
});

scales.run();

const drawing = suite('Drawing');

drawing('text is escaped, and the picture has a description', () => {
  const picture = new Drawing(100, 50, 'a < b', '"c" & d');
  picture.text(1, 2, '<script>');
  const svg = picture.toString();
  assert.match(svg, '<title id="title">a &#60; b</title>');
  assert.match(svg, '<desc id="description">&#34;c&#34; &#38; d</desc>');
  assert.match(svg, '>&#60;script&#62;</text>');
  assert.match(svg, '@media (prefers-color-scheme: dark)');
});

drawing.run();
