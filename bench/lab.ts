/**
 * Two ports whose rings and buffers are real DMA memory, with the lockstep device behind them, and the forwarders that
 * run on them. Only the forwarder's time is counted: `run` returns nanoseconds, and the device works between runs.
 */

import type { RxQueue, TxQueue } from '../src/driver/device.js';
import { instantiate } from '../src/driver/instantiate.js';
import { RingMemory } from '../src/driver/intel/rings.js';
import { IntelRxQueue } from '../src/driver/intel/rx-queue.js';
import { IntelTxQueue } from '../src/driver/intel/tx-queue.js';
import { NicError } from '../src/errors.js';
import { connectQueues } from '../src/forward/forwarder.js';
import { DmaRegion } from '../src/hugepage/dma-region.js';
import { PacketPool } from '../src/hugepage/packet-pool.js';
import type { DmaBacking, DmaMapper } from '../src/vfio/types.js';
import { native, type Pointer } from './native.js';
import { timedPolls } from './timed-polls.js';

export const RING = 512;
export const BUFFER_BYTES = 2048;
/** As `barewire fwd` makes its pool. */
const POOL_BUFFERS = 4 * RING + 1024;
/** As ixy makes its mempools: 4096 entries for each of the two. */
export const PEER_BUFFERS = 2 * 4096;
export const PEER_HEADER_BYTES = 64;
/** Buffers that are a cache line further apart do not push each other out of the caches. */
const SPREAD_BYTES = BUFFER_BYTES + 64;
/** ixgbe's mask (82599 datasheet 7.1.6.2). */
export const RX_ERROR_MASK = 0x3b00_0000;

/** What the device can be told to do wrong: see native/device.c. */
export const Fault = { NONE: 0, SKIP_PACKET: 1, WRONG_ADDRESS: 2, WRONG_LENGTH: 3 } as const;

/** A forwarder on two ports, both ways. */
export interface Subject {
  /** `polls` batches each way; returns the nanoseconds that took. */
  run(polls: number): number;
  close(): void;
}

/** Remembers where mapped memory lies; the device's addresses are those of `map`. */
export class LabMapper implements DmaMapper {
  readonly iovaRanges = [{ first: 0n, last: (1n << 48n) - 1n }];
  readonly mapped: { readonly address: bigint; readonly iova: bigint }[] = [];

  map(backing: DmaBacking, iova: bigint): void {
    this.mapped.push({ address: backing.address, iova });
  }

  unmap(): void {}
}

/** The lockstep device, whatever its rings are like. */
export interface LabDevice {
  /**
   * Sends what is queued (at most `send` frames a port), then receives `count` frames at each port. Returns the larger
   * number of frames that arrived at a port. @throws Error where the forwarder did something wrong
   */
  step(count: number, send?: number): number;
  /** @throws Error where an armed receive slot has a buffer that is in use */
  checkArmed(): void;
  plant(fault: number): void;
  /** Frames that have left both ports, each checked. */
  readonly forwarded: number;
  /** Frames that have arrived at both ports. */
  readonly received: number;
  close(): void;
}

export class Lab implements LabDevice {
  readonly mapper = new LabMapper();
  readonly rings = new RingMemory({ queuePairs: 2, rxRingSize: RING, txRingSize: RING, pageSize: 'auto' });
  readonly #registers = new DmaRegion({ sizeBytes: 4096, pageSize: '4K', name: 'registers' });
  readonly pointer: Pointer;

  /** @param bufferBytes from one buffer to the next */
  constructor(memory: bigint, iova: bigint, buffers: number, bufferBytes: number, dataOffset: number) {
    this.pointer = native.labNew(memory, iova, buffers, bufferBytes, dataOffset, RING);
    const base = this.rings.region.address;
    for (const port of [0, 1]) {
      native.labPort(
        this.pointer,
        port,
        base + BigInt(this.rings.rx[port]!.offset),
        base + BigInt(this.rings.tx[port]!.offset),
        this.#registers.address + BigInt(rdtOffset(port)),
        this.#registers.address + BigInt(tdtOffset(port)),
      );
    }
  }

