/**
 * Runs in a Node.js of its own (see `allocation.test.ts`): does what is done for every packet on some hundred frames again and
 * again, and prints how many scavenges there were meanwhile. A scavenge happens when the young generation is full, so
 * none over millions of frames means that nothing allocates.
 *
 * Arguments: `packet`, or `control` to allocate one small object for each twenty frames; the number of frames.
 */
import { PerformanceObserver } from 'node:perf_hooks';
import { setImmediate } from 'node:timers/promises';
import {
  IcmpView,
  Ipv4View,
  Layer,
  PacketView,
  parse,
  replaceU16,
  SequenceTracker,
  TestFrame,
  TestFrameChecker,
} from '../../src/packet/index.js';
import { VECTORS, vector } from './scapy-frames.js';

const [kind, framesText] = process.argv.slice(2);
const FRAME_BYTES = 128;
const buffer = new ArrayBuffer(FRAME_BYTES * (VECTORS.length + 2));
const bytes = new Uint8Array(buffer);
const words = new Int32Array(buffer);
for (const [i, { name }] of VECTORS.entries()) bytes.set(vector(name), FRAME_BYTES * i);

const plainAt = FRAME_BYTES * VECTORS.length;
const fullAt = plainAt + FRAME_BYTES;
const plain = new TestFrame({ sizeBytes: FRAME_BYTES });
const full = new TestFrame({ sizeBytes: FRAME_BYTES, flows: 8, timeStamps: true });
plain.fill(bytes, plainAt);
full.fill(bytes, fullAt);

const view = new PacketView();
const ipv4 = new Ipv4View();
const icmp = new IcmpView();
const checker = new TestFrameChecker();
const numbers = new SequenceTracker();
const kept: unknown[] = [];
let next = 0;
let seen = 0;

function parseAll(): void {
  for (let i = 0; i < VECTORS.length; i++) {
    parse(bytes, FRAME_BYTES * i, FRAME_BYTES, view);
    if (view.has(Layer.IPV4)) {
      const at = view.l3Offset;
      replaceU16(bytes, at + 8, ((ipv4.at(bytes, at).ttl ^ 1) << 8) | view.protocol, at + 10);
    }
    if (view.has(Layer.ICMP)) seen ^= icmp.at(bytes, view.l4Offset).sequence;
  }
}

function stampAll(): void {
  const number = next++;
  plain.stamp(bytes, plainAt, number);
  full.stamp(bytes, fullAt, number, next & 7, number * 3);
  if ((next & 63) === 0) bytes[fullAt + 100]! ^= 1;
  if (checker.check(bytes, words, plainAt, FRAME_BYTES) === 'good') seen++;
  // Now and then one comes late or twice, or is damaged.
  if ((next & 15) !== 0) numbers.record(checker.sequence);
  if (checker.check(bytes, words, fullAt, FRAME_BYTES) === 'good') seen++;
  if ((next & 31) === 1) numbers.record(number - 1);
  if ((next & 31) === 9) numbers.record(number - 1);
}

function run(frames: number): void {
  const perRound = VECTORS.length + 2;
  for (let done = 0; done < frames; done += perRound) {
    parseAll();
    stampAll();
    if (kind === 'control') kept[0] = { value: done };
  }
}

let scavenges = 0;
const observer = new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) {
    // NODE_PERFORMANCE_GC_MINOR is 1.
    if ((entry as unknown as { detail: { kind: number } }).detail.kind === 1) scavenges++;
  }
});

// Compilation allocates as well: warm up first.
run(2_000_000);
// An empty young generation: what little the end of warming up allocates must not fill it.
globalThis.gc!();
for (let i = 0; i < 3; i++) await setImmediate();
observer.observe({ entryTypes: ['gc'] });
run(Number(framesText));
for (let i = 0; i < 3; i++) await setImmediate();
observer.disconnect();
console.log(
  JSON.stringify({ scavenges, seen, duplicated: numbers.duplicated, reordered: numbers.reordered }),
);
