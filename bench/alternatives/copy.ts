/**
 * What a copy costs: Barewire's queues on the lockstep device, forwarding each packet as it is, or after copying it to
 * memory of the application's own, as `recv` would have. All else is the same, so the difference is the copy.
 */
import { Queues } from '../lab.js';
import { native } from '../native.js';
import { BATCH, CopyForwarder } from './copy-forwarder.js';
import { type Measured, measured, SIZES_BYTES } from './row.js';

/** Packets that arrive at each port between two runs. */
const WINDOW = 192;
/** Buffers that the copies go to in turn. They are the pool's, so that one `copyWithin` can copy. */
const TARGETS = 512;
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
