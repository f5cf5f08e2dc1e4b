/** Gaps filled with frames of a wrong FCS: the arithmetic, the frames, and a run between two 82599 models in virtual time. */
import { crc32 } from 'node:zlib';
import fc from 'fast-check';
import * as assert from 'uvu/assert';
import { ManualClock } from '../../src/clock.js';
import { open } from '../../src/driver/registry.js';
import { Cable, type CableOptions } from '../../src/emulator/links/cable.js';
import { FillerFrame, fillerFor, LinePosition, MIN_FILLER_BYTES } from '../../src/traffic/filler.js';
import type { FlowOptions } from '../../src/traffic/index.js';
import { TrafficRun } from '../../src/traffic/index.js';
import { expectError } from '../support/expect-error.js';
import { IxgbeRig } from '../support/ixgbe-rig.js';
import { plugIn } from '../support/made-up-family/scheme.js';
import { suite } from '../support/suite.js';

const LINE = 10e9;
const BYTE_NS = 0.8;
const OVERHEAD = 24;

const arithmetic = suite('filler arithmetic');

arithmetic('a filler is none, or one that can be sent, and what is left can be filled', () => {
  fc.assert(
    fc.property(
      fc.double({ min: -1e5, max: 1e7, noNaN: true }),
      fc.integer({ min: 2 * MIN_FILLER_BYTES, max: 1538 }),
      (gap, longest) => {
        let left = gap;
        for (let filler = fillerFor(left, longest); filler > 0; filler = fillerFor(left, longest)) {
          assert.ok(Number.isInteger(filler) && filler >= MIN_FILLER_BYTES && filler <= longest, `${filler}`);
          left -= filler;
        }
        // Half of the shortest is what cannot be made; gaps from the shortest on are exact to a byte.
        if (gap > MIN_FILLER_BYTES) assert.ok(Math.abs(left) <= 0.5, `${left}`);
        else if (gap > 0) assert.ok(Math.abs(left) <= MIN_FILLER_BYTES / 2, `${left}`);
        else assert.is(left, gap);
      },
    ),
    { numRuns: 500 },
  );
});

arithmetic('frames begin when they are due, or behind what is before them, and no error adds up', () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.double({ min: 0, max: 5000, noNaN: true }), fc.integer({ min: 60, max: 1514 })), {
        minLength: 1,
        maxLength: 200,
      }),
      fc.constantFrom(1e9, 10e9, 2.5e9),
      (frames, speed) => {
        const line = new LinePosition(speed, 12_345);
        let [due, free] = [12_345, 12_345];
        for (const [gapBytes, length] of frames) {
          due += gapBytes * line.byteNs;
          for (let next = fillerFor(line.bytesUntil(due), 1538); next > 0; ) {
            line.take(next);
            next = fillerFor(line.bytesUntil(due), 1538);
          }
          const begins = line.ns;
          const slackNs = (MIN_FILLER_BYTES / 2 + 0.001) * line.byteNs;
          assert.ok(begins >= due - slackNs && begins >= free - 1e-3, 'not before its time');
          assert.ok(begins <= Math.max(due + slackNs, free) + 1e-3, `${begins - due} late`);
          line.take(length + OVERHEAD);
          free = line.ns;
        }
      },
    ),
    { numRuns: 200 },
  );
});

arithmetic('no filler has a right FCS, whatever was in its buffer', () => {
  const mac = Uint8Array.of(2, 0, 0, 0, 0, 1);
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.integer({ min: 84, max: 1538 }), fc.boolean()), { maxLength: 30 }),
      (steps) => {
        const frames = new Uint8Array(2048).fill(0xa5);
        const filler = new FillerFrame(mac, 1, 1514 + 470);
        for (const [wireBytes, isTaken] of steps) {
          if (isTaken) {
            frames.fill(wireBytes & 0xff);
            filler.forget(0);
          }
          const length = filler.write(frames, 0, 64, wireBytes);
          assert.is(length, wireBytes - 20);
          const bytes = frames.subarray(64, 64 + length);
          const stored = new DataView(bytes.buffer, bytes.byteOffset).getUint32(length - 4, true);
          assert.is(stored, ~crc32(bytes.subarray(0, length - 4)) >>> 0);
          assert.equal([...bytes.subarray(6, 14)], [...mac, 0x88, 0xb5]);
        }
      },
    ),
  );
});

arithmetic.run();

const MOST_STEPS = 500_000;

interface Wire {
  /** Of each frame that is no filler: byte times from the first byte on the wire. */
  readonly begins: number[];
  fillers: number;
}

