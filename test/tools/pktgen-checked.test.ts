/** `pktgen --rx`, `sink` and `--dry-run`: what they say is what the cable and the file say. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import * as assert from 'uvu/assert';
import { CaptureReader } from '../../src/capture/capture-reader.js';
import { startEmulator } from '../../src/emulator/index.js';
import { ipv4ChecksumState, l4ChecksumState } from '../../src/packet/frame-checksums.js';
import { PacketView } from '../../src/packet/packet-view.js';
import { parse } from '../../src/packet/parse.js';
import { PLAIN_ENV } from '../support/child.js';
import { HANG_MS } from '../support/hang.js';
import { readFrames } from '../support/read-frames.js';
import { suite } from '../support/suite.js';
import { CLI } from './run-cli.js';

interface Result {
  readonly status: number | null;
  readonly lines: readonly string[];
  readonly stderr: string;
}

/** @param onOutput told of what was printed so far */
function start(
  args: readonly string[],
  onOutput: (text: string) => void = () => {},
): { readonly child: ChildProcess; readonly result: Promise<Result> } {
  const child = spawn(process.execPath, [CLI, ...args], {
    env: PLAIN_ENV,
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: HANG_MS,
    killSignal: 'SIGKILL',
  });
  let [stdout, stderr] = ['', ''];
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
    onOutput(stdout);
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  const result = once(child, 'close').then(([status]): Result => {
    return { status: status as number | null, lines: stdout.split('\n').slice(0, -1), stderr };
  });
  return { child, result };
}

function barewire(args: readonly string[], onOutput?: (text: string) => void): Promise<Result> {
  return start(args, onOutput).result;
}

/** The last line of a run with `--json`. */
function accountOf({ lines }: Result) {
  const account = JSON.parse(lines.at(-1)!);
  assert.is(account.type, 'account');
  return account;
}

const folder = mkdtempSync(join(tmpdir(), 'bw-checked-'));
const [A, B] = ['a', 'b'].map((name) => join(folder, `${name}.sock`)) as [string, string];
const [PORT_A, PORT_B] = [`vfio-user:${A}`, `vfio-user:${B}`];
const checked = suite('pktgen --rx, sink, --dry-run');
checked.after(() => rmSync(folder, { recursive: true, force: true }));

/** Two ports with a cable between them, while `body` runs. */
async function withCable(
  faults: {
    loss?: number;
    damage?: number;
    duplicate?: number;
    reorder?: number;
    rateBitsPerSecond?: number;
  },
  body: (counters: () => Promise<Record<string, number>>) => Promise<void>,
): Promise<void> {
  await using emulator = await startEmulator({
    nics: [{ path: A }, { path: B }],
    links: [{ ends: [{ nic: 0 }, { nic: 1 }], cable: faults }],
  });
  await body(async () => ({ ...(await emulator.report()).links[0]!.cable!.ab }));
}

checked('--pacing filler: fillers are counted by themselves, by sender, cable and receiver', async () => {
  await withCable({ rateBitsPerSecond: 100e6 }, async (counters) => {
    const pacing = ['--pacing', 'filler', '--line-rate', '100M'];
    const args = ['--rx', PORT_B, '--count', '300', '--rate', '1k', ...pacing, '--expect-no-loss', '--json'];
    const result = await barewire(['pktgen', PORT_A, ...args]);
    assert.is(result.status, 0, result.stderr);
    const account = accountOf(result);
    assert.equal([account.sent, account.received, account.complete], [300, 300, true]);
    assert.ok(account.fillers > 300, `${account.fillers}`);
    assert.is((await counters()).wrongFcs, account.fillers);
    const [from, to] = JSON.parse(result.lines.at(-2)!).ports;
    assert.equal([from.fillers, from.wireTxPackets], [account.fillers, account.fillers + 300]);
    assert.equal([to.rxErrors, to.rxPackets], [account.fillers, 300]);
  });
});

