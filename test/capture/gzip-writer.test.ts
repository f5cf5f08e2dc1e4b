/** Writing packed captures: each load is a member of its own, so a file that ends between two is whole. */
import { execFileSync, spawnSync } from 'node:child_process';
import {
  closeSync,
  constants,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { gunzipSync } from 'node:zlib';
import * as assert from 'uvu/assert';
import { CaptureReader } from '../../src/capture/capture-reader.js';
import { CaptureWriter, type CaptureWriterOptions } from '../../src/capture/capture-writer.js';
import { FileRing } from '../../src/capture/file-ring.js';
import { ManualClock } from '../../src/clock.js';
import { DIST, runScript } from '../support/child.js';
import { readFrames } from '../support/read-frames.js';
import { suite } from '../support/suite.js';
import { inPieces, someFrame } from './make-capture.js';

const directory = mkdtempSync(join(tmpdir(), 'barewire-gzip-'));
const NOTHING = { written: 0, unread: 0, slow: 0, failed: 0 };
/** Header of a pcap file. */
const HEADER_BYTES = 24;

function write(writer: CaptureWriter, bytes: Uint8Array): void {
  writer.write(bytes, 0, bytes.length);
}

const bytesOf = async (from: string | AsyncIterable<Uint8Array>) =>
  (await readFrames(from)).map(({ bytes }) => bytes);

/** Frames before the damage of a file, and what is said of it. */
async function readDamaged(bytes: Uint8Array): Promise<{ frames: Uint8Array[]; damage: string | undefined }> {
  const path = join(directory, 'damaged');
  writeFileSync(path, bytes);
  const reader = await CaptureReader.open(path);
  const frames: Uint8Array[] = [];
  do {
    while (reader.next()) {
      const { offsetBytes, lengthBytes } = reader.frame;
      frames.push(reader.memory.slice(offsetBytes, offsetBytes + lengthBytes));
    }
  } while (await reader.fill());
  await reader.close();
  return { frames, damage: reader.damage?.message };
}

/** Remembers where the members of a file end. */
function recordEnds(ends: number[]): NonNullable<CaptureWriterOptions['writeSync']> {
  return (fd, bytes, offset, length) => {
    const taken = writeSync(fd, bytes, offset, length);
    ends.push((ends.at(-1) ?? 0) + taken);
    return taken;
  };
}

/** A file with the frames of each load in a member of its own. @returns where the members end, the header's first */
function writeLoads(path: string, loads: readonly number[]): number[] {
  const ends: number[] = [];
  const writer = CaptureWriter.open(path, { clock: new ManualClock(), writeSync: recordEnds(ends) });
  let next = 0;
  for (const count of loads) {
    for (let i = 0; i < count; i++, next++) write(writer, someFrame(60 + (next % 40), next));
    writer.flush();
  }
  writer.close();
  return ends;
}

/** Frames that no packing makes smaller. */
const noisyFrame = (seed: number): Uint8Array => {
  let state = seed * 2 + 1;
  return Uint8Array.from({ length: 1000 }, () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state >>> 24;
  });
};

const packed = suite('captures packed with gzip: files');

for (const [name, format, options] of [
  ['a.pcap.gz', 'pcap', {}],
  ['a.pcapng.gz', 'pcapng', {}],
  ['a.gz', 'pcapng', {}],
  ['b.pcap', 'pcap', { packing: 'gzip' }],
  ['b', 'pcapng', { packing: 'gzip' }],
] as const) {
  packed(`${name}: ${format}; frames are read again, also in pieces of any size`, async () => {
    const path = join(directory, name);
    const writer = CaptureWriter.open(path, { clock: new ManualClock(1_700_000_000_000), ...options });
    const frames = Array.from({ length: 300 }, (_, i) => someFrame(60 + (i % 700), i));
    for (const frame of frames) write(writer, frame);
    writer.close();
    writer.close();
    assert.equal(writer.counters, { ...NOTHING, written: 300 });
    const reader = await CaptureReader.open(path);
    assert.equal([reader.packing, reader.format], ['gzip', format]);
    await reader.close();
    assert.equal(await bytesOf(path), frames);
    const file = readFileSync(path);
    for (const pieceBytes of name === 'a.gz' ? [1, 4095] : [4095])
      assert.equal(await bytesOf(inPieces(file, [pieceBytes])), frames);
    assert.is(
      execFileSync('gzip', ['-dc'], { input: file, maxBuffer: 1 << 24 }).equals(gunzipSync(file)),
      true,
    );
    assert.is(writer.sizeBytes, file.length);
  });
}

