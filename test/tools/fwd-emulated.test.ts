/** `barewire fwd` without ports: two processes, the real protocol, traffic with sequence numbers. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, existsSync, mkdtempSync, openSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { CaptureReader } from '../../src/capture/capture-reader.js';
import { children } from '../support/child.js';
import { HANG_MS, until } from '../support/hang.js';
import { suite } from '../support/suite.js';
import { besidesOneCpu } from './run-cli.js';

const SCRIPT = join(import.meta.dirname, '../../tools/barewire.js');

interface Run {
  readonly process: ChildProcess;
  readonly folder: string;
  /** Lines of standard output so far. */
  readonly lines: string[];
  stderr(): string;
  /** Resolves when standard output has a line with this text. */
  line(text: string): Promise<void>;
  /** Exit status, or the signal's name. */
  readonly ended: Promise<number | string>;
}

/** @param output standard output, where it is not to be read here */
function start(args: readonly string[], output: number | 'pipe' = 'pipe'): Run {
  const folder = mkdtempSync(join(tmpdir(), 'bw-fwd-'));
  const child = spawn(process.execPath, [SCRIPT, 'fwd', '--json', ...args], {
    env: { ...process.env, XDG_RUNTIME_DIR: folder },
    stdio: ['ignore', output, 'pipe'],
    timeout: HANG_MS,
    killSignal: 'SIGKILL',
  });
  const lines: string[] = [];
  const waiting = new Set<() => void>();
  let rest = '';
  let stderr = '';
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    const parts = (rest + text).split('\n');
    rest = parts.pop()!;
    lines.push(...parts);
    for (const check of waiting) check();
  });
  child.stderr!.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  const ended = new Promise<number | string>((resolve) => {
    child.on('close', (status, signal) => resolve(status ?? signal ?? 'unknown'));
  });
  return {
    process: child,
    folder,
    lines,
    stderr: () => besidesOneCpu(stderr),
    ended,
    line: (text) =>
      new Promise((resolve, reject) => {
        const check = (): void => {
          if (!lines.some((line) => line.includes(text))) return;
          waiting.delete(check);
          resolve();
        };
        waiting.add(check);
        check();
        void ended.then((status) => reject(new Error(`ended with ${status} before "${text}": ${stderr}`)));
      }),
  };
}

/** Runs a test on a started forwarder, and ends it whatever happens. */
function withRun(
  args: readonly string[],
  body: (run: Run) => Promise<void>,
  output: number | 'pipe' = 'pipe',
): () => Promise<void> {
  return async () => {
    const run = start(args, output);
    try {
      await body(run);
    } finally {
      run.process.kill('SIGKILL');
      await run.ended;
      rmSync(run.folder, { recursive: true, force: true });
    }
  };
}

interface Totals {
  readonly ports: readonly {
    readonly rxPackets: number;
    readonly txPackets: number;
    readonly dropped: number;
    readonly rxErrors: number;
    readonly rxDamaged: number;
    readonly queues: readonly { readonly rxPackets: number; readonly txPackets: number }[];
    readonly asOfS?: number;
  }[];
}

function message<T>(run: Run, type: string): T[] {
  return run.lines.map((line) => JSON.parse(line)).filter((entry) => entry.type === type);
}

