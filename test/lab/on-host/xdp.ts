/**
 * `xdp:` addresses on veth pairs in network namespaces of its own, with the kernel that runs here:
 *
 *     a0 (namespace A) === p0 (M) [barewire fwd] p1 (M) === b0 (namespace B)
 *
 * A kernel without AF_XDP or namespaces skips it, and the skipped test's name says why.
 */
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import * as assert from 'uvu/assert';
import { CaptureReader } from '../../../src/capture/capture-reader.js';
import { parseFilter } from '../../../src/capture/filter/index.js';
import { instruction, Op } from '../../../src/driver/xdp/bpf-assembler.js';
import { createMap, loadProgram } from '../../../src/driver/xdp/program.js';
import { redirectProgram } from '../../../src/driver/xdp/redirect-program.js';
import { closeFd } from '../../../src/syscalls/descriptors.js';
import { rawSocket } from '../../../src/syscalls/sockets.js';
import { expectError } from '../../support/expect-error.js';
import { MATCHES } from '../../support/filter-samples.js';
import { attempt, type Background, type Outcome, run, sleep, start, waitFor } from '../processes.js';
import { suite } from '../suite.js';
import { parseTotals } from '../totals.js';
import { hostPrograms } from '../vm.js';

const LAB = join(import.meta.dirname, '..');
const BAREWIRE = join(LAB, '../../tools/barewire.js');
const [A, M, B] = ['a', 'm', 'b'].map((name) => `bw-xdp-${process.pid}-${name}`) as [string, string, string];
const ADDRESS_B = '198.18.77.2';
const ADDRESS_M = '198.18.77.3';
const SECOND_B = '198.18.79.2';
const AF_XDP = 44;
const MIB = 2 ** 20;
const FRAMES = 1_000_000;
const SOON_MS = 20_000;

// The machine's own programs first: ping may be missing there.
process.env.PATH = [process.env.PATH, ...hostPrograms()].join(delimiter);

/** Why this machine cannot run it. */
function reasonToSkip(): string | undefined {
  const fd = rawSocket(AF_XDP);
  if (fd < 0) return `no AF_XDP socket (errno ${-fd})`;
  closeFd(fd);
  for (const tool of ['ip', 'ping']) {
    if (attempt('/bin/sh', ['-c', `command -v ${tool}`]).status !== 0) return `no program ${tool}`;
  }
  for (const namespace of [A, M, B]) {
    const { status, stderr } = attempt('ip', ['netns', 'add', namespace]);
    if (status !== 0) return `no network namespaces (${stderr.trim()})`;
  }
  const { status, stderr } = attempt('ip', ['-n', A, ...'link add v0 type veth peer name v1'.split(' ')]);
  if (status !== 0) return `no veth (${stderr.trim()})`;
  run('ip', ['-n', A, 'link', 'del', 'v0']);
  return undefined;
}

function removeNamespaces(): void {
  for (const namespace of [A, M, B]) attempt('ip', ['netns', 'del', namespace]);
}

/** Has A and B compute their checksums. */
function turnChecksumsOff(): void {
  run(process.execPath, [join(LAB, 'checksums-off.js'), 'a0'], { netns: A });
  run(process.execPath, [join(LAB, 'checksums-off.js'), 'b0'], { netns: B });
}

/** Makes both pairs anew, with so many queues. */
function makeWires(queues = 1): void {
  for (const name of ['p0', 'p1']) attempt('ip', ['-n', M, 'link', 'del', name]);
  for (const [outer, namespace, inner, address] of [
    ['a0', A, 'p0', '198.18.77.1/24'],
    ['b0', B, 'p1', `${ADDRESS_B}/24`],
  ] as const) {
    const size = ['numrxqueues', `${queues}`, 'numtxqueues', `${queues}`];
    const outside = ['link', 'add', outer, 'netns', namespace, ...size, 'type', 'veth'];
    run('ip', [...outside, 'peer', 'name', inner, 'netns', M, ...size]);
    run('ip', ['-n', namespace, 'addr', 'add', address, 'dev', outer]);
    run('ip', ['-n', namespace, 'link', 'set', outer, 'up']);
    run('ip', ['-n', M, 'link', 'set', inner, 'up']);
  }
}

