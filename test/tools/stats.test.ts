/** `barewire stats`: the counters of a port that a running command has, of one that nobody has, of an interface of the kernel's. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import * as assert from 'uvu/assert';
import { systemClock } from '../../src/clock.js';
import type { NetStats } from '../../src/driver/device.js';
import { open } from '../../src/driver/registry.js';
import { startEmulator } from '../../src/emulator/index.js';
import type { RunningCommand } from '../../tools/line-client.js';
import { askCounters, runningPorts } from '../../tools/stats-client.js';
import { StatsReport } from '../../tools/stats-report.js';
import { type PortCounters, readPort, serveStats } from '../../tools/stats-server.js';
import { captureLines } from '../support/capture.js';
import { HANG_MS } from '../support/hang.js';
import { plugIn } from '../support/made-up-family/scheme.js';
import { suite } from '../support/suite.js';
import { besidesOneCpu, CLI } from './run-cli.js';

interface Context {
  folder: string;
}

const stats = suite<Context>('barewire stats');
const runtimeFolder = process.env.XDG_RUNTIME_DIR;

stats.before.each((context) => {
  context.folder = mkdtempSync(join(tmpdir(), 'bw-stats-'));
  process.env.XDG_RUNTIME_DIR = context.folder;
});

stats.after.each(({ folder }) => {
  rmSync(folder, { recursive: true, force: true });
  if (runtimeFolder === undefined) delete process.env.XDG_RUNTIME_DIR;
  else process.env.XDG_RUNTIME_DIR = runtimeFolder;
});

/** The command beside this process, in the same runtime folder. */
function start({ folder }: Context, args: readonly string[]): ChildProcess {
  return spawn(process.execPath, [CLI, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { PATH: process.env.PATH ?? '', BAREWIRE_SYSFS: folder, XDG_RUNTIME_DIR: folder },
    timeout: HANG_MS,
    killSignal: 'SIGKILL',
  });
}

async function outcome(child: ChildProcess): Promise<{ status: unknown; out: string; err: string }> {
  let [out, err] = ['', ''];
  child.stdout!.setEncoding('utf8').on('data', (text: string) => {
    out += text;
  });
  child.stderr!.setEncoding('utf8').on('data', (text: string) => {
    err += text;
  });
  const [status] = await once(child, 'close');
  return { status, out, err: besidesOneCpu(err) };
}

/** The last object of a type in lines of JSON. */
function told({ out }: { out: string }, type: string) {
  return out
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
    .findLast((line) => line.type === type);
}

stats('a process that has ports tells their counters, and only those', async () => {
  plugIn(90);
  const device = await open('made-up:90');
  const server = serveStats([device], systemClock)!;
  try {
    const [running, ...others] = await runningPorts();
    assert.equal(others, []);
    assert.equal(running, { path: server.path, pid: process.pid, ports: ['made-up:90'] });
    const counters = await askCounters(running!, 'made-up:90');
    assert.equal(
      { ...counters, timeS: 0 },
      JSON.parse(JSON.stringify({ ...readPort(device, systemClock), timeS: 0 })),
    );
    assert.is(counters.registers, undefined);
    await askCounters(running!, 'made-up:91').then(
      () => assert.unreachable('a port that it has not'),
      (error) => assert.match(error.message, /nothing that is known/),
    );
  } finally {
    server.close();
    await device.close();
  }
  assert.equal(await runningPorts(), []);
});