checked('--pacing hardware: the card spaces the frames', async () => {
  await withCable({}, async () => {
    const args = [
      '--rx',
      PORT_B,
      '--ring',
      '4096',
      '--count',
      '3000',
      '--rate',
      '50k',
      '--pacing',
      'hardware',
    ];
    const result = await barewire(['pktgen', PORT_A, ...args, '--expect-no-loss']);
    assert.is(result.status, 0, result.stderr);
    assert.ok(
      result.lines.includes('port 0: rate: asked for 50.00k/s, spaced by the hardware at 50.00k/s'),
      result.lines.join('\n'),
    );
    assert.equal(
      result.lines.filter((line) => line.length >= 80),
      [],
    );
  });
});

checked('--capture has what each port sent and received, by interface', async () => {
  const path = join(folder, 'both.pcapng');
  await withCable({}, async () => {
    const args = [
      '--rx',
      PORT_B,
      '--count',
      '200',
      '--size',
      '64-200',
      '--rate',
      '5k',
      '--capture',
      path,
      '--gzip',
    ];
    const result = await barewire(['pktgen', PORT_A, ...args]);
    assert.is(result.status, 0, result.stderr);
    assert.ok(result.lines.includes('capture: written 400, not written 0'), result.lines.join('\n'));
    const refused = await barewire(['pktgen', PORT_A, ...args]);
    assert.is(refused.status, 2);
    assert.match(refused.stderr, /it exists and has \d+ bytes/);
  });
  await using reader = await CaptureReader.open(path);
  const sides: Record<number, string[]> = { 0: [], 3: [] };
  do {
    while (reader.next()) {
      const { interfaceId, bytes, offsetBytes, lengthBytes } = reader.frame;
      const frame = Buffer.from(bytes.subarray(offsetBytes, offsetBytes + lengthBytes));
      sides[interfaceId]!.push(frame.toString('hex'));
    }
  } while (await reader.fill());
  assert.is(reader.damage, undefined);
  // Port A sends by interface 0, port B receives by interface 3.
  assert.is(sides[0]!.length, 200);
  assert.is(new Set(sides[0]).size, 200);
  assert.equal(sides[3], sides[0]);
});

checked('without faults every frame comes, with latencies, and the status is 0', async () => {
  await withCable({}, async () => {
    const args = ['--rx', PORT_B, '--count', '1000', '--rate', '5k', '--json', '--expect-no-loss'];
    const result = await barewire(['pktgen', PORT_A, ...args]);
    assert.is(result.status, 0, result.stderr);
    const { sent, received, complete, flows } = accountOf(result);
    assert.equal([sent, received, complete], [1000, 1000, true]);
    assert.is(flows[0].latency.count, 1000);
    assert.is(flows[0].requestedPps, 5000);
    assert.is(flows[0].gapErrors.count > 0, true);
  });
});

checked('with all faults the account has the counts of the cable, and --expect-no-loss fails', async () => {
  await withCable({ loss: 0.02, damage: 0.02, duplicate: 0.02, reorder: 0.02 }, async (counters) => {
    const junit = join(folder, 'junit.xml');
    const page = join(folder, 'report.html');
    // So slow that no ring fills up while the machine is busy with something else.
    const args = [
      '--rx',
      PORT_B,
      '--count',
      '1500',
      '--vlan',
      '7',
      '--size',
      '68-300~',
      '--src-ip',
      '10.0.0.1-10.0.0.9~',
    ];
    const result = await barewire([
      'pktgen',
      PORT_A,
      ...args,
      '--rate',
      '5k',
      '--json',
      '--expect-no-loss',
      '--junit',
      junit,
      '--report',
      page,
    ]);
    assert.is(result.status, 1, result.stderr);
    assert.match(
      readFileSync(junit, 'utf8'),
      /failures="1".*message="sent 1500, received [0-9]+, lost [1-9]/s,
    );
    const cable = await counters();
    const { sent, received, duplicated, lost, losses, flows, unknown } = accountOf(result);
    assert.ok(cable.lost! > 0 && cable.damaged! > 0 && cable.duplicated! > 0 && cable.reordered! > 0);
    assert.equal([sent, received, duplicated, unknown], [1500, cable.carried, cable.duplicated, 0]);
    assert.is(flows[0].reordered, cable.reordered);
    assert.is(lost, cable.lost! + cable.damaged!);
    const none = { atSender: 0, atReceiverRing: 0, atReceiverDriver: 0, unexplained: 0 };
    assert.equal(losses, { ...none, onTheWay: cable.lost, damaged: cable.damaged });
    assert.match(readFileSync(page, 'utf8'), new RegExp(`sum: sent 1500 = received ${cable.carried} `));
  });
});

