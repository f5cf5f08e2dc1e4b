/** A cable that loses, duplicates, reorders, delays and damages: the checker counts what the cable says it did, exactly. */
import * as assert from 'uvu/assert';
import { ManualClock } from '../../src/clock.js';
import { connect, type FrameMemory, frameMemory, type Port } from '../../src/emulator/link.js';
import { Cable, type CableOptions } from '../../src/emulator/links/cable.js';
import { TrafficChecker } from '../../src/traffic/checker.js';
import { checkFlow } from '../../src/traffic/flow.js';
import { FrameWriter } from '../../src/traffic/frame-writer.js';
import { suite } from '../support/suite.js';

const COUNT = 20_000;
const GAP_NS = 10_000;
const FIRST = Int32Array.of(0);

/** The end of a cable: a checker. Counts what a card would drop for a wrong FCS. */
class CheckingPort implements Port {
  wrongFcs = 0;
  readonly #checker: TrafficChecker;
  readonly #clock: ManualClock;

  constructor(checker: TrafficChecker, clock: ManualClock) {
    this.#checker = checker;
    this.#clock = clock;
  }

  plug(): void {}
  flush(): void {}
  carrier(): void {}

  room(): number {
    return 1 << 20;
  }

  deliver({ bytes, words }: FrameMemory, offset: number, lengthBytes: number): boolean {
    this.#checker.check(bytes, words, offset, lengthBytes, this.#clock.nowNs());
    return true;
  }

  damaged(): void {
    this.wrongFcs++;
  }
}

/** Sends numbered frames through a cable in virtual time. @param spoil may change a frame before it is sent */
function run(options: CableOptions, spoil: (frame: Uint8Array, i: number) => void = () => {}) {
  const clock = new ManualClock();
  const cable = new Cable({ ...options, clock });
  const checker = new TrafficChecker({ sharedClock: true });
  const port = new CheckingPort(checker, clock);
  connect(cable.b, port);
  const writer = new FrameWriter(checkFlow({ srcPort: '1000-2000~' }, 0), 0, '02:00:00:00:00:09');
  const memory = frameMemory(writer.maxBytes);
  for (let i = 0; i < COUNT; i++) {
    clock.advanceNs(GAP_NS);
    cable.poll(64);
    writer.prepare(memory.bytes, 0);
    const lengthBytes = writer.nextLength();
    writer.write(memory.bytes, FIRST, Uint16Array.of(lengthBytes), 1, i, clock.nowNs() | 0);
    spoil(memory.bytes, i);
    cable.a.deliver(memory, 0, lengthBytes);
  }
  clock.advanceNs(100e6);
  while (cable.poll(64) > 0) clock.advanceNs(2e6);
  const flow = checker.flow(0);
  return { cable: cable.counters('ab'), checker, flow, wrongFcs: port.wrongFcs };
}

const planted = suite('planted faults');

planted('without faults: all received, nothing else', () => {
  const { cable, flow, checker } = run({});
  assert.equal([cable.carried, flow.received, flow.numbers.expected], [COUNT, COUNT, COUNT]);
  const { duplicated, reordered, stale, lost } = flow.numbers;
  assert.equal(
    [duplicated, reordered, stale, lost, checker.unknown, checker.damagedFields],
    [0, 0, 0, 0, 0, 0],
  );
});

for (const seed of [1, 2, 3]) {
  planted(`all faults at once, seed ${seed}: the counts are the cable's`, () => {
    const faults = { loss: 0.01, damage: 0.01, duplicate: 0.01, reorder: 0.01, delayNs: 50_000, seed };
    const { cable, flow, wrongFcs } = run(faults);
    for (const name of ['lost', 'damaged', 'duplicated', 'reordered'] as const)
      assert.ok(cable[name] > 50, `${name} ${cable[name]}`);
    assert.is(cable.carried + cable.lost + cable.damaged, COUNT);
    assert.is(wrongFcs, cable.damaged);
    assert.is(flow.received, cable.carried);
    assert.is(flow.numbers.duplicated, cable.duplicated);
    assert.is(flow.numbers.reordered, cable.reordered);
    assert.is(COUNT - flow.received, cable.lost + cable.damaged);
    // Frames between the two may have been lost, so it may be more than one place.
    assert.ok(flow.mostReordered >= 1);
  });
}

planted('a frame that is to be overtaken, and nothing follows: it arrives, and is not reordered', () => {
  const { cable, flow } = run({ reorder: 1 });
  assert.is(cable.carried, COUNT);
  assert.is(flow.received, COUNT);
  // Each second one is held until the next arrives.
  assert.is(flow.numbers.reordered, cable.reordered);
  assert.is(cable.reordered, COUNT / 2);
});

planted('delay: every latency is the time under way, to the step of the clock', () => {
  const { flow } = run({ delayNs: 3_210_000 });
  const { minNs, count } = flow.latency.summary()!;
  assert.equal([count, minNs], [COUNT, 3_210_000]);
  // All but the last 321 frames, for which the clock went on in large steps, arrive when they are due.
  assert.is(flow.latency.quantile(0.9), flow.latency.quantile(0.1));
  assert.is(flow.gaps.quantile(0.9), flow.gaps.quantile(0.05));
});

planted('damage that no FCS shows: in the payload, in the fields, elsewhere', () => {
  const { flow, checker } = run({}, (frame, i) => {
    if (i % 100 === 1) frame[45]! ^= 0x10; // check byte
    if (i % 100 === 2) frame[50]! ^= 0x10; // number
    if (i % 100 === 3) frame[39]! ^= 0x01; // UDP length: the frame is not what it says
    if (i % 100 === 4) frame[42]! ^= 0x01; // magic: somebody else's
  });
  const share = COUNT / 100;
  assert.is(checker.damagedFields, 2 * share);
  assert.is(flow.damaged, share);
  assert.is(checker.unknown, share);
  assert.is(flow.received, COUNT - 4 * share);
});

