/** `barewire capture` on an emulated port that gets test traffic. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { CaptureReader } from '../../src/capture/capture-reader.js';
import { ManualClock } from '../../src/clock.js';
import { open } from '../../src/driver/registry.js';
import { Capture } from '../../tools/commands/capture.js';
import { EmulatedPorts } from '../../tools/emulated-ports.js';
import { someFrame } from '../capture/make-capture.js';
import { PLAIN_ENV } from '../support/child.js';
import { HANG_MS, until } from '../support/hang.js';
import { plugIn } from '../support/made-up-family/scheme.js';
import { readFrames } from '../support/read-frames.js';
import { suite } from '../support/suite.js';
import { besidesOneCpu, CLI } from './run-cli.js';

interface Rig {
  readonly folder: string;
  readonly ports: EmulatedPorts;
}

const capture = suite<Rig>('capture on an emulated port');

capture.before(async (rig) => {
  const folder = mkdtempSync(join(tmpdir(), 'bw-capture-'));
  const args = ['--ports', '1', '--rate', '2000', '--socket', join(folder, 'p.sock')];
  Object.assign(rig, { folder, ports: await EmulatedPorts.start(args) });
  rig.ports.resume();
});

capture.after(async ({ ports, folder }) => {
  await ports.close();
  rmSync(folder, { recursive: true, force: true });
});

interface Result {
  readonly status: number | null;
  readonly stdout: Buffer;
  readonly stderr: string;
}

function start({ ports }: Rig, ...args: string[]): { child: ChildProcess; ended: Promise<Result> } {
  const child = spawn(process.execPath, [CLI, 'capture', ports.addresses[0]!, ...args], {
    env: PLAIN_ENV,
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: HANG_MS,
    killSignal: 'SIGKILL',
  });
  const stdout: Buffer[] = [];
  let stderr = '';
  child.stdout.on('data', (piece: Buffer) => stdout.push(piece));
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  const ended = new Promise<Result>((resolve) => {
    child.on('close', (status) =>
      resolve({ status, stdout: Buffer.concat(stdout), stderr: besidesOneCpu(stderr) }),
    );
  });
  return { child, ended };
}

const run = (rig: Rig, ...args: string[]): Promise<Result> => start(rig, ...args).ended;

capture('-c: lines as tcpdump prints them, and what became of all frames', async (rig) => {
  const { status, stdout, stderr } = await run(rig, '-c', '5');
  assert.is(status, 0, stderr);
  const lines = stdout.toString().split('\n').slice(0, -1);
  assert.is(lines.length, 5);
  for (const line of lines)
    assert.match(
      line,
      /^[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6} IP 198\.18\.0\.1\.[0-9]+ > 198\.19\.0\.1\.9: UDP/,
    );
  assert.match(stderr, /^captured 5 of [0-9]+ frames; lost by the port 0, damaged 0, not printed 0\n$/);
});

capture('-w: frames that the filter takes, cut, in time order', async (rig) => {
  for (const name of ['a.pcapng', 'a.pcap', 'b.pcapng.gz', 'b.pcap.gz']) {
    const path = join(rig.folder, name);
    const { status, stderr } = await run(rig, '-w', path, '-c', '50', '-s', '40', '--filter', 'udp port 9');
    assert.is(status, 0, stderr);
    assert.match(stderr, /captured 50 of/);
    const frames = await readFrames(path);
    assert.is(frames.length, 50);
    const { format, packing } = await opened(path);
    assert.is(`${name[0]}.${format}${packing === undefined ? '' : '.gz'}`, name);
    for (const [i, { bytes, originalBytes, timeNs }] of frames.entries()) {
      assert.equal([bytes.length, originalBytes], [40, 60]);
      assert.ok(i === 0 || timeNs >= frames[i - 1]!.timeNs, 'in time order');
      assert.ok(Math.abs(Number(timeNs / 1_000_000n) - Date.now()) < 3_600_000, 'times are of today');
    }
  }
});

/** What a capture says of itself. */
async function opened(path: string): Promise<Pick<CaptureReader, 'format' | 'packing'>> {
  await using reader = await CaptureReader.open(path);
  const { format, packing } = reader;
  return { format, packing };
}

capture('--gzip: packed whatever the name, in several files and through a pipe', async (rig) => {
  const folder = mkdtempSync(join(rig.folder, 'packed-'));
  const ring = ['-w', join(folder, 'it'), '--gzip', '--file-time', '100ms', '--files', '2', '-c', '1000'];
  const { status, stderr } = await run(rig, ...ring);
  assert.is(status, 0, stderr);
  const names = readdirSync(folder).sort();
  assert.is(names.length, 2, names.join());
  for (const name of names) {
    assert.match(name, /^it_\d{5}_\d{14}$/);
    assert.equal(await opened(join(folder, name)), { format: 'pcapng', packing: 'gzip' });
    assert.ok((await readFrames(join(folder, name))).length > 0);
  }
  const path = join(folder, 'piped');
  const script = '"$0" "$1" capture "$2" -w - --gzip --format pcap -c 20 | cat > "$3"';
  const child = spawn('sh', ['-c', script, process.execPath, CLI, rig.ports.addresses[0]!, path], {
    env: PLAIN_ENV,
    stdio: 'ignore',
    timeout: HANG_MS,
    killSignal: 'SIGKILL',
  });
  await once(child, 'close');
  assert.equal(await opened(path), { format: 'pcap', packing: 'gzip' });
  assert.is((await readFrames(path)).length, 20);
});