checked('sink in another process: counts, and latencies by the clock that both share', async () => {
  await withCable({}, async () => {
    let started: Promise<Result> | undefined;
    // Its first row says that it receives.
    const sink = barewire(['sink', PORT_B, '--count', '500', '--latency', '--json'], () => {
      started ??= barewire(['pktgen', PORT_A, '--count', '500', '--rate', '5k', '--time-stamps', '--json']);
    });
    const account = accountOf(await sink);
    const sent = accountOf((await started)!);
    assert.equal([account.received, account.flows[0].lost, sent.sent], [500, 0, 500]);
    assert.is(account.flows[0].latency.count, 500);
    assert.ok(account.flows[0].latency.minNs > 0);
  });
});

checked('--expect-no-loss fails where nothing proves that the frames came, and says why', async () => {
  await withCable({ loss: 0.3 }, async () => {
    const args = ['--rx', PORT_B, '--count', '50', '--rate', '5k', '--proto', 'tcp', '--expect-no-loss'];
    const result = await barewire(['pktgen', PORT_A, ...args]);
    assert.is(result.status, 1);
    assert.match(result.stderr, '50 frames have no number, so nothing proves that they came');
  });
});

checked('sink --expect-no-loss fails where nothing came, too little, or a frame twice', async () => {
  await withCable({ duplicate: 0.3 }, async () => {
    const nothing = await barewire(['sink', PORT_B, '--duration', '300ms', '--expect-no-loss']);
    assert.equal([nothing.status, nothing.stderr], [1, 'barewire: received 0, expected 1 at least\n']);
    for (const [args, why] of [
      [['--count', '500', '--duration', '3'], /^barewire: received \d+, expected 500 at least$/m],
      [['--duration', '3'], /^barewire: received \d+, lost 0, duplicated [1-9]/m],
    ] as const) {
      let started: Promise<Result> | undefined;
      const sink = barewire(['sink', PORT_B, ...args, '--expect-no-loss', '--json'], () => {
        started ??= barewire(['pktgen', PORT_A, '--count', '100', '--rate', '5k', '--json']);
      });
      const { status, stderr } = await sink;
      await started;
      assert.is(status, 1);
      assert.match(stderr, why);
    }
  });
});

checked('text: rows of less than 80 columns, the sum, the precision', async () => {
  await withCable({ loss: 0.05 }, async (counters) => {
    const result = await barewire(['pktgen', PORT_A, '--rx', PORT_B, '--count', '1000', '--rate', '5k']);
    assert.is(result.status, 0, result.stderr);
    const { carried, lost } = await counters();
    assert.ok(
      result.lines.includes(`sum: sent 1000 = received ${carried} + lost on the way ${lost}`),
      result.lines.join('\n'),
    );
    for (const line of result.lines.slice(2)) assert.ok(line.length < 80, line);
    assert.ok(
      result.lines.some((line) => /^ {2}latency( +[0-9.]+ [nmu]?s){7}$/.test(line)),
      result.lines.join('\n'),
    );
  });
});

checked('a dry run: the frames, their checksums, and the times they are due at', async () => {
  const path = join(folder, 'frames.pcap');
  const args = [
    '--dry-run',
    path,
    '--count',
    '50',
    '--rate',
    '1k',
    '--proto',
    'tcp',
    '--src-port',
    '1000-1009',
  ];
  assert.equal(await barewire(['pktgen', ...args]), {
    status: 0,
    lines: [`50 frames written to ${path}`],
    stderr: '',
  });
  async function* whole() {
    yield readFileSync(path);
  }
  const frames = await readFrames(whole());
  assert.equal(
    frames.map(({ timeNs }) => Number(timeNs)),
    Array.from({ length: 50 }, (_, i) => i * 1e6),
  );
  const view = new PacketView();
  for (const [i, { bytes }] of frames.entries()) {
    assert.ok(parse(bytes, 0, bytes.length, view));
    assert.equal(
      [ipv4ChecksumState(view), l4ChecksumState(view), view.sourcePort],
      ['good', 'good', 1000 + (i % 10)],
    );
  }
  const again = await barewire(['pktgen', ...args]);
  assert.is(again.status, 2, 'the file is there');
  const packed = join(folder, 'packed');
  assert.is((await barewire(['pktgen', ...args.with(1, packed), '--gzip'])).status, 0);
  const reader = await CaptureReader.open(packed);
  assert.is(reader.packing, 'gzip');
  await reader.close();
  assert.equal(await readFrames(packed), frames);
});