packed('the header is in the file at once, frames after a second or when they are asked for', async () => {
  const path = join(directory, 'soon.pcap.gz');
  const clock = new ManualClock();
  const writer = CaptureWriter.open(path, { clock });
  const lengthNow = (): number => gunzipSync(readFileSync(path)).length;
  assert.is(lengthNow(), HEADER_BYTES);
  write(writer, someFrame(60));
  clock.advanceNs(900e6);
  assert.equal(writer.counters, NOTHING, 'it waits');
  clock.advanceNs(100e6);
  assert.is(lengthNow(), HEADER_BYTES + 76);
  assert.equal(writer.counters, { ...NOTHING, written: 1 });
  write(writer, someFrame(60));
  writer.flush();
  assert.is(lengthNow(), HEADER_BYTES + 152);
  const { size } = statSync(path);
  clock.advanceNs(10e9);
  assert.is(statSync(path).size, size, 'no members without frames');
  writer.close();
});

packed('much is packed in loads, before the second is over', () => {
  const path = join(directory, 'much.pcap.gz');
  const ends: number[] = [];
  const writer = CaptureWriter.open(path, { clock: new ManualClock(), writeSync: recordEnds(ends) });
  for (let i = 0; i < 1000; i++) write(writer, someFrame(1500));
  const { written } = writer.counters;
  assert.ok(written > 900, `${written} frames are in the file`);
  assert.is(gunzipSync(readFileSync(path)).length, HEADER_BYTES + written * 1516);
  assert.ok(ends.length > 20 && ends.length < 26, `${ends.length} members`);
  assert.ok(ends[1]! - ends[0]! < 10_000, 'the first frames are packed, not stored as the header may be');
  writer.close();
  assert.is(gunzipSync(readFileSync(path)).length, HEADER_BYTES + 1000 * 1516);
});

packed('noise is stored for a while, and what can be packed after it is packed', async () => {
  const path = join(directory, 'mixed.pcapng.gz');
  const ends: number[] = [];
  const writer = CaptureWriter.open(path, { clock: new ManualClock(), writeSync: recordEnds(ends) });
  const frames = Array.from({ length: 3000 }, (_, i) =>
    i < 1000 ? noisyFrame(i) : new Uint8Array(1000).fill(i),
  );
  for (const frame of frames) write(writer, frame);
  writer.close();
  assert.equal(await bytesOf(path), frames);
  const sizes = ends.map((end, i) => end - (ends[i - 1] ?? 0));
  // The first member is the header. 64 frames fill a member.
  assert.ok(
    sizes.slice(1, 16).every((size) => size > 60_000 && size < 66_500),
    `noise: ${sizes}`,
  );
  assert.ok(
    sizes.slice(34).every((size) => size < 5000),
    `what can be packed: ${sizes}`,
  );
});

packed('the longest frames fit', async () => {
  const path = join(directory, 'long.pcapng.gz');
  const writer = CaptureWriter.open(path, { clock: new ManualClock() });
  for (let i = 0; i < 4; i++) write(writer, new Uint8Array(262_144).fill(i));
  writer.close();
  assert.equal(
    (await bytesOf(path)).map((bytes) => [bytes.length, bytes[9]]),
    [0, 1, 2, 3].map((i) => [262_144, i]),
  );
});

packed(
  'cut between members it is whole; cut inside one, all before it is read, and one error says so',
  async () => {
    const path = join(directory, 'cut.pcap.gz');
    const loads = [3, 1, 5];
    const ends = writeLoads(path, loads);
    assert.is(ends.length, 4);
    const file = readFileSync(path);
    const wanted = await bytesOf(path);
    for (let size = ends[0]!; size <= file.length; size++) {
      const members = ends.filter((end) => end <= size).length - 1;
      const least = loads.slice(0, members).reduce((sum, count) => sum + count, 0);
      const { frames, damage } = await readDamaged(file.subarray(0, size));
      assert.ok(frames.length >= least, `${size} bytes: ${frames.length} frames, not ${least}`);
      assert.equal(frames, wanted.slice(0, frames.length));
      if (ends.includes(size)) assert.equal([damage, frames.length], [undefined, least]);
      else assert.match(damage ?? '', /ends inside its gzip data|ends inside/, `${size} bytes`);
    }
  },
);

