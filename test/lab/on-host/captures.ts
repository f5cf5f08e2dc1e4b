/**
 * Captures between this project and the programs that everybody has: what tcpdump, dumpcap, editcap, mergecap and
 * text2pcap write is replayed into an emulated port and captured at the other end of its cable; what is written is read
 * by tshark, capinfos and tcpdump. The comparisons are tcpdump's, so that neither reader nor writer judges itself.
 */
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { gzipSync } from 'node:zlib';
import * as assert from 'uvu/assert';
import { CaptureReader } from '../../../src/capture/capture-reader.js';
import { interfaceBlock, packetBlock, pcapFile, sectionHeader } from '../../capture/make-capture.js';
import { attempt, type Background, run, sh, start, waitFor } from '../processes.js';
import { suite } from '../suite.js';
import { hostPrograms } from '../vm.js';
import { BAREWIRE } from '../wire.js';

process.env.PATH = [...hostPrograms(), process.env.PATH].join(delimiter);
const folder = mkdtempSync(join(tmpdir(), 'barewire-lab-'));
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
const file = (name: string): string => join(folder, name);

const barewire = (...args: string[]): Background => start(process.execPath, [BAREWIRE, ...args]);
const [sender, receiver] = ['a.sock', 'b.sock'].map(file) as [string, string];
const emulator = barewire('emulate', '--link', 'cable', '--socket', sender, '--socket', receiver);
await emulator.waitForOutput(/port 1: /);
const IN = `vfio-user:${receiver}`;
const OUT = `vfio-user:${sender}`;

/** A capture is under way when its file has a beginning: the port is open. */
async function startCapture(path: string, ...args: string[]): Promise<Background> {
  const capture = barewire('capture', IN, '-w', path, ...args);
  await waitFor(`${path} to begin`, () => existsSync(path) && statSync(path).size > 0, 20_000);
  return capture;
}

function replay(path: string, ...args: string[]): string {
  return run(process.execPath, [BAREWIRE, 'replay', path, OUT, ...args]);
}

const FILTER = 'udp and greater 500';

/** Every frame of a capture, or those that a filter takes, as tcpdump sees it: all bytes, and no time. */
function frames(path: string, filter = ''): string[] {
  const text = run('tcpdump', ['-nn', '-t', '-q', '-xx', '-r', path, filter]);
  return text.split(/\n(?=\S)/).map((one) => one.replace(/^.*\n/, '').trimEnd());
}

/** What the programs say of a file that they should read without a word of complaint. */
function readByAll(path: string): { capinfos: string; tshark: string[] } {
  const quiet = (program: string, ...args: string[]): string => {
    const { status, stdout, stderr } = attempt(program, args);
    const complaints = stderr.replace(/^(Running as user "root".*|reading from file .*)\n/gm, '');
    assert.equal([status, complaints], [0, ''], `${program} on ${path}`);
    return stdout;
  };
  if (!path.endsWith('.gz')) quiet('tcpdump', '-nn', '-r', path);
  else {
    // tshark and capinfos unpack by themselves.
    quiet('gzip', '-t', path);
    quiet('bash', '-euo', 'pipefail', '-c', `gzip -dc ${path} | tcpdump -nn -r -`);
  }
  const tshark = quiet(
    'tshark',
    '-r',
    path,
    '-T',
    'fields',
    '-e',
    'frame.time_epoch',
    '-e',
    'frame.interface_id',
  );
  return { capinfos: quiet('capinfos', path), tshark: tshark.trimEnd().split('\n') };
}

const captures = suite('captures and the programs of others');

/** Real frames of the kernel's, captured at once by tcpdump and dumpcap on a loopback of their own. */
function makeSources(): string[] {
  sh(
    `cd ${folder}
    unshare -n bash -euc '
      ip link set lo up
      tcpdump -i lo -Z root --immediate-mode -U -c 20 -w tcpdump.pcap 2> tcpdump.log &
      dumpcap -q -i lo -c 20 -w dumpcap.pcapng 2> dumpcap.log &
      until grep -q "listening on" tcpdump.log && grep -q "^File:" dumpcap.log; do sleep 0.05; done
      for i in {1..20}; do head -c $((30 + 70 * i)) /dev/zero | tr "\\\\0" x > /dev/udp/127.0.0.1/9; done
      wait'
    editcap -F nsecpcap dumpcap.pcapng nsec.pcap
    editcap -F modpcap dumpcap.pcapng patched.pcap
    editcap -a 3:'a comment' -s 600 -r dumpcap.pcapng commented.pcapng 1-7
    mergecap -w merged.pcapng tcpdump.pcap dumpcap.pcapng nsec.pcap
    tshark -r tcpdump.pcap -x > hex.txt 2> /dev/null
    text2pcap -q hex.txt text.pcapng`,
  );
  writeFileSync(file('packed.pcap.gz'), gzipSync(readFileSync(file('tcpdump.pcap'))));
  return [
    'tcpdump.pcap',
    'dumpcap.pcapng',
    'nsec.pcap',
    'patched.pcap',
    'commented.pcapng',
    'merged.pcapng',
    'text.pcapng',
  ];
}

