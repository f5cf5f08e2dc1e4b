/**
 * `npm run bench:capture -- SECONDS`: what capture, replay and filters cost, and beside them dumpcap and tcpreplay where
 * they are installed and the user is root. Each program runs for so many seconds (2 by default).
 */
import { join } from 'node:path';
import { CaptureWriter } from '../../src/capture/capture-writer.js';
import { measureOwn, memoryFolder, removeFolder, SIZES_BYTES } from './own.js';
import { measurePrograms, type ProgramRow, programsMissing } from './programs.js';

const REPLAYED = 100_000;

/** A capture for the replays. Sizes are those on the wire, with FCS. */
async function makeCapture(folder: string, sizeBytes: number): Promise<void> {
  using writer = CaptureWriter.open(join(folder, `${sizeBytes}.pcap`));
  const frame = new Uint8Array(sizeBytes - 4);
  frame.set([2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x88, 0xb5]);
  for (let i = 0; i < REPLAYED; i++) writer.write(frame, 0, frame.length, 0, i * 1000);
  await writer.drain(1000);
}

function print({ what, sizeBytes, frames, cpuNsPerFrame, busyNsPerFrame, lost }: ProgramRow): void {
  const busy = busyNsPerFrame?.toFixed(0) ?? '';
  const cells = [cpuNsPerFrame.toFixed(0).padStart(6), busy.padStart(6), String(frames).padStart(9), lost];
  console.log(`${String(sizeBytes).padStart(5)}  ${what.padEnd(36)} ${cells.join(' ')}`);
}

const seconds = Number(process.argv[2] ?? 2);
if (!(seconds >= 1)) throw new Error(`seconds must be a number from 1 on, not ${process.argv[2]}`);
const folder = memoryFolder();
// It holds hundreds of megabytes of memory.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.once(signal, () => {
    removeFolder(folder);
    process.exit(1);
  });
}
try {
  console.log('in this process, ns per frame');
  for (const { what, sizeBytes, nsPerFrame } of await measureOwn(folder))
    console.log(`${String(sizeBytes).padStart(5)}  ${what.padEnd(36)} ${nsPerFrame.toFixed(1).padStart(8)}`);
  const missing = programsMissing();
  for (const sizeBytes of SIZES_BYTES) await makeCapture(folder, sizeBytes);
  console.log('\nwhole programs: processor time in ns per frame; of it spent on frames; frames; lost');
  if (missing.length > 0)
    console.log(`(dumpcap and tcpreplay are not measured, for want of ${missing.join(', ')})`);
  await measurePrograms(folder, SIZES_BYTES, seconds, missing, print);
} finally {
  removeFolder(folder);
}