packed('kill -9: the file reads to the last second', async () => {
  const path = join(directory, 'killed.pcapng.gz');
  const { stderr } = runScript(`
    import { CaptureWriter } from '${DIST}src/capture/capture-writer.js';
    const writer = CaptureWriter.open('${path}');
    for (let i = 0; i < 50; i++) writer.write(new Uint8Array(60 + i), 0, 60 + i);
    const look = setInterval(() => {
      if (writer.counters.written !== 50) return;
      writer.write(new Uint8Array(99), 0, 99);
      process.kill(process.pid, 'SIGKILL');
    }, 10);
  `);
  const { frames, damage } = await readDamaged(readFileSync(path));
  assert.equal([frames.length, damage], [50, undefined], stderr);
});

packed('a file that has something in it is not replaced unless that is said', () => {
  const path = join(directory, 'mine.gz');
  writeFileSync(path, 'mine');
  assert.throws(() => CaptureWriter.open(path), /it exists and has 4 bytes/);
  assert.is(readFileSync(path, 'utf8'), 'mine');
});

const enospc = (): Error =>
  Object.assign(new Error('ENOSPC: no space left'), { code: 'ENOSPC', errno: -28, syscall: 'write' });

packed('a full disk: the file ends with a whole member, and what is counted is in it', async () => {
  const whole = join(directory, 'whole.pcap.gz');
  const loads = [3, 1, 5];
  const ends = writeLoads(whole, loads);
  for (const left of [ends[0]!, ends[0]! + 1, ends[1]!, ends[2]! - 1, ends[2]!, ends[3]! - 1]) {
    const path = join(directory, `full-${left}.pcap.gz`);
    const told: string[] = [];
    let room = left;
    const writer = CaptureWriter.open(path, {
      clock: new ManualClock(),
      onError: ({ message }) => told.push(message),
      writeSync(fd, bytes, offset, length) {
        const fits = Math.min(room, length);
        if (fits === 0) throw enospc();
        room -= fits;
        return writeSync(fd, bytes, offset, fits);
      },
    });
    let next = 0;
    for (const count of loads) {
      for (let i = 0; i < count; i++, next++) write(writer, someFrame(60 + (next % 40), next));
      writer.flush();
    }
    writer.close();
    const members = ends.filter((end) => end <= left);
    const wanted = loads.slice(0, members.length - 1).reduce((sum, count) => sum + count, 0);
    assert.is(statSync(path).size, members.at(-1), `${left} bytes`);
    assert.is((await bytesOf(path)).length, wanted);
    assert.equal(writer.counters, { ...NOTHING, written: wanted, failed: 9 - wanted });
    assert.is(told.length, 1);
    assert.match(told[0]!, `the recording ends after ${wanted} frames: ENOSPC`);
  }
});

packed('a real disk that is full', () => {
  // A namespace of its own, so that nothing stays mounted.
  const script = `
    import { readFileSync } from 'node:fs';
    import { randomFillSync } from 'node:crypto';
    import { gunzipSync } from 'node:zlib';
    import { CaptureWriter } from '${DIST}src/capture/capture-writer.js';
    const path = '${directory}/disk/full.pcap.gz';
    const writer = CaptureWriter.open(path, { onError: (error) => console.log(error.message) });
    const frame = new Uint8Array(100);
    for (let i = 0; i < 9000; i++) {
      randomFillSync(frame);
      writer.write(frame, 0, frame.length);
    }
    writer.close();
    const { written, failed } = writer.counters;
    console.log(written + failed, gunzipSync(readFileSync(path)).length === 24 + 116 * written, written > 500);
  `;
  mkdirSync(join(directory, 'disk'));
  const mount = `mount -t tmpfs -o size=256k none ${directory}/disk`;
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
  assert.match(
    stdout,
    /^\S+full\.pcap\.gz: the recording ends after \d+ frames: ENOSPC.*\n9000 true true\n$/,
  );
});

packed('several files: double endings stay, and a file has so many bytes as it is on the disk', async () => {
  for (const [name, ending] of [
    ['it.pcapng.gz', '.pcapng.gz'],
    ['it.pcap.gz', '.pcap.gz'],
    ['it.gz', '.gz'],
  ] as const) {
    const folder = mkdtempSync(join(directory, 'ring-'));
    const ring = new FileRing(join(folder, name), { fileBytes: 20_000 }, { clock: new ManualClock() });
    // What cannot be packed: the size of a member is that of its frames.
    const noise = Uint8Array.from({ length: 1000 }, (_, i) => (i * i * 31 + (i >> 3) * 7919) & 255);
    for (let i = 0; i < 1000; i++) ring.write(noise, i % 400, 600);
    ring.close();
    assert.is(ring.counters.written, 1000);
    const names = readdirSync(folder).sort();
    assert.ok(names.length > 1, `${names}`);
    let frames = 0;
    for (const [i, one] of names.entries()) {
      assert.match(
        one,
        new RegExp(`^it_${String(i + 1).padStart(5, '0')}_\\d{14}${ending.replaceAll('.', '\\.')}$`),
      );
      if (i < names.length - 1) assert.ok(statSync(join(folder, one)).size >= 20_000);
      frames += (await readFrames(join(folder, one))).length;
    }
    assert.is(frames, 1000);
  }
});

