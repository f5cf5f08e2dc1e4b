/** Those who look at what a forwarder moves: viewers by a socket, and a mirror port. What they do not take is counted. */
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { Command } from 'commander';
import * as assert from 'uvu/assert';
import { CaptureReader } from '../../src/capture/capture-reader.js';
import { systemClock } from '../../src/clock.js';
import type { NetDevice } from '../../src/driver/device.js';
import { open } from '../../src/driver/registry.js';
import { NicError } from '../../src/errors.js';
import { buildUdp } from '../../src/packet/transport-builder.js';
import * as extcap from '../../tools/commands/extcap.js';
import { MirrorLook } from '../../tools/mirror-look.js';
import { prepareProgram, run } from '../../tools/run-command.js';
import { Tap } from '../../tools/tap.js';
import { openTap, runningTaps } from '../../tools/tap-client.js';
import { TapServer } from '../../tools/tap-server.js';
import { captureLines } from '../support/capture.js';
import { until } from '../support/hang.js';
import { plugIn } from '../support/made-up-family/scheme.js';
import { suite } from '../support/suite.js';

interface Context {
  folder: string;
  device: NetDevice;
  tap: Tap;
  server: TapServer;
}

const tapped = suite<Context>('a tap and its viewers');
const runtimeFolder = process.env.XDG_RUNTIME_DIR;

tapped.before.each(async (context) => {
  context.folder = mkdtempSync(join(tmpdir(), 'bw-tap-'));
  process.env.XDG_RUNTIME_DIR = context.folder;
  plugIn(80);
  context.device = await open('made-up:80');
  context.tap = new Tap([context.device], systemClock);
  context.server = new TapServer(context.tap);
  context.tap.add(context.server);
});

tapped.after.each(async ({ tap, device, folder }) => {
  tap.close();
  await device.close();
  rmSync(folder, { recursive: true, force: true });
  if (runtimeFolder === undefined) delete process.env.XDG_RUNTIME_DIR;
  else process.env.XDG_RUNTIME_DIR = runtimeFolder;
});

function udp(port: number, sizeBytes = 60): Uint8Array {
  return buildUdp({
    sourceMac: '02:00:00:00:00:01',
    destinationMac: '02:00:00:00:00:02',
    sourceIp: '10.0.0.1',
    destinationIp: '10.0.0.2',
    sourcePort: port,
    destinationPort: 1,
    payload: new Uint8Array(sizeBytes - 42),
  });
}

/** A frame passes, as a forwarder shows it. */
function pass({ tap }: { tap: Tap }, frame: Uint8Array): void {
  const { pool } = tap;
  const one = new Uint32Array(1);
  assert.is(pool.allocate(one, 1), 1);
  pool.bytes(one[0]!).set(frame);
  assert.is(tap.hook(0)(one[0]!, frame.length), frame.length);
  pool.release(one, 1);
}

async function refusal(promise: Promise<unknown>): Promise<NicError> {
  return promise.then(
    () => assert.unreachable('it was taken'),
    (error) => {
      assert.instance(error, NicError);
      return error;
    },
  ) as Promise<NicError>;
}

/** A viewer that is being served. */
async function view({ server }: Context, asked: { filter?: string; snapLength?: number } = {}) {
  return CaptureReader.open(await openTap(server.path, { ask: 'frames', ...asked }));
}

async function rest(reader: CaptureReader): Promise<Uint8Array[]> {
  const frames: Uint8Array[] = [];
  for await (const { bytes } of reader) frames.push(bytes);
  return frames;
}

tapped('a running forwarder is found by its socket, which is the user alone’s', async ({ server }) => {
  assert.equal(await runningTaps(), [{ path: server.path, pid: process.pid, ports: ['made-up:80'] }]);
  assert.is(statSync(server.path).mode & 0o777, 0o600);
  assert.is(statSync(dirname(server.path)).mode & 0o777, 0o700);
  server.close();
  assert.equal(await runningTaps(), []);
});

tapped('viewers see what passes while they look, each by its own filter', async (context) => {
  pass(context, udp(1));
  const all = await view(context);
  pass(context, udp(2, 200));
  const few = await view(context, { filter: 'src port 3', snapLength: 50 });
  for (const port of [3, 4]) pass(context, udp(port));
  context.server.close();
  assert.equal(await rest(all), [udp(2, 200), udp(3), udp(4)]);
  assert.equal(await rest(few), [udp(3).subarray(0, 50)]);
  assert.is(context.server.summary(false), 'tap: viewers 2, written 4, not written 0');
});

tapped('a viewer that leaves is forgotten, and the traffic goes on', async (context) => {
  const reader = await view(context);
  await reader.close();
  await until(() => context.server.summary(false).startsWith('tap: viewers 1'), 'it was seen');
  for (let i = 0; i < 3; i++) {
    pass(context, udp(i));
    await new Promise(setImmediate);
  }
  const another = await view(context);
  pass(context, udp(9));
  context.server.close();
  assert.equal(await rest(another), [udp(9)]);
});