capture('a signal: a complete file, exit 0', async (rig) => {
  const path = join(rig.folder, 'signal.pcapng');
  const { child, ended } = start(rig, '-w', path);
  await until(() => existsSync(path) && statSync(path).size > 2000, 'frames are in the file');
  child.kill('SIGHUP');
  const { status, stderr } = await ended;
  assert.is(status, 0, stderr);
  assert.ok((await readFrames(path)).length > 10);
});

capture('-w -: to a pipe while it runs; its reader leaves: exit 0', async (rig) => {
  const path = join(rig.folder, 'piped');
  const script = '{ "$0" "$1" capture "$2" -w -; echo "exit $?" >&2; } | head -c 2000 > "$3"';
  const child = spawn('sh', ['-c', script, process.execPath, CLI, rig.ports.addresses[0]!, path], {
    env: PLAIN_ENV,
    stdio: ['ignore', 'ignore', 'pipe'],
    timeout: HANG_MS,
    killSignal: 'SIGKILL',
  });
  let stderr = '';
  for await (const text of child.stderr.setEncoding('utf8')) stderr += text;
  assert.match(stderr, /exit 0\n$/);
  const frames: number[] = [];
  // The pipe was cut in the middle of a frame.
  const reader = await CaptureReader.open(path);
  do {
    while (reader.next()) frames.push(reader.frame.lengthBytes);
  } while (await reader.fill());
  await reader.close();
  assert.match(reader.damage?.message ?? '', /ends inside a block/);
  assert.ok(frames.length > 10 && frames.every((length) => length === 60));
});

capture('-w -: to a socket, as a Node.js parent has it, while it runs', async (rig) => {
  const child = spawn(process.execPath, [CLI, 'capture', rig.ports.addresses[0]!, '-w', '-', '-c', '20'], {
    env: PLAIN_ENV,
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: HANG_MS,
    killSignal: 'SIGKILL',
  });
  let stderr = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  const ended = once(child, 'close');
  const reader = await CaptureReader.open(child.stdout, 'the socket');
  let frames = 0;
  do {
    while (reader.next()) frames++;
  } while (await reader.fill());
  assert.is(reader.damage, undefined);
  await reader.close();
  assert.equal(await ended, [0, null], stderr);
  assert.is(frames, 20);
});

capture('used wrongly: nothing is touched', async (rig) => {
  const path = join(rig.folder, 'mine');
  writeFileSync(path, 'mine');
  for (const [args, says] of [
    [['-w', path], /it exists and has 4 bytes/],
    [['--filter', 'udp prot 53'], /wrong at character 5/],
    [['-s', '0'], /from 1 to 262144/],
    [['--files', '3'], /are for -w/],
    [['--format', 'pcap'], /are for -w/],
    [['--force'], /are for -w/],
    [['--gzip'], /are for -w/],
    [['-w', join(rig.folder, 'none', 'x')], /its folder does not exist/],
    [['-w', `${path}2`, '--files', '3'], /needs to know when a file ends/],
    [['-w', '-', '--file-size', '1M'], /standard output is one file/],
  ] as const) {
    const { status, stderr } = await run(rig, ...args);
    assert.is(status, 2);
    assert.match(stderr, says);
  }
  assert.is(statSync(path).size, 4);
});

capture('a disk that is full: one error that names the file', async (rig) => {
  const { status, stderr } = await run(rig, '-w', '/dev/full', '--duration', '5s');
  assert.is(status, 1);
  assert.match(stderr, /\/dev\/full.*ENOSPC/);
});

capture.run();

const ending = suite('capture that is told to end');

ending('what the port has received by then is still taken, up to --count', async () => {
  for (const [count, wanted] of [
    [undefined, 90],
    [70, 70],
  ] as const) {
    const card = plugIn(72);
    const device = await open('made-up:72', { promiscuous: true });
    const folder = mkdtempSync(join(tmpdir(), 'bw-capture-'));
    const path = join(folder, 'it.pcapng');
    try {
      const options = { promiscuous: true, write: path, ...(count === undefined ? {} : { count }) };
      const it = new Capture(device, options, undefined, new ManualClock());
      card.automatic = false;
      for (let i = 0; i < 90; i++) assert.ok(card.arrive(someFrame(60, i)));
      await it.beforeEnd();
      it.close();
      assert.equal(
        (await readFrames(path)).map(({ bytes }) => bytes),
        Array.from({ length: wanted }, (_, i) => someFrame(60, i)),
      );
    } finally {
      await device.close();
      rmSync(folder, { recursive: true, force: true });
    }
  }
});

ending.run();
