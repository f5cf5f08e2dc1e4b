/** The planted faults themselves (`npm run test:faults`), which a change of the driver's leaves without their place: that is to be seen at once. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { faults, occursOnce } from './faults/faults.js';
import { suite } from './support/suite.js';

const DRIVER = join(import.meta.dirname, '../src/driver');

const places = suite('planted faults');

places('the text that each changes is in what is compiled, once', () => {
  assert.ok(faults.length > 100, `${faults.length} faults`);
  const lost = faults.filter((fault) => !occursOnce(readFileSync(join(DRIVER, fault.file), 'utf8'), fault));
  assert.equal(
    lost.map(({ name, file, find }) => ({ name, file, find })),
    [],
  );
});

places('each is a change, and has a name of its own', () => {
  assert.equal(
    faults.filter(({ find, replace }) => find === replace),
    [],
  );
  assert.is(new Set(faults.map(({ name }) => name)).size, faults.length);
});

places.run();