/** A second pair beside it, `a1 === p2` and `p3 === b1`, on a network of its own. */
function makeSecondWires(): void {
  for (const [outer, namespace, inner, address] of [
    ['a1', A, 'p2', '198.18.79.1/24'],
    ['b1', B, 'p3', `${SECOND_B}/24`],
  ] as const) {
    attempt('ip', ['-n', M, 'link', 'del', inner]);
    run('ip', ['link', 'add', outer, 'netns', namespace, 'type', 'veth', 'peer', 'name', inner, 'netns', M]);
    run('ip', ['-n', namespace, 'addr', 'add', address, 'dev', outer]);
    run('ip', ['-n', namespace, 'link', 'set', outer, 'up']);
    run('ip', ['-n', M, 'link', 'set', inner, 'up']);
  }
}

function barewire(args: readonly string[]): Outcome {
  return attempt(process.execPath, [BAREWIRE, ...args], { netns: M });
}

async function startFwd(...options: readonly string[]): Promise<Background> {
  const fwd = start(process.execPath, [BAREWIRE, 'fwd', 'xdp:p0', 'xdp:p1', '--json', ...options], {
    netns: M,
  });
  await fwd.waitForOutput(/"type":"rates"/);
  return fwd;
}

function assertPings(count: number, from = A, target = ADDRESS_B): void {
  const text = run('ping', ['-q', '-c', `${count}`, '-i', '0.01', '-W', '5', target], { netns: from });
  assert.match(text, new RegExp(`\\b${count} received`), text);
}

/** TCP from one namespace to the other: both ends have the same SHA-256. */
async function assertTcp(from: string, to: string, target: string): Promise<void> {
  const program = join(LAB, 'tcp-transfer.js');
  const receiver = start(process.execPath, [program, 'receive'], { netns: to });
  const [, port] = await receiver.waitForOutput(/port (\d+)/);
  const sender = start(process.execPath, [program, 'send', target, port!, `${64 * MIB}`], { netns: from });
  const outcomes = await Promise.all([sender.ended, receiver.ended]);
  const [sent, received] = outcomes.map(({ stdout }) =>
    /^(\d+) bytes, SHA-256 ([0-9a-f]{64})$/m.exec(stdout),
  );
  assert.is(Number(sent?.[1]), 64 * MIB);
  assert.is(received?.[0], sent?.[0]);
}

interface PortTotals {
  readonly rxPackets: number;
  readonly txPackets: number;
  readonly dropped: number;
}

function totalsOf({ stdout }: Outcome): readonly [PortTotals, PortTotals] {
  const line = stdout.split('\n').find((one) => one.includes('"type":"totals"'));
  assert.ok(line, stdout);
  return (JSON.parse(line) as { ports: [PortTotals, PortTotals] }).ports;
}

function hasProgram(name: string, namespace = M): boolean {
  return run('ip', ['-n', namespace, '-details', 'link', 'show', 'dev', name]).includes('prog/xdp');
}

const reason = reasonToSkip();
const xdp = suite(reason === undefined ? 'AF_XDP on veth' : `AF_XDP on veth: skipped, ${reason}`);
const test = reason === undefined ? xdp : xdp.skip;
xdp.after(removeNamespaces);
let fwd: Background | undefined;
let map = -1;
xdp.before(() => {
  if (reason === undefined) map = createMap('p0', 1);
});
xdp.after.each(() => fwd?.kill('SIGKILL'));

