/**
 * `npm run bench`: the driver's paths beside ixy's algorithm in C, on real descriptor rings in memory. See README.md.
 * Exits 1 where a forwarder did something wrong.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { COLD, Fault, SUBJECTS, type SubjectName, WARM } from './lab.js';
import { CACHE } from './native.js';
import {
  type BenchResult,
  describeMachine,
  FRAME_BYTES,
  RING_SIZE,
  steadinessTable,
  throughputTable,
  WINDOW,
} from './result.js';
import type { Steadiness } from './steadiness.js';
import { BatchMeasurement } from './throughput.js';
import { installedNodes, installNode, versionOf } from './versions.js';

const ALL_BATCHES = '1,2,4,8,16,32,64,128,256';
/** For versions beside this one, so that all of them take less than two minutes. */
const SOME_BATCHES = '1,8,32,128';

const USAGE = `usage: npm run bench -- [options]
  --batches LIST    batch sizes (default ${ALL_BATCHES};
                    for other versions of Node.js ${SOME_BATCHES})
  --subjects LIST   ${Object.keys(SUBJECTS).join(', ')} (default all)
  --cold LIST       batch sizes with nothing in the caches (default none)
  --passes N        passes over all batch sizes (default 3)
  --rounds N        rounds in a pass (default 12)
  --packets N       packets of the long run (default 100000000; 0 leaves it out)
  --capture N       seconds of each capture and replay, beside dumpcap and
                    tcpreplay (default 2; 0 leaves them out)
  --json FILE       where the result goes (default .cache/bench/VERSION.json)
  --node LIST       install and measure these versions of Node.js, too: 22,24
  --this-node       only this version, not what is in .cache/node
  --plant FAULT     ${Object.keys(Fault).join(', ')}: plant a fault, to see that it is found`;

const STEADINESS = fileURLToPath(new URL('./steadiness.js', import.meta.url));
const CAPTURES = fileURLToPath(new URL('./capture/main.js', import.meta.url));
const STEADINESS_FLAGS = [
  '--expose-gc',
  '--max-semi-space-size=1',
  '--min-semi-space-size=1',
  '--no-warnings',
];

const { values } = parseArgs({
  options: {
    batches: { type: 'string', default: ALL_BATCHES },
    subjects: { type: 'string', default: Object.keys(SUBJECTS).join(',') },
    cold: { type: 'string', default: '' },
    passes: { type: 'string', default: '3' },
    rounds: { type: 'string', default: '12' },
    packets: { type: 'string', default: '100000000' },
    capture: { type: 'string', default: '2' },
    json: { type: 'string' },
    node: { type: 'string' },
    'this-node': { type: 'boolean', default: false },
    plant: { type: 'string', default: 'NONE' },
    help: { type: 'boolean', default: false },
  },
});

function positive(name: string, text: string): number {
  const value = Number(text);
  if (Number.isInteger(value) && value >= 0) return value;
  throw new Error(`--${name} is "${text}"\n${USAGE}`);
}

function batchesOf(name: 'batches' | 'cold'): number[] {
  return values[name] === '' ? [] : values[name].split(',').map((text) => positive(name, text));
}

function subjects(): SubjectName[] {
  const names = values.subjects.split(',');
  const unknown = names.find((name) => !Object.hasOwn(SUBJECTS, name));
  if (unknown !== undefined) throw new Error(`there is no subject "${unknown}"\n${USAGE}`);
  return names as SubjectName[];
}

function fault(): number {
  if (!Object.hasOwn(Fault, values.plant)) throw new Error(`there is no fault "${values.plant}"\n${USAGE}`);
  return Fault[values.plant as keyof typeof Fault];
}

/** In a process of its own, for its flags and so that what happened before leaves no trace. */
function measureSteadiness(path: 'general' | 'pipe', packets: number): Steadiness {
  const args = [...STEADINESS_FLAGS, STEADINESS, path, String(packets)];
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`the long run ended with ${status}: ${stderr}`);
  return JSON.parse(stdout) as Steadiness;
}

