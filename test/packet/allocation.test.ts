/** What is done for every packet allocates nothing. */
import { fileURLToPath } from 'node:url';
import * as assert from 'uvu/assert';
import { runNode } from '../support/child.js';
import { suite } from '../support/suite.js';

const SCRIPT = fileURLToPath(new URL('./hot-path.js', import.meta.url));
const FRAMES = 3_000_000;

interface Result {
  readonly scavenges: number;
  readonly seen: number;
  readonly duplicated: number;
  readonly reordered: number;
}

function measure(kind: 'packet' | 'control'): Result {
  // A young generation of 1 MiB: a scavenge for each MiB allocated.
  const flags = ['--expose-gc', '--max-semi-space-size=1', '--min-semi-space-size=1'];
  const { status, stdout, stderr } = runNode([...flags, SCRIPT, kind, String(FRAMES)]);
  assert.is(status, 0, stderr);
  return JSON.parse(stdout) as Result;
}

const allocation = suite('allocation');

allocation('parsing, stamping, checking and tracking without a scavenge', () => {
  const { scavenges, seen, duplicated, reordered } = measure('packet');
  assert.ok(seen > 0 && duplicated > 0 && reordered > 0, 'all of it was done');
  assert.is(scavenges, 0);
});

allocation('one object for each twenty frames is found out', () => {
  assert.ok(measure('control').scavenges > 0, 'the harness sees allocation');
});

allocation.run();