stats('a running sink and a running sender are asked while frames pass', async (context) => {
  const sockets = ['a', 'b'].map((name) => join(context.folder, `${name}.sock`));
  await using _ = await startEmulator({
    nics: sockets.map((path) => ({ path })),
    links: [{ ends: [{ nic: 0 }, { nic: 1 }] }],
  });
  const [a, b] = sockets.map((path) => `vfio-user:${path}`);
  const sink = start(context, ['sink', b!, '--json']);
  const sinkEnds = outcome(sink);
  let sender: ChildProcess | undefined;
  try {
    // What is sent before the sink has its port is lost.
    let owner: RunningCommand | undefined;
    while (owner === undefined) {
      assert.is(sink.exitCode, null, 'the sink runs');
      owner = (await runningPorts()).find(({ ports }) => ports.includes(b!));
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    sender = start(context, ['pktgen', a!, '--json', '--rate', '200']);
    const senderEnds = outcome(sender);
    let counted: PortCounters | undefined;
    while ((counted?.registers?.GPRC ?? 0) < 20) {
      assert.is(sender.exitCode, null, 'the sender runs');
      counted = await askCounters(owner, b!);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    const { GPRC, PRC64, GORC } = counted!.registers!;
    // They are read one after the other, and frames come in between.
    assert.ok(PRC64! >= GPRC! && GORC! >= 64 * GPRC!, JSON.stringify(counted));
    assert.ok(counted!.stats.wireRxPackets! >= GPRC!);

    // By any spelling of its path.
    const spelt = `vfio-user:${relative(process.cwd(), sockets[0]!)}`;
    const text = await outcome(start(context, ['stats', spelt]));
    assert.equal([text.status, text.err], [0, '']);
    assert.match(text.out, new RegExp(`^${a}, read by process ${sender.pid}\nIntel 82599`));
    assert.match(text.out, /\n {2}wireTxPackets +[1-9][0-9]*\n/);
    assert.match(text.out, /\n {2}GPTC +[1-9][0-9]*\n/);
    assert.match(text.out, /\n {2}0: .*CRCERRS/);
    for (const line of text.out.split('\n')) assert.ok(line.length <= 79 || line.startsWith(a!), line);

    const lines = await outcome(
      start(context, ['stats', b!, '--interval', '50ms', '--duration', '400ms', '--json']),
    );
    assert.equal([lines.status, lines.err], [0, '']);
    const objects = lines.out
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    assert.ok(objects.length >= 2, `${objects.length} times`);
    for (const [i, { type, address, registers }] of objects.entries()) {
      assert.equal([type, address], ['stats', b]);
      assert.ok(registers.GPRC >= (objects[i - 1]?.registers.GPRC ?? GPRC), 'it only grows');
    }

    sender.kill('SIGINT');
    const { wireTxPackets } = told(await senderEnds, 'totals').ports[0];
    while ((await askCounters(owner, b!)).stats.rxPackets < wireTxPackets)
      await new Promise((resolve) => setTimeout(resolve, 20));
    sink.kill('SIGINT');
    const ended = await sinkEnds;
    assert.is(ended.status, 0);
    assert.is(told(ended, 'account').received, wireTxPackets, 'asking took no frame from anybody');
  } finally {
    for (const child of [sender, sink]) if (child?.exitCode === null) child.kill('SIGKILL');
  }
  assert.equal(
    readdirSync(context.folder).filter((name) => name.startsWith('barewire-')),
    [],
    'no folder is left',
  );
});

stats('a port that nobody has is opened, and counts from 0', async (context) => {
  const path = join(context.folder, 'a.sock');
  await using _ = await startEmulator({ nics: [{ path }], links: [{ ends: [{ nic: 0 }, { sink: true }] }] });
  const { status, out } = await outcome(
    start(context, ['stats', `vfio-user:${path}`, '--duration', '100ms', '--json']),
  );
  assert.is(status, 0);
  const { driver, stats: counted, registers } = JSON.parse(out);
  assert.equal([driver, counted.rxPackets, registers.GPRC], ['ixgbe', 0, 0]);
});

stats('an interface of the kernel is left alone: the kernel counts', async (context) => {
  const folder = join(context.folder, 'class/net/eth7/statistics');
  mkdirSync(folder, { recursive: true });
  for (const [name, value] of Object.entries({ rx_packets: 12, tx_errors: 0 }))
    writeFileSync(join(folder, name), `${value}\n`);
  const kernel = await outcome(start(context, ['stats', 'xdp:eth7']));
  assert.equal([kernel.status, kernel.err], [0, '']);
  assert.match(kernel.out, /read by the kernel\n[^\n]*\n {2}rx_packets +12\n {2}0: tx_errors\n$/);
  const nobody = await outcome(start(context, ['stats', 'xdp:eth8']));
  assert.is(nobody.status, 1);
  assert.match(nobody.err, /xdp:eth8 is no interface/);
  const useless = await outcome(start(context, ['stats', 'xdp:eth7', '--duration', '1']));
  assert.is(useless.status, 2);
  assert.match(useless.err, /--interval/);
});

stats('the second time rates stand beside the sums, and zeros share lines', async () => {
  const port = (timeS: number, GPRC: number): PortCounters => ({
    address: '0000:03:00.0',
    driver: 'igb',
    model: 'Intel 82576',
    timeS,
    link: { up: true, speedMbps: 1000, fullDuplex: true },
    stats: { rxPackets: GPRC } as PortCounters['stats'],
    queues: [],
    registers: { GPRC, ...Object.fromEntries(Array.from({ length: 40 }, (_, i) => [`REG${i}`, 0])) },
  });
  const report = new StatsReport(false, 'process 1');
  const lines = await captureLines(() => {
    report.show(port(10, 1000), 0);
    report.show(port(12, 3000), 1);
  });
  assert.ok(lines.every((line) => line.length <= 79));
  const rows = lines.filter((line) => line.startsWith('  GPRC')).map((line) => line.trim().split(/\s+/));
  assert.equal(rows, [
    ['GPRC', '1000'],
    ['GPRC', '3000', '1000'],
  ]);
  const zeros = lines
    .filter((line) => line.startsWith('  0: '))
    .join(' ')
    .match(/REG/g);
  assert.is(zeros?.length, 80);
});

stats('what is told in words is no counter', async () => {
  const told = { rxPackets: 5, interfaceMode: 'copy', interfaceProgram: 'native' } as NetStats;
  const port: PortCounters = {
    ...{ address: 'xdp:p0', driver: 'xdp', model: 'veth, copy mode', timeS: 1, stats: told, queues: [] },
    link: { up: true, speedMbps: 0, fullDuplex: true },
  };
  const report = new StatsReport(false, 'process 1');
  const lines = await captureLines(() => {
    report.show(port, 0);
    report.show({ ...port, timeS: 2 }, 1);
  });
  assert.not.match(lines.join('\n'), /NaN|native/);
  assert.is(lines.filter((line) => line.startsWith('  rxPackets')).length, 2);
});

stats.run();
