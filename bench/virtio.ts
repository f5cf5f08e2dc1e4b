/**
 * `npm run bench:virtio`: the driver's split and packed rings beside ixy's virtio algorithm in C, in lockstep as the rings of the
 * 82599. See README.md. Exits 1 where a forwarder did something wrong.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { Fault } from './lab.js';
import { CACHE } from './native.js';
import { describeMachine, FRAME_BYTES, throughputTable, WINDOW } from './result.js';
import { BatchMeasurement } from './throughput.js';
import { VIRTIO_PLACE, VIRTIO_SUBJECTS, type VirtioSubject } from './virtio-lab.js';

const HEADINGS = {
  'c-ixy': 'ixy in C',
  'c-stack': 'stack in C',
  'split-queues': 'split rx+tx',
  'split-general': 'split general',
  'packed-queues': 'packed rx+tx',
  'packed-general': 'packed general',
} as const satisfies Record<VirtioSubject, string>;

const USAGE = `usage: npm run bench:virtio -- [options]
  --batches LIST    batch sizes (default 1,8,32,128)
  --subjects LIST   ${Object.keys(VIRTIO_SUBJECTS).join(', ')} (default all)
  --passes N        passes over all batch sizes (default 3)
  --rounds N        rounds in a pass (default 12)
  --json FILE       where the result goes (default .cache/bench/virtio-VERSION.json)
  --plant FAULT     ${Object.keys(Fault).join(', ')}: plant a fault, to see that it is found`;

const { values } = parseArgs({
  options: {
    batches: { type: 'string', default: '1,8,32,128' },
    subjects: { type: 'string', default: Object.keys(VIRTIO_SUBJECTS).join(',') },
    passes: { type: 'string', default: '3' },
    rounds: { type: 'string', default: '12' },
    json: { type: 'string' },
    plant: { type: 'string', default: 'NONE' },
    help: { type: 'boolean', default: false },
  },
});

function positive(name: string, text: string): number {
  const value = Number(text);
  if (Number.isInteger(value) && value > 0) return value;
  throw new Error(`--${name} is "${text}"\n${USAGE}`);
}

function main(): void {
  if (values.help) {
    console.log(USAGE);
    return;
  }
  const names = values.subjects.split(',');
  const unknown = names.find((name) => !Object.hasOwn(VIRTIO_SUBJECTS, name));
  if (unknown !== undefined) throw new Error(`there is no subject "${unknown}"\n${USAGE}`);
  if (!Object.hasOwn(Fault, values.plant)) throw new Error(`there is no fault "${values.plant}"\n${USAGE}`);
  const machine = describeMachine();
  console.log(
    `Node.js ${machine.versions.node}, ${machine.machine.processor}, rings of ${VIRTIO_PLACE.ring}`,
  );
  console.log("nanoseconds per packet (ratio to ixy's virtio algorithm in C)");
  const passes = positive('passes', values.passes);
  const rounds = positive('rounds', values.rounds);
  const measurements = values.batches.split(',').map(
    (text) =>
      new BatchMeasurement<VirtioSubject>({
        subjects: names as VirtioSubject[],
        table: VIRTIO_SUBJECTS,
        batch: positive('batches', text),
        place: VIRTIO_PLACE,
        plant: Fault[values.plant as keyof typeof Fault],
      }),
  );
  for (let pass = 0; pass < passes; pass++) {
    for (const measurement of measurements) measurement.run(rounds);
  }
  const throughput = measurements.flatMap((measurement) => measurement.result());
  console.log(throughputTable(throughput, HEADINGS));
  const checked = throughput.reduce((sum, row) => sum + row.checkedPackets, 0);
  console.log(`${checked} packets checked by the device: order, addresses, headers, lengths, ownership`);
  const method = {
    ringSize: VIRTIO_PLACE.ring,
    frameBytes: FRAME_BYTES,
    windowFrames: WINDOW,
    passes,
    rounds,
  };
  const file = values.json ?? join(CACHE, 'bench', `virtio-${process.version}.json`);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, `${JSON.stringify({ ...machine, method, throughput }, undefined, 2)}\n`);
  console.log(`result: ${file}`);
}

try {
  main();
} catch (error) {
  console.error(`bench: ${(error as Error).message}`);
  process.exitCode = 1;
}
