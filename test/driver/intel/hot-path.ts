/**
 * Runs in a Node.js of its own (see `allocation.test.ts`): receives and sends packets over rings whose hardware is
 * played without allocating, and prints how many scavenges there were meanwhile. A scavenge happens when the young
 * generation is full, so none over millions of packets means that nothing allocates.
 *
 * Arguments: `driver`, or `control` to allocate one small object a batch; a path (see `poll`); packets.
 */
import { PerformanceObserver } from 'node:perf_hooks';
import { setImmediate } from 'node:timers/promises';
import { specialize } from '../../../src/driver/instantiate.js';
import { LAYOUT } from '../../../src/driver/intel/descriptors.js';
import { IntelRxQueue } from '../../../src/driver/intel/rx-queue.js';
import { IntelTxQueue } from '../../../src/driver/intel/tx-queue.js';
import type { PacketCursor } from '../../../src/driver/packet-cursor.js';
import { openCursor } from '../../../src/forward/cursor.js';
import { connectQueues } from '../../../src/forward/forwarder.js';
import { TxFlag } from '../../../src/hugepage/packet-metadata.js';
import { PacketPool } from '../../../src/hugepage/packet-pool.js';
import { FakeMapper } from '../../support/fake-mapper.js';

const [kind, path, packetsText] = process.argv.slice(2);
const SIZE = 512;
const BATCH = 32;
const BATCHES = Math.ceil(Number(packetsText) / BATCH);

const pool = new PacketPool({ buffers: 2048, pageSize: '4K' });
pool.attach(new FakeMapper());
const rxRing = new Int32Array(SIZE * 4);
const txRing = new Int32Array(SIZE * 4);
const rxTail = new Uint32Array(1);
const txTail = new Uint32Array(1);
const metadata = path === 'offload' ? { ipErrorShift: 31, l4ErrorShift: 30 } : undefined;
const rx = new IntelRxQueue({ ring: rxRing, tail: rxTail, pool, errorMask: 0x3b00_0000, metadata });
const tx = new IntelTxQueue({ ring: txRing, tail: txTail, pool });
rx.start();
const bufs = new Uint32Array(BATCH);

let rxHead = 0;
let txHead = 0;

/** One batch of frames comes in; everything queued goes out and is reported where RS (bit 27) asks for it. */
function playHardware(): void {
  for (let i = 0; i < BATCH; i++) {
    const word = rxHead * 4;
    rxRing[word] = 1;
    rxRing[word + 1] = rxHead * 2654435761;
    rxRing[word + 3] = 60 | (i << 16);
    rxRing[word + 2] = 3 | 0x68;
    rxHead = (rxHead + 1) & (SIZE - 1);
  }
  const end = txTail[0]!;
  while (txHead !== end) {
    const word = txHead * 4;
    if ((txRing[word + 2]! & (1 << 27)) !== 0) txRing[word + 3] = 1;
    txHead = (txHead + 1) & (SIZE - 1);
  }
}

function forwardPlain(): number {
  const received = rx.receive(bufs);
  const sent = tx.send(bufs, received);
  pool.release(bufs, received - sent, sent);
  return received;
}

function forwardOffloaded(): number {
  const received = rx.receive(bufs);
  for (let i = 0; i < received; i++) {
    const buffer = bufs[i]!;
    pool.metadata.txFlags[buffer] = TxFlag.VLAN | TxFlag.IP_CHECKSUM;
    pool.metadata.l2Bytes[buffer] = 14;
    pool.metadata.l3Bytes[buffer] = 20;
    pool.metadata.vlanTags[buffer] = i >>> 3;
  }
  const sent = tx.sendOffloaded!(bufs, received);
  pool.release(bufs, received - sent, sent);
  return received;
}

let seen = 0;

/** What a hook may do without allocating: look, change, drop. */
function look(packet: number, lengthBytes: number): number {
  pool.frames[packet << pool.bufferShift]! ^= 1;
  return (seen++ & 15) === 0 ? 0 : lengthBytes;
}

/** An application's loop with all that a cursor has but `take`. */
function makeLoop(
  { next, push, drop, flush }: PacketCursor,
  frames: Uint8Array,
  shift: number,
  batch: number,
): () => number {
  let count = 0;
  return function poll(): number {
    let moved = 0;
    for (; moved < batch; moved++) {
      const packet = next();
      if (packet < 0) break;
      frames[packet << shift]! ^= 1;
      if ((count++ & 15) === 0) drop();
      else if (!push()) break;
    }
    flush();
    return moved;
  };
}

/** The paths. */
function connect(): { poll(): number } {
  if (path === 'forwarder') return connectQueues(rx, tx, { path: 'general', touch: true });
  if (path === 'pipe') return connectQueues(rx, tx, { path: 'pipe', touch: true });
  if (path === 'general-hook') return connectQueues(rx, tx, { path: 'general', onPacket: look });
  if (path === 'hook') return connectQueues(rx, tx, { path: 'pipe', onPacket: look });
  if (path === 'cursor') {
    return { poll: specialize(makeLoop, openCursor(rx, tx), pool.frames, pool.bufferShift, BATCH) };
  }
  return { poll: path === 'queues' ? forwardPlain : forwardOffloaded };
}

const forwarder = connect();
const kept: { value: number }[] = [{ value: 0 }];

function run(batches: number): void {
  const control = kind === 'control';
  for (let batch = 0; batch < batches; batch++) {
    playHardware();
    const moved = forwarder.poll();
    if (control) kept[0] = { value: moved };
  }
}

let scavenges = 0;
let others = 0;
const observer = new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) {
    const { kind: collection } = (entry as unknown as { detail: { kind: number } }).detail;
    // NODE_PERFORMANCE_GC_MINOR is 1.
    if (collection === 1) scavenges++;
    else others++;
  }
});

// Compilation allocates as well: warm up first, and let the observer see what that caused.
run(20_000);
// An empty young generation: what little the end of warming up allocates must not fill it.
globalThis.gc!();
for (let i = 0; i < 3; i++) await setImmediate();
observer.observe({ entryTypes: ['gc'] });
const before = rx.counters[LAYOUT.PACKETS]!;
const sentBefore = tx.counters[LAYOUT.PACKETS]!;
run(BATCHES);
const packets = rx.counters[LAYOUT.PACKETS]! - before;
for (let i = 0; i < 3; i++) await setImmediate();
observer.disconnect();
console.log(JSON.stringify({ packets, sent: tx.counters[LAYOUT.PACKETS]! - sentBefore, scavenges, others }));
