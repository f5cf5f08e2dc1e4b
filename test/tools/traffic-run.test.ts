/** A traffic command from open to close, over simulated NICs. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import * as assert from 'uvu/assert';
import { ManualClock } from '../../src/clock.js';
import type { NetDevice } from '../../src/driver/device.js';
import { NicError } from '../../src/errors.js';
import { runTraffic, type Traffic } from '../../tools/traffic-run.js';
import { captureLines } from '../support/capture.js';
import { DIST, PLAIN_ENV } from '../support/child.js';
import { expectRejection } from '../support/expect-error.js';
import { HANG_MS } from '../support/hang.js';
import { type Bench, bench } from '../support/open-igb.js';
import { suite } from '../support/suite.js';

/** Traffic that calls `poll` and is reported. */
function traffic(devices: readonly NetDevice[], poll: () => number, more: Partial<Traffic> = {}): Traffic {
  return { poll, wakeOn: [], report: devices.map((device) => ({ device, dropped: () => 0 })), ...more };
}

const openers = (benches: readonly Bench[]) => benches.map((one) => () => one.open());

const listeners = (): number =>
  ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'].reduce((sum, name) => sum + process.listenerCount(name), 0);

const run = suite('runTraffic');

run('runs for its duration, prints totals, closes everything', async () => {
  const benches = [bench(), bench()];
  let polls = 0;
  const lines = await captureLines(() =>
    runTraffic(openers(benches), (devices) => traffic(devices, () => ++polls), { json: true, duration: 20 }),
  );
  assert.ok(polls > 0);
  const totals = JSON.parse(lines.at(-1)!) as { type: string; ports: unknown[] };
  assert.is(totals.type, 'totals');
  assert.is(totals.ports.length, 2);
  for (const one of benches) one.assertReleased();
  assert.is(listeners(), 0);
});

run('ends when the traffic is done', async () => {
  const one = bench();
  let polls = 0;
  const lines = await captureLines(() =>
    runTraffic(
      openers([one]),
      (devices) => ({
        ...traffic(devices, () => ++polls),
        get done() {
          return polls >= 100;
        },
      }),
      { json: true },
    ),
  );
  assert.is(lines.length, 1);
  one.assertReleased();
});

run('a signal while a link is waited for ends the command at once, which is no failure', async () => {
  const one = bench();
  let asked: AbortSignal | undefined;
  const opener = async (): Promise<NetDevice> => {
    const device = await one.open();
    // A link that never comes up, and a time that never ends.
    device.waitForLink = ({ signal } = {}) =>
      new Promise((_, reject) => {
        asked = signal;
        signal?.addEventListener('abort', () => reject(signal.reason));
        process.emit('SIGINT');
      });
    return device;
  };
  await runTraffic([opener], () => Promise.reject(new Error('it runs')), {});
  assert.ok(asked?.aborted);
  one.assertReleased();
  assert.is(listeners(), 0);
});

run('a poll that throws: totals all the same, then the error, all closed', async () => {
  const one = bench();
  const lines = await captureLines(async () => {
    const failing = runTraffic(
      openers([one]),
      (devices) =>
        traffic(devices, () => {
          throw new NicError('DEVICE_STATE', 'planted');
        }),
      { json: true },
    );
    assert.is((await expectRejection('DEVICE_STATE', failing)).message, 'planted');
  });
  assert.is((JSON.parse(lines.at(-1)!) as { type: string }).type, 'totals');
  one.assertReleased();
  assert.is(listeners(), 0);
});

run('a second port that does not open: the first is closed, its error is told', async () => {
  const first = bench();
  const failing = runTraffic(
    [() => first.open(), () => Promise.reject(new NicError('NO_SUCH_DEVICE', 'planted'))],
    (devices) => traffic(devices, () => 0),
    {},
  );
  await expectRejection('NO_SUCH_DEVICE', failing);
  first.assertReleased();
  assert.is(listeners(), 0);
});

run('a port that is pulled out ends the run with DEVICE_GONE, and totals all the same', async () => {
  const one = bench();
  let finished = 0;
  const lines = await captureLines(async () => {
    const failing = runTraffic(
      openers([one]),
      (devices) => ({
        ...traffic(devices, () => {
          one.vfio.goneAfterReads = 0;
          return 1;
        }),
        afterTotals: () => void finished++,
      }),
      { json: true, duration: 30 },
    );
    await expectRejection('DEVICE_GONE', failing);
  });
  const { type, ports } = JSON.parse(lines.at(-1)!) as { type: string; ports: { asOfS: number }[] };
  assert.is(type, 'totals');
  assert.is(ports[0]!.asOfS, 0, 'the counters that it had at the start');
  assert.is(finished, 1);
  one.assertReleased();
});

run(
  'a port that is lost with others left: they go on, their totals are exact, and the end is its error',
  async () => {
    const benches = [bench(), bench(), bench()];
    const gone = new NicError('DEVICE_GONE', 'planted');
    const told: string[] = [];
    const drained: string[] = [];
    let [polls, pollsAfter] = [0, 0];
    const lines = await captureLines(async () => {
      const failing = runTraffic(
        openers(benches),
        (devices) => {
          for (const [i, device] of devices.entries()) {
            device.drain = async () => {
              drained.push(`${i}`);
              return true;
            };
          }
          return {
            ...traffic(devices, () => {
              if (++polls === 1000) benches[0]!.vfio.goneListeners.tell(gone);
              if (told.length > 0) pollsAfter++;
              return 1;
            }),
            wakeOn: devices,
            get done() {
              return pollsAfter > 5000;
            },
            without(device: NetDevice, error: unknown) {
              assert.is(error, gone);
              told.push(`${devices.indexOf(device)}`);
              return devices.slice(1);
            },
          };
        },
        { json: true },
      );
      assert.is(await expectRejection('DEVICE_GONE', failing), gone);
    });
    assert.equal(told, ['0']);
    assert.ok(pollsAfter > 5000, 'it went on');
    assert.equal(drained, ['1', '2'], 'the others are drained');
    assert.is((JSON.parse(lines.at(-1)!) as { type: string }).type, 'totals');
    for (const one of benches) one.assertReleased();
    assert.is(listeners(), 0);
  },
);

