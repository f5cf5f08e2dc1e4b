/** RFC 2544 in virtual time: on a cable with a rate, and with a device halfway that passes on 60 % of it. */
import * as assert from 'uvu/assert';
import type { OpenOptions } from '../../../src/driver/device.js';
import type { CableOptions } from '../../../src/emulator/links/cable.js';
import type { NicError } from '../../../src/errors.js';
import { Rfc2544, type Rfc2544Options, type TrialReport } from '../../../src/traffic/rfc2544/benchmark.js';
import { suite } from '../../support/suite.js';
import { virtualLink } from '../../support/virtual-link.js';

const SLOT = 68;
const STEP_NS = 10_000;
const LINE = 100e6;
const TOLERANCE = 0.005;
const MOST_STEPS = 2_000_000;

interface Held {
  /** Of both cards. */
  readonly rings?: OpenOptions;
  /** Whether the sender is held up in this step. */
  readonly sender?: (step: number) => boolean;
  /** How long cards and cable take for this step. */
  readonly stepNs?: (step: number, trials: readonly TrialReport[]) => number;
}

/** Runs a benchmark over a cable with these faults, where nothing or what `held` says is held up. */
async function measure(
  faults: Omit<CableOptions, 'clock'>,
  options: Omit<Rfc2544Options, 'clock' | 'onTrial'>,
  { rings = {}, sender = () => false, stepNs = () => STEP_NS }: Held = {},
) {
  await using link = await virtualLink(SLOT, faults, rings);
  const trials: TrialReport[] = [];
  const benchmark = new Rfc2544(...link.devices, {
    lineBitsPerS: LINE,
    trialMs: 20,
    settleMs: 10,
    tolerance: TOLERANCE,
    ...options,
    clock: link.clock,
    onTrial: (trial) => trials.push(trial),
  });
  for (let steps = 0; !benchmark.done; steps++) {
    if (steps === MOST_STEPS) throw new Error('it does not end');
    if (!sender(steps)) benchmark.poll();
    link.step(stepNs(steps, trials));
  }
  return { reports: benchmark.reports, trials };
}

const benchmarks = suite('RFC 2544 in virtual time');

for (const search of ['binary', 'mlr'] as const) {
  benchmarks(`${search}: a cable passes on its whole rate, at every size`, async () => {
    const sizesBytes = [64, 1518];
    const { reports } = await measure(
      { rateBitsPerSecond: LINE },
      { search, sizesBytes, tests: ['throughput'] },
    );
    assert.equal(
      reports.map(({ sizeBytes }) => sizeBytes),
      sizesBytes,
    );
    for (const { throughput, partial, lineFramesPerS, sizeBytes } of reports) {
      assert.ok(
        throughput!.load > 1 - TOLERANCE && throughput!.load <= 1,
        `${sizeBytes}: ${throughput!.load}`,
      );
      assert.equal([throughput!.tooHigh, throughput!.limit], [undefined, 'line']);
      assert.is(Math.round(lineFramesPerS), Math.round(LINE / ((sizeBytes + 20) * 8)));
      assert.is(partial === undefined, search === 'binary');
    }
  });

  benchmarks(`${search}: a device halfway that passes on 60 % is found out`, async () => {
    // Its buffer takes 5 frames: what a trial may send too fast and not lose.
    const faults = {
      rateBitsPerSecond: LINE,
      bottleneckBitsPerSecond: 0.6 * LINE,
      bottleneckBufferBytes: 420,
    };
    const { reports } = await measure(faults, {
      search,
      sizesBytes: [64],
      tests: ['throughput', 'latency', 'loss'],
    });
    const { throughput, partial, latency, losses } = reports[0]!;
    assert.ok(Math.abs(throughput!.load - 0.6) <= TOLERANCE + 0.002, `${throughput!.load}`);
    assert.ok(throughput!.tooHigh! > 0.6 && throughput!.tooHigh! <= throughput!.load + TOLERANCE + 1e-9);
    if (search === 'mlr') {
      assert.ok(partial!.load >= throughput!.load && partial!.load < 0.6 + 2 * TOLERANCE, `${partial!.load}`);
    }
    assert.ok(latency!.count > 1000 && latency!.minNs > 0);
    assert.equal(
      losses!.map(({ load }) => load),
      [1, 0.9, 0.8, 0.7, 0.6, 0.5],
    );
    for (const { load, lossRatio } of losses!)
      assert.ok(Math.abs(lossRatio - Math.max(0, 1 - 0.6 / load)) < 0.01, `${load}: ${lossRatio}`);
  });
}

benchmarks(
  'a sender that is held up for 3 ms now and then has the whole line, without another try',
  async () => {
    const { reports, trials } = await measure(
      { rateBitsPerSecond: LINE },
      { trialMs: 100, sizesBytes: [64, 512], tests: ['throughput', 'back-to-back'] },
      // 30 ms apart: three times in a trial.
      { rings: { rxRingSize: 999, txRingSize: 999 }, sender: (step) => step % 3000 < 300 },
    );
    for (const { throughput, backToBack } of reports) {
      assert.is(throughput!.load, 1);
      assert.equal([throughput!.limit, backToBack!.isWhole, backToBack!.offered], ['line', true, 1]);
    }
    const kinds = trials.map(({ test, sizeBytes, again }) => `${test} ${sizeBytes}${again ? ' again' : ''}`);
    assert.equal(kinds, [
      'warm-up 64',
      'warm-up 64',
      'throughput 64',
      'back-to-back 64',
      'throughput 512',
      'back-to-back 512',
    ]);
  },
);

const THROUGHPUT = { trialMs: 100, sizesBytes: [64], tests: ['throughput'], search: 'binary' } as const;
const triesOfLine = (trials: readonly TrialReport[]): number =>
  trials.filter(({ test, load }) => test === 'throughput' && load === 1).length;

