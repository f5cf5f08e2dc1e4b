/** Opening captures: files, what is no capture, gzip; and memory that does not grow. */
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import * as zlib from 'node:zlib';
import * as assert from 'uvu/assert';
import { CaptureReader } from '../../src/capture/capture-reader.js';
import { NicError } from '../../src/errors.js';
import { readFrames } from '../support/read-frames.js';
import { suite } from '../support/suite.js';
import { inPieces, pcapFile, sectionHeader, someFrame } from './make-capture.js';

const { gzipSync } = zlib;
const directory = mkdtempSync(join(tmpdir(), 'barewire-reader-'));
const reading = suite('captures: reading');

function file(name: string, bytes: Uint8Array): string {
  const path = join(directory, name);
  writeFileSync(path, bytes);
  return path;
}

async function failure(promise: Promise<unknown>): Promise<NicError> {
  try {
    await promise;
  } catch (error) {
    assert.instance(error, NicError);
    return error as NicError;
  }
  throw new Error('it was taken');
}

const RECORDS = Array.from({ length: 10 }, (_, i) => ({ bytes: someFrame(60 + i, i), seconds: i }));

reading('a file: frame by frame, with its name and key', async () => {
  const path = file('good.pcap', pcapFile(RECORDS));
  const reader = await CaptureReader.open(path);
  assert.is(reader.name, path);
  assert.match(reader.key!, /^\d+:\d+$/);
  assert.is(reader.packing, undefined);
  const lengths: number[] = [];
  do {
    while (reader.next()) lengths.push(reader.frame.lengthBytes);
  } while (await reader.fill());
  assert.equal(
    lengths,
    RECORDS.map(({ bytes }) => bytes.length),
  );
  assert.ok(reader.ended);
  assert.is(reader.frames, 10);
  assert.is(reader.damage, undefined);
  assert.not(reader.next());
  assert.not(await reader.fill());
  await reader.close();
  await reader.close();
});

reading('reading on early loses nothing', async () => {
  const reader = await CaptureReader.open(file('early.pcap', pcapFile(RECORDS)));
  for (let i = 0; i < 5; i++) assert.ok(await reader.fill());
  let count = 0;
  while (reader.next()) {
    count++;
    if (!reader.ended) await reader.fill();
  }
  assert.is(count, 10);
  assert.is(reader.damage, undefined);
  await reader.close();
});

reading('a file can be read on at once; what is packed or comes by a stream must be waited for', async () => {
  const whole = pcapFile(Array.from({ length: 2000 }, (_, i) => ({ bytes: someFrame(1000, i) })));
  const plain = await CaptureReader.open(file('now.pcap', whole.subarray(0, whole.length - 500)));
  let count = 0;
  do {
    while (plain.next()) assert.equal(plain.memory[plain.frame.offsetBytes], someFrame(1, count++)[0]);
  } while (plain.fillNow());
  assert.equal([count, plain.ended, plain.fillNow()], [1999, true, false]);
  assert.match(plain.damage?.message ?? '', /ends inside/);
  await plain.close();
  for (const from of [file('now.pcap.gz', gzipSync(whole)), inPieces(whole, [5000])]) {
    const reader = await CaptureReader.open(from);
    while (reader.next());
    assert.is(reader.fillNow(), undefined);
    const filling = reader.fill();
    assert.is(reader.fillNow(), undefined, 'it is under way');
    assert.ok(await filling);
    await reader.close();
  }
});

reading('an iteration that is left closes the file', async () => {
  const reader = await CaptureReader.open(file('left.pcap', pcapFile(RECORDS)));
  for await (const frame of reader) {
    assert.is(frame.bytes.length, 60);
    break;
  }
  assert.not(await reader.fill());
});

for (const [what, bytes, says, hint] of [
  ['nothing', '', 'is empty', /finished/],
  ['text', Buffer.from('not a capture').toString('hex'), 'is not a capture', /pcap or pcapng/],
  ['xz', 'fd377a585a000000', 'is packed with xz', /xz -d/],
  ['bzip2', '425a683931415926', 'is packed with bzip2', /bzip2 -d/],
  ['lz4', '04224d1864400000', 'is packed with lz4', /lz4 -d/],
  ['zip', '504b030414000000', 'is a zip archive', /unzip/],
  ['snoop', '736e6f6f70000000', 'is a capture of snoop', /editcap -F pcap \/.*snoop\.bin NEW/],
  ['short', 'd4c3b2a1', 'is too short for a pcap file: 4 bytes', /copied to its end/],
] as const) {
  reading(`${what}: refused, and the hint says what to do`, async () => {
    const path = file(`${what}.bin`, Buffer.from(bytes, 'hex'));
    const error = await failure(CaptureReader.open(path));
    assert.is(error.code, 'BAD_OPTION');
    assert.is(error.message, `${path} ${says}`);
    assert.is(error.path, path);
    assert.match(error.hint!, hint);
  });
}

