/**
 * What capturing, reading and filtering cost in this process, nanoseconds per frame: the steps that a command adds to what
 * its driver does. Frames lie in a pool larger than the caches, as a card leaves them.
 */
import { randomFillSync } from 'node:crypto';
import { closeSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CaptureReader } from '../../src/capture/capture-reader.js';
import { CaptureWriter } from '../../src/capture/capture-writer.js';
import { compileFilter } from '../../src/capture/filter/index.js';
import { PacketPool } from '../../src/hugepage/packet-pool.js';
import { buildUdp } from '../../src/packet/transport-builder.js';

export const SIZES_BYTES = [64, 1514] as const;
/** Ethernet, IPv4 and UDP. */
const HEADERS_BYTES = 42;
const BUFFERS = 8192;
const BATCH = 32;
const ROUNDS = 9;
const FRAMES = 400_000;
/** What tmpfs holds at most at a time. */
const FILE_FRAMES = 100_000;

export interface OwnRow {
  readonly what: string;
  readonly sizeBytes: number;
  readonly nsPerFrame: number;
}

/** Median of several rounds, the first left out: it is where the engine compiles. */
function median(round: () => number): number {
  const times = Array.from({ length: ROUNDS + 1 }, round)
    .slice(1)
    .sort((a, b) => a - b);
  return times[(times.length - 1) >> 1]!;
}

function frameOf(sizeBytes: number): Uint8Array {
  return buildUdp({
    sourceMac: '02:00:00:00:00:01',
    destinationMac: '02:00:00:00:00:02',
    sourceIp: '10.0.0.1',
    destinationIp: '10.0.0.2',
    sourcePort: 53,
    destinationPort: 1,
    // Sizes are those on the wire, with FCS.
    payload: new Uint8Array(sizeBytes - 46),
  });
}

/** A memory file system, where there is one. */
export function memoryFolder(): string {
  try {
    return mkdtempSync('/dev/shm/barewire-bench-');
  } catch {
    return mkdtempSync(join(tmpdir(), 'barewire-bench-'));
  }
}

export async function measureOwn(folder: string): Promise<OwnRow[]> {
  const rows: OwnRow[] = [];
  for (const sizeBytes of SIZES_BYTES) {
    const frame = frameOf(sizeBytes);
    const pool = new PacketPool({ buffers: BUFFERS, pageSize: '4K' });
    for (let i = 0; i < BUFFERS; i++) pool.bytes(i).set(frame);
    const add = (what: string, nsPerFrame: number): void => {
      rows.push({ what, sizeBytes, nsPerFrame });
    };
    add('filter "udp port 53"', filterNs(pool, frame.length));
    for (const [name, path] of [
      ['/dev/null', '/dev/null'],
      ['tmpfs', join(folder, 'it.pcapng')],
    ] as const) {
      for (const snapBytes of [96, undefined])
        add(
          `capture to ${name}${snapBytes === undefined ? '' : `, -s ${snapBytes}`}`,
          captureNs(pool, frame.length, path, snapBytes),
        );
    }
    // The last capture is whole: it is what is read.
    add('read from the page cache', await readNs(join(folder, 'it.pcapng')));
    add('capture, packed, equal frames', captureNs(pool, frame.length, '/dev/null', undefined, true));
    for (let i = 0; i < BUFFERS; i++) randomFillSync(pool.bytes(i).subarray(HEADERS_BYTES, frame.length));
    add('capture, packed, noise as payload', captureNs(pool, frame.length, '/dev/null', undefined, true));
    pool.close();
  }
  return rows;
}

function filterNs(pool: PacketPool, lengthBytes: number): number {
  const filter = compileFilter('udp port 53');
  let taken = 0;
  return median(() => {
    const start = performance.now();
    for (let i = 0; i < FRAMES; i++) {
      // Frames in the caches: the filter alone is meant.
      if (filter(pool.frames, (i & 63) << pool.bufferShift, lengthBytes, lengthBytes)) taken++;
    }
    const ns = ((performance.now() - start) * 1e6) / FRAMES;
    if (taken === 0) throw new Error('the filter takes nothing');
    return ns;
  });
}

function captureNs(
  pool: PacketPool,
  lengthBytes: number,
  path: string,
  snapBytes: number | undefined,
  packed = false,
): number {
  return median(() => {
    const writer = CaptureWriter.open(path, {
      overwrite: true,
      format: 'pcapng',
      ...(packed ? { packing: 'gzip' } : {}),
      ...(snapBytes === undefined ? {} : { snapBytes }),
    });
    const start = performance.now();
    for (let i = 0; i < FILE_FRAMES; i++) {
      writer.write(pool.bytes(i & (BUFFERS - 1)), 0, lengthBytes, 0, (i - (i % BATCH)) * 100);
    }
    writer.flush();
    const ns = ((performance.now() - start) * 1e6) / FILE_FRAMES;
    writer.close();
    if (writer.counters.written !== FILE_FRAMES) throw new Error('frames were lost');
    return ns;
  });
}

async function readNs(path: string): Promise<number> {
  const times: number[] = [];
  for (let round = 0; round <= ROUNDS; round++) {
    closeSync(openSync(path, 'r'));
    const reader = await CaptureReader.open(path);
    const start = performance.now();
    do {
      while (reader.next());
    } while (await reader.fill());
    times.push(((performance.now() - start) * 1e6) / reader.frames);
    await reader.close();
    if (reader.frames !== FILE_FRAMES) throw new Error('frames were lost');
  }
  return median(() => times.shift()!);
}

export function removeFolder(folder: string): void {
  rmSync(folder, { recursive: true, force: true });
}
