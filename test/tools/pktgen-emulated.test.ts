/** `barewire pktgen` on emulated ports that a cable joins. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { EmulatedPorts } from '../../tools/emulated-ports.js';
import { PLAIN_ENV } from '../support/child.js';
import { HANG_MS } from '../support/hang.js';
import { suite } from '../support/suite.js';
import { besidesOneCpu, CLI } from './run-cli.js';

interface Result {
  readonly status: number | null;
  readonly lines: readonly string[];
  readonly stderr: string;
}

/** Runs pktgen on port 0 of a cable. */
async function pktgen(...args: string[]): Promise<Result> {
  const folder = mkdtempSync(join(tmpdir(), 'bw-pktgen-'));
  // A long path: rows of the table must not depend on it.
  const socket = join(folder, 'a-socket-with-a-name-that-alone-would-fill-most-of-a-row.sock');
  const ports = await EmulatedPorts.start(['--link', 'cable', '--ports', '2', '--socket', socket]);
  try {
    const child = spawn(process.execPath, [CLI, 'pktgen', ports.addresses[0]!, ...args], {
      env: PLAIN_ENV,
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: HANG_MS,
      killSignal: 'SIGKILL',
    });
    let [stdout, stderr] = ['', ''];
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
    });
    const [status] = (await once(child, 'close')) as [number | null];
    return { status, lines: stdout.split('\n').slice(0, -1), stderr: besidesOneCpu(stderr) };
  } finally {
    await ports.close();
    rmSync(folder, { recursive: true, force: true });
  }
}

const emulated = suite('pktgen on an emulated port');

emulated('a slow rate is seen, rows have less than 80 columns, and no warning about hugepages', async () => {
  const { status, lines, stderr } = await pktgen('--rate', '5', '--duration', '2100ms');
  assert.is(stderr, '');
  assert.is(status, 0);
  assert.match(lines[0]!, /^port 0: vfio-user:.*\.sock$/);
  assert.match(lines[1]!, /^port +rx pkt\/s/);
  // About 5; the machine may be busy.
  assert.match(lines[2]!, /^0 +0 +0 +[1-9][0-9.]+ +[1-9][0-9.]+k? /);
  for (const line of lines.slice(1)) assert.ok(line.length < 80, line);
  assert.equal(
    lines.filter((line) => line.includes('\u001b')),
    [],
  );
});

emulated('JSON names the port by its address', async () => {
  const { status, lines } = await pktgen('--count', '3', '--json');
  assert.is(status, 0);
  const { type, ports } = JSON.parse(lines.at(-2)!) as {
    type: string;
    ports: { address: string; txPackets: number }[];
  };
  assert.is(type, 'totals');
  assert.match(ports[0]!.address, /^vfio-user:/);
  assert.is(ports[0]!.txPackets, 3);
});

emulated('a size that the port cannot send: used wrongly, and says what is possible', async () => {
  const { status, lines, stderr } = await pktgen('--size', '9000');
  assert.equal([status, lines], [2, []]);
  assert.match(stderr, /^barewire: .* sends frames of up to [0-9]+ bytes, not 9000\nhint: .*--mtu.*\n$/);
});

emulated.run();
