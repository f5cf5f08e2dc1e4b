/**
 * What the conformance of `NetDevice` needs to know of a family (see `suite.ts`), and what its tests work with: one
 * device of the family, its pool, and the hardware behind it.
 */
import * as assert from 'uvu/assert';
import type { NetDevice, NetStats, OpenOptions } from '../../src/driver/device.js';
import { PacketPool, type PacketPoolOptions } from '../../src/hugepage/packet-pool.js';
import { expectError } from '../support/expect-error.js';
import { type Column, Missing } from './results.js';

/** One piece of hardware. It sends only when it is told to. */
export interface Hardware {
  /** Opens the device with just these options. May be called again when the device before was closed. */
  open(options: OpenOptions): Promise<NetDevice>;
  /** A frame that this hardware receives on this queue. Frames of different numbers are different. */
  frame(number: number, lengthBytes: number, queue?: number): Uint8Array;
  /** A frame comes from the wire. False where it was lost for lack of a descriptor. */
  arrive(frame: Uint8Array): boolean;
  /** Sends what is queued. Returns the frames that have left since the last call. */
  transmit(): Uint8Array[];
  /** Plugs the cable in or out. */
  setLink(up: boolean): void;
  /** Pulls the device out. Whoever watches it is told this error. */
  pullOut(error: Error): void;
  /** What the driver did wrong, and what it left behind when it had closed. */
  complaints(): string[];
  /** Memory that driver and device share, beside the pool's: the rings. Absent where the device cannot write there. */
  sharedMemory?(): Int32Array[];
}

/** A family under test. */
export interface Family extends Column {
  /** Bytes of the header that the device keeps in front of each frame. */
  readonly headerBytes: number;
  /** Shorter frames are padded to this length when they are sent. */
  readonly padsToBytes: number;
  /** Most sent packets that stay with a ring until later ones follow. */
  readonly keepsSent: number;
  /** Counters of `NetStats` that the hardware has. */
  readonly hardwareCounters: readonly (keyof NetStats)[];
  /** Ring sizes: the usual one of these tests, and some that are refused beside those out of range. */
  readonly ringSize: number;
  readonly refusedRingSizes: readonly number[];
  /** Whether the hardware of these tests filters by address. */
  readonly hasFilters: boolean;
  /** What buffers can be, where it is not all that a pool can have. */
  readonly buffers?: BufferLimits;
  /**
   * Longest frame in a buffer of so many bytes with 64 of headroom, with an mtu or without, where it is not what the buffer
   * holds or the mtu asks for.
   */
  longestFrame?(bufferSizeBytes: number, mtu?: number): number;
  /** Pairs that tests of several queues use. Default 3. */
  readonly queuePairs?: number;
  /** True where frames that find no descriptor are not among `wireRxPackets`. Default false. */
  readonly missesBeforeCounting?: boolean;
  /** True where frames that are too long are dropped, and counted, where this device does not see it. Default false. */
  readonly portDropsTooLong?: boolean;
  makeHardware(): Hardware;
}

export interface BufferLimits {
  /** Bytes of a buffer with the usual headroom that hold no frame. */
  readonly keptBytes: number;
  readonly largestBytes: number;
  readonly largestMtu: number;
}

/** What a family without limits of its own takes. */
export const ALL_BUFFERS: BufferLimits = { keptBytes: 64, largestBytes: 16_384, largestMtu: 9000 };

export function pairsOf({ queuePairs = 3 }: Family): number {
  return queuePairs;
}

/** Buffers of the tests' pools. */
export const BUFFERS = 1500;

/** What a test works with. */
export class Rig {
  readonly family: Family;
  readonly hardware: Hardware;
  readonly pool: PacketPool;
  readonly nic: NetDevice;
  #number = 0;

  private constructor(family: Family, hardware: Hardware, pool: PacketPool, nic: NetDevice) {
    this.family = family;
    this.hardware = hardware;
    this.pool = pool;
    this.nic = nic;
  }

  static async open(
    family: Family,
    options: OpenOptions = {},
    poolOptions: PacketPoolOptions = {},
  ): Promise<Rig> {
    const hardware = family.makeHardware();
    const pool = makePool(poolOptions);
    const nic = await hardware.open({ ...optionsOf(family), pool, ...options });
    return new Rig(family, hardware, pool, nic);
  }

