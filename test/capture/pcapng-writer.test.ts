/** Writing pcapng: what is written reads back the same, also half of it, and says where frames come from. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import * as assert from 'uvu/assert';
import { CaptureReader } from '../../src/capture/capture-reader.js';
import { CaptureWriter } from '../../src/capture/capture-writer.js';
import { ManualClock } from '../../src/clock.js';
import { NicError } from '../../src/errors.js';
import { readFrames } from '../support/read-frames.js';
import { suite } from '../support/suite.js';
import { block, inPieces, option, someFrame, words } from './make-capture.js';

const writing = suite('pcapng: writing');
const directory = mkdtempSync(join(tmpdir(), 'barewire-pcapng-'));

writing.after(() => rmSync(directory, { recursive: true, force: true }));

let files = 0;
const newPath = (): string => join(directory, `${files++}.pcapng`);

writing('frames, lengths, times and interfaces read back', async () => {
  const frame = fc.record({
    bytes: fc.uint8Array({ maxLength: 300 }),
    seconds: fc.nat(0xffff_ffff),
    nanoseconds: fc.nat(999_999_999),
    cutBytes: fc.nat(1000),
    interfaceId: fc.nat(2),
    offset: fc.nat(9),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(frame, { maxLength: 20 }), async (frames) => {
      const path = newPath();
      const writer = CaptureWriter.open(path, { interfaces: [{ name: 'a' }, {}, { name: 'c' }] });
      for (const { bytes, offset, cutBytes, ...record } of frames) {
        const memory = new Uint8Array(bytes.length + offset).fill(0xee);
        memory.set(bytes, offset);
        writer.writeRecord(memory, offset, bytes.length, {
          ...record,
          originalBytes: bytes.length + cutBytes,
        });
      }
      writer.close();
      assert.is(writer.counters.written, frames.length);
      const reader = await CaptureReader.open(path);
      for (const { bytes, seconds, nanoseconds, cutBytes, interfaceId } of frames) {
        while (!reader.next()) assert.ok(await reader.fill());
        const { frame: read } = reader;
        assert.equal(read.bytes.slice(read.offsetBytes, read.offsetBytes + read.lengthBytes), bytes);
        assert.equal(
          [read.seconds, read.nanoseconds, read.originalBytes, read.interfaceId, read.linkType],
          [seconds, nanoseconds, bytes.length + cutBytes, interfaceId, 1],
        );
      }
      while (await reader.fill()) assert.not.ok(reader.next());
      assert.is(reader.damage, undefined);
      await reader.close();
    }),
    { numRuns: 100 },
  );
});

writing('a snap length cuts; views that begin with the frame are copied as others are', async () => {
  const path = newPath();
  const writer = CaptureWriter.open(path, { snapBytes: 201, clock: new ManualClock(1_700_000_000_000) });
  const buffer = new Uint8Array(2048).fill(0xee);
  buffer.set(someFrame(1500));
  for (const length of [60, 200, 1500]) writer.write(buffer, 0, length);
  writer.close();
  const frames = await readFrames(path);
  assert.equal(
    frames.map(({ bytes, originalBytes, timeNs }) => [bytes, originalBytes, timeNs]),
    [60, 200, 1500].map((length) => [
      someFrame(1500).slice(0, Math.min(length, 201)),
      length,
      1_700_000_000_000_000_000n,
    ]),
  );
});

writing('interfaces and what they counted, as the draft has them', () => {
  const path = newPath();
  const writer = CaptureWriter.open(path, {
    clock: new ManualClock(1_700_000_000_000),
    interfaces: [
      { name: 'port0', mac: Uint8Array.of(2, 0, 0, 0, 0, 9), speedBitsPerSecond: 1e10, filter: 'udp' },
    ],
    section: { comment: 'a remark' },
    statistics: () => [{ received: 7, droppedByInterface: 2, droppedBySystem: 1 }],
  });
  writer.close();
  const bytes = readFileSync(path);
  const has = (part: Uint8Array, what: string): void => assert.ok(bytes.includes(Buffer.from(part)), what);
  has(option(1, Buffer.from('a remark')), 'a comment');
  has(option(2, Buffer.from('port0')), 'the name');
  has(option(6, Uint8Array.of(2, 0, 0, 0, 0, 9)), 'the address');
  has(option(8, words([1e10 % 2 ** 32, 2], true)), 'the speed');
  has(option(9, Uint8Array.of(9)), 'nanoseconds');
  has(option(11, Buffer.from('\0udp')), 'the filter');
  const time = 1_700_000_000_000_000_000n;
  const statistics = [
    words([0, Number(time >> 32n), Number(time & 0xffff_ffffn)], true),
    ...[
      [4, 7],
      [5, 2],
      [7, 1],
    ].map(([code, value]) => option(code!, words([value!, 0], true))),
    words([0], true),
  ];
  assert.equal(bytes.subarray(-Buffer.concat(statistics).length - 12), block(5, Buffer.concat(statistics)));
});

writing('a file that is cut anywhere gives all whole frames', async () => {
  const path = newPath();
  const writer = CaptureWriter.open(path, {
    interfaces: [{ name: 'x' }],
    statistics: () => [{ received: 3 }],
  });
  const lengths = [14, 61, 300];
  for (const length of lengths) writer.write(someFrame(length), 0, length);
  writer.close();
  const whole = readFileSync(path);
  const seen = new Set<number>();
  for (let size = whole.length; size > 100; size--) {
    const frames: number[] = [];
    try {
      for await (const frame of await CaptureReader.open(inPieces(whole.subarray(0, size), [size])))
        frames.push(frame.bytes.length);
    } catch (error) {
      assert.instance(error, NicError);
    }
    assert.equal(frames, lengths.slice(0, frames.length));
    seen.add(frames.length);
  }
  assert.equal([...seen], [3, 2, 1, 0]);
});

writing('a full disk: the file ends with a whole frame, whatever would have followed', async () => {
  const path = newPath();
  const { writeSync } = await import('node:fs');
  let left = 1000;
  const errors: NicError[] = [];
  const writer = CaptureWriter.open(path, {
    statistics: () => [{ received: 99 }],
    onError: (error) => errors.push(error),
    writeSync: (fd, bytes, offset, length) => {
      const part = Math.min(left, length);
      if (part === 0)
        throw Object.assign(new Error('full'), { code: 'ENOSPC', errno: -28, syscall: 'write' });
      left -= part;
      return writeSync(fd, bytes, offset, part);
    },
  });
  for (let i = 0; i < 20; i++) writer.write(someFrame(60), 0, 60);
  writer.close();
  assert.is(errors.length, 1);
  const frames = await readFrames(path);
  const { written, failed } = writer.counters;
  assert.ok(written > 0 && written < 20);
  assert.equal([frames.length, failed], [written, 20 - written]);
});

writing.run();
