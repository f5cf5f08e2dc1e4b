/** Timers and periods of both clocks; and that code above the drivers has no time but a clock's. */
import * as assert from 'uvu/assert';
import { every, MAX_TIMER_MS, ManualClock, nextTurn, systemClock } from '../src/clock.js';
import { DIST, runScript } from './support/child.js';
import { expectError } from './support/expect-error.js';
import { codeOf, readSource, sourcesIn } from './support/sources.js';
import { suite } from './support/suite.js';

const MS = 1e6;
const nothing = (): void => {};

const manual = suite('ManualClock');

manual('stands still until it is moved, wall clock and all', () => {
  const clock = new ManualClock(1_700_000_000_000);
  assert.equal([clock.nowNs(), clock.wallMs()], [0, 1_700_000_000_000]);
  clock.advanceNs(2_500_000);
  assert.equal([clock.nowNs(), clock.wallMs()], [2_500_000, 1_700_000_000_002.5]);
  clock.advanceNs(0);
  assert.is(clock.nowNs(), 2_500_000);
  assert.is(new ManualClock().wallMs(), 0);
});

manual('timers fire once, each at its time, those of one time in the order they were set', () => {
  const clock = new ManualClock();
  const fired: [string, number][] = [];
  const note = (name: string) => (): void => {
    fired.push([name, clock.nowNs() / MS]);
  };
  clock.after(3, note('c'));
  clock.after(1, note('a'));
  clock.after(3, note('d'));
  clock.after(0, note('now'));
  clock.after(2, note('b'));
  assert.equal(fired, [], 'not before the clock is moved');
  clock.advanceNs(3 * MS - 1);
  assert.equal(fired.splice(0), [
    ['now', 0],
    ['a', 1],
    ['b', 2],
  ]);
  clock.advanceNs(1);
  assert.equal(fired.splice(0), [
    ['c', 3],
    ['d', 3],
  ]);
  clock.advanceNs(1e12);
  assert.equal(fired, []);
});

manual('a cancelled timer does not fire, also where another that is due cancels it', () => {
  const clock = new ManualClock();
  const fired: string[] = [];
  const cancels = ['a', 'b', 'c'].map((name) => clock.after(1, () => fired.push(name)));
  cancels[0]!();
  cancels[0]!();
  clock.after(0.5, () => cancels[2]!());
  clock.advanceNs(2 * MS);
  assert.equal(fired, ['b']);
  cancels[1]!();
});

manual('a callback may set timers, which fire on the same way', () => {
  const clock = new ManualClock();
  const times: number[] = [];
  const again = (): void => {
    times.push(clock.nowNs() / MS);
    if (times.length < 4) clock.after(2, again);
  };
  clock.after(1, again);
  clock.advanceNs(6 * MS);
  assert.equal(times, [1, 3, 5]);
  clock.advanceNs(1 * MS);
  assert.equal(times, [1, 3, 5, 7]);
});

manual('a callback may move the clock: it never goes back', () => {
  const clock = new ManualClock();
  const times: number[] = [];
  clock.after(1, () => clock.advanceNs(10 * MS));
  clock.after(5, () => times.push(clock.nowNs() / MS));
  clock.advanceNs(2 * MS);
  assert.equal(times, [5]);
  assert.is(clock.nowNs(), 11 * MS);
});

manual('a callback that throws leaves the clock at its time, and the other timers', () => {
  const clock = new ManualClock();
  const fired: number[] = [];
  clock.after(1, () => {
    throw new Error('planted');
  });
  clock.after(2, () => fired.push(2));
  assert.throws(() => clock.advanceNs(5 * MS), 'planted');
  assert.equal([clock.nowNs(), fired.length], [1 * MS, 0]);
  clock.advanceNs(1 * MS);
  assert.equal(fired, [2]);
});

for (const ns of [-1, Number.NaN, Number.POSITIVE_INFINITY, undefined, '5']) {
  manual(`cannot be moved by ${ns}`, () => {
    const clock = new ManualClock();
    every(clock, 1, nothing);
    expectError('BAD_OPTION', () => clock.advanceNs(ns as number));
    assert.is(clock.nowNs(), 0);
  });
}

manual.run();

const both = suite('clocks');

for (const [name, clock] of [
  ['systemClock', systemClock],
  ['ManualClock', new ManualClock()],
] as const) {
  both(`${name}: a time that is none, and no function, are refused`, () => {
    for (const ms of [-1, Number.NaN, undefined, '5', null]) {
      expectError('BAD_OPTION', () => clock.after(ms as number, nothing), /^A time is /);
      expectError('BAD_OPTION', () => every(clock, ms as number, nothing), /^A period is /);
    }
    // A clock that is moved by hand would never get past a period of 0.
    expectError('BAD_OPTION', () => every(clock, 0, nothing), /^A period is 0$/);
    expectError('BAD_OPTION', () => clock.after(1, undefined as never), /^A callback is undefined$/);
  });
}

both('every: at multiples of the period, until it is cancelled, from within as well', () => {
  const clock = new ManualClock();
  const times: number[] = [];
  const cancel = every(clock, 2.5, () => {
    times.push(clock.nowNs() / MS);
    if (times.length === 4) cancel();
  });
  clock.advanceNs(5 * MS);
  assert.equal(times, [2.5, 5]);
  clock.advanceNs(100 * MS);
  assert.equal(times, [2.5, 5, 7.5, 10]);
  const other = every(clock, 1, () => times.push(0));
  other();
  clock.advanceNs(100 * MS);
  assert.is(times.length, 4);
});