function measure(): BenchResult {
  const start = performance.now();
  const machine = describeMachine();
  const passes = positive('passes', values.passes);
  const rounds = positive('rounds', values.rounds);
  const packets = positive('packets', values.packets);
  const names = subjects();
  const plant = fault();
  console.log(`\nNode.js ${machine.versions.node} (V8 ${machine.versions.v8}), ${machine.machine.processor}`);
  console.log('nanoseconds per packet (ratio to ixy in C)');
  const measurements = [
    ...batchesOf('batches').map((batch) => ({ subjects: names, batch, plant, place: WARM })),
    ...batchesOf('cold').map((batch) => ({ subjects: names, batch, plant, place: COLD })),
  ].map((options) => new BatchMeasurement(options));
  for (let pass = 0; pass < passes; pass++) {
    for (const measurement of measurements) measurement.run(rounds);
  }
  const throughput = measurements.flatMap((measurement) => measurement.result());
  for (const cold of [false, true]) {
    const rows = throughput.filter((row) => row.cold === cold);
    if (rows.length === 0) continue;
    if (cold) console.log('nothing in the caches: rings of 4096, frames of 1514 bytes');
    console.log(throughputTable(rows));
  }
  const steadiness =
    packets === 0 ? [] : (['general', 'pipe'] as const).map((path) => measureSteadiness(path, packets));
  if (steadiness.length > 0) console.log(steadinessTable(steadiness));
  const checked = throughput.reduce((sum, row) => sum + row.checkedPackets, 0);
  console.log(`${checked} packets checked by the device: order, addresses, lengths, ownership`);
  return {
    ...machine,
    method: {
      ringSize: RING_SIZE,
      frameBytes: FRAME_BYTES,
      windowFrames: WINDOW,
      passes,
      roundsPerPass: rounds,
      seconds: (performance.now() - start) / 1000,
    },
    throughput,
    steadiness,
  };
}

/** What captures cost, with this version only. In a process of its own: frames of this one are still in its memory. */
function measureCaptures(): void {
  const seconds = positive('capture', values.capture);
  if (seconds === 0) return;
  console.log('\ncapture and replay');
  const { status } = spawnSync(process.execPath, ['--no-warnings', CAPTURES, String(seconds)], {
    stdio: 'inherit',
  });
  if (status !== 0) process.exitCode = 1;
}

/** The same again with the other versions. Their results go beside that of this one. */
function measureOthers(): void {
  if (values['this-node']) return;
  for (const version of values.node?.split(',') ?? []) installNode(version);
  for (const node of installedNodes()) {
    if (versionOf(node) === process.version) continue;
    const { node: _, json: __, capture: ___, ...rest } = values;
    const batches = values.batches === ALL_BATCHES ? SOME_BATCHES : values.batches;
    const args = Object.entries({ ...rest, batches, capture: '0' }).flatMap(([name, value]) =>
      typeof value === 'string' ? [`--${name}`, value] : [],
    );
    const script = fileURLToPath(import.meta.url);
    const { status } = spawnSync(node, ['--no-warnings', script, '--this-node', ...args], {
      stdio: 'inherit',
    });
    if (status !== 0) process.exitCode = 1;
  }
}

function main(): void {
  if (values.help) {
    console.log(USAGE);
    return;
  }
  const result = measure();
  const file = values.json ?? join(CACHE, 'bench', `${process.version}.json`);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, `${JSON.stringify(result, undefined, 2)}\n`);
  console.log(`result: ${file}`);
  // It can be read again, or it is no result.
  JSON.parse(readFileSync(file, 'utf8'));
  measureCaptures();
  measureOthers();
}

try {
  main();
} catch (error) {
  console.error(`bench: ${(error as Error).message}`);
  process.exitCode = 1;
}