planted('clocks that differ give no latency, and are counted', () => {
  const checker = new TrafficChecker({ sharedClock: true });
  const writer = new FrameWriter(checkFlow({}, 0), 0, '02:00:00:00:00:09');
  const frame = new Uint8Array(writer.maxBytes);
  writer.prepare(frame, 0);
  writer.write(frame, FIRST, Uint16Array.of(frame.length), 1, 0, 5_000_000);
  checker.check(frame, undefined, 0, frame.length, 1_000_000);
  assert.equal([checker.impossibleLatencies, checker.flow(0).latency.count, checker.received], [1, 0, 1]);
});

planted('flows beyond the limit take no memory', () => {
  const checker = new TrafficChecker({ sharedClock: false });
  const writer = new FrameWriter(checkFlow({}, 0), 2000, '02:00:00:00:00:09');
  const frame = new Uint8Array(writer.maxBytes);
  writer.prepare(frame, 0);
  writer.write(frame, FIRST, Uint16Array.of(frame.length), 1, 0, 0);
  checker.check(frame, undefined, 0, frame.length, 0);
  assert.equal([checker.unknown, checker.flows.length], [1, 0]);
});

const batches = suite('batches');
const SLOT = 256;

/** Frames of three flows and sizes in buffers, some lost, doubled, out of order, damaged or of somebody else. */
function makeTraffic(count: number, shift: number) {
  const flows = [
    { size: 64 },
    { size: '68-200~', vlan: 7 },
    { size: '64-257', timeStamps: true },
    { srcIp: '2001:db8::1', size: 100 },
  ].map((flow, i) => new FrameWriter(checkFlow({ timeStamps: i !== 1, ...flow }, i), i, '02:00:00:00:00:09'));
  const bytes = new Uint8Array(count << shift);
  const lengths = new Uint16Array(count);
  const next = flows.map(() => 0);
  let random = 12345;
  const draw = (below: number): number => {
    random = (Math.imul(random, 1103515245) + 12345) & 0x7fff_ffff;
    return (random >>> 8) % below;
  };
  for (let i = 0; i < count; i++) {
    const index = draw(10) < 7 ? 0 : draw(4);
    const writer = flows[index]!;
    const at = i << shift;
    const jump = [-3, -1, 1, 2 ** 32][draw(300)] ?? 0;
    const number = Math.max(0, next[index]! + jump);
    next[index] = number >= 2 ** 32 ? next[index]! : number + 1;
    lengths[i] = writer.nextLength();
    writer.prepare(bytes, at);
    writer.write(bytes, Int32Array.of(at), lengths.subarray(i, i + 1), 1, number, 900 * (i >>> 3));
    const fault = draw(200);
    if (fault < 18) bytes[at + 38 + draw(lengths[i]! - 38)]! ^= 1 << draw(8);
    if (fault === 18) lengths[i] = 30;
    if (fault === 19) bytes.fill(0, at, at + 60);
  }
  return { bytes, lengths };
}

for (const withWords of [true, false]) {
  batches(`the same account as one after the other, ${withWords ? 'by words' : 'by bytes'}`, () => {
    const count = 4096;
    const shift = Math.log2(2 * SLOT);
    const { bytes, lengths } = makeTraffic(count, shift);
    const words = withWords ? new Int32Array(bytes.buffer) : undefined;
    for (const options of [{ sharedClock: true }, { sharedClock: false }, { sharedClock: true, flows: 2 }]) {
      const [one, many] = [new TrafficChecker(options), new TrafficChecker(options)];
      const others: number[] = [];
      const said = new Uint32Array(64);
      const expected: number[] = [];
      for (let i = 0; i < count; ) {
        const size = 1 + ((i * 7) % 64);
        const bufs = Uint32Array.from({ length: Math.min(size, count - i) }, (_, k) => i + k);
        const nowNs = 1000 * i;
        for (const buffer of bufs) {
          const isTest = one.check(bytes, words, buffer << shift, lengths[buffer]!, nowNs);
          if (!isTest) expected.push(buffer);
        }
        const told = many.checkBatch(bytes, words, bufs, bufs.length, shift, lengths, nowNs, said);
        others.push(...said.subarray(0, told));
        i += bufs.length;
      }
      assert.equal(others, expected);
      assert.ok(others.length > 0 && one.damagedFields > 0 && one.unknown > 0);
      assert.equal(accountOf(many), accountOf(one));
    }
  });
}

function accountOf(checker: TrafficChecker) {
  const { received, unknown, damagedFields, impossibleLatencies } = checker;
  return {
    ...{ received, unknown, damagedFields, impossibleLatencies },
    flows: checker.flows.map((flow) => {
      const { numbers, damaged, damagedNew, mostReordered, jitterSumNs, jitterCount } = flow!;
      const { expected, lost, duplicated, reordered, stale } = numbers;
      const [latency, gaps] = [flow!.latency, flow!.gaps].map((histogram) => {
        const { meanNs, ...summary } = histogram.summary() ?? { meanNs: 0 };
        // A sum of products has other last bits than a sum of its parts.
        return { ...summary, meanNs: Math.round(meanNs * 1e3), octaves: histogram.octaves() };
      });
      return {
        ...{ expected, lost, duplicated, reordered, stale, damaged, damagedNew, mostReordered },
        ...{ jitterSumNs, jitterCount, latency, gaps },
      };
    }),
  };
}

batches.run();
planted.run();
