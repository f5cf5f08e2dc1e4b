/** Writing captures: when what is in the file, and what happens where it cannot be. */
import { execFileSync, spawnSync } from 'node:child_process';
import {
  closeSync,
  constants,
  linkSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import * as assert from 'uvu/assert';
import { CaptureWriter, type CaptureWriterOptions } from '../../src/capture/capture-writer.js';
import { fileKey } from '../../src/capture/file-key.js';
import { checkWritable } from '../../src/capture/output-file.js';
import { ManualClock } from '../../src/clock.js';
import { NicError } from '../../src/errors.js';
import { DIST, runScript } from '../support/child.js';
import { readFrames } from '../support/read-frames.js';
import { suite } from '../support/suite.js';
import { inPieces, someFrame } from './make-capture.js';

const directory = mkdtempSync(join(tmpdir(), 'barewire-writer-'));
const NOTHING = { written: 0, unread: 0, slow: 0, failed: 0 };

function refusal(run: () => unknown): NicError {
  try {
    run();
  } catch (error) {
    assert.instance(error, NicError);
    return error as NicError;
  }
  throw new Error('it was taken');
}

function write(writer: CaptureWriter, bytes: Uint8Array): void {
  writer.write(bytes, 0, bytes.length);
}

const files = suite('pcap: writing to files');

files('what was written is read again: bytes, lengths, times to the nanosecond', async () => {
  const path = join(directory, 'a.pcap');
  const clock = new ManualClock(1_700_000_000_999 - 5000);
  clock.advanceNs(5_000_000_000);
  const writer = CaptureWriter.open(path, { clock, format: 'pcap' });
  const memory = someFrame(2000);
  const steps: readonly (readonly [number, number])[] = [
    [0, 60],
    [7, 1514],
    [500, 0],
    [3, 61],
  ];
  for (const [offset, length] of steps) {
    writer.write(memory, offset, length);
    clock.advanceNs(333_333);
  }
  writer.writeRecord(memory, 10, 20, { seconds: 7, nanoseconds: 8, originalBytes: 1514 });
  writer.close();
  writer.close();
  assert.equal(writer.counters, { ...NOTHING, written: 5 });
  assert.equal(await readFrames(path), [
    ...steps.map(([offset, length], i) => ({
      bytes: memory.slice(offset, offset + length),
      originalBytes: length,
      timeNs: 1_700_000_000_999_000_000n + BigInt(333_333 * i),
      linkType: 1,
    })),
    { bytes: memory.slice(10, 30), originalBytes: 1514, timeNs: 7_000_000_008n, linkType: 1 },
  ]);
});

files('the header is as the format says', () => {
  const path = join(directory, 'header.pcap');
  CaptureWriter.open(path, { linkType: 113 }).close();
  assert.equal(
    readFileSync(path).toString('hex'),
    `4d3cb2a1${'0200'}${'0400'}${'00'.repeat(8)}${'00000400'}${'71000000'}`,
  );
});

files('the machine has a clock, too', async () => {
  const path = join(directory, 'now.pcap');
  const writer = CaptureWriter.open(path);
  const before = BigInt(Date.now()) * 1_000_000n;
  write(writer, someFrame(60));
  const after = BigInt(Date.now() + 1) * 1_000_000n;
  writer.close();
  const [frame] = await readFrames(path);
  // The wall clock and the monotonic one may drift apart a little.
  const slack = 1_000_000_000n;
  assert.ok(frame!.timeNs >= before - slack && frame!.timeNs <= after + slack, `${frame!.timeNs}`);
});

files('the header is in the file at once, frames after a second or when they are asked for', () => {
  const path = join(directory, 'soon.pcap');
  const clock = new ManualClock();
  const writer = CaptureWriter.open(path, { clock, format: 'pcap' });
  assert.is(statSync(path).size, 24);
  write(writer, someFrame(60));
  clock.advanceNs(900e6);
  assert.equal(writer.counters, NOTHING, 'it waits');
  clock.advanceNs(100e6);
  assert.is(statSync(path).size, 24 + 76);
  assert.equal(writer.counters, { ...NOTHING, written: 1 });
  write(writer, someFrame(60));
  writer.flush();
  assert.is(statSync(path).size, 24 + 152);
  writer.close();
});

files('a full buffer is written as well', () => {
  const path = join(directory, 'much.pcap');
  const writer = CaptureWriter.open(path, { clock: new ManualClock(), format: 'pcap' });
  for (let i = 0; i < 1000; i++) write(writer, someFrame(1500));
  assert.ok(statSync(path).size > 900_000);
  writer.close();
  assert.is(statSync(path).size, 24 + 1000 * 1516);
});

files('a frame longer than captures hold is cut, and says so', async () => {
  const path = join(directory, 'long.pcap');
  const writer = CaptureWriter.open(path);
  write(writer, new Uint8Array(300_000).fill(7));
  writer.close();
  const [frame] = await readFrames(path);
  assert.equal([frame!.bytes.length, frame!.originalBytes], [262_144, 300_000]);
});

files('a recording does not keep the process alive, and is written once a second', () => {
  const path = join(directory, 'alive.pcap');
  const { status, stderr } = runScript(`
    import { CaptureWriter } from '${DIST}src/capture/capture-writer.js';
    const writer = CaptureWriter.open('${path}');
    writer.write(new Uint8Array(60), 0, 60);
    setTimeout(() => {}, 1500);
  `);
  assert.is(status, 0, stderr);
  assert.is(statSync(path).size, 24 + 76);
});

files('a file that has something in it is not touched unless that is said', () => {
  const path = join(directory, 'mine.txt');
  writeFileSync(path, 'mine');
  for (const attempt of [() => CaptureWriter.open(path), () => checkWritable(path, false)]) {
    const error = refusal(attempt);
    assert.is(error.code, 'BAD_OPTION');
    assert.is(error.message, `Cannot write ${path}: it exists and has 4 bytes`);
    assert.match(error.hint!, '--force');
    assert.is(readFileSync(path, 'utf8'), 'mine');
  }
  checkWritable(path, true);
  assert.is(readFileSync(path, 'utf8'), 'mine');
  CaptureWriter.open(path, { overwrite: true, format: 'pcap' }).close();
  assert.is(statSync(path).size, 24);
  const empty = join(directory, 'empty');
  writeFileSync(empty, '');
  checkWritable(empty, false);
  CaptureWriter.open(empty).close();
});

files('a file that is being read is not written over, whatever its path', () => {
  const path = join(directory, 'read.pcap');
  writeFileSync(path, 'being read');
  const [link, other] = [join(directory, 'symbolic'), join(directory, 'hard')];
  symlinkSync(path, link);
  linkSync(path, other);
  for (const name of [path, link, other]) {
    const error = refusal(() => CaptureWriter.open(name, { overwrite: true, reading: [fileKey(path)!] }));
    assert.is(error.code, 'BAD_OPTION');
    assert.match(error.message, 'it is the file that is being read');
  }
  assert.is(readFileSync(path, 'utf8'), 'being read');
});

files('no folder, a directory, a socket: said with the path', async () => {
  const folder = join(directory, 'folder');
  mkdirSync(folder);
  const socket = join(directory, 'socket');
  const server = createServer().listen(socket);
  await new Promise((resolve) => server.once('listening', resolve));
  for (const [path, says] of [
    [join(directory, 'no', 'such.pcap'), 'its folder does not exist'],
    [folder, 'directory'],
    [socket, 'it is a socket'],
  ] as const) {
    const error = refusal(() => CaptureWriter.open(path));
    assert.is(error.code, 'BAD_OPTION');
    assert.match(error.message, `Cannot write ${path}`);
    assert.match(error.message, says);
    assert.is(error.path, path);
  }
  for (const path of [folder, socket, join(directory, 'no', 'such.pcap')])
    assert.is(refusal(() => checkWritable(path, true)).code, 'BAD_OPTION');
  server.close();
});

const enospc = (): Error =>
  Object.assign(new Error('ENOSPC: no space left'), { code: 'ENOSPC', errno: -28, syscall: 'write' });

/** A disk with so many bytes left: writes what fits, then fails. */
function smallDisk(bytes: number): NonNullable<CaptureWriterOptions['writeSync']> {
  let left = bytes;
  return (fd, buffer, offset, length) => {
    const fits = Math.min(left, length);
    if (fits === 0) throw enospc();
    left -= fits;
    return writeSync(fd, buffer, offset, fits);
  };
}

for (const left of [24 + 3 * 76, 24 + 3 * 76 + 1, 24 + 3 * 76 + 50, 24 + 4 * 76 - 1]) {
  files(
    `a disk that is full after ${left} bytes: the file ends with its third record, and all is counted`,
    async () => {
      const path = join(directory, `full-${left}.pcap`);
      const told: NicError[] = [];
      const clock = new ManualClock();
      const writer = CaptureWriter.open(path, {
        clock,
        writeSync: smallDisk(left),
        onError: (error) => told.push(error),
      });
      for (let i = 0; i < 5; i++) write(writer, someFrame(60, i));
      clock.advanceNs(1e9);
      assert.is(told.length, 1);
      assert.is(told[0], writer.error);
      assert.is(
        told[0]!.message,
        `${path}: the recording ends after 3 frames: ENOSPC (no space left on device)`,
      );
      assert.is(told[0]!.path, path);
      for (let i = 0; i < 4; i++) write(writer, someFrame(60));
      clock.advanceNs(5e9);
      writer.close();
      assert.is(told.length, 1);
      assert.equal(writer.counters, { ...NOTHING, written: 3, failed: 6 });
      const frames = await readFrames(path);
      assert.equal(
        frames.map(({ bytes }) => bytes),
        [0, 1, 2].map((i) => someFrame(60, i)),
      );
    },
  );
}

files('a disk without room for the header is an error of opening', () => {
  const told: NicError[] = [];
  const options = { onError: (error: NicError) => told.push(error), clock: new ManualClock() };
  const error = refusal(() => CaptureWriter.open('/dev/full', options));
  assert.is(error.code, 'SYSCALL');
  assert.match(error.message, /^\/dev\/full: .*ENOSPC/);
  assert.equal(told, []);
});

files('a real disk that is full', () => {
  // A namespace of its own, so that nothing stays mounted.
  const script = `
    import { statSync } from 'node:fs';
    import { CaptureWriter } from '${DIST}src/capture/capture-writer.js';
    const writer = CaptureWriter.open('${directory}/disk/full.pcap', { onError: (error) => console.log(error.message) });
    for (let i = 0; i < 2000; i++) writer.write(new Uint8Array(100), 0, 100);
    writer.close();
    const { written, failed } = writer.counters;
    console.log(written + failed, statSync('${directory}/disk/full.pcap').size === 24 + 116 * written, written > 500);
  `;
  mkdirSync(join(directory, 'disk'));
  const mount = `mount -t tmpfs -o size=128k none ${directory}/disk`;
  const { status, stdout, stderr } = spawnSync(
    'unshare',
    ['-m', 'sh', '-c', `${mount} && exec "$0" --input-type=module --eval "$1"`, process.execPath, script],
    { encoding: 'utf8', env: { ...process.env, NODE_V8_COVERAGE: undefined } },
  );
  if (status !== 0 && /unshare|mount/.test(stderr)) {
    console.log(`\n  (a real full disk: not tried, ${stderr.trim()})`);
    return;
  }
  assert.is(status, 0, stderr);
  assert.match(stdout, /^\S+full\.pcap: the recording ends after \d+ frames: ENOSPC.*\n2000 true true\n$/);
});

files.run();

const pipes = suite('pcap: writing to pipes');

function makePipe(name: string): string {
  const path = join(directory, name);
  execFileSync('mkfifo', [path]);
  return path;
}

/** A reader of a pipe that takes what it is told to. */
class Reader {
  readonly #fd: number;
  readonly #parts: Buffer[] = [];

  constructor(path: string) {
    this.#fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  }

  /** Takes what is there, up to a number of bytes. @returns how much that was */
  take(most = Number.POSITIVE_INFINITY): number {
    let taken = 0;
    while (taken < most) {
      const part = Buffer.alloc(Math.min(65_536, most - taken));
      try {
        const count = readSync(this.#fd, part);
        if (count === 0) break;
        this.#parts.push(part.subarray(0, count));
        taken += count;
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'EAGAIN') break;
        throw error;
      }
    }
    return taken;
  }

  frames() {
    return readFrames(inPieces(Buffer.concat(this.#parts), [1 << 20]));
  }

  close(): void {
    closeSync(this.#fd);
  }
}

pipes('a reader that was there first gets the header at once and each frame at the next turn', async () => {
  const path = makePipe('first');
  const reader = new Reader(path);
  const writer = CaptureWriter.open(path, { clock: new ManualClock(), format: 'pcap' });
  assert.is(reader.take(), 24);
  write(writer, someFrame(60));
  write(writer, someFrame(60));
  await nextTurn();
  await nextTurn();
  assert.is(reader.take(), 2 * 76);
  writer.close();
  assert.equal(writer.counters, { ...NOTHING, written: 2 });
  assert.is((await reader.frames()).length, 2);
  reader.close();
});

pipes('without a reader nothing waits, and all is counted; who comes gets what follows', async () => {
  const path = makePipe('later');
  const clock = new ManualClock();
  const writer = CaptureWriter.open(path, { clock, format: 'pcap' });
  for (let i = 0; i < 1000; i++) write(writer, someFrame(1500));
  clock.advanceNs(1e9);
  assert.equal(writer.counters, { ...NOTHING, unread: 1000 });
  const reader = new Reader(path);
  clock.advanceNs(20e6);
  assert.is(reader.take(), 24);
  write(writer, someFrame(77));
  writer.flush();
  writer.close();
  reader.take();
  assert.equal(
    (await reader.frames()).map(({ bytes }) => bytes),
    [someFrame(77)],
  );
  assert.equal(writer.counters, { ...NOTHING, unread: 1000, written: 1 });
  reader.close();
});

pipes('a slow reader gets whole frames; what does not fit is counted', async () => {
  const path = makePipe('slow');
  const reader = new Reader(path);
  const clock = new ManualClock();
  const writer = CaptureWriter.open(path, { clock, format: 'pcap' });
  const sent = 2000;
  for (let i = 0; i < sent; i++) {
    write(writer, someFrame(900 + (i % 7), i));
    if (i % 10 === 0) reader.take(3000);
  }
  const { slow } = writer.counters;
  assert.ok(slow > 100, `${slow} too many`);
  for (let i = 0; i < 1000 && writer.counters.written < sent - slow; i++) {
    clock.advanceNs(20e6);
    reader.take(10_000);
  }
  writer.close();
  reader.take();
  const frames = await reader.frames();
  assert.equal(writer.counters, { ...NOTHING, written: frames.length, slow });
  assert.is(frames.length + slow, sent);
  // In order, and each as it was sent.
  let i = 0;
  for (const { bytes } of frames) {
    while (i < sent && !Buffer.from(bytes).equals(someFrame(900 + (i % 7), i))) i++;
    assert.ok(i < sent, 'a frame that was sent');
  }
  reader.close();
});

pipes('a reader that leaves takes nobody with it; the next one gets a header of its own', async () => {
  const path = makePipe('leaves');
  const clock = new ManualClock();
  const writer = CaptureWriter.open(path, { clock, format: 'pcap' });
  const first = new Reader(path);
  clock.advanceNs(20e6);
  for (let i = 0; i < 200; i++) write(writer, someFrame(1000));
  writer.flush();
  first.take(500);
  first.close();
  write(writer, someFrame(60));
  writer.flush();
  const { written, unread } = writer.counters;
  assert.is(written + unread, 201);
  assert.ok(unread > 50, `${unread} were in the buffer`);
  const second = new Reader(path);
  clock.advanceNs(20e6);
  write(writer, someFrame(88));
  writer.close();
  second.take();
  assert.equal(
    (await second.frames()).map(({ bytes }) => bytes),
    [someFrame(88)],
  );
  assert.is(writer.error, undefined);
  second.close();
});

pipes('drain waits for a slow reader, but not for ever', async () => {
  const path = makePipe('drain');
  const reader = new Reader(path);
  const clock = new ManualClock();
  const writer = CaptureWriter.open(path, { clock, format: 'pcap' });
  for (let i = 0; i < 300; i++) write(writer, someFrame(1000));
  const taking = setInterval(() => {
    reader.take();
    clock.advanceNs(1e6);
  }, 1);
  await writer.drain(60_000);
  clearInterval(taking);
  assert.equal(writer.counters, { ...NOTHING, written: 300 });
  for (let i = 0; i < 300; i++) write(writer, someFrame(1000));
  let ended = false;
  const draining = writer.drain(20).then(() => {
    ended = true;
  });
  for (let ms = 0; ms < 20; ms++) {
    assert.not(ended, `after ${ms} ms`);
    clock.advanceNs(1e6);
    await nextTurn();
  }
  await draining;
  writer.close();
  const { written, slow } = writer.counters;
  assert.is(written + slow, 600);
  assert.ok(slow > 0);
  reader.close();
});

pipes('a pipe that is gone ends the recording', () => {
  const path = makePipe('gone');
  const clock = new ManualClock();
  const told: NicError[] = [];
  const writer = CaptureWriter.open(path, { clock, onError: (error) => told.push(error) });
  rmSync(path);
  clock.advanceNs(1e9);
  assert.is(told.length, 1);
  assert.match(told[0]!.message, /gone: the recording ends after 0 frames: ENOENT/);
  write(writer, someFrame(60));
  assert.equal(writer.counters, { ...NOTHING, failed: 1 });
  writer.close();
});

pipes.after(() => rmSync(directory, { recursive: true }));
pipes.run();
