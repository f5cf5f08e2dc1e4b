/**
 * What a copy costs: Barewire's queues on the lockstep device, forwarding each packet as it is, or after copying it to
 * memory of the application's own, as `recv` would have. All else is the same, so the difference is the copy.
 */
import type { RxQueue, TxQueue } from '../../src/driver/device.js';
import type { PacketPool } from '../../src/hugepage/packet-pool.js';
import { Queues } from '../lab.js';
import { native } from '../native.js';
import { type Measured, measured, SIZES_BYTES } from './row.js';

const BATCH = 32;
/** Packets that arrive at each port between two runs. */
const WINDOW = 192;
/** Buffers that the copies go to in turn. They are the pool's, so that one `copyWithin` can copy. */
const TARGETS = 512;
/** Up to here a loop over words copies faster than a call does. */
const LOOP_LIMIT_BYTES = 128;

/** Receive, touch, send: what `Forwarder` does, with a copy where the forwarder looks at a packet. */
export class CopyForwarder {
  readonly #rx: RxQueue;
  readonly #tx: TxQueue;
  readonly #pool: PacketPool;
  readonly #words: Int32Array;
  readonly #targets: Uint32Array;
  readonly #copies: boolean;
  readonly #bufs = new Uint32Array(BATCH);
  #target = 0;
  /** Packets of the last batch that had any. */
  #last = 0;

  /** @param targets where to copy to, a power of two of them; undefined: nowhere */
  constructor(rx: RxQueue, tx: TxQueue, pool: PacketPool, targets: Uint32Array | undefined) {
    this.#rx = rx;
    this.#tx = tx;
    this.#pool = pool;
    this.#words = new Int32Array(pool.memory.buffer, pool.memory.byteOffset, pool.memory.length >>> 2);
    this.#copies = targets !== undefined;
    this.#targets = targets ?? new Uint32Array(1);
  }

  poll(): void {
    const bufs = this.#bufs;
    const received = this.#rx.receive(bufs);
    if (received === 0) return;
    if (this.#copies) this.#copy(received);
    touch(this.#pool, bufs, received);
    this.#last = received;
    const sent = this.#tx.send(bufs, received);
    if (sent < received) throw new Error(`${received - sent} packets found no room`);
  }

  #copy(count: number): void {
    const { bufferShift, lengths, memory } = this.#pool;
    const bufs = this.#bufs;
    const words = this.#words;
    const targets = this.#targets;
    const mask = targets.length - 1;
    let next = this.#target;
    for (let i = 0; i < count; i++) {
      const buf = bufs[i]!;
      const length = lengths[buf]!;
      const from = buf << bufferShift;
      const to = targets[next]! << bufferShift;
      if (length > LOOP_LIMIT_BYTES) {
        memory.copyWithin(to, from, from + length);
      } else {
        const end = (from + length + 3) >>> 2;
        let target = to >>> 2;
        for (let source = from >>> 2; source < end; source++) words[target++] = words[source]!;
      }
      next = (next + 1) & mask;
    }
    this.#target = next;
  }

  /** The last batch's copies are what was sent. @throws Error where they are not */
  check(): void {
    if (!this.#copies || this.#last === 0) return;
    const { bufferShift, lengths, memory } = this.#pool;
    for (let i = 0; i < this.#last; i++) {
      const buf = this.#bufs[i]!;
      const at = (this.#target - this.#last + i) & (this.#targets.length - 1);
      const from = buf << bufferShift;
      const to = this.#targets[at]! << bufferShift;
      for (let byte = 0; byte < lengths[buf]!; byte++) {
        if (memory[from + byte] !== memory[to + byte]) throw new Error(`copy ${i} differs at byte ${byte}`);
      }
    }
  }
}

function touch(pool: PacketPool, bufs: Uint32Array, count: number): void {
  const { memory, bufferShift } = pool;
  for (let i = 0; i < count; i++) {
    const first = bufs[i]! << bufferShift;
    memory[first] = memory[first]!;
  }
}

/** Two forwarders on a lockstep device. */
class Subject {
  readonly #queues = new Queues();
  readonly #targets: Uint32Array | undefined;
  readonly #toB: CopyForwarder;
  readonly #toA: CopyForwarder;

  constructor(sizeBytes: number, copies: boolean) {
    const { lab, pool, rx, tx } = this.#queues;
    native.labFrameBytes(lab.pointer, sizeBytes);
    if (copies) {
      this.#targets = new Uint32Array(TARGETS);
      if (pool.allocate(this.#targets, TARGETS) < TARGETS)
        throw new Error('the pool is too small for the copies');
    }
    const half = TARGETS / 2;
    this.#toB = new CopyForwarder(rx[0]!, tx[1]!, pool, this.#targets?.subarray(0, half));
    this.#toA = new CopyForwarder(rx[1]!, tx[0]!, pool, this.#targets?.subarray(half));
  }

  /** One window of packets; returns the nanoseconds that each took. */
  round(): number {
    const { lab } = this.#queues;
    const count = lab.step(WINDOW);
    const toB = this.#toB;
    const toA = this.#toA;
    const polls = Math.ceil(count / BATCH);
    const start = performance.now();
    for (let i = 0; i < polls; i++) {
      toB.poll();
      toA.poll();
    }
    return ((performance.now() - start) * 1e6) / (2 * count);
  }

  /** Checks what the device does not. @throws Error */
  check(): void {
    this.#toB.check();
    this.#toA.check();
    this.#queues.lab.checkArmed();
  }

  close(): void {
    if (this.#targets !== undefined) this.#queues.pool.release(this.#targets, 0, TARGETS);
    this.#queues.close();
  }
}

/** Both ways in turn, so that what disturbs the machine disturbs both alike. Takes about `seconds` for each size. */
export function measureCopies(seconds: number): Measured[] {
  return SIZES_BYTES.flatMap((sizeBytes) => measureSize(sizeBytes, seconds));
}

function measureSize(sizeBytes: number, seconds: number): Measured[] {
  const subjects = (['zeroCopy', 'copy'] as const).map((way) => ({
    way,
    subject: new Subject(sizeBytes, way === 'copy'),
    samples: [] as number[],
  }));
  const warmUpEnd = performance.now() + seconds * 300;
  const end = performance.now() + seconds * 1000;
  while (performance.now() < end) {
    for (const { subject, samples } of subjects) {
      for (let i = 0; i < 100; i++) {
        const ns = subject.round();
        if (performance.now() > warmUpEnd) samples.push(ns);
      }
      subject.check();
    }
  }
  return subjects.map(({ way, subject, samples }) => {
    subject.close();
    const nsPerPacket = samples.sort((a, b) => a - b)[samples.length >> 1]!;
    return measured({
      way,
      job: 'forward',
      sizeBytes,
      packets: samples.length * 2 * WINDOW,
      packetsPerSecond: 1e9 / nsPerPacket,
      nsPerPacket,
      callsPerPacket: 0,
    });
  });
}
