/**
 * What a way of its own between two AF_XDP sockets would gain: descriptors that go from one socket's receive ring straight into the
 * other's transmit ring, and sent buffers straight back into the fill ring, without the pool in between. No system calls and no
 * kernel: rings in plain memory, whose other side does its part between the windows that are measured.
 *
 *     node dist/bench/xdp-link.js
 */
import { type KernelRing, ringIn } from '../src/driver/xdp/kernel-ring.js';
import { XdpRxQueue } from '../src/driver/xdp/rx-queue.js';
import { XdpTxQueue } from '../src/driver/xdp/tx-queue.js';
import { KERNEL_HEADROOM } from '../src/driver/xdp/uapi.js';
import { connectQueues } from '../src/forward/forwarder.js';
import { PacketPool } from '../src/hugepage/packet-pool.js';

const RING = 1024;
const BATCH = 32;
const BUFFERS = 4096;
const FRAME_BYTES = 60;
const MAX_FRAME_BYTES = 1792;
const ROUNDS = 400;
const WINDOWS_PER_ROUND = 20;

const OFFSETS = { producer: 0, consumer: 64, flags: 128, descriptors: 192 } as const;

/** Words of an entry: 4 in rx and tx, 2 in fill and completion. */
function ring(wordsPerEntry: number): KernelRing {
  return ringIn(new ArrayBuffer(OFFSETS.descriptors + RING * wordsPerEntry * 4), OFFSETS, RING);
}

interface Rings {
  readonly rx: KernelRing;
  readonly fill: KernelRing;
  readonly tx: KernelRing;
  readonly completion: KernelRing;
}

const makeRings = (): Rings => ({ rx: ring(4), fill: ring(2), tx: ring(4), completion: ring(2) });

/** Frames that the kernel moves before a window: half a ring, so that buffers are on their way back meanwhile. */
const WINDOW_FRAMES = RING / 2;

/** Moves entries that wait in one ring to another. */
function moveSome(
  from: KernelRing,
  to: KernelRing,
  move: (from: number, to: number) => void,
  words: [number, number],
): void {
  let taken = from.words[from.consumer]!;
  let put = to.words[to.producer]!;
  const end = taken + WINDOW_FRAMES;
  for (; taken < end && taken !== from.words[from.producer]; taken++, put++) {
    move(from.entries + (taken & (RING - 1)) * words[0], to.entries + (put & (RING - 1)) * words[1]);
  }
  from.words[from.consumer] = taken;
  to.words[to.producer] = put;
}

/** The kernel's part: a frame into each buffer of the fill ring, and each frame of the transmit ring reported as sent. */
function kernelWorks({ rx, fill, tx, completion }: Rings): void {
  moveSome(
    fill,
    rx,
    (from, to) => {
      rx.words[to] = fill.words[from]!;
      rx.words[to + 1] = KERNEL_HEADROOM << 16;
      rx.words[to + 2] = FRAME_BYTES;
    },
    [2, 4],
  );
  moveSome(
    tx,
    completion,
    (from, to) => {
      completion.words[to] = tx.words[from]!;
    },
    [4, 2],
  );
}

/** As it is: `connectQueues`. */
function throughThePool(rings: Rings): () => number {
  const pool = new PacketPool({ buffers: BUFFERS, headroomBytes: KERNEL_HEADROOM, pageSize: '4K' });
  const nothing = (): void => {};
  const shared = { pool, maxFrameBytes: MAX_FRAME_BYTES, wake: () => 0 };
  const rx = new XdpRxQueue({ ...rings, ...shared, idle: nothing, arm: nothing, disarm: nothing });
  const tx = new XdpTxQueue({ ...rings, ...shared, minFrameBytes: 14 });
  return connectQueues(rx, tx, { batch: BATCH }).poll;
}

