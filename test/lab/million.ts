/**
 * Numbered frames from one device to another, both in this process, with never more on their way than all queues have room for: so each
 * has to come, once and in order, whatever the speed of the machine.
 */
import * as assert from 'uvu/assert';
import { type NetDevice, type OpenOptions, open, PacketPool, pollLoop } from '../../src/index.js';
import { note } from './wire.js';

const ON_THEIR_WAY = 256;
const BATCH = 32;
const FRAME_BYTES = 60;
const ETHERTYPE = 0x88b6;
/** Nothing has come for so long: it is lost. */
const LOST_AFTER_MS = 60_000;

/** @param options of both devices */
export async function assertAllArrive(
  from: string,
  to: string,
  total: number,
  options: OpenOptions = {},
): Promise<void> {
  const pool = new PacketPool({ buffers: 4096 });
  const a = await open(from, { ...options, pool });
  const b = await open(to, { ...options, pool });
  try {
    for (const nic of [a, b]) assert.ok((await nic.waitForLink({ timeoutMs: 90_000 })).up);
    const run = new Run(a, b, total);
    const startMs = performance.now();
    await run.toEnd();
    note(`${total} frames in order, ${Math.round((total * 1000) / (performance.now() - startMs))} a second`);
    assert.equal([a.stats().txPackets, run.received, run.outOfOrder], [total, total, 0]);
    assert.is(a.stats().txErrors, 0);
  } finally {
    await a.close();
    await b.close();
    assert.is(pool.available, pool.capacity);
    pool.close();
  }
}

class Run {
  received = 0;
  /** Frames that came more than once, or after a later one. */
  outOfOrder = 0;
  #sent = 0;
  readonly #a: NetDevice;
  readonly #b: NetDevice;
  readonly #total: number;
  readonly #bufs = new Uint32Array(BATCH);
  readonly #header: Uint8Array;
  #lastMs = performance.now();

  constructor(a: NetDevice, b: NetDevice, total: number) {
    this.#a = a;
    this.#b = b;
    this.#total = total;
    this.#header = Uint8Array.of(...b.mac, ...a.mac, ETHERTYPE >> 8, ETHERTYPE & 0xff);
  }

  async toEnd(): Promise<void> {
    const stop = new AbortController();
    const poll = (): number => {
      const moved = this.#send() + this.#receive();
      if (this.received + this.outOfOrder >= this.#total || this.#isLost(moved)) stop.abort();
      return moved;
    };
    await pollLoop(poll, { signal: stop.signal, devices: [this.#b] });
  }

  #isLost(moved: number): boolean {
    if (moved > 0) this.#lastMs = performance.now();
    return performance.now() - this.#lastMs > LOST_AFTER_MS;
  }

  #send(): number {
    const { pool } = this.#a;
    const bufs = this.#bufs;
    const room = Math.min(BATCH, this.#total - this.#sent, ON_THEIR_WAY - (this.#sent - this.received));
    if (room <= 0) return 0;
    const count = pool.allocate(bufs, room);
    for (let i = 0; i < count; i++) {
      const start = bufs[i]! << pool.bufferShift;
      const number = this.#sent + i;
      pool.frames.set(this.#header, start);
      for (let byte = 0; byte < 4; byte++) pool.frames[start + 14 + byte] = number >>> (24 - 8 * byte);
      pool.lengths[bufs[i]!] = FRAME_BYTES;
    }
    const taken = this.#a.txQueues[0].send(bufs, count);
    pool.release(bufs, count - taken, taken);
    this.#sent += taken;
    return taken;
  }

  #receive(): number {
    const { pool } = this.#b;
    const { frames } = pool;
    const bufs = this.#bufs;
    const count = this.#b.rxQueues[0].receive(bufs);
    for (let i = 0; i < count; i++) {
      const start = bufs[i]! << pool.bufferShift;
      // The kernel at the wire may have something to say.
      if (((frames[start + 12]! << 8) | frames[start + 13]!) !== ETHERTYPE) continue;
      let number = 0;
      for (let byte = 0; byte < 4; byte++) number = number * 256 + frames[start + 14 + byte]!;
      // A number that is missing shows at once: the next one is not it, and at the end too few have come.
      if (number === this.received) this.received++;
      else this.outOfOrder++;
    }
    pool.release(bufs, count);
    return count;
  }
}
