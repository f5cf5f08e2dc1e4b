/** `barewire emulate` as a process of its own: links of all kinds, when they start, and what they say at the end. */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import * as assert from 'uvu/assert';
import type { NetDevice } from '../../src/driver/device.js';
import { open } from '../../src/driver/registry.js';
import { pcapFile } from '../capture/make-capture.js';
import { HANG_MS, until } from '../support/hang.js';
import { readFrames } from '../support/read-frames.js';
import { suite } from '../support/suite.js';

const SCRIPT = join(import.meta.dirname, '../../tools/barewire.js');

interface Run {
  readonly folder: string;
  stdout(): string;
  stderr(): string;
  /** Opens a port. */
  open(port: number): Promise<NetDevice>;
  /** Ends it as Ctrl-C does, checks the exit status, and returns the lines that follow those of the start. */
  end(): Promise<string[]>;
}

/** Starts the emulator in a folder of its own: `@` in an argument becomes that folder. */
function withEmulator(
  args: readonly string[],
  ports: number,
  body: (run: Run) => Promise<void>,
  files: Readonly<Record<string, Uint8Array>> = {},
): () => Promise<void> {
  return async () => {
    const folder = mkdtempSync(join(tmpdir(), 'bw-emulate-'));
    for (const [name, bytes] of Object.entries(files)) writeFileSync(join(folder, name), bytes);
    const sockets = Array.from({ length: ports }, (_, i) => join(folder, `${i}.sock`));
    const child = spawn(
      process.execPath,
      [
        SCRIPT,
        'emulate',
        ...sockets.flatMap((path) => ['--socket', path]),
        ...args.map((text) => text.replaceAll('@', folder)),
      ],
      { stdio: ['ignore', 'pipe', 'pipe'], timeout: HANG_MS, killSignal: 'SIGKILL' },
    );
    const run = watch(child, folder, sockets);
    try {
      await until(() => {
        if (child.exitCode !== null) throw new Error(`ended with ${child.exitCode}: ${run.stderr()}`);
        return run.stdout().split('\n').length > ports;
      }, run.stderr);
      await body(run);
    } finally {
      child.kill('SIGKILL');
      rmSync(folder, { recursive: true, force: true });
    }
  };
}

function watch(child: ChildProcess, folder: string, sockets: readonly string[]): Run {
  const texts = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const)
    child[name]!.setEncoding('utf8').on('data', (text: string) => {
      texts[name] += text;
    });
  const ended = new Promise<number | string | null>((resolve) =>
    child.on('close', (status, signal) => resolve(status ?? signal)),
  );
  return {
    folder,
    stdout: () => texts.stdout,
    stderr: () => texts.stderr,
    open: (port) => open(`vfio-user:${sockets[port]}`, { promiscuous: true, pageSize: '4K' }),
    end: async () => {
      child.kill('SIGINT');
      assert.is(await ended, 0, texts.stderr);
      return texts.stdout.trimEnd().split('\n').slice(sockets.length);
    },
  };
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}

/** Receives until there are so many frames. */
async function receive(nic: NetDevice, count: number): Promise<string[]> {
  const frames: string[] = [];
  const bufs = new Uint32Array(32);
  const deadline = performance.now() + HANG_MS;
  while (frames.length < count) {
    if (performance.now() > deadline) throw new Error(`${frames.length} frames came, not ${count}`);
    const received = nic.rxQueues[0]!.receive(bufs);
    for (let i = 0; i < received; i++) {
      const lengthBytes = nic.pool.lengths[bufs[i]!]!;
      frames.push(hex(nic.pool.bytes(bufs[i]!).subarray(0, lengthBytes)));
    }
    nic.pool.release(bufs, received);
    if (received === 0) await sleep(1);
  }
  return frames;
}

/** Sends frames, and waits until they are on the wire. */
async function send(nic: NetDevice, frames: readonly Uint8Array[]): Promise<void> {
  const bufs = new Uint32Array(1);
  for (const frame of frames) {
    assert.is(nic.pool.allocate(bufs, 1), 1);
    nic.pool.bytes(bufs[0]!).set(frame);
    nic.pool.lengths[bufs[0]!] = frame.length;
    while (nic.txQueues[0]!.send(bufs, 1) === 0) await sleep(1);
  }
  await nic.drain({ timeoutMs: HANG_MS });
}