reading('no file, a directory, a device, no permission: said with the path', async () => {
  const missing = join(directory, 'missing.pcap');
  const folder = join(directory, 'folder');
  mkdirSync(folder);
  for (const [path, says] of [
    [missing, `Cannot read ${missing}: there is no such file`],
    [join(missing, 'below'), 'there is no such file'],
    [folder, `${folder} is a directory, not a file`],
    ['/dev/null', '/dev/null is a device, not a file'],
  ] as const) {
    const error = await failure(CaptureReader.open(path));
    assert.is(error.code, 'BAD_OPTION');
    assert.match(error.message, says);
    assert.ok(error.hint);
  }
  if (process.getuid?.() === 0) {
    console.log('\n  (no permission: not tried, root may read all)');
    return;
  }
  const secret = file('secret.pcap', pcapFile(RECORDS));
  chmodSync(secret, 0);
  assert.is((await failure(CaptureReader.open(secret))).code, 'NO_PERMISSION');
});

reading('gzip, also in several members, with either format inside', async () => {
  const bytes = pcapFile(RECORDS);
  const expected = await readFrames(file('plain.pcap', bytes));
  assert.equal(await readFrames(file('one.gz', gzipSync(bytes))), expected);
  const two = Buffer.concat([gzipSync(bytes.subarray(0, 100)), gzipSync(bytes.subarray(100))]);
  assert.equal(await readFrames(file('two.gz', two)), expected);
  const reader = await CaptureReader.open(file('ng.gz', gzipSync(sectionHeader())));
  assert.is(reader.format, 'pcapng');
  assert.is(reader.packing, 'gzip');
  await reader.close();
  const twice = await failure(CaptureReader.open(file('twice.gz', gzipSync(gzipSync(bytes)))));
  assert.match(twice.message, 'packed twice, with gzip and gzip');
});

reading('gzip that ends early or is damaged: all that came out of it, then where', async () => {
  // Frames that do not pack well, so that the fault is far from the beginning.
  let state = 1;
  const noise = Uint8Array.from({ length: 1000 }, () => {
    state = (state * 1_103_515_245 + 12_345) & 0x7fffffff;
    return state >>> 16;
  });
  const records = Array.from({ length: 1000 }, (_, i) => ({ bytes: noise.map((byte) => byte ^ (i * 37)) }));
  const packed = gzipSync(pcapFile(records));
  const half = packed.subarray(0, packed.length / 2);
  const broken = Buffer.from(packed);
  // The checksum at the end: what comes before it is as it was.
  broken.fill(0xff, packed.length - 8);
  for (const [name, bytes, says] of [
    ['half.gz', half, 'ends inside its gzip data'],
    ['broken.gz', broken, 'has damaged gzip data'],
  ] as const) {
    const path = file(name, bytes);
    const reader = await CaptureReader.open(path);
    let count = 0;
    const error = await failure(
      (async () => {
        for await (const frame of reader) {
          assert.equal(frame.bytes, records[count]!.bytes, `frame ${count}`);
          // What is unpacked ahead of a slow reader must not be lost when the fault is found.
          if (count++ % 100 === 0) await sleep(5);
        }
      })(),
    );
    assert.is(error.code, 'BAD_FILE');
    const [, unpacked] =
      new RegExp(`^${path} ${says}, (\\d+) unpacked bytes after its beginning$`).exec(error.message) ?? [];
    assert.ok(unpacked !== undefined, error.message);
    assert.is(count, Math.floor((Number(unpacked) - 24) / 1016), 'all whole frames before the fault');
    assert.ok(count > 400, `${count} frames`);
  }
});

reading('zeros behind the last member are padding; between two they are a hole', async () => {
  const bytes = pcapFile(RECORDS);
  const expected = await readFrames(file('whole.pcap', bytes));
  const [first, second] = [gzipSync(bytes.subarray(0, 100)), gzipSync(bytes.subarray(100))];
  for (const zeros of [1, 20_000]) {
    const padded = Buffer.concat([first, second, Buffer.alloc(zeros)]);
    assert.equal(await readFrames(file('padded.gz', padded)), expected, `${zeros} zeros`);
    const hole = Buffer.concat([gzipSync(bytes), Buffer.alloc(zeros), second]);
    for (const from of [file('hole.gz', hole), inPieces(hole, [50, 7, 3000])]) {
      const reader = await CaptureReader.open(from);
      let count = 0;
      const error = await failure(
        (async () => {
          for await (const _ of reader) count++;
        })(),
      );
      assert.is(count, expected.length, 'what comes before it');
      assert.match(error.message, 'has damaged gzip data');
    }
  }
});

