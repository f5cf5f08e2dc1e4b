import * as assert from 'uvu/assert';
import { formatTable } from '../../tools/output.js';
import { suite } from '../support/suite.js';

const output = suite('output');

output('table columns are as wide as their widest cell', () => {
  assert.is(
    formatTable([
      ['A', 'LONG', 'C'],
      ['aaa', 'b', 'c'],
      ['', 'bb', ''],
    ]),
    'A    LONG  C\naaa  b     c\n     bb',
  );
});

output.run();