/** A broadcast frame of the local experimental EtherType. */
function someFrame(length: number, seed = 0): Uint8Array {
  const frame = Uint8Array.from({ length }, (_, i) => i + seed);
  frame.set([255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 0, 9, 0x88, 0xb5]);
  return frame;
}

const TEN = Array.from({ length: 10 }, (_, i) => someFrame(60 + i, i));
const FILES = {
  'ten.pcap': pcapFile(TEN.map((bytes) => ({ bytes }))),
  'hour.pcap': pcapFile(TEN.slice(0, 3).map((bytes, i) => ({ bytes, seconds: i < 2 ? 0 : 3600 }))),
  'mixed.pcap': pcapFile([
    ...TEN.map((bytes) => ({ bytes })),
    { bytes: someFrame(96), originalBytes: 1514 },
    { bytes: someFrame(9000) },
  ]),
};

const emulate = suite('emulate');

for (const lossless of [[], ['--lossless']]) {
  emulate(
    `play ${lossless}: a driver that comes late receives every frame, and the next one the rest`,
    withEmulator(
      ['--link', 'play:@/ten.pcap', ...lossless],
      1,
      async (run) => {
        // Long enough for a file that does not wait to be gone.
        await sleep(500);
        const nic = await run.open(0);
        assert.equal(await receive(nic, 10), TEN.map(hex));
        await nic.close();
        assert.equal(await run.end(), ['play at port 0: played 10 of 10, left out 0, too long 0']);
        assert.is(run.stderr(), '');
      },
      FILES,
    ),
  );
}

emulate(
  'play --loop: the file again and again',
  withEmulator(
    ['--link', 'play:@/ten.pcap', '--loop', '3', '--timing', 'burst'],
    1,
    async (run) => {
      const nic = await run.open(0);
      assert.equal(await receive(nic, 30), [...TEN, ...TEN, ...TEN].map(hex));
      await nic.close();
      assert.equal(await run.end(), ['play at port 0: played 30 of 30, left out 0, too long 0']);
    },
    FILES,
  ),
);

emulate(
  'play --timing original: a frame that is due in an hour is not sent before',
  withEmulator(
    ['--link', 'play:@/hour.pcap', '--timing', 'original'],
    1,
    async (run) => {
      const nic = await run.open(0);
      assert.equal(await receive(nic, 2), TEN.slice(0, 2).map(hex));
      await sleep(200);
      await nic.close();
      assert.equal(await run.end(), ['play at port 0: played 2 of 3, left out 0, too long 0']);
    },
    FILES,
  ),
);

emulate(
  'play: what is left out or too long is said, and counted at the end',
  withEmulator(
    ['--link', 'play:@/mixed.pcap'],
    1,
    async (run) => {
      const nic = await run.open(0);
      assert.equal(await receive(nic, 10), TEN.map(hex));
      await until(() => run.stderr().includes('too long'), run.stderr);
      await nic.close();
      assert.equal(await run.end(), ['play at port 0: played 11 of 12, left out 1, too long 1']);
      const path = join(run.folder, 'mixed.pcap');
      // The limit is the driver's business.
      assert.equal(
        run
          .stderr()
          .replace(/takes \d+/, 'takes N')
          .split('\n'),
        [
          `warning: port 0: ${path}: left out 1 of 12 frames: cut by the capture`,
          'hint: Capture whole frames (tcpdump -s 0).',
          `warning: port 0: ${path}: too long for the port: 1 of 12 frames, up to 9000 bytes; it takes N`,
          'hint: The port counts them as errors. Its driver sets the limit (MTU).',
          '',
        ],
      );
    },
    FILES,
  ),
);