tapped('what a viewer does not read is lost to it alone, and counted', async (context) => {
  const socket = connect(context.server.path);
  socket.pause();
  socket.write('{"ask":"frames"}\n');
  await until(() => context.server.summary(false).startsWith('tap: viewers 1'), 'it is served');
  const count = 4000;
  for (let i = 0; i < count; i++) {
    pass(context, udp(i, 1000));
    if (i % 100 === 0) await new Promise(setImmediate);
  }
  context.server.close();
  socket.destroy();
  const { written, notWritten } = JSON.parse(context.server.summary(true));
  assert.is(written + notWritten, count);
  assert.ok(written > 0 && notWritten > count / 4, `${written} written`);
});

tapped('what is no request is refused, and so are too many', async (context) => {
  const { path } = context.server;
  const wrong = await refusal(openTap(path, { ask: 'frames', filter: 'udp prot 5' }));
  assert.match(wrong.message, /wrong at character 5/);
  assert.match((await refusal(openTap(path, { ask: 'frames', snapLength: 0 }))).message, /snap length/);
  for (const line of ['no JSON\n', '{"ask":"else"}\n', 'null\n', 'x'.repeat(100_000)]) {
    const socket = connect(path);
    socket.on('error', () => {});
    socket.write(line);
    let said = '';
    // A line that is too long ends the connection in the middle.
    const end = new Promise((resolve) => socket.once('close', resolve));
    socket.on('data', (piece) => {
      said += piece;
    });
    await end;
    assert.ok(said === '' || said.startsWith('{"error":'), said);
  }
  const viewers = [];
  for (let i = 0; i < 8; i++) viewers.push(await view(context));
  assert.is((await refusal(openTap(path, { ask: 'frames' }))).code, 'PEER_GONE');
  for (const viewer of viewers) await viewer.close();
});

tapped('extcap: interfaces, link type, options, filters', async ({ folder }) => {
  const ask = async (...args: string[]): Promise<string[]> => {
    const program = prepareProgram(new Command('barewire'));
    extcap.register(program);
    let status = -1;
    const lines = await captureLines(async () => {
      status = await run(program, ['extcap', ...args]);
    });
    assert.is(status, 0);
    return lines;
  };
  process.env.BAREWIRE_SYSFS = folder;
  try {
    const name = `barewire-fwd-${process.pid}`;
    assert.equal(await ask('--extcap-interfaces', '--extcap-version=4.4'), [
      'extcap {version=1.0}{display=Barewire}',
      `interface {value=${name}}{display=Barewire: fwd made-up:80}`,
      'interface {value=barewire}{display=Barewire: a port by its address}',
    ]);
    const of = (...args: string[]) => ask('--extcap-interface', name, ...args);
    assert.equal(await of('--extcap-dlts'), ['dlt {number=1}{name=EN10MB}{display=Ethernet}']);
    const [config, ...others] = await of('--extcap-config');
    assert.match(config!, /^arg \{number=0\}\{call=--snap-length\}.*\{range=1,262144\}/);
    assert.equal(others, []);
    assert.is((await ask('--extcap-interface', 'barewire', '--extcap-config')).length, 2);
    assert.equal(await of('--extcap-capture-filter', 'udp port 53'), []);
    assert.match((await of('--extcap-capture-filter', 'udp prot 53'))[0]!, /at character 5/);

    const installed = join(folder, 'new', 'extcap', 'barewire');
    await ask('--install-folder', dirname(installed));
    await ask('--install-folder', dirname(installed));
    assert.is(statSync(installed).mode & 0o777, 0o755);
    writeFileSync(installed, 'mine');
    const program = prepareProgram(new Command('barewire'));
    extcap.register(program);
    const errors = await captureLines(async () => {
      assert.is(await run(program, ['extcap', '--install-folder', dirname(installed)]), 2);
    }, process.stderr);
    assert.match(errors[0]!, /exists and is not ours/);
  } finally {
    delete process.env.BAREWIRE_SYSFS;
  }
});

tapped.run();

const mirrored = suite('a mirror port');

mirrored('copies leave as they were; what does not is counted, and no buffer is lost', async () => {
  plugIn(81);
  const card = plugIn(82);
  const left: Uint8Array[] = [];
  card.plug({
    arrive(frame) {
      left.push(Uint8Array.from(frame));
      return true;
    },
  });
  const from = await open('made-up:81', { mtu: 3000 });
  const to = await open('made-up:82');
  try {
    const tap = new Tap([from], systemClock);
    const mirror = new MirrorLook(tap, to);
    tap.add(mirror);
    const frames = [60, 100, 128, 129, 1000, 1514].map((sizeBytes, i) => udp(i, sizeBytes));
    for (const frame of frames) pass({ tap }, frame);
    pass({ tap }, udp(1, 2900));
    await until(() => {
      tap.tick();
      return left.length === frames.length;
    }, 'all have left');
    assert.equal(left, frames);
    assert.is(mirror.summary(false), 'mirror: sent 6, not sent 1 (too long 1, no room 0)');

    await to.drain({ timeoutMs: 1000 });
    card.automatic = false;
    const count = 2 * to.txQueues[0]!.size;
    for (let i = 0; i < count; i++) pass({ tap }, udp(i));
    tap.close();
    const { sent, tooLong, noRoom } = JSON.parse(mirror.summary(true));
    assert.is(sent + tooLong + noRoom, frames.length + 1 + count);
    assert.ok(noRoom > 0);
  } finally {
    await from.close();
    await to.close();
  }
});

mirrored.run();