/** Runs flows from one card to the other, on a cable of 10 Gbit/s, and notes what goes on the wire. */
async function run(flows: readonly FlowOptions[], faults: Omit<CableOptions, 'clock'> = {}, ideal = false) {
  const clock = new ManualClock();
  clock.advanceNs(1);
  const cable = new Cable({ rateBitsPerSecond: LINE, clock, ...faults });
  const rig = await IxgbeRig.open({
    open: { promiscuous: true },
    model: { clock },
    ...(ideal ? {} : { cable }),
  });
  const wire: Wire = { begins: [], fillers: 0 };
  let bytes = 0;
  const note = (length: number): void => {
    bytes += length + OVERHEAD;
  };
  const { deliver, damaged } = Object.getPrototypeOf(cable.a) as typeof cable.a;
  cable.a.deliver = (memory, offset, length) => {
    wire.begins.push(bytes);
    note(length);
    return deliver.call(cable.a, memory, offset, length);
  };
  cable.a.damaged = (length) => {
    wire.fillers++;
    note(length);
    damaged.call(cable.a, length);
  };
  try {
    const made = new TrafficRun([rig.a.nic, rig.b.nic], { flows }, { clock, pacing: 'filler', settleMs: 1 });
    for (let steps = 0; !made.done; steps++) {
      if (steps === MOST_STEPS) throw new Error('it does not end');
      for (let i = 0; i < 8; i++) {
        made.poll();
        rig.a.model.poll(64);
        cable.poll(256);
      }
      rig.b.model.poll(64);
      clock.advanceNs(2000);
    }
    assert.equal(rig.complaints(), []);
    const [{ account }] = made.reports as [(typeof made.reports)[number]];
    return { account, wire, cable: cable.counters('ab'), errors: rig.b.nic.stats().rxErrors };
  } finally {
    await rig.close();
  }
}

const fillers = suite('filler pacing');

fillers('frames lie on the wire where they are due, to half of the shortest filler', async () => {
  const { account, wire, cable, errors } = await run([{ size: 64, rate: '1Mpps', count: 3000 }]);
  const [flow] = account.flows;
  assert.equal([account.sent, account.received, account.complete], [3000, 3000, true]);
  assert.equal([account.fillers, errors, cable.wrongFcs], [wire.fillers, wire.fillers, wire.fillers]);
  assert.equal(Object.values(account.losses!), [0, 0, 0, 0, 0, 0]);
  const first = wire.begins[0]!;
  for (const [i, at] of wire.begins.entries()) {
    assert.ok(Math.abs(at - first - i * 1250) <= 1, `frame ${i} begins at byte ${at - first}`);
  }
  assert.equal([flow!.pacing, flow!.requestedPps], ['filler', 1e6]);
  assert.ok(Math.abs(flow!.achievedPps! / 1e6 - 1) < 1e-6, `${flow!.achievedPps}`);
  assert.ok(flow!.gapErrors!.maxNs <= 1, `${flow!.gapErrors!.maxNs}`);
  // What waits in the ring is not part of the latency.
  assert.ok(flow!.latency!.maxNs < 30_000, `${flow!.latency!.maxNs}`);
});

fillers('gaps that no filler fits: right on average, never further off than half of one', async () => {
  // 84 and 30 byte times from frame to frame.
  const pps = LINE / 8 / (84 + 30);
  const { account, wire } = await run([{ size: 64, rate: pps, count: 2000 }]);
  assert.is(account.complete, true);
  const first = wire.begins[0]!;
  for (const [i, at] of wire.begins.entries()) {
    assert.ok(
      Math.abs(at - first - i * 114) <= MIN_FILLER_BYTES / 2 + 1,
      `frame ${i} begins at byte ${at - first}`,
    );
  }
  assert.ok(account.flows[0]!.gapErrors!.maxNs <= MIN_FILLER_BYTES * BYTE_NS + 1);
});

fillers('several flows, sizes, chance and bursts: all arrive, at their rates', async () => {
  const { account } = await run([
    { name: 'mix', size: 'imix', rate: '2Gbit', count: 1200 },
    { name: 'chance', size: 128, rate: '500kpps', spacing: 'poisson', count: 1200 },
    { name: 'bursts', size: 200, rate: '100kpps', burst: 10, count: 300 },
  ]);
  assert.equal([account.complete, account.sent], [true, 2700]);
  const [, , bursts] = account.flows;
  assert.ok(Math.abs(bursts!.achievedPps! / 100e3 - 1) < 0.05, `${bursts!.achievedPps}`);
});

fillers('a cable that loses and damages: frames and fillers are told apart', async () => {
  const { account, cable } = await run([{ size: 300, rate: '500kpps', count: 4000 }], {
    loss: 0.01,
    damage: 0.01,
    seed: 5,
  });
  const { atSender, onTheWay, damaged, unexplained } = account.losses!;
  assert.ok(cable.lost > 0 && cable.damaged > 0);
  assert.equal([atSender, onTheWay, damaged, unexplained], [0, cable.lost, cable.damaged, 0]);
  assert.is(account.lost, cable.lost + cable.damaged);
});

fillers('more than the line has room for is refused, and so is a flow without a rate', async () => {
  const message = async (flows: readonly FlowOptions[]): Promise<string> => {
    try {
      await run(flows);
    } catch (error) {
      return String(error);
    }
    return '';
  };
  assert.match(
    await message([{ size: 64, rate: '15Mpps', count: 1 }]),
    /on the wire of local:a, which has 10000000000/,
  );
  assert.match(await message([{ size: 64, count: 1 }]), /no rate/);
});

fillers('a line that is faster than was said is found out', async () => {
  let text = '';
  try {
    await run([{ size: 64, rate: '1kpps', durationMs: 5000 }], {}, true);
  } catch (error) {
    text = String(error);
  }
  assert.match(text, /takes more than 10000000000 bits a second/);
});

fillers('a device that makes every FCS is refused', async () => {
  plugIn(81);
  const device = await open('made-up:81');
  const flows = [{ rate: '1Mpps' }];
  const made = () => new TrafficRun([device], { flows }, { pacing: 'filler', lineBitsPerS: LINE });
  expectError('BAD_OPTION', made, /made-up:81 \(MU-5\) cannot send fillers/);
  await device.close();
});

fillers.run();
