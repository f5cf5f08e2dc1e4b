/**
 * `npm run bench:capture`: what capture, replay and filters cost, and beside them dumpcap and tcpreplay where they are
 * installed and the user is root. About a minute.
 */
import { join } from 'node:path';
import { CaptureWriter } from '../../src/capture/capture-writer.js';
import { measureOwn, memoryFolder, removeFolder, SIZES_BYTES } from './own.js';
import { measurePrograms, programsMissing } from './programs.js';

const REPLAYED = 20_000;

/** A capture for the replays: the first frames of the one that was measured last, of each size. */
async function makeCapture(folder: string, sizeBytes: number): Promise<void> {
  using writer = CaptureWriter.open(join(folder, `${sizeBytes}.pcap`));
  const frame = new Uint8Array(sizeBytes - 4);
  frame.set([2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x88, 0xb5]);
  for (let i = 0; i < REPLAYED; i++) writer.write(frame, 0, frame.length, 0, i * 1000);
  await writer.drain(1000);
}

const folder = memoryFolder();
try {
  console.log('in this process, ns per frame');
  for (const { what, sizeBytes, nsPerFrame } of await measureOwn(folder))
    console.log(`${String(sizeBytes).padStart(5)}  ${what.padEnd(28)} ${nsPerFrame.toFixed(1).padStart(8)}`);
  const missing = programsMissing();
  if (missing.length > 0) console.log(`whole programs: not measured, for want of ${missing.join(', ')}`);
  else {
    for (const sizeBytes of SIZES_BYTES) await makeCapture(folder, sizeBytes);
    console.log('\nwhole programs, processor time in ns per frame');
    for (const row of await measurePrograms(folder, SIZES_BYTES)) {
      const { what, sizeBytes, frames, cpuNsPerFrame, lost } = row;
      const cells = `${cpuNsPerFrame.toFixed(0).padStart(8)}  frames ${frames}, lost ${lost}`;
      console.log(`${String(sizeBytes).padStart(5)}  ${what.padEnd(28)} ${cells}`);
    }
  }
} finally {
  removeFolder(folder);
}