run('a port that stops to answer is lost in the next report, and the others go on', async () => {
  const benches = [bench(), bench()];
  const clock = new ManualClock();
  const told: unknown[] = [];
  let polls = 0;
  const lines = await captureLines(async () => {
    const failing = runTraffic(
      openers(benches),
      (devices) => ({
        ...traffic(devices, () => {
          if (++polls === 100) benches[0]!.vfio.goneAfterReads = 0;
          clock.advanceNs(1e7);
          return 1;
        }),
        wakeOn: devices,
        get done() {
          return polls > 1000;
        },
        without(device: NetDevice) {
          told.push(device === devices[0]);
          return devices.slice(1);
        },
      }),
      { json: true, clock },
    );
    await expectRejection('DEVICE_GONE', failing);
  });
  assert.equal(told, [true]);
  const rows = lines.map((line) => JSON.parse(line)) as { type: string; ports: { asOfS?: number }[] }[];
  assert.ok(rows.filter(({ type, ports }) => type === 'rates' && ports.length === 1).length > 5);
  assert.ok(rows.at(-1)!.ports[0]!.asOfS! < 2);
  assert.not.ok('asOfS' in rows.at(-1)!.ports[1]!);
  for (const one of benches) one.assertReleased();
});

run.run();

const signals = suite('stop signals');

/** Sends a signal until the process has ended, as someone who loses patience. */
async function killUntilEnded(
  child: ChildProcess,
  signal: NodeJS.Signals,
  ended: Promise<unknown>,
): Promise<void> {
  const again = setInterval(() => child.kill(signal), 50);
  await ended.finally(() => clearInterval(again));
}

/** A process that stops on signals, tells so, and takes its time to close. */
function stopping(lines: string) {
  const script = `
    import { stopOnSignals } from '${DIST}tools/stop-signals.js';
    const stop = stopOnSignals();
    stop.signal.addEventListener('abort', () => console.log('stopping'));
    const alive = setInterval(() => {}, 1000);
    ${lines}
    console.log('ready');
  `;
  const child = spawn(process.execPath, ['--input-type=module', '--eval', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: PLAIN_ENV,
    timeout: HANG_MS, // one that hangs fails the test
    killSignal: 'SIGKILL',
  });
  let output = '';
  const waiting: { text: string; resolve: () => void }[] = [];
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text;
    for (const { text: wanted, resolve } of waiting) if (output.includes(wanted)) resolve();
  });
  return {
    child,
    printed: (text: string): Promise<void> =>
      output.includes(text)
        ? Promise.resolve()
        : new Promise((resolve, reject) => {
            waiting.push({ text, resolve });
            child.once('close', () => reject(new Error(`ended without ${text}: ${output}`)));
          }),
    ended: once(child, 'close') as Promise<[number | null, NodeJS.Signals | null]>,
  };
}

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'] as const) {
  signals(`${signal} stops; a second one exits 130`, async () => {
    const { child, printed, ended } = stopping('');
    await printed('ready');
    child.kill(signal);
    await printed('stopping');
    await killUntilEnded(child, signal, ended);
    assert.equal(await ended, [130, null]);
  });
}

signals(
  'a signal while the program loads ends it with 0; one at the moment of the change is not lost',
  async () => {
    const { child, printed, ended } = stopping(`
    import { exitOnSignals } from '${DIST}tools/stop-signals.js';
    stop.dispose();
    exitOnSignals();
  `);
    await printed('ready');
    child.kill('SIGINT');
    assert.equal(await ended, [0, null]);

    const changing = stopping(`
    import { exitOnSignals } from '${DIST}tools/stop-signals.js';
    stop.dispose();
    exitOnSignals();
    process.kill(process.pid, 'SIGINT'); // has come, and waits for the event loop
    stopOnSignals().signal.addEventListener('abort', () => process.exit(7));
  `);
    assert.equal(await changing.ended, [7, null]);
  },
);

signals('a Ctrl-C that comes twice at once, as under npm, is one', async () => {
  const { child, printed, ended } = stopping(`
    let count = 0;
    process.on('SIGINT', () => {
      console.log('heard', ++count);
      if (count < 2) process.kill(process.pid, 'SIGINT');
    });
  `);
  await printed('ready');
  child.kill('SIGINT');
  await printed('heard 2');
  child.kill('SIGKILL');
  assert.equal(await ended, [null, 'SIGKILL'], 'it was still there');
});

signals('a signal while a run that ended by itself is closing does not kill it; a second does', async () => {
  const { child, printed, ended } = stopping(`
    stop.stop();
    process.on('SIGINT', () => console.log('heard', process.listenerCount('SIGINT')));
  `);
  await printed('ready');
  child.kill('SIGINT');
  await printed('heard 2');
  await killUntilEnded(child, 'SIGINT', ended);
  assert.equal(await ended, [130, null]);
});

signals('after dispose a signal kills as it always does', async () => {
  const { child, printed, ended } = stopping('stop.dispose();');
  await printed('ready');
  child.kill('SIGTERM');
  assert.equal(await ended, [null, 'SIGTERM']);
});

signals.run();