captures('files of others, replayed and captured: the same bytes, in time order', async () => {
  const sources = makeSources();
  // No program writes pcapng with the most significant byte first; this one is checked by tcpdump before it is used.
  const bigEndian = Buffer.concat([sectionHeader(false), interfaceBlock({ littleEndian: false })]);
  const blocks: Buffer[] = [bigEndian];
  for await (const { bytes, timeNs } of await CaptureReader.open(file('tcpdump.pcap')))
    blocks.push(packetBlock(bytes, timeNs / 1000n, { littleEndian: false }));
  writeFileSync(file('big-endian.pcapng'), Buffer.concat(blocks));
  assert.equal(frames(file('big-endian.pcapng')), frames(file('tcpdump.pcap')));
  sources.push('big-endian.pcapng');

  const capture = await startCapture(file('all.pcapng'));
  for (const source of [...sources, 'packed.pcap.gz']) replay(file(source), '--burst');
  // By a pipe, as a shell makes one.
  sh(`node ${BAREWIRE} replay <(cat ${file('tcpdump.pcap')}) ${OUT} --burst`);
  const wanted = [...sources, 'tcpdump.pcap', 'tcpdump.pcap'].flatMap((source) => frames(file(source)));
  assert.is(wanted.length, 20 * 4 + 7 + 60 + 20 * 4);
  const { status, stderr } = await capture.stop('SIGTERM');
  assert.is(status, 0, stderr);
  assert.equal(frames(file('all.pcapng')), wanted);
  const { capinfos, tshark } = readByAll(file('all.pcapng'));
  assert.match(capinfos, /Strict time order: +True/);
  assert.is(tshark.length, wanted.length);
});

captures('gaps of a capture are kept', async () => {
  // 20 frames from 10 us to 0.2 s apart.
  const gapsNs = Array.from(
    { length: 20 },
    (_, i) => [10_000n, 1_000_000n, 30_000_000n, 200_000_000n][i % 4]!,
  );
  let timeNs = 1_700_000_000_000_000_000n;
  const blocks = gapsNs.map((gapNs) => {
    timeNs += gapNs;
    return packetBlock(Buffer.alloc(60, 0xff), timeNs / 1000n);
  });
  writeFileSync(file('gaps.pcapng'), Buffer.concat([sectionHeader(), interfaceBlock({}), ...blocks]));
  const lines = replay(file('gaps.pcapng'), '--json').trimEnd().split('\n');
  const reported = lines.map((line) => JSON.parse(line)).find(({ type }) => type === 'replay');
  assert.is(reported.sent, 20);
  const counts = (reported.gapErrors as { count: number }[]).map(({ count }) => count);
  assert.is(
    counts.reduce((sum, count) => sum + count, 0),
    19,
    'each gap is in the histogram',
  );
});

captures('what is written, cut or whole, as pcap or pcapng, is read without a note', async () => {
  for (const [name, ...args] of [
    ['whole.pcapng'],
    ['whole.pcap'],
    ['whole.pcapng.gz'],
    ['cut.pcap.gz', '-s', '64'],
    ['cut.pcapng', '-s', '64'],
    ['cut.pcap', '-s', '64', '--filter', FILTER],
  ] as const) {
    const capture = await startCapture(file(name), ...args);
    replay(file('dumpcap.pcapng'), '--burst');
    assert.is((await capture.stop('SIGHUP')).status, 0);
    const { capinfos, tshark } = readByAll(file(name));
    const filter = args.length > 2 ? FILTER : '';
    assert.is(tshark.length, frames(file('dumpcap.pcapng'), filter).length, name);
    if (args.length > 0) assert.match(capinfos, /64 bytes/);
  }
});

