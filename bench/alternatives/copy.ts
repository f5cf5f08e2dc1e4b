/**
 * What a copy costs: Barewire's two paths on the lockstep device as they are; and the pipe with a function that looks at
 * each packet, and with one that copies each to memory of the application's own, as `recv` would have. Between the last
 * two all else is the same, so the difference is the copy.
 */
import { instantiate } from '../../src/driver/instantiate.js';
import type { PacketHook } from '../../src/driver/queue-link.js';
import { connectQueues } from '../../src/forward/forwarder.js';
import { Queues } from '../lab.js';
import { native } from '../native.js';
import { timedPolls } from '../timed-polls.js';
import { PacketCopier } from './packet-copier.js';
import { type Measured, measured, SIZES_BYTES } from './row.js';

const BATCH = 32;
/** Packets that arrive at each port between two runs. */
const WINDOW = 192;
/** Buffers that the copies of one direction go to in turn. They are the pool's, so that one `copyWithin` can copy. */
const TARGETS = 256;

const WAYS_MEASURED = ['general', 'pipe', 'look', 'copy'] as const;
type Way = (typeof WAYS_MEASURED)[number];

/** Both ways between two ports. */
class Subject {
  readonly #queues = new Queues();
  readonly #run: (polls: number) => number;
  readonly #copiers: PacketCopier[] = [];
  readonly #targets: Uint32Array[] = [];

  constructor(sizeBytes: number, way: Way) {
    const { lab, rx, tx } = this.#queues;
    native.labFrameBytes(lab.pointer, sizeBytes);
    const [toB, toA] = [0, 1].map((from) =>
      connectQueues(rx[from]!, tx[1 - from]!, {
        batch: BATCH,
        path: way === 'general' ? 'general' : 'pipe',
        ...this.#look(way),
      }),
    );
    this.#run = timedPolls(toB!, toA!);
  }

  /** How the way looks at packets. */
  #look(way: Way) {
    if (way === 'general' || way === 'pipe') return { touch: true };
    const { pool } = this.#queues;
    if (way === 'look') return { onPacket: instantiate(makeLook, null, pool.frames, pool.bufferShift) };
    const targets = new Uint32Array(TARGETS);
    if (pool.allocate(targets, TARGETS) < TARGETS) throw new Error('the pool is too small for the copies');
    const copier = new PacketCopier(pool, targets);
    this.#targets.push(targets);
    this.#copiers.push(copier);
    return { onPacket: copier.onPacket };
  }

  /** One window of packets; returns the nanoseconds that each took. */
  round(): number {
    const count = this.#queues.lab.step(WINDOW);
    return this.#run(Math.ceil(count / BATCH)) / (2 * count);
  }

  /** Checks what the device does not. @throws Error */
  check(): void {
    for (const copier of this.#copiers) copier.check();
    this.#queues.lab.checkArmed();
  }

  close(): void {
    for (const targets of this.#targets) this.#queues.pool.release(targets, TARGETS);
    this.#queues.close();
  }
}

function makeLook(_layout: null, frames: Uint8Array, shift: number): PacketHook {
  return function look(packet: number, lengthBytes: number): number {
    const start = packet << shift;
    frames[start] = frames[start]!;
    return lengthBytes;
  };
}

/** All in turn, so that what disturbs the machine disturbs them alike. Takes about `seconds` for each size. */
export function measureCopies(seconds: number): Measured[] {
  return SIZES_BYTES.flatMap((sizeBytes) => measureSize(sizeBytes, seconds));
}

function measureSize(sizeBytes: number, seconds: number): Measured[] {
  const subjects = WAYS_MEASURED.map((way) => ({
    way,
    subject: new Subject(sizeBytes, way),
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