/** Received = sent at the other port + counted drops, both ways; what the stations saw agrees. */
function checkTotals(run: Run): void {
  const [totals] = message<Totals>(run, 'totals');
  const [a, b] = totals!.ports;
  assert.ok(a!.rxPackets > 0 && b!.rxPackets > 0, 'traffic passed');
  assert.is(a!.rxPackets, b!.txPackets + b!.dropped);
  assert.is(b!.rxPackets, a!.txPackets + a!.dropped);
  assert.equal([a!.rxErrors, a!.rxDamaged, b!.rxErrors, b!.rxDamaged], [0, 0, 0, 0]);
  for (const { rxPackets, txPackets, queues } of totals!.ports) {
    const sum = (name: 'rxPackets' | 'txPackets'): number => queues.reduce((all, one) => all + one[name], 0);
    assert.equal([sum('rxPackets'), sum('txPackets')], [rxPackets, txPackets], 'of the pairs of queues');
  }
  const stations = message<{ sent: number; received: number; reordered: number; corrupt: number }>(
    run,
    'traffic',
  );
  assert.is(stations.length, 2);
  for (const [port, station] of stations.entries()) {
    assert.is(station.sent, totals!.ports[port]!.rxPackets, 'all that was sent was received');
    assert.is(station.received, totals!.ports[port]!.txPackets, 'all that was forwarded arrived');
    assert.equal([station.reordered, station.corrupt], [0, 0]);
  }
}

/** Whose folders of sockets there are. */
function folderKinds({ folder }: Run): (string | undefined)[] {
  return readdirSync(folder)
    .map((name) => name.split('-')[1])
    .sort();
}

const emulated = suite('fwd between emulated ports');

emulated(
  'SIGINT: exit 0, totals that agree, and nothing left behind',
  withRun([], async (run) => {
    await run.line('"rates"');
    const [emulator] = children(run.process.pid!);
    assert.equal(folderKinds(run), ['emulator', 'run'], 'sockets of the ports, and of barewire stats');
    run.process.kill('SIGINT');
    assert.is(await run.ended, 0, run.stderr());
    checkTotals(run);
    assert.equal(readdirSync(run.folder), []);
    assert.not.ok(existsSync(`/proc/${emulator}`), 'the emulator has ended');
  }),
);

/** A module for --on-packet, in the run's folder. */
function hookModule(code: string): string {
  const folder = mkdtempSync(join(tmpdir(), 'bw-hook-'));
  const path = join(folder, 'hook.mjs');
  writeFileSync(path, code);
  return path;
}

emulated(
  '--workers 2: each flow in order, none lost, and the totals of both threads',
  withRun(['--workers', '2', '--flows', '4'], async (run) => {
    await run.line('"rates"');
    run.process.kill('SIGINT');
    assert.is(await run.ended, 0, run.stderr());
    checkTotals(run);
    assert.is(run.stderr(), '');
    assert.equal(readdirSync(run.folder), []);
  }),
);

emulated('--on-packet drops packets in the workers; both directions of a flow meet in one', async () => {
  // Queue and direction are told; a packet of an odd flow is dropped.
  const hook = hookModule(
    'export default ({ pool, from, to, queue }) => {\n' +
      '  if (!(from === 1 - to && queue < 2)) throw new Error("context");\n' +
      '  return (packet, bytes) => pool.bytes(packet)[35] % 2 === 1 ? 0 : bytes;\n};\n',
  );
  await withRun(['--workers', '2', '--flows', '4', '--on-packet', hook], async (run) => {
    await run.line('"rates"');
    run.process.kill('SIGINT');
    assert.is(await run.ended, 0, run.stderr());
    const [{ ports } = { ports: [] }] = message<Totals>(run, 'totals');
    for (const [i, port] of ports.entries()) {
      assert.ok(port.dropped > 0);
      assert.is(ports[1 - i]!.rxPackets, port.txPackets + port.dropped);
    }
  })();
});

emulated('a hook that throws in a worker ends the command with its error', async () => {
  const hook = hookModule('export default () => () => { throw new Error("no more"); };');
  await withRun(['--workers', '2', '--on-packet', hook], async (run) => {
    assert.is(await run.ended, 1);
    assert.match(run.stderr(), 'no more');
    assert.is(message(run, 'totals').length, 1);
    assert.equal(readdirSync(run.folder), []);
  })();
});