checked('a dry run into a pipe waits for a reader, and for a slow one, and says when it leaves', async () => {
  const pipe = join(folder, 'pipe');
  execFileSync('mkfifo', [pipe]);
  for (const [size, packing, unpack] of [
    ['512', [], 'cat'],
    ['1518', [], 'cat'],
    ['9000', ['--gzip'], 'zcat'],
  ] as const) {
    const args = ['pktgen', '--dry-run', pipe, '--count', '5000', '--size', size, ...packing];
    const { child, result: writing } = start(args);
    await sleep(1500);
    assert.equal([child.exitCode, child.signalCode], [null, null], 'waits for a reader');
    const reader = spawn('sh', ['-c', `{ sleep 0.5; cat; } < ${pipe} | ${unpack} | wc -c`], {
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    let bytes = '';
    reader.stdout.setEncoding('utf8').on('data', (text: string) => {
      bytes += text;
    });
    const [result] = await Promise.all([writing, once(reader, 'close')]);
    assert.equal([result.status, result.lines], [0, [`5000 frames written to ${pipe}`]], result.stderr);
    assert.ok(Number(bytes) > 5000 * (Number(size) - 4), `${bytes} bytes`);
  }
  const left = barewire(['pktgen', '--dry-run', pipe, '--count', '20000', '--size', '512']);
  execFileSync('sh', ['-c', `head -c 1000 < ${pipe} > /dev/null`]);
  const { status, stderr } = await left;
  assert.is(status, 1);
  assert.match(stderr, /its reader left after \d+ frames/);
});

checked('a dry run ends at a signal, after a whole frame; also while it waits for a reader', async () => {
  const path = join(folder, 'endless.pcap');
  const endless = start(['pktgen', '--dry-run', path, '--count', '1000000000', '--json']);
  while (!existsSync(path) || statSync(path).size < 100_000) await sleep(5);
  endless.child.kill('SIGINT');
  const { status, lines } = await endless.result;
  assert.is(status, 0);
  assert.is((await readFrames(path)).length, JSON.parse(lines[0]!).frames);
  const pipe = join(folder, 'unread');
  execFileSync('mkfifo', [pipe]);
  const waiting = start(['pktgen', '--dry-run', pipe, '--count', '5']);
  await sleep(1000);
  waiting.child.kill('SIGTERM');
  assert.is((await waiting.result).status, 0);
});

checked(
  'reports: one file for two is refused; a run that fails leaves none, and what was there',
  async () => {
    const [junit, page] = [join(folder, 'r.xml'), join(folder, 'r.html')];
    writeFileSync(page, 'mine');
    const args = ['pktgen', `vfio-user:${folder}/none.sock`, '--rx', PORT_B, '--count', '5', '--force'];
    const result = await barewire([...args, '--junit', junit, '--report', page]);
    assert.is(result.status, 1, result.stderr);
    assert.equal([existsSync(junit), readFileSync(page, 'utf8')], [false, 'mine']);
    for (const [one, other] of [
      ['--junit', '--report'],
      ['--junit', '--capture'],
      ['--report', '--capture'],
    ] as const) {
      const same = await barewire([
        ...args,
        one,
        junit,
        other,
        join(folder, '..', basename(folder), 'r.xml'),
      ]);
      assert.is(same.status, 2);
      assert.match(same.stderr, `${one} and ${other} name one file`);
    }
    const pipe = join(folder, 'nobody');
    execFileSync('mkfifo', [pipe]);
    assert.is((await barewire([...args, '--junit', pipe])).status, 1, 'nobody reads it');
    const script = await barewire(['pktgen', '--script', pipe, PORT_A]);
    assert.is(script.status, 1);
    assert.match(script.stderr, 'is not a file');
  },
);

checked.run();