both('every: a callback that throws is called again', () => {
  const clock = new ManualClock();
  let calls = 0;
  every(clock, 1, () => {
    if (++calls === 1) throw new Error('planted');
  });
  assert.throws(() => clock.advanceNs(3 * MS), 'planted');
  clock.advanceNs(2 * MS);
  assert.is(calls, 3);
});

both('systemClock: time passes, and a timer fires when its time has passed', async () => {
  const startNs = systemClock.nowNs();
  const fired: string[] = [];
  const cancel = systemClock.after(1, () => fired.push('cancelled'));
  cancel();
  await new Promise<void>((resolve) =>
    systemClock.after(2, () => {
      fired.push('second');
      resolve();
    }),
  );
  assert.equal(fired, ['second']);
  // Node.js counts whole milliseconds.
  assert.ok(systemClock.nowNs() - startNs >= 1 * MS);
  assert.ok(Math.abs(systemClock.wallMs() - Date.now()) < 3_600_000);
});

both(
  'systemClock: a time that no timer can be set to is waited for in parts; one without an end sets none',
  () => {
    const real = globalThis.setTimeout;
    const set: { callback: () => void; ms: number }[] = [];
    let fired = 0;
    globalThis.setTimeout = ((callback: () => void, ms: number) => {
      set.push({ callback, ms });
      return real(nothing, 0);
    }) as unknown as typeof setTimeout;
    try {
      systemClock.after(Number.POSITIVE_INFINITY, nothing)();
      assert.is(set.length, 0);
      systemClock.after(2 * MAX_TIMER_MS + 5, () => fired++);
      for (const ms of [MAX_TIMER_MS, MAX_TIMER_MS, 5]) {
        assert.is(set.at(-1)!.ms, ms);
        assert.is(fired, 0);
        set.at(-1)!.callback();
      }
    } finally {
      globalThis.setTimeout = real;
    }
    assert.equal([set.length, fired], [3, 1]);
  },
);

both('systemClock: a process stays for a timer, unless it is told not to', () => {
  const { status, stdout, stderr } = runScript(`
    import { every, systemClock } from '${DIST}src/clock.js';
    systemClock.after(1, () => console.log('kept'));
    systemClock.after(60_000, () => console.log('never'), false);
    every(systemClock, 60_000, () => console.log('never'), false);
  `);
  assert.is(status, 0, stderr);
  assert.is(stdout, 'kept\n');
});

both('nextTurn: immediates that were set before have run', async () => {
  let ran = false;
  setImmediate(() => {
    ran = true;
  });
  await nextTurn();
  assert.ok(ran);
});

both.run();

/**
 * Folders whose waits are for hardware and for other processes, and the clock itself; `one-cpu` is about who runs. How long a socket's
 * peer may say nothing (`socket.setTimeout`) is real time as well, and a `Date` of a given time reads no clock.
 */
const REAL_TIME = /^src\/(?:driver|vfio|syscalls)\/|^src\/(?:clock|one-cpu)\.ts$/;
const OWN_TIME =
  /\bperformance\b|\bDate\b(?!\([^)])|(?<!#|socket\.)\bset(?:Timeout|Interval)\b|\bclear(?:Timeout|Interval)\b|\btimers\b|\bhrtime\b|\buptime\(|\bAbortSignal\.timeout\b|\bAtomics\.wait|\bscheduler\b/;

function ownTimes(file: string, source: string): string[] {
  if (REAL_TIME.test(file)) return [];
  return codeOf(source)
    .split('\n')
    .filter((line) => OWN_TIME.test(line));
}

const time = suite('time above the drivers');

time('is that of a clock, in every file', () => {
  const files = sourcesIn(['src', 'tools']);
  for (const folder of ['src/forward/', 'src/emulator/links/', 'src/capture/', 'tools/commands/']) {
    assert.ok(
      files.some((file) => file.startsWith(folder)),
      folder,
    );
  }
  assert.equal(
    files.flatMap((file) => ownTimes(file, readSource(file)).map((line) => `${file}: ${line.trim()}`)),
    [],
  );
});

for (const line of [
  'const start = performance.now();',
  'const now = Date.now();',
  'const stamp = new Date().toISOString();',
  'const timer = setTimeout(done, 5);',
  'globalThis.setInterval(done, 5);',
  'clearTimeout(timer);',
  "import { setTimeout as sleep } from 'node:timers/promises';",
  "import { setImmediate as nextTurn } from 'node:timers/promises';",
  'const ns = process.hrtime.bigint();',
  'const signal = AbortSignal.timeout(5);',
  'Atomics.wait(never, 0, 0, 5);',
]) {
  time(`planted: ${line}`, () => {
    const source = `/** Unlike setTimeout and Date. */\nexport const a = 1;\n${line}\n// performance.now()\n`;
    for (const file of ['src/emulator/x.ts', 'src/forward/x.ts', 'src/capture/x.ts', 'tools/commands/x.ts'])
      assert.equal(ownTimes(file, source), [line], file);
    for (const file of ['src/driver/x.ts', 'src/vfio/user/x.ts', 'src/clock.ts'])
      assert.equal(ownTimes(file, source), [], file);
  });
}

time('planted: what is allowed', () => {
  const source = `
    const nowNs = clock.nowNs();
    clock.after(5, done);
    setImmediate(done);
    this.#setInterval(value, index);
    const updated = dateOf(frame);
  `;
  assert.equal(ownTimes('src/emulator/x.ts', source), []);
});

time.run();