for (const args of [
  ['--policy', 'power', '--interrupt-interval', '200', '--rate', '2000'],
  ['--policy', 'power', '--interrupt-interval', '200', '--rate', '2000', '--workers', '2'],
  ['--policy', 'latency'],
]) {
  emulated(
    `${args.join(' ')}: all that was sent arrives`,
    withRun(args, async (run) => {
      await run.line('"rates"');
      run.process.kill('SIGINT');
      assert.is(await run.ended, 0, run.stderr());
      checkTotals(run);
    }),
  );
}

for (const [args, says] of [
  [['--policy', 'latency', '--interrupt-interval', '200'], '--policy latency'],
  [['--interrupt-interval', '2000'], 'interruptIntervalUs is 2000'],
] as const) {
  emulated(`${args.join(' ')}: used wrongly`, async () => {
    await withRun(args, async (run) => {
      assert.is(await run.ended, 2);
      assert.match(run.stderr(), says);
    })();
  });
}

emulated('more workers than queue pairs: used wrongly', async () => {
  await withRun(['--workers', '3', '--queues', '2'], async (run) => {
    assert.is(await run.ended, 2);
    assert.match(run.stderr(), '--queues');
  })();
});

for (const signal of ['SIGTERM', 'SIGHUP', 'SIGQUIT'] as const) {
  emulated(
    `${signal}: the same`,
    withRun([], async (run) => {
      await run.line('"path"');
      run.process.kill(signal);
      assert.is(await run.ended, 0, run.stderr());
      assert.is(message(run, 'totals').length, 1);
      assert.is(run.stderr(), '');
      assert.equal(readdirSync(run.folder), []);
    }),
  );
}

emulated(
  'SIGINT while the emulator starts: exit 0, nothing said, nothing left behind',
  withRun([], async (run) => {
    let emulator: number | undefined;
    await until(() => {
      [emulator] = children(run.process.pid!);
      return emulator !== undefined;
    }, 'the emulator is started');
    run.process.kill('SIGINT');
    assert.is(await run.ended, 0, run.stderr());
    assert.equal([run.lines, run.stderr()], [[], '']);
    assert.not.ok(existsSync(`/proc/${emulator}`), 'the emulator has ended');
    assert.equal(readdirSync(run.folder), []);
  }),
);

emulated(
  'SIGINT twice, while the emulator hangs: exit 130, nothing said, nothing left behind',
  withRun([], async (run) => {
    await run.line('"path"');
    const [emulator] = children(run.process.pid!);
    process.kill(emulator!, 'SIGSTOP');
    const again = setInterval(() => run.process.kill('SIGINT'), 150);
    const exited = once(run.process, 'exit');
    assert.equal(await exited.finally(() => clearInterval(again)), [130, null]);
    try {
      await until(() => !existsSync(`/proc/${emulator}`), 'the emulator ends');
    } catch (error) {
      process.kill(emulator!, 'SIGKILL'); // it holds the pipes that the test waits for
      throw error;
    }
    await run.ended;
    assert.is(run.stderr(), '');
    assert.equal(readdirSync(run.folder), []);
  }),
);

emulated('output to a full disk: one line, exit 1, nothing left behind', async () => {
  const full = openSync('/dev/full', 'w');
  try {
    await withRun(
      [],
      async (run) => {
        assert.is(await run.ended, 1);
        assert.match(run.stderr(), /^barewire: standard output cannot be written: ENOSPC[^\n]*\n$/);
        assert.equal(readdirSync(run.folder), []);
      },
      full,
    )();
  } finally {
    closeSync(full);
  }
});

emulated(
  'a duration, large frames and a rate',
  withRun(['--duration', '1', '--size', '1518', '--rate', '2000', '--batch', '8'], async (run) => {
    assert.is(await run.ended, 0, run.stderr());
    checkTotals(run);
  }),
);