  /** A frame that no other call gives. */
  frame(lengthBytes = 60, queue = 0): Uint8Array {
    return this.hardware.frame(this.#number++, lengthBytes, queue);
  }

  /** Frames arrive, each with a descriptor waiting for it; returns them. */
  arrive(count: number, lengthBytes = 60, queue = 0): Uint8Array[] {
    return Array.from({ length: count }, (_, i) => {
      const frame = this.frame(lengthBytes, queue);
      assert.ok(this.hardware.arrive(frame), `a descriptor for frame ${i} of ${count}`);
      return frame;
    });
  }

  /** Takes buffers and fills them. */
  packets(frames: readonly Uint8Array[]): Uint32Array {
    const bufs = new Uint32Array(frames.length);
    assert.is(this.pool.allocate(bufs, bufs.length), bufs.length, 'free buffers');
    for (const [i, frame] of frames.entries()) {
      this.pool.bytes(bufs[i]!).set(frame);
      this.pool.lengths[bufs[i]!] = frame.length;
    }
    return bufs;
  }

  /** Sends frames on a queue; returns how many the ring took. The rest goes back. */
  send(frames: readonly Uint8Array[], queue = 0): number {
    const bufs = this.packets(frames);
    const taken = this.nic.txQueues[queue]!.send(bufs, bufs.length);
    this.pool.release(bufs, bufs.length - taken, taken);
    return taken;
  }

  /** Everything that a queue has, copied out; the buffers go back. */
  receive(queue = 0): Uint8Array[] {
    const frames: Uint8Array[] = [];
    const bufs = new Uint32Array(16);
    const receiver = this.nic.rxQueues[queue]!;
    for (let count = receiver.receive(bufs); count > 0; count = receiver.receive(bufs)) {
      for (const packet of bufs.subarray(0, count)) frames.push(this.copy(packet));
      this.pool.release(bufs, count);
    }
    return frames;
  }

  copy(packet: number): Uint8Array {
    return this.pool.bytes(packet).slice(0, this.pool.lengths[packet]);
  }

  /** A frame as it looks on the wire. */
  padded(frame: Uint8Array): Uint8Array {
    const padded = new Uint8Array(Math.max(frame.length, this.family.padsToBytes));
    padded.set(frame);
    return padded;
  }

  /** Closes, and wants every buffer back, each once, and no complaint. */
  async close(): Promise<void> {
    await this.nic.close();
    this.assertBack();
    this.pool.close();
    assert.equal(this.hardware.complaints(), []);
  }

  assertBack(): void {
    assert.is(this.pool.available, this.pool.capacity, 'every buffer is back in the pool');
    const free = new Set(this.pool.free.subarray(0, this.pool.freeCount));
    assert.is(free.size, this.pool.capacity, 'each once');
  }
}

export function makePool(options: PacketPoolOptions = {}): PacketPool {
  return new PacketPool({ buffers: BUFFERS, pageSize: '4K', ...options });
}

/** What devices are opened with where a test says nothing else. */
export function optionsOf({ ringSize }: Family): OpenOptions {
  return { rxRingSize: ringSize, txRingSize: ringSize, pageSize: '4K' };
}

/** Runs a test on an open device, and closes it. */
export function onRig(
  family: Family,
  test: (rig: Rig) => Promise<void> | void,
  options: OpenOptions = {},
  poolOptions: PacketPoolOptions = {},
): () => Promise<void> {
  return async () => {
    const rig = await Rig.open(family, options, poolOptions);
    try {
      await test(rig);
    } catch (error) {
      if (error instanceof Missing) await rig.close();
      // What the test found counts, not what is left undone because of it.
      else await rig.nic.close().catch(() => {});
      throw error;
    }
    await rig.close();
  };
}

export const range = (count: number): number[] => Array.from({ length: count }, (_, i) => i);

/** Lets the event loop turn so many times. */
export async function turns(count: number): Promise<void> {
  for (let i = 0; i < count; i++) await new Promise((resolve) => setImmediate(resolve));
}

/** What a test waits for that would else hang: minutes, whatever else the machine does. */
const HANGS_AFTER_MS = 180_000;

/** Lets the event loop turn until something is so. */
export async function eventually(what: string, isSo: () => boolean): Promise<void> {
  const deadline = performance.now() + HANGS_AFTER_MS;
  while (!isSo()) {
    assert.ok(performance.now() < deadline, `${what}: not within ${HANGS_AFTER_MS} ms`);
    await turns(1);
  }
}

/** Whether a promise has been settled by now, some turns of the event loop later. */
export async function isSettled(promise: Promise<unknown>): Promise<boolean> {
  let settled = false;
  const settle = (): void => {
    settled = true;
  };
  promise.then(settle, settle);
  await turns(5);
  return settled;
}

const NO_ARRAYS: readonly unknown[] = [
  undefined,
  null,
  [0, 1],
  new Uint8Array(4),
  new Int32Array(4),
  new DataView(new ArrayBuffer(16)),
  'bufs',
  7,
];

/** Packets in anything but a Uint32Array are refused, with a hint. */
export function refusesArrays(call: (bufs: Uint32Array) => unknown): void {
  for (const bufs of NO_ARRAYS) {
    const error = expectError('BAD_ARGUMENT', () => call(bufs as Uint32Array), /not a Uint32Array/);
    assert.ok(error.hint);
  }
}
