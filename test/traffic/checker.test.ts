/** A cable that loses, duplicates, reorders, delays and damages: the checker counts what the cable says it did, exactly. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { ManualClock } from '../../src/clock.js';
import { connect, type FrameMemory, frameMemory, type Port } from '../../src/emulator/link.js';
import { Cable, type CableOptions } from '../../src/emulator/links/cable.js';
import { TrafficChecker } from '../../src/traffic/checker.js';
import { checkFlow } from '../../src/traffic/flow.js';
import { FrameWriter } from '../../src/traffic/frame-writer.js';

const COUNT = 20_000;
const GAP_NS = 10_000;

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
    const lengthBytes = writer.write(memory.bytes, 0, i, clock.nowNs() | 0);
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
  writer.write(frame, 0, 0, 5_000_000);
  checker.check(frame, undefined, 0, frame.length, 1_000_000);
  assert.equal([checker.impossibleLatencies, checker.flow(0).latency.count, checker.received], [1, 0, 1]);
});

planted('flows beyond the limit take no memory', () => {
  const checker = new TrafficChecker({ sharedClock: false });
  const writer = new FrameWriter(checkFlow({}, 0), 2000, '02:00:00:00:00:09');
  const frame = new Uint8Array(writer.maxBytes);
  writer.prepare(frame, 0);
  writer.write(frame, 0, 0, 0);
  checker.check(frame, undefined, 0, frame.length, 0);
  assert.equal([checker.unknown, checker.flows.length], [1, 0]);
});

planted.run();