for (const [args, path] of [
  [[], 'pipe'],
  [['--path', 'pipe', '--queues', '2'], 'pipe'],
  [['--path', 'general'], 'general'],
] as const) {
  emulated(
    `${args.join(' ') || 'by default'}: the ${path} path`,
    withRun(['--duration', '500ms', ...args], async (run) => {
      assert.is(await run.ended, 0, run.stderr());
      assert.equal(message<{ path: string }>(run, 'path'), [{ type: 'path', path }]);
      checkTotals(run);
    }),
  );
}

emulated('--capture: copies of what passes on a pipe, both ways, and the traffic as without', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'bw-tap-'));
  const path = join(folder, 'tap.pcapng.gz');
  const args = ['--duration', '500ms', '--rate', '2000', '--capture', path, '--snap-length', '50'];
  try {
    await withRun(args, async (run) => {
      assert.is(await run.ended, 0, run.stderr());
      assert.equal(message<{ path: string }>(run, 'path'), [{ type: 'path', path: 'pipe' }]);
      checkTotals(run);
      const [totals] = message<Totals>(run, 'totals');
      const received = totals!.ports.map(({ rxPackets }) => rxPackets);
      const [counted] = message<{ written: number }>(run, 'capture');
      assert.is(counted!.written, received[0]! + received[1]!, 'nothing was lost to the capture');
      const reader = await CaptureReader.open(path);
      const byInterface = [0, 0];
      do {
        while (reader.next()) {
          byInterface[reader.frame.interfaceId]!++;
          assert.equal([reader.frame.lengthBytes, reader.frame.originalBytes], [50, 60]);
        }
      } while (await reader.fill());
      assert.equal([byInterface, reader.damage, reader.packing], [received, undefined, 'gzip']);
      await reader.close();
    })();
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

for (const [args, says] of [
  [['--tap', '--workers', '2', '--queues', '2'], 'one thread makes the copies'],
  [['--snap-length', '9'], 'are for --capture'],
  [['--gzip'], 'are for --capture'],
  [['--capture', '/dev/null', '--capture-filter', 'udp prot'], 'at character 5'],
  [['--ring', '100'], 'from 64 to 4096'],
  [['--queues', '99'], 'from 1 to'],
] as const) {
  emulated(
    `${args.join(' ')}: used wrongly, and says what these ports can`,
    withRun(args, async (run) => {
      assert.is(await run.ended, 2);
      assert.match(run.stderr(), /^barewire: [^\n]+\nhint: [^\n]+\n$/);
      assert.match(run.stderr(), says);
      assert.equal(readdirSync(run.folder), []);
    }),
  );
}

emulated(
  'kill -9 of the emulator: a clear error, exit 1',
  withRun([], async (run) => {
    await run.line('"rates"');
    const [emulator] = children(run.process.pid!);
    process.kill(emulator!, 'SIGKILL');
    assert.is(await run.ended, 1);
    assert.match(run.stderr(), /^barewire: .*port[01]\.sock.*\n(hint: .*\n)?$/, run.stderr());
    const [totals] = message<Totals>(run, 'totals');
    assert.ok(
      totals!.ports.every(({ rxPackets, asOfS }) => rxPackets > 0 && asOfS! > 0),
      'what was known',
    );
    assert.equal(readdirSync(run.folder), [], 'the sockets are gone');
  }),
);

/** An emulator in a process of its own, two ports of which are given to a forwarder. */
class Emulator {
  readonly process: ChildProcess;
  readonly addresses: readonly string[];
  readonly #sockets: readonly string[];

  constructor(folder: string, name: string) {
    this.#sockets = ['0', '1'].map((port) => join(folder, `${name}${port}.sock`));
    this.addresses = this.#sockets.map((path) => `vfio-user:${path}`);
    const sockets = this.#sockets.flatMap((path) => ['--socket', path]);
    this.process = spawn(process.execPath, [SCRIPT, 'emulate', '--rate', '2000', ...sockets], {
      stdio: 'ignore',
      timeout: HANG_MS,
      killSignal: 'SIGKILL',
    });
  }

  ready(): Promise<unknown> {
    return until(() => this.#sockets.every((path) => existsSync(path)), 'the sockets are there');
  }
}

emulated('two pairs, and kill -9 of the emulator of one: it is said, the other goes on, exit 1', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'bw-pairs-'));
  const [first, second] = [new Emulator(folder, 'a'), new Emulator(folder, 'b')];
  try {
    await Promise.all([first.ready(), second.ready()]);
    await withRun([...first.addresses, ...second.addresses], async (run) => {
      await run.line('"rates"');
      assert.equal(message<{ path: string }>(run, 'path'), [
        { type: 'path', path: 'pipe', ports: [0, 1] },
        { type: 'path', path: 'pipe', ports: [2, 3] },
      ]);
      first.process.kill('SIGKILL');
      await until(() => run.stderr().includes('forward no more'), 'the loss is said');
      const lines = run.lines.length;
      await until(
        () => run.lines.slice(lines).filter((line) => line.includes('"rates"')).length >= 2,
        'rates',
      );
      type Rates = { ports: { address: string; rxMpps: number }[] };
      const { ports: rates } = message<Rates>(run, 'rates').at(-1)!;
      assert.equal(
        rates.map(({ address }) => address),
        second.addresses,
      );
      assert.ok(
        rates.every(({ rxMpps }) => rxMpps > 0),
        'they receive',
      );
      run.process.kill('SIGINT');
      assert.is(await run.ended, 1);
      const [warning, hint, error] = run.stderr().split('\n');
      assert.match(warning!, /^warning: .*a[01]\.sock/);
      assert.match(
        hint!,
        new RegExp(`^hint: ${first.addresses.join(' and ')} forward no more; the others go on`),
      );
      assert.match(error!, /^barewire: .*a[01]\.sock/);
      const [{ ports }] = message<Totals>(run, 'totals') as [Totals];
      assert.equal(
        ports.map(({ asOfS }) => asOfS !== undefined),
        [true, true, false, false],
      );
      const [, , c, d] = ports;
      assert.ok(c!.rxPackets > 0 && d!.rxPackets > 0);
      assert.equal([d!.txPackets + d!.dropped, c!.txPackets + c!.dropped], [c!.rxPackets, d!.rxPackets]);
    })();
  } finally {
    for (const { process: child } of [first, second]) child.kill('SIGKILL');
    rmSync(folder, { recursive: true, force: true });
  }
});