/** As it would be, with the same checks of what the kernel says. */
function straight({ rx, fill, tx, completion }: Rings): () => number {
  const shift = 11;
  /** 1: the kernel may write to it; 2: it is being sent. */
  const state = new Uint8Array(BUFFERS);
  const mask = RING - 1;
  let [consumed, filled, sent, completed] = [0, 0, 0, 0];
  for (; filled < RING; filled++) {
    fill.words[fill.entries + filled * 2] = filled << shift;
    state[filled] = 1;
  }
  Atomics.store(fill.words, fill.producer, filled);
  return () => {
    const done = (completion.words[completion.producer]! - completed) >>> 0;
    for (let i = 0; i < done; i++) {
      const at = completion.entries + ((completed & mask) << 1);
      completed = (completed + 1) | 0;
      const place = (completion.words[at]! >>> 0) - KERNEL_HEADROOM;
      const buffer = place >>> shift;
      if (completion.words[at + 1] !== 0 || place !== buffer << shift || state[buffer] !== 2) continue;
      state[buffer] = 1;
      fill.words[fill.entries + ((filled & mask) << 1)] = place;
      filled = (filled + 1) | 0;
    }
    completion.words[completion.consumer] = completed;
    if (done > 0) Atomics.store(fill.words, fill.producer, filled);
    const ready = (rx.words[rx.producer]! - consumed) >>> 0;
    const count = ready < BATCH ? ready : BATCH;
    let moved = 0;
    for (let i = 0; i < count; i++) {
      const at = rx.entries + ((consumed & mask) << 2);
      consumed = (consumed + 1) | 0;
      const high = rx.words[at + 1]!;
      const place = (rx.words[at]! >>> 0) + (high >>> 16) - KERNEL_HEADROOM;
      const buffer = place >>> shift;
      const lengthBytes = rx.words[at + 2]! >>> 0;
      if ((high & 0xffff) !== 0 || place !== buffer << shift || state[buffer] !== 1) continue;
      if ((lengthBytes - 14) >>> 0 > MAX_FRAME_BYTES - 14) continue;
      const to = tx.entries + ((sent & mask) << 2);
      tx.words[to] = place + KERNEL_HEADROOM;
      tx.words[to + 1] = 0;
      tx.words[to + 2] = lengthBytes;
      tx.words[to + 3] = 0;
      state[buffer] = 2;
      sent = (sent + 1) | 0;
      moved++;
    }
    rx.words[rx.consumer] = consumed;
    if (moved > 0) Atomics.store(tx.words, tx.producer, sent);
    return moved;
  };
}

const ways = Object.entries({ throughThePool, straight }).map(([name, make]) => {
  const rings = makeRings();
  return { name, rings, poll: make(rings), ns: [] as number[] };
});

/** Nanoseconds a packet over some windows; every frame that the kernel delivered must have been moved. */
function measure({ name, rings, poll }: (typeof ways)[number]): number {
  let [packets, elapsedMs] = [0, 0];
  for (let window = 0; window < WINDOWS_PER_ROUND; window++) {
    kernelWorks(rings);
    const ready = (rings.rx.words[rings.rx.producer]! - rings.rx.words[rings.rx.consumer]!) >>> 0;
    const startMs = performance.now();
    let moved = 0;
    for (let i = 0; i < WINDOW_FRAMES / BATCH; i++) moved += poll();
    elapsedMs += performance.now() - startMs;
    if (moved !== ready || moved !== WINDOW_FRAMES)
      throw new Error(`${name}: moved ${moved} of ${ready} frames`);
    packets += moved;
  }
  return (elapsedMs * 1e6) / packets;
}

for (let round = 0; round < ROUNDS; round++) {
  for (const way of ways) {
    const ns = measure(way);
    // The first rounds are the engine's.
    if (round >= ROUNDS / 4) way.ns.push(ns);
  }
}
for (const { name, ns } of ways) {
  ns.sort((a, b) => a - b);
  console.log(`${name.padEnd(16)} ${ns[ns.length >> 1]!.toFixed(2)} ns a packet`);
}