  rdt(port: number): Uint32Array {
    return new Uint32Array(this.#registers.buffer, rdtOffset(port), 1);
  }

  tdt(port: number): Uint32Array {
    return new Uint32Array(this.#registers.buffer, tdtOffset(port), 1);
  }

  step(count: number, send: number = RING): number {
    const arrived = native.labStep(this.pointer, send, count);
    if (arrived < 0) throw new Error(native.labError(this.pointer));
    return arrived;
  }

  checkArmed(): void {
    if (native.labCheckArmed(this.pointer) < 0) throw new Error(native.labError(this.pointer));
  }

  plant(fault: number): void {
    native.labFault(this.pointer, fault);
  }

  get forwarded(): number {
    return native.labForwarded(this.pointer);
  }

  get received(): number {
    return native.labReceived(this.pointer);
  }

  close(): void {
    native.labFree(this.pointer);
    this.rings.region.close();
    this.#registers.close();
  }
}

/** Each register on a cache line of its own. */
function rdtOffset(port: number): number {
  return port * 128;
}

function tdtOffset(port: number): number {
  return port * 128 + 64;
}

/** A lab and a forwarder on it. */
export interface Bench {
  readonly lab: LabDevice;
  readonly subject: Subject;
}

/** Ends a forwarder and its lab. @throws Error where a buffer was lost */
export function closeBench({ lab, subject }: Bench): void {
  subject.close();
  lab.close();
}

/** The queues of two ports, and their pool. */
export interface DriverQueues {
  readonly pool: PacketPool;
  readonly rx: readonly RxQueue[];
  readonly tx: readonly TxQueue[];
  close(): void;
}

/** Real queues on a lab. */
export class Queues implements DriverQueues {
  readonly pool: PacketPool;
  readonly lab: Lab;
  readonly rx: readonly IntelRxQueue[];
  readonly tx: readonly IntelTxQueue[];
  readonly #mapper = new LabMapper();

  constructor() {
    this.pool = new PacketPool({ buffers: POOL_BUFFERS, bufferSizeBytes: BUFFER_BYTES });
    this.pool.attach(this.#mapper);
    const { address, iova } = this.#mapper.mapped[0]!;
    const lab = new Lab(address, iova, POOL_BUFFERS, BUFFER_BYTES, this.pool.headroomBytes);
    const { pool } = this;
    this.lab = lab;
    this.rx = [0, 1].map(
      (port) =>
        new IntelRxQueue({
          ring: lab.rings.rx[port]!.words,
          tail: lab.rdt(port),
          pool,
          errorMask: RX_ERROR_MASK,
        }),
    );
    this.tx = [0, 1].map(
      (port) => new IntelTxQueue({ ring: lab.rings.tx[port]!.words, tail: lab.tdt(port), pool }),
    );
    for (const queue of this.rx) queue.start();
  }

  close(): void {
    closeQueues(this, this.#mapper);
  }
}

/** @throws Error where a buffer was lost */
export function closeQueues(
  queues: { readonly pool: PacketPool; readonly rx: Closing; readonly tx: Closing },
  mapper: DmaMapper,
): void {
  const { pool } = queues;
  for (const queue of [...queues.rx, ...queues.tx])
    queue.close(new NicError('CLOSED', 'the benchmark is over'));
  pool.detach(mapper);
  const { available, capacity } = pool;
  pool.close();
  if (available !== capacity) {
    throw new Error(`${capacity - available} buffers were lost`);
  }
}

type Closing = readonly { close(why: NicError): void }[];

export type DriverPath = 'queues' | 'general' | 'pipe';

/** The driver's queues, connected both ways by an application's own loop or by one of the two paths. */
export class DriverSubject implements Subject {
  readonly run: (polls: number) => number;
  readonly #queues: DriverQueues;

  constructor(queues: DriverQueues, batch: number, path: DriverPath) {
    this.#queues = queues;
    const [rxA, rxB] = queues.rx as [RxQueue, RxQueue];
    const [txA, txB] = queues.tx as [TxQueue, TxQueue];
    const connect = (rx: RxQueue, tx: TxQueue): { poll(): number } =>
      path === 'queues'
        ? { poll: instantiate(makeApplication, null, rx, tx, queues.pool, new Uint32Array(batch)) }
        : connectQueues(rx, tx, { batch, touch: true, path });
    const toB = connect(rxA, txB);
    const toA = connect(rxB, txA);
    this.run = timedPolls(toB, toA);
  }

  close(): void {
    this.#queues.close();
  }
}

/** What an application writes that looks at packets: receive, touch, send. */
function makeApplication(
  _layout: null,
  rx: RxQueue,
  tx: TxQueue,
  pool: PacketPool,
  bufs: Uint32Array,
): () => number {
  return function poll(): number {
    const { frames, bufferShift } = pool;
    const received = rx.receive(bufs);
    for (let i = 0; i < received; i++) {
      const start = bufs[i]! << bufferShift;
      frames[start] = frames[start]!;
    }
    const sent = tx.send(bufs, received);
    if (sent < received) pool.release(bufs, received - sent, sent);
    return received;
  };
}

/** A forwarder in C. */
export class NativeSubject implements Subject {
  readonly #memory: DmaRegion;
  readonly #pointer: Pointer;
  readonly #batch: number;
  readonly #run: (pointer: Pointer, polls: number, batch: number) => number;
  readonly #free: (pointer: Pointer) => void;

  constructor(
    make: (lab: Pointer) => Pointer,
    run: (pointer: Pointer, polls: number, batch: number) => number,
    free: (pointer: Pointer) => void,
    lab: { readonly pointer: Pointer },
    batch: number,
    memory: DmaRegion,
  ) {
    this.#memory = memory;
    this.#pointer = make(lab.pointer);
    this.#run = run;
    this.#free = free;
    this.#batch = batch;
  }

  run(polls: number): number {
    return this.#run(this.#pointer, polls, this.#batch);
  }

  close(): void {
    this.#free(this.#pointer);
    this.#memory.close();
  }
}

function nativeBench(
  buffers: number,
  bufferBytes: number,
  dataOffset: number,
  batch: number,
  make: (lab: Pointer) => Pointer,
  run: (pointer: Pointer, polls: number, batch: number) => number,
  free: (pointer: Pointer) => void,
): Bench {
  const memory = new DmaRegion({ sizeBytes: buffers * bufferBytes, name: 'peer' });
  // The address of a C forwarder's buffer is its virtual address, as in ixy.
  const lab = new Lab(memory.address, memory.address, buffers, bufferBytes, dataOffset);
  return { lab, subject: new NativeSubject(make, run, free, lab, batch, memory) };
}

function ixyBench(batch: number, bufferBytes: number): Bench {
  const { peerNew, peerRun, peerFree } = native;
  return nativeBench(PEER_BUFFERS, bufferBytes, PEER_HEADER_BYTES, batch, peerNew, peerRun, peerFree);
}

function driverBench(batch: number, path: DriverPath): Bench {
  const queues = new Queues();
  return { lab: queues.lab, subject: new DriverSubject(queues, batch, path) };
}

/** What can be measured. */
export const SUBJECTS = {
  /** ixy's algorithm in C. */
  'c-ixy': (batch: number): Bench => ixyBench(batch, BUFFER_BYTES),
  /** The same with buffers that are spread over the caches, which ixy's are not. */
  'c-spread': (batch: number): Bench => ixyBench(batch, SPREAD_BYTES),
  /** The pipe in C. */
  'c-pipe': (batch: number): Bench =>
    nativeBench(POOL_BUFFERS, BUFFER_BYTES, 0, batch, native.cPipeNew, native.cPipeRun, native.cPipeFree),
  /** `receive` and `send` of the queues, as an application calls them. */
  queues: (batch: number): Bench => driverBench(batch, 'queues'),
  /** `Forwarder`: buffers go through the pool. */
  general: (batch: number): Bench => driverBench(batch, 'general'),
  /** `Pipe`: rings share their buffers. */
  pipe: (batch: number): Bench => driverBench(batch, 'pipe'),
} as const;

export type SubjectName = keyof typeof SUBJECTS;