for (const [ports, says] of [
  [['a', 'b', 'c'], '3 ports make no pairs: vfio-user:/none/c is left over'],
  [['a', 'b', 'c', 'a'], 'vfio-user:/none/a is given twice'],
  [['a', 'b', 'c', 'd', '--workers', '2'], '--workers is for one pair of ports'],
  [['a', 'b', '--mirror', 'vfio-user:/none/b'], 'vfio-user:/none/b forwards'],
] as const) {
  emulated(`${ports.join(' ')}: used wrongly`, async () => {
    const args = ports.map((port) => (port.length === 1 && port > '9' ? `vfio-user:/none/${port}` : port));
    await withRun(args, async (run) => {
      assert.is(await run.ended, 2);
      assert.match(run.stderr(), says);
    })();
  });
}

emulated(
  'kill -9 of the forwarder: the emulator ends and removes its sockets',
  withRun([], async (run) => {
    await run.line('"rates"');
    const [emulator] = children(run.process.pid!);
    run.process.kill('SIGKILL');
    assert.is(await run.ended, 'SIGKILL');
    await until(
      () => /process that started this emulator is gone/.test(run.stderr()),
      'the emulator says why it ends',
    );
    await until(() => !existsSync(`/proc/${emulator}`), 'the emulator ends');
    // Its own folder stays, until the next command removes it.
    assert.equal(folderKinds(run), ['run']);
  }),
);

emulated.run();