emulate(
  'nobody came: that is said, and nothing was lost',
  withEmulator(
    ['--link', 'play:@/ten.pcap', '--link', 'traffic', '--link', 'record:@/r.pcap', '--count', '5'],
    3,
    async (run) => {
      await sleep(100);
      const [play, nobody, traffic, ...rest] = await run.end();
      assert.is(play, 'play at port 0: played 0 of 10, left out 0, too long 0');
      assert.is(nobody, 'port 0: nobody received, so nothing was sent');
      assert.match(traffic!, /^far end 1: sent 0, received 0, lost 0, /);
      assert.equal(rest, [
        'port 1: nobody received, so nothing was sent',
        'record at port 2: written 0, not written 0',
      ]);
      assert.is(statSync(join(run.folder, 'r.pcap')).size, 24);
      assert.not(existsSync(join(run.folder, '0.sock')));
    },
    FILES,
  ),
);

emulate(
  'traffic with a count starts with its receiver',
  withEmulator(['--link', 'traffic', '--count', '300'], 1, async (run) => {
    await sleep(200);
    const nic = await run.open(0);
    await receive(nic, 300);
    await nic.close();
    const lines = await run.end();
    assert.is(lines.length, 1);
    assert.match(lines[0]!, /^far end 0: sent 300, received 0, lost 0, /);
  }),
);

emulate(
  'a link for each port: cable pairs, a recording, a capture of each link',
  withEmulator(
    ['--link', 'cable', '--link', 'record:@/end%d.pcap', '--link', 'cable', '--capture', '@/link%d.pcap.gz'],
    3,
    async (run) => {
      const [a, b, c] = [await run.open(0), await run.open(1), await run.open(2)];
      await send(a, TEN);
      assert.equal(await receive(c, 10), TEN.map(hex));
      await send(b, TEN.slice(0, 4));
      // At most a second after they were sent.
      await until(() => statSync(join(run.folder, 'end1.pcap')).size > 24 + 4 * 76, 'the file grows');
      await send(b, TEN.slice(4, 6));
      for (const nic of [a, b, c]) await nic.close();
      assert.equal(await run.end(), [
        'capture of link 0: written 10, not written 0',
        'record at port 1: written 6, not written 0',
        'capture of link 1: written 6, not written 0',
      ]);
      for (const [name, frames] of [
        ['link0.pcap.gz', TEN],
        ['end1.pcap', TEN.slice(0, 6)],
        ['link1.pcap.gz', TEN.slice(0, 6)],
      ] as const) {
        const read = await readFrames(join(run.folder, name));
        assert.equal(
          read.map(({ bytes }) => hex(bytes)),
          frames.map(hex),
          name,
        );
      }
    },
  ),
);

emulate(
  'a cable that loses all, to a port that nobody drives',
  withEmulator(['--link', 'cable', '--loss', '1', '--seed', '3'], 2, async (run) => {
    const nic = await run.open(0);
    await send(nic, TEN);
    await nic.close();
    assert.equal(await run.end(), [
      'link 0 from port 0: carried 0, lost 10, damaged 0, overflowed 0',
      'link 0 from port 1: carried 0, lost 0, damaged 0, overflowed 0',
    ]);
  }),
);

emulate(
  'frames to a port that nobody drives are counted',
  withEmulator(['--link', 'cable'], 2, async (run) => {
    const nic = await run.open(0);
    await send(nic, TEN);
    await nic.close();
    assert.equal(await run.end(), ['port 1: 10 frames came while nobody received']);
  }),
);

emulate(
  'a stream: a socket with its own counts, gone at the end',
  withEmulator(['--link', 'stream:@/wire.sock'], 1, async (run) => {
    const nic = await run.open(0);
    await send(nic, TEN);
    await nic.close();
    assert.equal(await run.end(), ['stream at port 0: in 0, out 0, dropped 10, malformed 0']);
    assert.equal(readdirSync(run.folder), []);
  }),
);

emulate(
  'files that are there are replaced when that is said',
  withEmulator(
    ['--link', 'record:@/old.pcap', '--force'],
    1,
    async (run) => {
      assert.equal(await run.end(), ['record at port 0: written 0, not written 0']);
      assert.is(readFileSync(join(run.folder, 'old.pcap')).length, 24);
    },
    { 'old.pcap': Buffer.alloc(1000) },
  ),
);

emulate.run();