reading('a pipe: read as it is written, from a writer that comes later', async () => {
  const pipe = join(directory, 'pipe');
  execFileSync('mkfifo', [pipe]);
  const opening = CaptureReader.open(pipe);
  const bytes = pcapFile(RECORDS);
  const writing = open(pipe, 'w').then(async (writer) => {
    await writer.write(bytes.subarray(0, 100));
    await sleep(20);
    await writer.write(bytes.subarray(100));
    await writer.close();
  });
  const reader = await opening;
  assert.is(reader.key, undefined);
  const lengths: number[] = [];
  for await (const frame of reader) lengths.push(frame.bytes.length);
  await writing;
  assert.equal(
    lengths,
    RECORDS.map((record) => record.bytes.length),
  );
});

reading('gzip of nothing, and of what is no capture', async () => {
  assert.match((await failure(CaptureReader.open(file('none.gz', gzipSync(''))))).message, 'is empty');
  assert.match(
    (await failure(CaptureReader.open(file('x.gz', gzipSync('text'))))).message,
    'is not a capture',
  );
  assert.match(
    (await failure(CaptureReader.open(file('bad.gz', Buffer.from('1f8b0800ffffffff', 'hex'))))).message,
    'gzip data',
  );
});

/** Peak of what buffers take while `frames` frames of 1000 bytes are read. */
async function peakBytes(frames: number, packed: boolean): Promise<number> {
  const records = pcapFile(Array.from({ length: 100 }, (_, i) => ({ bytes: someFrame(1000, i) })));
  async function* stream(): AsyncGenerator<Uint8Array> {
    yield records.subarray(0, 24);
    for (let i = 0; i < frames / 100; i++) yield records.subarray(24);
  }
  let source: string | AsyncIterable<Uint8Array> = stream();
  if (packed) {
    const parts: Buffer[] = [gzipSync(records.subarray(0, 24))];
    const many = gzipSync(records.subarray(24));
    for (let i = 0; i < frames / 100; i++) parts.push(many);
    source = file('many.gz', Buffer.concat(parts));
  }
  const reader = await CaptureReader.open(source);
  const before = process.memoryUsage().arrayBuffers;
  let peak = 0;
  let count = 0;
  do {
    while (reader.next()) count++;
    peak = Math.max(peak, process.memoryUsage().arrayBuffers - before);
  } while (await reader.fill());
  await reader.close();
  assert.is(count, frames);
  return peak;
}

reading('memory does not grow with the file', async () => {
  for (const packed of [false, true]) {
    const peak = await peakBytes(200_000, packed);
    assert.ok(peak < 50e6, `${peak} bytes for a capture of 200 MB, ${packed ? 'packed' : 'plain'}`);
  }
});

reading('a stream that fails', async () => {
  async function* failing(): AsyncGenerator<Uint8Array> {
    yield* inPieces(pcapFile(RECORDS), [100]);
    throw Object.assign(new Error('EIO: i/o error'), { code: 'EIO', errno: -5, syscall: 'read' });
  }
  const reader = await CaptureReader.open(failing(), 'the wire');
  let count = 0;
  do {
    while (reader.next()) count++;
  } while (await reader.fill());
  assert.is(count, 10);
  assert.is(reader.damage?.code, 'SYSCALL');
  assert.match(reader.damage!.message, /^Cannot read on in the wire: EIO/);
});

reading('zstd, where this Node.js has it; else the hint says what to do', async () => {
  const { zstdCompressSync: pack } = zlib as { zstdCompressSync?: (bytes: Uint8Array) => Buffer };
  if (pack === undefined) {
    const path = file('it.zst', Buffer.from('28b52ffd00000000', 'hex'));
    const error = await failure(CaptureReader.open(path));
    assert.is(error.message, `${path} is packed with zstd`);
    assert.match(error.hint!, /zstd -d \/.*it\.zst; or read it with Node\.js 22\.15/);
    return;
  }
  const bytes = pcapFile(RECORDS);
  assert.equal(await readFrames(file('it.zst', pack(bytes))), await readFrames(file('it.pcap', bytes)));
  const noise = Array.from({ length: 5000 }, (_, i) => ({
    bytes: randomBytes(500).map((byte) => byte & 15),
    seconds: i,
  }));
  const packed = pack(pcapFile(noise));
  for (const [cut, says] of [
    [packed.subarray(0, packed.length / 2), 'ends inside its zstd data'],
    [
      Buffer.concat([packed.subarray(0, packed.length / 2), Buffer.alloc(300_000, 0xff)]),
      'has damaged zstd data',
    ],
  ] as const) {
    const reader = await CaptureReader.open(file('cut.zst', cut));
    let count = 0;
    do {
      while (reader.next()) count++;
    } while (await reader.fill());
    await reader.close();
    assert.ok(count > 100 && count < 5000, `${count} frames`);
    assert.match(reader.damage?.message ?? '', says);
  }
});

reading.after(() => rmSync(directory, { recursive: true }));
reading.run();
