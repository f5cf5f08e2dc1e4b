/** Between poll and doorbell nothing allocates. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import * as assert from 'uvu/assert';
import { runNode } from '../../support/child.js';
import { suite } from '../../support/suite.js';

const SCRIPT = fileURLToPath(new URL('./hot-path.js', import.meta.url));
const PACKETS = 3_000_000;

interface Result {
  readonly packets: number;
  readonly sent: number;
  readonly scavenges: number;
  readonly others: number;
}

const PATHS = ['forwarder', 'pipe', 'hook', 'general-hook', 'queues', 'cursor', 'offload'] as const;
type Path = (typeof PATHS)[number];

function measure(kind: 'driver' | 'control', path: Path): Result {
  // A young generation of 1 MiB: a scavenge for each MiB allocated.
  const flags = ['--expose-gc', '--max-semi-space-size=1', '--min-semi-space-size=1'];
  const { status, stdout, stderr } = runNode([...flags, SCRIPT, kind, path, String(PACKETS)]);
  assert.is(status, 0, stderr);
  return JSON.parse(stdout) as Result;
}

const allocation = suite('allocation');

for (const path of PATHS) {
  allocation(`${PACKETS} packets over the ${path} path and no scavenge`, () => {
    const { packets, sent, scavenges, others } = measure('driver', path);
    assert.is(packets, PACKETS);
    // The hook drops one in 16, and so does the loop with the cursor.
    const drops = path === 'hook' || path === 'general-hook' || path === 'cursor';
    assert.is(sent, drops ? (packets * 15) / 16 : packets);
    assert.equal({ scavenges, others }, { scavenges: 0, others: 0 });
  });

  allocation(`${path} path: one object a batch is found out`, () => {
    const { packets, scavenges } = measure('control', path);
    assert.is(packets, PACKETS);
    assert.ok(scavenges > 0, 'the harness sees allocation');
  });
}

allocation.run();

const source = suite('source of the hot path');

/** The body of a method or function, by its braces, without comments. */
function bodyOf(file: string, signature: RegExp): string {
  const path = new URL(`../../../../src/${file}`, import.meta.url);
  const text = readFileSync(path, 'utf8').replace(/\/\*[\s\S]*?\*\/|\/\/.*$/gm, '');
  const start = signature.exec(text)?.index;
  assert.ok(start !== undefined, `${signature} in ${file}`);
  let depth = 0;
  for (let i = text.indexOf('{', start); i < text.length; i++) {
    if (text[i] === '{') depth++;
    if (text[i] === '}' && --depth === 0) return text.slice(start, i + 1);
  }
  throw new Error(`no end of ${signature}`);
}

for (const [file, signature] of [
  ['driver/intel/rx-loop.ts', /^ {2}return function receive\(/m],
  ['driver/intel/rx-queue.ts', /^ {2}get pending\(/m],
  ['driver/intel/rx-queue.ts', /^ {2}#receiveRest\(/m],
  ['driver/intel/rx-queue.ts', /^ {2}#noteMetadata\(/m],
  ['driver/intel/rx-queue.ts', /^ {2}#arm\(/m],
  ['driver/intel/rx-queue.ts', /^ {2}#drop\(/m],
  ['driver/intel/tx-loop.ts', /^ {2}return function send\(/m],
  ['driver/intel/tx-loop.ts', /^ {2}return function reclaim\(/m],
  ['driver/unusual-sends.ts', /^ {2}rest\(/m],
  ['driver/unusual-sends.ts', /^ {2}#collectGood\(/m],
  ['driver/intel/tx-queue.ts', /^ {2}#sendOffloaded\(/m],
  ['driver/intel/tx-queue.ts', /^ {2}#queueOffloaded\(/m],
  ['driver/intel/tx-queue.ts', /^ {2}#useContext\(/m],
  ['driver/intel/tx-queue.ts', /^ {2}reclaim\(/m],
  ['driver/intel/cursor-loop.ts', /^ {2}function next\(/m],
  ['driver/intel/cursor-loop.ts', /^ {2}function push\(/m],
  ['driver/intel/cursor-loop.ts', /^ {2}function drop\(/m],
  ['driver/intel/cursor-loop.ts', /^ {2}function flush\(/m],
  ['driver/intel/rx-queue.ts', /^ {2}nextGood\(/m],
  ['driver/intel/rx-queue.ts', /^ {2}shown\(/m],
  ['driver/intel/forward-loop.ts', /^ {2}return function poll\(/m],
  ['driver/intel/hooked-loop.ts', /^ {2}return function poll\(/m],
  ['driver/intel/hooked-loop.ts', /^ {2}function fetch\(/m],
  ['driver/intel/pipe-loop.ts', /^ {2}return function poll\(/m],
  ['driver/intel/pipe-loop.ts', /^ {2}function fetch\(/m],
  ['driver/intel/pipe-loop.ts', /^ {2}function pollGood\(/m],
  ['driver/intel/pipe-loop.ts', /^ {2}function pollHooked\(/m],
  ['driver/intel/pipe-loop.ts', /^ {2}function pollRest\(/m],
  ['driver/intel/pipe-loop.ts', /^ {2}function reclaim\(/m],
  ['driver/intel/pipe-loop.ts', /^ {2}function commit\(/m],
  ['driver/intel/pipe.ts', /^ {2}get pending\(/m],
  ['driver/intel/pipe.ts', /^ {2}#moveBad\(/m],
  ['forward/general-loop.ts', /^ {2}return function general\(/m],
  ['forward/general-loop.ts', /^ {2}function show\(/m],
  ['forward/general-loop.ts', /^ {2}function transmit\(/m],
  ['hugepage/packet-pool.ts', /^ {2}allocate\(/m],
] as const) {
  source(`${file} ${signature.source}: no BigInt, no log, no object, no throw`, () => {
    // What is thrown at the end was made when the device was closed.
    const body = bodyOf(file, signature).replace(/throw this\.#closed;/g, '');
    assert.ok(body.length > 60);
    for (const banned of [
      /\bBigInt/,
      /\d+n\b/,
      /\bdebug\(/,
      /\bkoffi\b/,
      /\bconsole\b/,
      /\bnew\b/,
      /\bthrow\b/,
      /\bAtomics\b/,
      /\bDataView\b/,
      /=>/,
      /\.\.\./,
      /[=(,:[]\s*\[/,
      /\bawait\b/,
    ]) {
      assert.not.match(body, banned);
    }
  });
}

source.run();
