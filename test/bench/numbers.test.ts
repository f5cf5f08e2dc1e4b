import * as assert from 'uvu/assert';
import { count, duration, figure, percent, scaled } from '../../bench/report/numbers.js';
import { suite } from '../support/suite.js';

const numbers = suite('numbers');

numbers('figure: three digits that count', () => {
  assert.equal([0, 0.01234, 1.2345, 9.996, 12.345, 123.45, 1234.5, 98_765].map(figure), [
    '0',
    '0.0123',
    '1.23',
    '10.0',
    '12.3',
    '123',
    '1230',
    '98800',
  ]);
});

numbers('scaled, duration, percent, count', () => {
  assert.equal([0, 950, 999.6, 12_345, 999_600, 58e6, 2.5e9].map(scaled), [
    '0',
    '950',
    '1.00 k',
    '12.3 k',
    '1.00 M',
    '58.0 M',
    '2.50 G',
  ]);
  assert.equal([3.21, 999.6, 14_000, 1_900_000, 2e9].map(duration), [
    '3.21 ns',
    '1.00 µs',
    '14.0 µs',
    '1.90 ms',
    '2.00 s',
  ]);
  assert.equal([0, 0.0012, 0.05, 0.954, 1].map(percent), ['0 %', '0.1 %', '5 %', '95 %', '100 %']);
  assert.equal([0, 999, 1000, 100_000_000, -4096].map(count), ['0', '999', '1,000', '100,000,000', '-4,096']);
});

numbers.run();
