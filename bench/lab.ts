/**
 * Two ports whose rings and buffers are real DMA memory, with the lockstep device behind them, and the forwarders that
 * run on them. Only the forwarder's time is counted: `run` returns nanoseconds, and the device works between runs.
 */

import type { RxQueue, TxQueue } from '../src/driver/device.js';
import { instantiate, specialize } from '../src/driver/instantiate.js';
import { RingMemory } from '../src/driver/intel/rings.js';
import { IntelRxQueue } from '../src/driver/intel/rx-queue.js';
import { IntelTxQueue } from '../src/driver/intel/tx-queue.js';
import { NicError } from '../src/errors.js';
import { openCursor } from '../src/forward/cursor.js';
import { connectQueues } from '../src/forward/forwarder.js';
import { DmaRegion } from '../src/hugepage/dma-region.js';
import { PacketPool } from '../src/hugepage/packet-pool.js';
import type { DmaBacking, DmaMapper } from '../src/vfio/types.js';
import {
  BLOCKED,
  makeApplication,
  makeCursorApplication,
  makeLook,
  makeLookingApplication,
  makeLookingCursorApplication,
} from './applications.js';
import { native, type Pointer } from './native.js';
import { timedPolls } from './timed-polls.js';

export const RING = 512;
export const BUFFER_BYTES = 2048;

/** Where a forwarder runs. */
export interface Place {
  /** Descriptors of a ring. */
  readonly ring: number;
  /** Of each frame, in memory. */
  readonly frameBytes: number;
  /** Frames that the device receives at each port before the forwarder runs: room for what a pipe has in flight. */
  readonly windowFrames: number;
  /** Bytes read before each run of the forwarder, so that neither packets nor descriptors are in a cache; 0: none. */
  readonly walkBytes: number;
}

/** Small rings, and all that was just written still in the caches. */
export const WARM: Place = { ring: RING, frameBytes: 60, windowFrames: 192, walkBytes: 0 };
/** Large rings, buffers in no order, and nothing in the caches. */
export const COLD: Place = { ring: 4096, frameBytes: 1514, windowFrames: 1024, walkBytes: 64 << 20 };

/** As `barewire fwd` makes its pool. */
export function poolBuffers(place: Place): number {
  return 4 * place.ring + 1024;
}