packed.run();

const pipes = suite('captures packed with gzip: pipes');

/** A pipe and a reader of it, that takes what it is told to. */
function makePipe(name: string): {
  path: string;
  open(): { take(most?: number): number; bytes(): Buffer; close(): void };
} {
  const path = join(directory, name);
  execFileSync('mkfifo', [path]);
  const open = () => {
    const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    const parts: Buffer[] = [];
    return {
      take(most = Number.POSITIVE_INFINITY) {
        let taken = 0;
        while (taken < most) {
          const part = Buffer.alloc(Math.min(65_536, most - taken));
          try {
            const count = readSync(fd, part);
            if (count === 0) break;
            parts.push(part.subarray(0, count));
            taken += count;
          } catch (error) {
            if ((error as NodeJS.ErrnoException).code === 'EAGAIN') break;
            throw error;
          }
        }
        return taken;
      },
      bytes: () => Buffer.concat(parts),
      close: () => closeSync(fd),
    };
  };
  return { path, open };
}

pipes('the header at once, frames of a second together', async () => {
  const { path, open } = makePipe('seconds.gz');
  const reader = open();
  const clock = new ManualClock();
  const writer = CaptureWriter.open(path, { clock, format: 'pcap' });
  reader.take();
  assert.is(gunzipSync(reader.bytes()).length, HEADER_BYTES);
  write(writer, someFrame(60));
  await nextTurn();
  await nextTurn();
  clock.advanceNs(500e6);
  write(writer, someFrame(61));
  assert.is(reader.take(), 0);
  clock.advanceNs(500e6);
  reader.take();
  assert.is(gunzipSync(reader.bytes()).length, HEADER_BYTES + 76 + 77);
  assert.equal(writer.counters, { ...NOTHING, written: 2 });
  writer.close();
  reader.close();
});

pipes('a slow reader gets whole frames; what does not fit is counted', async () => {
  const { path, open } = makePipe('slow.gz');
  const reader = open();
  const clock = new ManualClock();
  const writer = CaptureWriter.open(path, { clock });
  const sent = 2000;
  for (let i = 0; i < sent; i++) {
    write(writer, noisyFrame(i));
    if (i % 10 === 0) reader.take(3000);
  }
  const { slow } = writer.counters;
  assert.ok(slow > 100, `${slow} too many`);
  for (let i = 0; i < 1000 && writer.counters.written < sent - slow; i++) {
    clock.advanceNs(20e6);
    reader.take(30_000);
  }
  writer.close();
  reader.take();
  const frames = await bytesOf(inPieces(reader.bytes(), [1 << 20]));
  assert.equal(writer.counters, { ...NOTHING, written: frames.length, slow });
  assert.is(frames.length + slow, sent);
  let i = 0;
  for (const bytes of frames) {
    while (i < sent && !Buffer.from(bytes).equals(noisyFrame(i))) i++;
    assert.ok(i++ < sent, 'a frame that was sent, in order');
  }
  reader.close();
});

pipes('a reader that leaves in the middle of a member; the next one gets a file of its own', async () => {
  const { path, open } = makePipe('leaves.gz');
  const clock = new ManualClock();
  const writer = CaptureWriter.open(path, { clock });
  const first = open();
  clock.advanceNs(20e6);
  for (let i = 0; i < 400; i++) write(writer, noisyFrame(i));
  first.take(500);
  first.close();
  writer.flush();
  const { written, unread } = writer.counters;
  assert.is(written + unread, 400);
  assert.ok(unread > 50, `${unread} were under way`);
  const second = open();
  clock.advanceNs(20e6);
  write(writer, someFrame(88));
  writer.close();
  second.take();
  assert.equal(await bytesOf(inPieces(second.bytes(), [1 << 20])), [someFrame(88)]);
  assert.is(writer.error, undefined);
  second.close();
});

pipes.after(() => rmSync(directory, { recursive: true }));
pipes.run();
