/** How large the packet loops are in V8's bytecode: what is too large is not inlined where an application calls it. */
import { fileURLToPath } from 'node:url';
import * as assert from 'uvu/assert';
import { runNode } from '../../support/child.js';
import { suite } from '../../support/suite.js';

const SCRIPT = fileURLToPath(new URL('./hot-path.js', import.meta.url));
/** Limits of V8 (flags max-inlined-bytecode-size, -cumulative, reserve-inline-budget-scale-factor). */
const EACH = 460;
const BOTH = 920;
const RESERVE = 1.2;

/** Bytes of bytecode of the largest function of this name. */
function sizeOf(name: string, path: 'queues' | 'cursor' = 'queues'): number {
  const flags = ['--no-warnings', '--print-bytecode', `--print-bytecode-filter=${name}`];
  const { status, stdout, stderr } = runNode([...flags, '--expose-gc', SCRIPT, 'driver', path, '64']);
  assert.is(status, 0, stderr);
  const sizes = [...stdout.matchAll(/^Bytecode length: (\d+)$/gm)].map(([, size]) => Number(size));
  assert.ok(sizes.length > 0, `V8 printed the bytecode of ${name}`);
  return Math.max(...sizes);
}

const bytecode = suite('bytecode');

bytecode('receive and send fit into one caller, whichever the engine takes first', () => {
  const receive = sizeOf('receive');
  const send = sizeOf('send');
  assert.ok(receive < EACH && send < EACH, `receive ${receive}, send ${send}`);
  const larger = Math.max(receive, send);
  const smaller = Math.min(receive, send);
  assert.ok(smaller + RESERVE * larger <= BOTH, `receive ${receive}, send ${send}`);
});

bytecode('what a cursor does for each packet that is sent, and once a batch, fits into one caller', () => {
  const sizes = ['next', 'push', 'flush'].map((name) => sizeOf(name, 'cursor'));
  assert.ok(Math.max(...sizes) < EACH, sizes.join());
  const sum = sizes.reduce((all, size) => all + size, 0);
  assert.ok(sum + (RESERVE - 1) * Math.max(...sizes) <= BOTH, sizes.join());
});

bytecode.run();
