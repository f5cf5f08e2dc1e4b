/**
 * Numbered frames through a forwarder, all in one process over one pool:
 *
 *     xdp-frames.js COUNT FROM A B TO      sends on FROM, forwards from A to B, checks what TO receives
 *
 * FROM and A are two ends of a wire, and so are B and TO. It sends while less than a ring is under way, so nothing is
 * offered beyond what is taken. Prints a JSON object at the end.
 */
import type { NetDevice } from '../../src/driver/device.js';
import { open } from '../../src/driver/registry.js';
import { connectQueues } from '../../src/forward/forwarder.js';
import { pollLoop } from '../../src/forward/poll-loop.js';
import { PacketPool } from '../../src/hugepage/packet-pool.js';
import { SequenceTracker } from '../../src/packet/sequence-tracker.js';
import { TestFrame, TestFrameChecker } from '../../src/packet/test-frame.js';

const BATCH = 32;
const DEADLINE_MS = 240_000;

const [countText, ...addresses] = process.argv.slice(2);
const count = Number(countText);
const pool = new PacketPool({ buffers: 16_384, pageSize: '4K' });
const devices: NetDevice[] = [];
for (const address of addresses) devices.push(await open(address, { pool, promiscuous: true }));
const [from, a, b, to] = devices as [NetDevice, NetDevice, NetDevice, NetDevice];
/** Half of the smallest ring: no ring runs over, however late the other side is. */
const underWay = Math.min(...devices.flatMap(({ rxQueues: [rx], txQueues: [tx] }) => [rx.size, tx.size])) / 2;
const forwarder = connectQueues(a.rxQueues[0], b.txQueues[0], { batch: BATCH });
const frame = new TestFrame({ sizeBytes: 60 });
const checker = new TestFrameChecker();
const words = new Int32Array(pool.frames.buffer, pool.frames.byteOffset, pool.frames.length >>> 2);
const tracker = new SequenceTracker();
const bufs = new Uint32Array(BATCH);
const done = new AbortController();
const timer = setTimeout(() => done.abort(), DEADLINE_MS);
let sent = 0;
let received = 0;
let bad = 0;
let foreign = 0;

function poll(): number {
  return generate() + forwarder.poll() + check();
}

function generate(): number {
  const wanted = Math.min(BATCH, count - sent);
  if (wanted === 0 || sent - received - forwarder.dropped > underWay - BATCH) return 0;
  const got = pool.allocate(bufs, wanted);
  for (let i = 0; i < got; i++) {
    const at = bufs[i]! << pool.bufferShift;
    frame.fill(pool.frames, at);
    frame.stamp(pool.frames, at, sent + i);
    pool.lengths[bufs[i]!] = frame.sizeBytes;
  }
  const taken = from.txQueues[0].send(bufs, got);
  pool.release(bufs, got - taken, taken);
  sent += taken;
  return taken;
}

function check(): number {
  const got = to.rxQueues[0].receive(bufs);
  for (let i = 0; i < got; i++) {
    const packet = bufs[i]!;
    const verdict = checker.check(pool.frames, words, packet << pool.bufferShift, pool.lengths[packet]!);
    if (verdict === 'foreign') foreign++;
    else received++;
    if (verdict === 'good') tracker.record(checker.sequence);
    else if (verdict !== 'foreign') bad++;
  }
  pool.release(bufs, got);
  if (received + forwarder.dropped >= count) done.abort();
  return got;
}

for (const device of devices) await device.waitForLink({ timeoutMs: DEADLINE_MS });
const startMs = performance.now();
await pollLoop(poll, { signal: done.signal, devices });
clearTimeout(timer);
const seconds = (performance.now() - startMs) / 1000;
for (const device of devices) await device.drain({ timeoutMs: 5000 });
const stats = devices.map((device) => device.stats());
const models = devices.map((device) => device.model);
for (const device of devices) await device.close();
const { received: good, lost } = tracker;
const missing = pool.capacity - pool.available;
console.log(JSON.stringify({ sent, received, good, lost, bad, foreign, missing, seconds, stats, models }));
pool.close();