captures('live: tshark shows a frame while the capture goes on', async () => {
  const look = start('bash', ['-c', `node ${BAREWIRE} capture ${IN} -w - | tshark -l -n -r -`]);
  try {
    await waitFor('a frame to be shown', () => {
      replay(file('text.pcapng'), '--burst', '--to', '1ms');
      return look.stdout.includes('127.0.0.1');
    });
  } finally {
    run('pkill', ['-TERM', '-P', String(look.pid), '-f', 'capture']);
  }
  assert.is((await look.ended).status, 0);
});

captures('Wireshark finds a running forwarder and an emulated port, and shows what they move', async () => {
  const env = { HOME: file('home'), XDG_RUNTIME_DIR: folder };
  run(process.execPath, [BAREWIRE, 'extcap', '--install'], { env });
  const forwarder = start(process.execPath, [BAREWIRE, 'fwd', '--rate', '20', '--tap'], { env });
  const emulated = start(process.execPath, [BAREWIRE, 'emulate', '--ports', '1', '--rate', '20'], { env });
  try {
    await forwarder.waitForOutput(/path: /);
    await emulated.waitForOutput(/port 0: /);
    const found = run('tshark', ['-D'], { env });
    const [emulatedId] = /(?<=barewire-emulator-)[^/]+/.exec(emulated.stdout)!;
    for (const name of [`barewire-fwd-${forwarder.pid}`, `barewire-emulated-${emulatedId}-port0`]) {
      assert.match(found, name);
      const shown = run('tshark', ['-l', '-n', '-i', name, '-f', 'udp and less 100', '-s', '60', '-c', '5'], {
        env,
      });
      assert.is(shown.match(/198\.18\.0\.1/g)?.length, 5, shown);
    }
  } finally {
    assert.is((await forwarder.stop('SIGTERM')).status, 0);
    assert.is((await emulated.stop('SIGTERM')).status, 0);
  }
  assert.match(forwarder.stdout, /tap: viewers 1, written \d+, not written 0/);
});

captures('a forwarder writes to standard output, and prints its table beside it', () => {
  const fwd = `node ${BAREWIRE} fwd --rate 100 --duration 1 --capture - 2> ${file('table')}`;
  const times = sh(`${fwd} | tshark -r - -T fields -e frame.interface_name`).trimEnd().split('\n');
  const [, written] = /capture: written (\d+), not written 0/.exec(readFileSync(file('table'), 'utf8')) ?? [];
  assert.is(times.length, Number(written));
  assert.is(new Set(times).size, 2, 'frames of both ports');
});

captures('kill -9 leaves a file that is read; a full disk leaves whole blocks and one message', async () => {
  for (const name of ['killed.pcapng', 'killed.pcapng.gz']) {
    const killed = await startCapture(file(name));
    replay(file('dumpcap.pcapng'), '--burst');
    // Without -f gzip would not take the other one.
    const lines = `{ gzip -dcf ${file(name)} | tcpdump -nn -r - 2> /dev/null || true; } | wc -l`;
    await waitFor('all frames to be in the file', () => Number(sh(lines)) === 20);
    await killed.stop('SIGKILL');
    assert.is(readByAll(file(name)).tshark.length, 20);
  }

  const noise = Array.from({ length: 60 }, () => ({ bytes: randomBytes(1000) }));
  writeFileSync(file('noise.pcap'), pcapFile(noise));
  mkdirSync(file('full'));
  run('mount', ['-t', 'tmpfs', '-o', 'size=16k', 'tmpfs', file('full')]);
  try {
    const full = await startCapture(file('full/it.pcapng'));
    replay(file('merged.pcapng'), '--burst');
    const { status, stderr } = await full.ended;
    assert.is(status, 1);
    assert.match(stderr, /^captured 60 of 60 frames; .*\nbarewire: .*ENOSPC.*\n$/);
    assert.ok(readByAll(file('full/it.pcapng')).tshark.length > 5);
    rmSync(file('full/it.pcapng'));
    // Noise cannot be packed: a member of it is larger than the disk.
    const packed = await startCapture(file('full/it.pcapng.gz'));
    replay(file('noise.pcap'), '--burst');
    assert.is((await packed.ended).status, 1);
    assert.match(packed.stderr, /\nbarewire: .*the recording ends after 0 frames: ENOSPC.*\n$/);
    assert.match(readByAll(file('full/it.pcapng.gz')).capinfos, /Number of packets: +0/);
  } finally {
    run('umount', [file('full')]);
  }
});

captures.after(async () => {
  const { status, stderr } = await emulator.stop('SIGTERM');
  assert.is(status, 0, stderr);
});

captures.run();
