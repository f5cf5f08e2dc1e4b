/**
 * Runs in a Node.js of its own (see `allocation.test.ts`): frames of a pool pass a filter and are captured, or frames of a
 * file are read; prints how many scavenges there were meanwhile. See test/driver/intel/hot-path.ts.
 *
 * Arguments: `product`, or `control` to allocate one small object for each frame; a path; packets.
 */
import { PerformanceObserver } from 'node:perf_hooks';
import { setImmediate } from 'node:timers/promises';
import { CaptureReader } from '../../src/capture/capture-reader.js';
import { CaptureWriter } from '../../src/capture/capture-writer.js';
import { compileFilter } from '../../src/capture/filter/index.js';
import { systemClock } from '../../src/clock.js';
import { PacketPool } from '../../src/hugepage/packet-pool.js';
import { buildUdp } from '../../src/packet/transport-builder.js';
import { pcapFile } from './make-capture.js';

const [kind, path, packetsText] = process.argv.slice(2);
const PACKETS = Number(packetsText);
const BATCH = 32;
const BUFFERS = 256;
const RECORDS = 5000;

const frame = buildUdp({
  sourceMac: '02:00:00:00:00:01',
  destinationMac: '02:00:00:00:00:02',
  sourceIp: '10.0.0.1',
  destinationIp: '10.0.0.2',
  sourcePort: 53,
  destinationPort: 1,
  payload: new Uint8Array(path === 'long' ? 1400 : 18),
});
const pool = new PacketPool({ buffers: BUFFERS, pageSize: '4K' });
for (let i = 0; i < BUFFERS; i++) pool.bytes(i).set(frame);
const filter = compileFilter('udp port 53 and host 10.0.0.1');
const writer = CaptureWriter.open('/dev/null', {
  format: path === 'pcap' ? 'pcap' : 'pcapng',
  ...(path === 'packed' ? { packing: 'gzip' } : {}),
  writeSync: (_fd, _bytes, _offset, length) => length,
});
const file = pcapFile(Array.from({ length: RECORDS }, () => ({ bytes: frame, seconds: 1_700_000_000 })));
const kept: { value: number }[] = [{ value: 0 }];
const control = kind === 'control';

/** Captures a batch as a command does. */
function captureBatch(batch: number): void {
  const nowNs = systemClock.nowNs();
  for (let i = 0; i < BATCH; i++) {
    const packet = (batch + i) % BUFFERS;
    if (filter(pool.frames, packet << pool.bufferShift, frame.length, frame.length))
      writer.write(pool.bytes(packet), 0, frame.length, 0, nowNs);
    if (control) kept[0] = { value: i };
  }
}

/** Finds the frames of one long capture. */
let found = 0;
async function readAll(frames: number): Promise<void> {
  const reader = await CaptureReader.open(
    (async function* () {
      yield file.subarray(0, 24);
      for (let i = 0; i < frames; i += RECORDS) yield file.subarray(24);
    })(),
  );
  do {
    while (reader.next()) {
      found++;
      if (control) kept[0] = { value: reader.frame.lengthBytes };
    }
  } while (await reader.fill());
  await reader.close();
}

async function run(packets: number): Promise<void> {
  if (path === 'read') await readAll(packets);
  else for (let batch = 0; batch < packets / BATCH; batch++) captureBatch(batch);
}

let scavenges = 0;
const observer = new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) {
    const { kind: collection } = (entry as unknown as { detail: { kind: number } }).detail;
    // NODE_PERFORMANCE_GC_MINOR is 1.
    if (collection === 1) scavenges++;
  }
});

// Compilation allocates as well: warm up first, and let the observer see what that caused.
await run(500_000);
found = 0;
globalThis.gc!();
await setImmediate();
observer.observe({ entryTypes: ['gc'] });
await run(PACKETS);
await setImmediate();
await setImmediate();
const { written } = writer.counters;
console.log(JSON.stringify({ scavenges, written, found }));
writer.close();
pool.close();
