/** Captures in several files: when a new one is begun, which are kept, and that no frame is lost between them. */
import { mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { FileRing } from '../../src/capture/file-ring.js';
import { ManualClock } from '../../src/clock.js';
import { readFrames } from '../support/read-frames.js';
import { suite } from '../support/suite.js';
import { someFrame } from './make-capture.js';

const ring = suite<{ folder: string }>('captures: several files');

ring.before.each((context) => {
  context.folder = mkdtempSync(join(tmpdir(), 'barewire-ring-'));
});
ring.after.each(({ folder }) => rmSync(folder, { recursive: true, force: true }));

const filesIn = (folder: string): string[] =>
  readdirSync(folder)
    .sort()
    .map((name) => join(folder, name));

ring('a file of the size is followed by the next, and together they have all frames', async ({ folder }) => {
  const files = new FileRing(join(folder, 'it.pcap'), { fileBytes: 2000 }, { clock: new ManualClock() });
  const frames = Array.from({ length: 100 }, (_, i) => someFrame(60 + i, i));
  for (const frame of frames) files.write(frame, 0, frame.length);
  files.close();
  assert.is(files.counters.written, 100);
  const paths = filesIn(folder);
  assert.ok(paths.length > 5);
  const read: Uint8Array[] = [];
  for (const [i, path] of paths.entries()) {
    assert.match(path, new RegExp(`/it_${String(i + 1).padStart(5, '0')}_\\d{14}\\.pcap$`));
    const { size } = statSync(path);
    assert.ok(size < 2200 && (size >= 2000 || i === paths.length - 1), `${size} bytes`);
    read.push(...(await readFrames(path)).map(({ bytes }) => bytes));
  }
  assert.equal(read, frames);
});

ring('an old file is ended by the next frame; only so many are kept', async ({ folder }) => {
  const clock = new ManualClock();
  const files = new FileRing(join(folder, 'it.pcapng'), { fileMs: 1000, files: 2 }, { clock });
  for (let i = 0; i < 10; i++) {
    files.write(someFrame(60, i), 0, 60);
    clock.advanceNs(400e6);
  }
  files.close();
  const paths = filesIn(folder);
  assert.is(paths.length, 2);
  const read = (await Promise.all(paths.map((path) => readFrames(path)))).flat();
  // Files begin with frames 0, 3, 6 and 9.
  assert.equal(
    read.map(({ bytes }) => bytes),
    [6, 7, 8, 9].map((i) => someFrame(60, i)),
  );
  assert.is(files.counters.written, 10);
});

ring('a file that somebody has put in the place of an old one stays', ({ folder }) => {
  const files = new FileRing(join(folder, 'it.pcapng'), { fileBytes: 1, files: 1 }, {});
  const first = files.path;
  renameSync(first, `${first}.moved`);
  writeFileSync(first, 'mine');
  for (let i = 0; i < 3; i++) files.write(someFrame(60, i), 0, 60);
  files.close();
  assert.equal(filesIn(folder).length, 3);
  assert.is(statSync(first).size, 4);
});

ring('where no more files can be made, one error says so, and the rest is counted', ({ folder }) => {
  const told: string[] = [];
  const onError = ({ message }: Error): void => {
    told.push(message);
  };
  const below = join(folder, 'below');
  mkdirSync(below);
  const files = new FileRing(join(below, 'it.pcapng'), { fileBytes: 1 }, { onError });
  rmSync(below, { recursive: true });
  for (let i = 0; i < 3; i++) files.write(someFrame(60, i), 0, 60);
  files.close();
  assert.is(told.length, 1);
  assert.match(told[0]!, /its folder does not exist/);
  assert.match(files.error?.message ?? '', /its folder does not exist/);
  assert.equal(files.counters, { written: 0, unread: 0, slow: 0, failed: 3 });
});

ring.run();
