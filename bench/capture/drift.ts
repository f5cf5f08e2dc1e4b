/**
 * `npm run bench:drift -- MINUTES`: replays a capture with known gaps, 10 us to 1 s, for so long (10 minutes by default) on an
 * emulated port, and prints how late frames were: the last one tells whether times drift.
 */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { CaptureWriter } from '../../src/capture/capture-writer.js';
import { memoryFolder, removeFolder } from './own.js';

const BAREWIRE = fileURLToPath(new URL('../../tools/barewire.js', import.meta.url));
/** Each gap in turn: all lengths in one cycle of 2.2 s. */
const GAPS_NS = [1e4, 2e4, 5e4, 1e5, 2e5, 5e5, 1e6, 2e6, 5e6, 1e7, 2e7, 5e7, 1e8, 2e8, 5e8, 3e8, 1e9];
const FRAME_BYTES = 60;

/** @returns frames written, and when the last of them is due, in ns from the first */
function writeCapture(path: string, minutes: number): { frames: number; lastNs: number } {
  using writer = CaptureWriter.open(path);
  const frame = new Uint8Array(FRAME_BYTES);
  frame.set([2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x88, 0xb5]);
  let [frames, timeNs, lastNs] = [0, 0, 0];
  for (; timeNs <= minutes * 60e9; frames++) {
    const seconds = Math.floor(timeNs / 1e9);
    writer.writeRecord(frame, 0, frame.length, {
      seconds,
      nanoseconds: timeNs - seconds * 1e9,
      originalBytes: frame.length,
    });
    lastNs = timeNs;
    timeNs += GAPS_NS[frames % GAPS_NS.length]!;
  }
  return { frames, lastNs };
}

const minutes = Number(process.argv[2] ?? 10);
if (!(minutes > 0)) throw new Error(`minutes must be a number above 0, not ${process.argv[2]}`);
const folder = memoryFolder();
try {
  const [file, socket] = [join(folder, 'gaps.pcap'), join(folder, 'a.sock')];
  const { frames, lastNs } = writeCapture(file, minutes);
  console.log(`${frames} frames, gaps of 10 us to 1 s, the last after ${(lastNs / 1e9).toFixed(6)} s`);
  const link = ['--ports', '1', '--socket', socket, '--link', 'record:/dev/null'];
  const emulator = spawn(process.execPath, ['--no-warnings', BAREWIRE, 'emulate', ...link], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  try {
    await once(emulator.stdout, 'data');
    const { stdout, stderr } = spawnSync(
      process.execPath,
      ['--no-warnings', BAREWIRE, 'replay', file, `vfio-user:${socket}`],
      { encoding: 'utf8' },
    );
    const at = stdout.indexOf('replayed ');
    if (at < 0) throw new Error(`the replay failed: ${stderr}`);
    process.stdout.write(stdout.slice(at));
  } finally {
    emulator.kill('SIGINT');
    await once(emulator, 'close');
  }
} finally {
  removeFolder(folder);
}
