/**
 * A million packets forwarded in one process: nothing piles up. Both ports' wires are joined (see cases.ts), so a frame
 * that one port sends arrives at the other, which sends it on: a few frames go round and round.
 */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import * as assert from 'uvu/assert';
import { connectQueues, type NetDevice, open, PacketPool, pollLoop } from '../../../src/index.js';
import { bindDriver, freeHugepages, nicAddresses } from '../guest.js';
import { suite } from '../suite.js';
import { note } from '../wire.js';

const FRAMES_IN_FLIGHT = 256;
const WARM_UP_PACKETS = 100_000;
const PACKETS = 1_000_000;
/** One byte kept for each packet would be four times as much. */
const MAX_GROWTH_BYTES = 256 * 1024;

setFlagsFromString('--expose-gc');
const collectGarbage: () => void = runInNewContext('gc');

/** Bytes of the JavaScript heap, and of memory outside of it that belongs to JavaScript objects. */
function heapBytes(): number {
  collectGarbage();
  collectGarbage();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

const test = suite('endurance');

test('1,000,000 packets leave the heap as it was and every buffer in the pool', async () => {
  const hugepages = freeHugepages();
  const pool = new PacketPool({ buffers: 4096 });
  const ports: NetDevice[] = [];
  for (const address of nicAddresses()) {
    bindDriver(address, 'vfio-pci');
    ports.push(await open(address, { pool, promiscuous: true }));
  }
  const [a, b] = ports as [NetDevice, NetDevice];
  for (const port of ports) assert.ok((await port.waitForLink({ timeoutMs: 90_000 })).up);

  const bufs = new Uint32Array(32);
  for (let sent = 0; sent < FRAMES_IN_FLIGHT; sent += bufs.length) {
    assert.is(pool.allocate(bufs, bufs.length), bufs.length);
    for (const buf of bufs) {
      pool.bytes(buf).fill(0xff, 0, 64);
      pool.lengths[buf] = 64;
    }
    assert.is(a.txQueues[0]!.send(bufs, bufs.length), bufs.length);
  }

  const there = connectQueues(a.rxQueues[0], b.txQueues[0], { path: 'general' });
  const back = connectQueues(b.rxQueues[0], a.txQueues[0], { path: 'general' });
  let forwarded = 0;
  /** Forwards until that many packets have been received in all. */
  const forwardUntil = async (total: number): Promise<void> => {
    const stop = new AbortController();
    const deadline = setTimeout(() => stop.abort(), 400_000);
    await pollLoop(
      () => {
        const moved = there.poll() + back.poll();
        forwarded += moved;
        if (forwarded >= total) stop.abort();
        return moved;
      },
      { signal: stop.signal, devices: ports },
    );
    clearTimeout(deadline);
    assert.ok(forwarded >= total, `${forwarded} packets of ${total} in time`);
  };

  await forwardUntil(WARM_UP_PACKETS);
  const before = heapBytes();
  const start = performance.now();
  await forwardUntil(WARM_UP_PACKETS + PACKETS);
  const seconds = (performance.now() - start) / 1000;
  const growth = heapBytes() - before;
  note(
    `${Math.round(PACKETS / seconds)} packets/s; heap ${before} bytes, ${growth} more after ${PACKETS} packets`,
  );
  assert.ok(growth < MAX_GROWTH_BYTES, `heap grew by ${growth} bytes`);

  const received = ports.map((port) => port.stats().rxPackets);
  assert.is(received[0]! + received[1]!, forwarded);
  for (const port of ports) await port.close();
  assert.is(there.dropped + back.dropped, 0);
  assert.is(pool.available, pool.capacity);
  const all = new Set(pool.free);
  assert.is(all.size, pool.capacity, 'each buffer once');
  pool.close();
  assert.is(freeHugepages(), hugepages);
});

test.run();