benchmarks('a line that lost time once is tried again', async () => {
  let paused = false;
  const { reports, trials } = await measure({ rateBitsPerSecond: LINE }, THROUGHPUT, {
    // Once, in the first trial that counts, for more than the cable makes up for.
    stepNs: (step, before) => {
      if (paused || before.length !== 2 || step % 5000 !== 0) return STEP_NS;
      paused = true;
      return 30e6;
    },
  });
  assert.is(triesOfLine(trials), 2);
  const { load, limit } = reports[0]!.throughput!;
  assert.equal([load, limit], [1, 'line']);
});

benchmarks('a line that takes no more is tried again once', async () => {
  const { reports, trials } = await measure({ rateBitsPerSecond: 0.9 * LINE }, THROUGHPUT);
  assert.is(triesOfLine(trials), 2);
  const { load, limit } = reports[0]!.throughput!;
  // What may be late counts for the sender: 1.5 ms of 100.
  assert.ok(Math.abs(load - 0.9) < 0.02 && limit === 'sender', `${load} ${limit}`);
});

benchmarks('a port that is faster than the line is said to be sends no burst ahead', async () => {
  // What is behind it passes on the whole line, and buffers 10 frames.
  const faults = {
    rateBitsPerSecond: 20 * LINE,
    bottleneckBitsPerSecond: LINE,
    bottleneckBufferBytes: 10 * 84,
  };
  const tests = ['throughput', 'loss', 'back-to-back'] as const;
  const { reports } = await measure(faults, { sizesBytes: [64], tests });
  const { throughput, losses, backToBack } = reports[0]!;
  assert.equal([throughput!.load, throughput!.limit], [1, 'line']);
  assert.is(losses![0]!.lossRatio, 0);
  assert.ok(backToBack!.isWhole);
});

benchmarks('frames do not wait in the ring where their latency is measured', async () => {
  const tests = ['throughput', 'latency'] as const;
  const { reports, trials } = await measure({ rateBitsPerSecond: LINE }, { sizesBytes: [64], tests });
  assert.ok(reports[0]!.latency!.p99Ns < 100_000, `${reports[0]!.latency!.p99Ns} ns`);
  for (const { test, load, latency } of trials)
    assert.is(latency === undefined, test !== 'latency' && load >= 1);
});

benchmarks('back-to-back: the burst that a buffer takes', async () => {
  const frames = 200;
  const faults = {
    rateBitsPerSecond: LINE,
    bottleneckBitsPerSecond: 0.5 * LINE,
    bottleneckBufferBytes: frames * 84,
  };
  const { reports } = await measure(faults, { sizesBytes: [64], tests: ['back-to-back'] });
  const { backToBack } = reports[0]!;
  // The buffer fills with one frame for each two that come.
  assert.is(backToBack!.isWhole, false);
  assert.ok(Math.abs(backToBack!.frames - 2 * frames) <= 6, `${backToBack!.frames}`);
  const whole = await measure(
    { rateBitsPerSecond: 1e6 },
    { lineBitsPerS: 1e6, sizesBytes: [64], tests: ['back-to-back'] },
    { stepNs: () => 20_000 },
  );
  assert.equal(whole.reports[0]!.backToBack, {
    frames: Math.floor((1e6 / 672) * 2),
    isWhole: true,
    offered: 1,
  });
});

benchmarks('a line that is slower than it is said to be: what the sender reached is the limit', async () => {
  const { reports, trials } = await measure(
    { rateBitsPerSecond: LINE / 4 },
    { sizesBytes: [64], tests: ['throughput'], search: 'binary', trialMs: 100 },
  );
  const { throughput } = reports[0]!;
  assert.ok(throughput!.load > 0.24 && throughput!.load < 0.3, `${throughput!.load}`);
  assert.equal([throughput!.tooHigh, throughput!.limit], [undefined, 'sender']);
  assert.ok(trials.length <= 2 + 3, `${trials.length} trials`);
});

benchmarks('the same again is the same, and the time left never grows within a size', async () => {
  const faults = { rateBitsPerSecond: LINE, bottleneckBitsPerSecond: 0.3 * LINE, loss: 0.0001, seed: 5 };
  const options: Omit<Rfc2544Options, 'clock'> = {
    sizesBytes: [128],
    tests: ['throughput', 'latency'],
    repetitions: 2,
  };
  const first = await measure(faults, options);
  assert.equal(await measure(faults, options), first);
  for (const size of [128]) {
    const left = first.trials
      .filter(({ sizeBytes, again }) => sizeBytes === size && !again)
      .map(({ leftMs }) => leftMs);
    assert.equal(
      left,
      left.toSorted((a, b) => b - a),
    );
  }
});

async function refusal(options: object, faults = {}): Promise<NicError> {
  let refused: unknown;
  await measure(faults, options).catch((error: unknown) => {
    refused = error;
  });
  return refused as NicError;
}

benchmarks('nothing comes: an error in place of zeros', async () => {
  const error = await refusal({ sizesBytes: [64] }, { loss: 1 });
  assert.is(error.code, 'NO_LINK');
});

for (const [what, options] of [
  ['no size', { sizesBytes: [] }],
  ['a size that is none', { sizesBytes: [63] }],
  ['a test that is none', { tests: ['speed'] }],
  ['a tolerance of 0', { tolerance: 0 }],
  ['a flow with a rate', { flow: { rate: 5 } }],
  ['frames without numbers', { flow: { protocol: 'tcp' } }],
  ['an unknown key', { trial: 5 }],
] as const) {
  benchmarks(`${what} is refused`, async () => {
    assert.is((await refusal(options)).code, 'BAD_OPTION');
  });
}

benchmarks.run();
