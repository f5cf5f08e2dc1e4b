/**
 * A link in virtual time: under a clock that is moved by hand source, cable and recording do the same to the nanosecond at
 * every run, however long it really takes.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { CaptureWriter } from '../../src/capture/capture-writer.js';
import { ManualClock, nextTurn } from '../../src/clock.js';
import type { PlayPort } from '../../src/emulator/links/play.js';
import { buildEmulator, type EmulatorReport, reportOf } from '../../src/emulator/topology.js';
import { pollLoop } from '../../src/forward/poll-loop.js';
import { readFrames } from '../support/read-frames.js';
import { suite } from '../support/suite.js';

const START_WALL_MS = 1_700_000_000_000;
const COUNT = 1000;
const RATE = 100_000;
const DELAY_NS = 50_000;
const BITS_PER_SECOND = 1e9;
const WIRE_NS = (60 + 24) * 8;
const STEP_NS = 1000;
const MOST_STEPS = 20_000;

interface Run {
  readonly report: EmulatorReport['links'];
  readonly sent: Uint8Array;
  readonly arrived: Uint8Array;
}

/** Frames from a source over a cable into a file, and what comes into the cable into another. */
async function run(folder: string, faults: { loss?: number; damage?: number; seed?: number }): Promise<Run> {
  const clock = new ManualClock(START_WALL_MS);
  const [sent, arrived] = [join(folder, 'sent.pcap'), join(folder, 'arrived.pcap')];
  const emulator = await buildEmulator(
    {
      nics: [],
      links: [
        {
          ends: [{ source: { framesPerSecond: RATE, count: COUNT, flows: 3 } }, { record: arrived }],
          cable: { rateBitsPerSecond: BITS_PER_SECOND, delayNs: DELAY_NS, ...faults },
          capture: sent,
        },
      ],
      overwrite: true,
    },
    { clock },
  );
  const stop = new AbortController();
  let steps = 0;
  await pollLoop(
    () => {
      clock.advanceNs(STEP_NS);
      if (++steps === MOST_STEPS) stop.abort();
      return emulator.host.pollOnce();
    },
    { signal: stop.signal, clock },
  );
  await emulator.drain();
  const report = reportOf(emulator).links;
  emulator.host.close();
  return {
    report: JSON.parse(JSON.stringify(report)),
    sent: readFileSync(sent),
    arrived: readFileSync(arrived),
  };
}

/** Nanoseconds since the start at which each frame of a capture was stamped. */
async function timesNs(capture: Uint8Array): Promise<number[]> {
  async function* whole() {
    yield capture;
  }
  const startNs = BigInt(START_WALL_MS) * 1_000_000n;
  return (await readFrames(whole())).map(({ timeNs }) => Number(timeNs - startNs));
}

const folder = mkdtempSync(join(tmpdir(), 'bw-virtual-'));
const virtual = suite('an emulator in virtual time');

virtual.after(() => rmSync(folder, { recursive: true, force: true }));

virtual('frames leave and arrive when they are due, to the step of the clock', async () => {
  const { report, sent, arrived } = await run(folder, {});
  const [{ ends }] = report as [EmulatorReport['links'][number]];
  assert.equal(ends, [{ sent: COUNT }, { written: COUNT, unread: 0, slow: 0, failed: 0 }]);
  const [left, came] = [await timesNs(sent), await timesNs(arrived)];
  assert.equal([left.length, came.length], [COUNT, COUNT]);
  for (const [i, ns] of left.entries()) {
    // The source began to count at the first step.
    assert.is(ns, STEP_NS + ((i + 1) * 1e9) / RATE, `frame ${i} leaves`);
    // The cable counts a frame from the step before: that was the last time it was polled.
    const dueNs = ns - STEP_NS + WIRE_NS + DELAY_NS;
    assert.is(came[i], Math.ceil(dueNs / STEP_NS) * STEP_NS, `frame ${i} arrives`);
  }
});

virtual('the same frames are lost and damaged, and all is the same to the bit', async () => {
  const faults = { loss: 0.05, damage: 0.05, seed: 7 };
  const first = await run(folder, faults);
  const second = await run(folder, faults);
  assert.ok(first.report[0]!.cable!.ab.lost > 0 && first.report[0]!.cable!.ab.damaged > 0);
  assert.equal(second, first);
  const other = await run(folder, { ...faults, seed: 8 });
  assert.not.equal(other.arrived, first.arrived, 'with another seed it is another run');
});

virtual('a capture is played with its gaps in the time of the clock', async () => {
  const clock = new ManualClock();
  const played = join(folder, 'played.pcap');
  const writer = CaptureWriter.open(played, { clock });
  for (const gapNs of [0, 5e9, 1000]) {
    clock.advanceNs(gapNs);
    writer.write(new Uint8Array(60), 0, 60);
  }
  writer.close();
  const emulator = await buildEmulator(
    { nics: [], links: [{ ends: [{ play: played, originalTiming: true }, { sink: true }] }] },
    { clock },
  );
  const [player] = emulator.ends[0] as unknown as [PlayPort];
  const counts: number[] = [];
  for (const ns of [0, 4_999_999_999, 1, 999, 1]) {
    clock.advanceNs(ns);
    do {
      emulator.host.pollOnce();
      // Reading a file takes turns of the event loop, and no time of the clock.
      while (player.reading) await nextTurn();
    } while (emulator.host.pollOnce() > 0);
    counts.push(player.counters.played);
  }
  emulator.host.close();
  assert.equal(counts, [1, 1, 2, 2, 3]);
});

virtual('models get the clock', async () => {
  const given: unknown[] = [];
  (globalThis as { told?: (clock: unknown) => void }).told = (clock) => given.push(clock);
  const clock = new ManualClock();
  const code = `
    const create = ({ clock }) => { globalThis.told(clock); throw new Error('planted'); };
    export const models = [{ vendorId: 1, devices: new Map([[7, 'a model']]), create }];`;
  try {
    await buildEmulator(
      {
        modules: [`data:text/javascript,${encodeURIComponent(code)}`],
        nics: [{ path: join(folder, 'never.sock'), deviceId: 7 }],
        links: [],
      },
      { clock },
    );
    assert.unreachable();
  } catch (error) {
    assert.is((error as Error).message, 'planted');
  } finally {
    delete (globalThis as { told?: unknown }).told;
  }
  assert.is(given[0], clock);
});

virtual.run();