test('fwd carries ping 100 of 100 and 64 MiB of TCP each way; its sums agree; nothing is left behind', async () => {
  makeWires();
  turnChecksumsOff();
  assert.is(hasProgram('p0'), false);
  fwd = await startFwd();
  assert.is(hasProgram('p0'), true);
  assertPings(100);
  await assertTcp(A, B, ADDRESS_B);
  await assertTcp(B, A, '198.18.77.1');
  const second = barewire(['pktgen', 'xdp:p0', '--count', '1']);
  assert.is(second.status, 1);
  assert.match(second.stderr, 'p0 has an XDP program already: program "barewire" (id ');
  assert.match(second.stderr, /of process \d+ \(.*barewire\.js fwd xdp:p0 xdp:p1/);
  const outcome = await fwd.stop('SIGINT');
  assert.is(outcome.status, 0, outcome.stderr);
  const [p0, p1] = totalsOf(outcome);
  assert.ok(p0.rxPackets > 40_000);
  assert.equal([p1.txPackets + p1.dropped, p0.txPackets + p0.dropped], [p0.rxPackets, p1.rxPackets]);
  assert.equal([hasProgram('p0'), hasProgram('p1')], [false, false]);
});

test('1,000,000 numbered frames: none lost, changed or out of order, and every buffer back', () => {
  // All four ends in one namespace: one process has them all.
  for (const [namespace, name] of [
    [A, 'a0'],
    [B, 'b0'],
  ] as const) {
    run('ip', ['-n', namespace, 'link', 'set', name, 'netns', M]);
    run('ip', ['-n', M, 'link', 'set', name, 'up']);
  }
  const ends = ['a0', 'p0', 'p1', 'b0'].map((name) => `xdp:${name}`);
  const text = run(process.execPath, [join(LAB, 'xdp-frames.js'), `${FRAMES}`, ...ends], {
    netns: M,
    timeoutMs: 250_000,
  });
  const { sent, received, good, lost, bad, missing, seconds, models } = JSON.parse(text);
  console.log(`${FRAMES} frames in ${seconds.toFixed(1)} s; ${models[1]}`);
  assert.equal(
    { sent, received, good, lost, bad, missing },
    {
      sent: FRAMES,
      received: FRAMES,
      good: FRAMES,
      lost: 0,
      bad: 0,
      missing: 0,
    },
  );
  assert.match(models[1], 'native program');
});

test('numbered frames from an interface to an emulated 82599, over one pool', async () => {
  makeWires();
  run('ip', ['-n', A, 'link', 'set', 'a0', 'netns', M]);
  run('ip', ['-n', M, 'link', 'set', 'a0', 'up']);
  const folder = mkdtempSync(join(tmpdir(), 'barewire-xdp-'));
  const sockets = ['a.sock', 'b.sock'].map((name) => join(folder, name));
  const serve = [
    'emulate',
    '--ports',
    '2',
    '--link',
    'cable',
    ...sockets.flatMap((path) => ['--socket', path]),
  ];
  const emulator = start(process.execPath, [BAREWIRE, ...serve], { netns: M });
  try {
    await waitFor('the sockets', () => sockets.every((path) => existsSync(path)));
    const ends = ['xdp:a0', 'xdp:p0', ...sockets.map((path) => `vfio-user:${path}`)];
    const text = run(process.execPath, [join(LAB, 'xdp-frames.js'), '50000', ...ends], { netns: M });
    const { received, good, lost, bad, missing } = JSON.parse(text);
    assert.equal([received, good, lost, bad, missing], [50_000, 50_000, 0, 0, 0]);
  } finally {
    await emulator.stop('SIGINT');
    rmSync(folder, { recursive: true });
  }
});

test('after kill -9 no program is left, and the interfaces can be opened at once', async () => {
  makeWires();
  fwd = await startFwd();
  await fwd.stop('SIGKILL');
  await waitFor('the program to go', () => !hasProgram('p0') && !hasProgram('p1'), SOON_MS);
  const left = run('ip', ['-n', M, '-details', 'link', 'show', 'dev', 'p0']);
  assert.match(left, 'promiscuity 0');
  fwd = await startFwd();
  assertPings(20);
  await fwd.stop('SIGINT');
});

for (const [what, args, message] of [
  ['brought down', ['link', 'set', 'p0', 'down'], 'Interface p0 was brought down'],
  ['deleted', ['link', 'del', 'p0'], 'Interface p0 is gone'],
] as const) {
  test(`an interface that is ${what} while fwd runs is an error`, async () => {
    makeWires();
    fwd = await startFwd();
    run('ip', ['-n', M, ...args]);
    const outcome = await Promise.race([fwd.ended, sleep(SOON_MS)]);
    assert.ok(outcome, 'it ends');
    assert.is(outcome.status, 1);
    assert.match(outcome.stderr, message);
  });
}

for (const [what, args, message] of [
  ['brought down', ['link', 'set', 'p0', 'down'], 'Interface p0 was brought down'],
  ['deleted', ['link', 'del', 'p0'], 'Interface p0 is gone'],
] as const) {
  test(`of two pairs an interface is ${what}: said at once, the other pair goes on, exit 1`, async () => {
    makeWires();
    makeSecondWires();
    fwd = start(process.execPath, [BAREWIRE, 'fwd', 'xdp:p0', 'xdp:p1', 'xdp:p2', 'xdp:p3', '--json'], {
      netns: M,
    });
    await fwd.waitForOutput(/"type":"rates"/);
    assertPings(20);
    assertPings(20, A, SECOND_B);
    run('ip', ['-n', M, ...args]);
    await fwd.waitForOutput(new RegExp(`warning: ${message}\nhint: xdp:p0 and xdp:p1 forward no more`));
    assertPings(50, A, SECOND_B);
    const outcome = await fwd.stop('SIGINT');
    assert.is(outcome.status, 1);
    assert.match(outcome.stderr, new RegExp(`\nbarewire: ${message}\n`));
    const [p0, p1, p2, p3] = totalsOf(outcome) as unknown as (PortTotals & { readonly asOfS?: number })[];
    assert.equal(
      [p0, p1, p2, p3].map((port) => port!.asOfS !== undefined),
      [true, false, false, false],
    );
    assert.ok(p2!.rxPackets >= 70 && p3!.rxPackets >= 70, JSON.stringify([p2, p3]));
    assert.equal([p3!.txPackets + p3!.dropped, p2!.txPackets + p2!.dropped], [p2!.rxPackets, p3!.rxPackets]);
    assert.equal(
      ['p1', 'p2', 'p3'].map((name) => hasProgram(name)),
      [false, false, false],
    );
  });
}

test('--only: what the filter takes comes here, the rest stays with the kernel', async () => {
  makeWires();
  run('ip', ['-n', M, 'addr', 'add', `${ADDRESS_M}/24`, 'dev', 'p0']);
  const args = ['capture', 'xdp:p0', '--only', 'udp port 9 or vlan 7', '--count', '150'];
  const capture = start(process.execPath, [BAREWIRE, ...args], { netns: M });
  await waitFor('the program', () => hasProgram('p0'));
  // The kernel of M answers: a login over the interface would go on.
  assertPings(20, A, ADDRESS_M);
  run(process.execPath, [BAREWIRE, 'pktgen', 'xdp:a0', '--count', '150'], { netns: A });
  const { status, stdout, stderr } = await capture.ended;
  assert.is(status, 0, stderr);
  assert.match(stderr, 'captured 150 of 150 frames');
  assert.is(stdout.match(/UDP|udp/g)?.length, 150, stdout.slice(0, 500));
});

test('pktgen, capture and replay: what is sent, captured, sent again and captured again is the same', async () => {
  makeWires();
  const folder = mkdtempSync(join(tmpdir(), 'barewire-xdp-'));
  const files = ['first', 'second'].map((name) => join(folder, `${name}.pcapng`)) as [string, string];
  try {
    const capture = async (netns: string, port: string, file: string): Promise<Background> => {
      const options = ['--only', 'udp port 9', '--count', '300', '-w', file];
      const started = start(process.execPath, [BAREWIRE, 'capture', port, ...options], { netns });
      await waitFor('the program', () => hasProgram(port.slice(4), netns));
      return started;
    };
    const first = await capture(M, 'xdp:p0', files[0]);
    run(process.execPath, [BAREWIRE, 'pktgen', 'xdp:a0', '--count', '300', '--size', '200'], { netns: A });
    assert.is((await first.ended).status, 0);
    const second = await capture(A, 'xdp:a0', files[1]);
    const replayed = barewire(['replay', files[0], 'xdp:p0', '--burst']);
    assert.match(replayed.stdout, 'replayed 300 of 300 frames');
    assert.is((await second.ended).status, 0);
    const [sent, back] = await Promise.all(files.map(framesOf));
    assert.is(sent!.length, 300);
    assert.equal(back, sent);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

async function framesOf(file: string): Promise<string[]> {
  const reader = await CaptureReader.open(file);
  const frames: string[] = [];
  for await (const { bytes } of reader) frames.push(Buffer.from(bytes).toString('hex'));
  return frames;
}

test('the verifier takes every kind of filter; what it refuses is told in its own words', () => {
  for (const [text] of MATCHES) closeFd(loadProgram('p0', redirectProgram(map, parseFilter(text))));
  const long = Array.from({ length: 250 }, (_, i) => `src or dst port ${i}`).join(' or ');
  closeFd(loadProgram('p0', redirectProgram(map, parseFilter(long))));
  // A program that gives no result.
  const error = expectError('SYSCALL', () => loadProgram('p0', instruction(Op.EXIT, 0, 0, 0, 0)));
  assert.match(error.hint!, 'R0 !read_ok');
  assert.match(error.hint!, 'processed 1 insns');
});

test('the conformance of NetDevice', () => {
  const namespace = `${M}-c`;
  run('ip', ['netns', 'add', namespace]);
  try {
    const program = join(LAB, 'xdp-conformance.js');
    const { status, stdout } = attempt(process.execPath, ['--enable-source-maps', program], {
      netns: namespace,
    });
    assert.is(status, 0, stdout);
    const { passed, failed } = parseTotals(stdout)!;
    assert.is(failed, 0);
    assert.ok(passed > 90, `${passed} tests`);
  } finally {
    run('ip', ['netns', 'del', namespace]);
  }
});

test('two queues', async () => {
  makeWires(2);
  fwd = await startFwd('--queues', '2');
  assertPings(50);
  const outcome = await fwd.stop('SIGINT');
  assert.is(outcome.status, 0, outcome.stderr);
  assert.ok(totalsOf(outcome)[0].rxPackets >= 50);
  const none = barewire(['pktgen', 'xdp:p0/2', '--count', '1']);
  assert.is(none.status, 2);
  assert.match(none.stderr, 'p0 has no queue 2: it has 2');
});

test('refuses an interface that is down, one with the default route, and one whose frames no buffer holds', () => {
  makeWires();
  run('ip', ['-n', M, 'addr', 'add', '198.18.78.1/24', 'dev', 'p1']);
  run('ip', ['-n', M, 'route', 'add', 'default', 'via', '198.18.78.2']);
  const pktgen = ['pktgen', 'xdp:p1', '--count', '5'];
  const refused = barewire(pktgen);
  assert.is(refused.status, 1);
  assert.match(refused.stderr, 'p1 carries the IPv4 default route');
  assert.match(refused.stderr, '--take-default-route');
  assert.is(barewire([...pktgen, '--take-default-route']).status, 0);
  assert.is(barewire([...pktgen, '--only', 'udp port 9']).status, 0);
  run('ip', ['-n', M, 'link', 'set', 'p0', 'mtu', '9000']);
  assert.match(barewire(['pktgen', 'xdp:p0', '--count', '1']).stderr, 'frames of up to 9014 bytes');
  run('ip', ['-n', M, 'link', 'set', 'p0', 'down']);
  assert.match(barewire(['pktgen', 'xdp:p0', '--count', '1']).stderr, 'p0 is down');
  assert.match(barewire(['pktgen', 'xdp:nothing', '--count', '1']).stderr, 'There is no interface nothing');
});

test('without the rights, or the memory, the error says which', () => {
  makeWires();
  const command = [process.execPath, BAREWIRE, 'pktgen', 'xdp:p0', '--count', '1'];
  const bare = attempt('setpriv', ['--bounding-set', '-all', '--inh-caps', '-all', ...command], { netns: M });
  assert.is(bare.status, 1);
  assert.match(bare.stderr, 'CAP_NET_RAW, CAP_BPF and CAP_NET_ADMIN');
  const small = ['--bounding-set', '-ipc_lock', '--inh-caps', '-ipc_lock', 'prlimit', '--memlock=1048576'];
  const tight = attempt('setpriv', [...small, ...command], { netns: M });
  assert.is(tight.status, 1);
  assert.match(tight.stderr, 'The limit is 1048576 bytes');
  // Root in the user namespace only by its capabilities: three are enough.
  const three = ['net_raw', 'bpf', 'net_admin', 'ipc_lock'].map((name) => `+${name}`).join(',');
  const enough = attempt('setpriv', ['--bounding-set', `-all,${three}`, '--inh-caps', '-all', ...command], {
    netns: M,
  });
  assert.is(enough.status, 0, enough.stderr);
});

xdp.run();