/** As ixy makes its mempools: 4096 entries for each of the two, or what the rings need. */
export function peerBuffers(place: Place): number {
  return Math.max(2 * 4096, 6 * place.ring);
}

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
  readonly place: Place;
  /**
   * Sends what is queued (at most `send` frames a port), then receives `count` frames at each port. Returns the larger
   * number of frames that arrived at a port. @throws Error where the forwarder did something wrong
   */
  step(count: number, send?: number): number;
  /** Empties the caches, where the place asks for it. */
  cool(): void;
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
  readonly place: Place;
  readonly rings: RingMemory;
  readonly #registers = new DmaRegion({ sizeBytes: 4096, pageSize: '4K', name: 'registers' });
  readonly #walked: DmaRegion | undefined;
  readonly pointer: Pointer;

  /** @param bufferBytes from one buffer to the next */
  constructor(
    memory: bigint,
    iova: bigint,
    buffers: number,
    bufferBytes: number,
    dataOffset: number,
    place: Place = WARM,
  ) {
    const { ring, frameBytes, walkBytes } = place;
    this.place = place;
    this.rings = new RingMemory({ queuePairs: 2, rxRingSize: ring, txRingSize: ring, pageSize: 'auto' });
    this.pointer = native.labNew(memory, iova, buffers, bufferBytes, dataOffset, ring);
    native.labFrameBytes(this.pointer, frameBytes);
    if (walkBytes > 0) {
      native.labShuffled(this.pointer);
      this.#walked = new DmaRegion({ sizeBytes: walkBytes, name: 'walked' });
    }
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

  step(count: number, send: number = this.place.ring): number {
    const arrived = native.labStep(this.pointer, send, count);
    if (arrived < 0) throw new Error(native.labError(this.pointer));
    return arrived;
  }

  cool(): void {
    if (this.#walked !== undefined) native.labWalk(this.#walked.address, this.place.walkBytes);
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
    this.#walked?.close();
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

  constructor(place: Place = WARM) {
    const buffers = poolBuffers(place);
    this.pool = new PacketPool({ buffers, bufferSizeBytes: BUFFER_BYTES });
    if (place.walkBytes > 0) shuffle(this.pool.free);
    this.pool.attach(this.#mapper);
    const { address, iova } = this.#mapper.mapped[0]!;
    const lab = new Lab(address, iova, buffers, BUFFER_BYTES, this.pool.headroomBytes, place);
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

type Closing = readonly { close(why: NicError): void }[];

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

/** Fisher and Yates, the same each time, as in native/ixy-peer.c. */
function shuffle(free: Int32Array): void {
  let random = 1;
  for (let i = free.length - 1; i > 0; i--) {
    random = (Math.imul(random, 1664525) + 1013904223) >>> 0;
    const other = Math.floor((random * (i + 1)) / 2 ** 32);
    const index = free[i]!;
    free[i] = free[other]!;
    free[other] = index;
  }
}

export type DriverPath =
  | 'queues'
  | 'cursor'
  | 'general'
  | 'pipe'
  | 'queues-look'
  | 'cursor-look'
  | 'general-look'
  | 'pipe-look';

/** The driver's queues, connected both ways by an application's own loop or by one of the two paths. */
export class DriverSubject implements Subject {
  readonly run: (polls: number) => number;
  readonly #queues: DriverQueues;

  constructor(queues: DriverQueues, batch: number, path: DriverPath) {
    this.#queues = queues;
    const [rxA, rxB] = queues.rx as [RxQueue, RxQueue];
    const [txA, txB] = queues.tx as [TxQueue, TxQueue];
    const { pool } = queues;
    const onPacket = makeLook(pool);
    const connect = (rx: RxQueue, tx: TxQueue): { poll(): number } => {
      if (path === 'queues') {
        return { poll: instantiate(makeApplication, null, rx, tx, pool, new Uint32Array(batch)) };
      }
      if (path === 'queues-look') {
        return { poll: instantiate(makeLookingApplication, BLOCKED, rx, tx, pool, new Uint32Array(batch)) };
      }
      if (path === 'cursor')
        return { poll: specialize(makeCursorApplication, openCursor(rx, tx), pool, batch) };
      if (path === 'cursor-look') {
        const cursor = openCursor(rx, tx);
        return { poll: specialize(makeLookingCursorApplication, cursor, pool, batch, BLOCKED) };
      }
      if (path === 'general' || path === 'pipe') return connectQueues(rx, tx, { batch, touch: true, path });
      return connectQueues(rx, tx, { batch, onPacket, path: path === 'pipe-look' ? 'pipe' : 'general' });
    };
    const toB = connect(rxA, txB);
    const toA = connect(rxB, txA);
    this.run = timedPolls(toB, toA);
  }

  close(): void {
    this.#queues.close();
  }
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
  place: Place,
  make: (lab: Pointer) => Pointer,
  run: (pointer: Pointer, polls: number, batch: number) => number,
  free: (pointer: Pointer) => void,
): Bench {
  const memory = new DmaRegion({ sizeBytes: buffers * bufferBytes, name: 'peer' });
  // The address of a C forwarder's buffer is its virtual address, as in ixy.
  const lab = new Lab(memory.address, memory.address, buffers, bufferBytes, dataOffset, place);
  return { lab, subject: new NativeSubject(make, run, free, lab, batch, memory) };
}

/** @param look at three fields of each packet, in place of the touched byte */
function ixyBench(batch: number, place: Place, bufferBytes: number, look: boolean): Bench {
  const { peerNew, peerRun, peerLookRun, peerFree } = native;
  const run = look ? peerLookRun : peerRun;
  const buffers = peerBuffers(place);
  return nativeBench(buffers, bufferBytes, PEER_HEADER_BYTES, batch, place, peerNew, run, peerFree);
}

function pipeBench(batch: number, place: Place, look: boolean): Bench {
  const { cPipeNew, cPipeRun, cPipeLookRun, cPipeFree } = native;
  const run = look ? cPipeLookRun : cPipeRun;
  return nativeBench(poolBuffers(place), BUFFER_BYTES, 0, batch, place, cPipeNew, run, cPipeFree);
}

function driverBench(batch: number, place: Place, path: DriverPath): Bench {
  const queues = new Queues(place);
  return { lab: queues.lab, subject: new DriverSubject(queues, batch, path) };
}

type MakeBench = (batch: number, place: Place) => Bench;

/** What can be measured. */
export const SUBJECTS = {
  /** ixy's algorithm in C. */
  'c-ixy': (batch, place) => ixyBench(batch, place, BUFFER_BYTES, false),
  /** The same with buffers that are spread over the caches, which ixy's are not. */
  'c-spread': (batch, place) => ixyBench(batch, place, SPREAD_BYTES, false),
  /** The pipe in C. */
  'c-pipe': (batch, place) => pipeBench(batch, place, false),
  /** `receive` and `send` of the queues, as an application calls them. */
  queues: (batch, place) => driverBench(batch, place, 'queues'),
  /** The same by a cursor. */
  cursor: (batch, place) => driverBench(batch, place, 'cursor'),
  /** `Forwarder`: buffers go through the pool. */
  general: (batch, place) => driverBench(batch, place, 'general'),
  /** `Pipe`: rings share their buffers. */
  pipe: (batch, place) => driverBench(batch, place, 'pipe'),
  // The same with an application's look at three fields of each packet.
  'c-look': (batch, place) => ixyBench(batch, place, BUFFER_BYTES, true),
  'c-pipe-look': (batch, place) => pipeBench(batch, place, true),
  'queues-look': (batch, place) => driverBench(batch, place, 'queues-look'),
  'cursor-look': (batch, place) => driverBench(batch, place, 'cursor-look'),
  /** `onPacket` on the general path. */
  'general-look': (batch, place) => driverBench(batch, place, 'general-look'),
  /** `onPacket` in the pipe. */
  'pipe-look': (batch, place) => driverBench(batch, place, 'pipe-look'),
} as const satisfies Record<string, MakeBench>;

export type SubjectName = keyof typeof SUBJECTS;
