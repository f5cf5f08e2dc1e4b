/**
 * A traffic command in virtual time: pktgen on a simulated card, over a cable with a rate, a length and faults, under a clock
 * that each poll moves on. What it prints and what arrives is the same at every run.
 */
import { createHash } from 'node:crypto';
import * as assert from 'uvu/assert';
import { type Clock, ManualClock } from '../../src/clock.js';
import { open } from '../../src/driver/registry.js';
import { connect, type FrameMemory, frameMemory } from '../../src/emulator/link.js';
import { Cable, type LaneCounters } from '../../src/emulator/links/cable.js';
import { TrafficSink } from '../../src/emulator/links/traffic.js';
import { Generator } from '../../tools/generator.js';
import { runTraffic } from '../../tools/traffic-run.js';
import { captureLines } from '../support/capture.js';
import { plugIn } from '../support/made-up-family/scheme.js';
import { suite } from '../support/suite.js';

const SLOT = 60;
const RATE = 20_000;
const DURATION_MS = 2500;
const STEP_NS = 10_000;

/** Checks the frames of a source, and keeps a sum over the bytes and the times of all of them. */
class TimedSink extends TrafficSink {
  readonly #hash = createHash('sha256');
  readonly #clock: Clock;

  constructor(clock: Clock) {
    super();
    this.#clock = clock;
  }

  override deliver(memory: FrameMemory, offset: number, lengthBytes: number): boolean {
    this.#hash.update(`${this.#clock.nowNs()} `).update(memory.bytes.subarray(offset, offset + lengthBytes));
    return super.deliver(memory, offset, lengthBytes);
  }

  get sum(): string {
    return this.#hash.copy().digest('hex');
  }
}

interface Run {
  readonly lines: readonly string[];
  readonly cable: LaneCounters;
  readonly sink: object;
  readonly sum: string;
}

async function generate(seed: number): Promise<Run> {
  const clock = new ManualClock();
  const card = plugIn(SLOT);
  const cable = new Cable({ clock, seed, rateBitsPerSecond: 1e8, delayNs: 3e6, loss: 0.01, damage: 0.01 });
  const sink = new TimedSink(clock);
  connect(cable.b, sink);
  const memory = frameMemory(2048);
  card.plug({
    arrive(frame) {
      memory.bytes.set(frame);
      return cable.a.deliver(memory, 0, frame.length);
    },
  });
  const lines = await captureLines(() =>
    runTraffic(
      [() => open(`made-up:${SLOT}`)],
      ([device], given) => {
        assert.is(given, clock);
        // From here on it works when it is polled, not in a turn of its own.
        card.automatic = false;
        const generator = new Generator(
          [device!],
          { flows: [{ size: 64, rate: RATE }] },
          { json: true },
          given,
        );
        return {
          wakeOn: [],
          report: generator.report,
          afterTotals: () => generator.afterTotals(),
          poll() {
            clock.advanceNs(STEP_NS);
            const sent = generator.poll();
            card.work();
            cable.poll(64);
            return sent;
          },
        };
      },
      { json: true, duration: DURATION_MS, clock },
    ),
  );
  return { lines, cable: cable.counters('ab'), sink: sink.counters, sum: sink.sum };
}

const virtual = suite('pktgen in virtual time');

virtual('the report, the faults, and each frame with its time are the same to the bit', async () => {
  const first = await generate(1);
  assert.equal(await generate(1), first);
  assert.is.not((await generate(2)).sum, first.sum, 'with other faults it is another run');
  const [second, third, totals, account] = first.lines.map((line) => JSON.parse(line));
  assert.is(first.lines.length, 4, first.lines.join('\n'));
  assert.equal([second.type, second.timeS, third.timeS], ['rates', 1, 2]);
  // The first frame is due at once; at the tick the report of the frame before is still to be read.
  assert.equal([second.ports[0].txMpps, third.ports[0].txMpps], [(RATE - 1) / 1e6, RATE / 1e6]);
  assert.equal(totals.ports[0].pace, {
    requestedPps: RATE,
    leftOutNoRoom: 0,
    leftOutLate: 0,
    longestPauseMs: STEP_NS / 1e6,
    catchUpMs: 10,
  });
  assert.is(totals.type, 'totals');
  assert.equal([account.type, account.sent], ['account', totals.ports[0].txPackets]);
  // The first frame went a step of the clock late.
  assert.is(Math.round(account.flows[0].achievedPps), RATE);
  const { carried, lost, damaged, overflowed, underWay } = first.cable;
  assert.is(carried + lost + damaged + underWay, totals.ports[0].txPackets);
  assert.ok(lost > 0 && damaged > 0 && underWay > 0 && overflowed === 0);
});

virtual.run();
