/** Two 82599 models joined by a cable, each driven by the ixgbe driver, all in one thread and in strict mode. */
import * as assert from 'uvu/assert';
import type { NetDevice, OpenOptions } from '../../src/driver/device.js';
import { ixgbe } from '../../src/driver/ixgbe/ixgbe.js';
import { IxgbeModel } from '../../src/emulator/ixgbe/ixgbe-model.js';
import { type Connection, connect } from '../../src/emulator/link.js';
import type { Cable } from '../../src/emulator/links/cable.js';
import type { ModelOptions } from '../../src/emulator/model.js';
import { PacketPool } from '../../src/hugepage/packet-pool.js';
import { LocalDevice, LocalMapper } from './local-device.js';

export const MAC_A = Uint8Array.of(0x02, 0, 0, 0, 0, 0x0a);
export const MAC_B = Uint8Array.of(0x02, 0, 0, 0, 0, 0x0b);
const BUFFERS = 2048;

export interface RigOptions {
  /** Of the pool. Default 2048. */
  readonly bufferSizeBytes?: number;
  readonly model?: ModelOptions;
  readonly open?: OpenOptions;
  readonly deviceId?: number;
  readonly flowControl?: boolean;
  /** Between the two. Default: none, memory to memory. */
  readonly cable?: Cable;
  /** Checks of the pool. Default true. */
  readonly debug?: boolean;
  /** What the device went through before this driver. */
  readonly beforeOpen?: (vfio: LocalDevice) => void;
}

export interface Side {
  readonly model: IxgbeModel;
  readonly vfio: LocalDevice;
  readonly nic: NetDevice;
}

export class IxgbeRig {
  readonly a: Side;
  readonly b: Side;
  readonly pool: PacketPool;
  readonly link: Connection;
  readonly #ticker: ReturnType<typeof setInterval>;

  private constructor(
    a: Side,
    b: Side,
    pool: PacketPool,
    link: Connection,
    ticker: ReturnType<typeof setInterval>,
  ) {
    this.a = a;
    this.link = link;
    this.b = b;
    this.pool = pool;
    this.#ticker = ticker;
  }

  static async open(options: RigOptions = {}): Promise<IxgbeRig> {
    const deviceId = options.deviceId ?? 0x10fb;
    const models = [MAC_A, MAC_B].map(
      (mac, i) =>
        new IxgbeModel({ name: `nic${i}`, deviceId, mac, mappable: false, strict: true, ...options.model }),
    );
    const [modelA, modelB] = models as [IxgbeModel, IxgbeModel];
    const { cable, flowControl = true } = options;
    const link = connect(modelA, cable?.a ?? modelB, { flowControl });
    if (cable !== undefined) connect(cable.b, modelB, { flowControl });
    // The models' share of the waits of bring-up.
    const ticker = setInterval(() => {
      for (const model of models) model.poll(64);
      cable?.poll(256);
    }, 1);
    // Above 4 GiB, so that a forgotten high word of an address matters.
    const mapper = new LocalMapper([{ first: 1n << 32n, last: (1n << 39n) - 1n }]);
    const pool = new PacketPool({
      buffers: BUFFERS,
      bufferSizeBytes: options.bufferSizeBytes ?? 2048,
      pageSize: '4K',
      debug: options.debug ?? true,
    });
    const openOne = async (model: IxgbeModel, name: string): Promise<Side> => {
      const vfio = new LocalDevice(model, name, mapper);
      options.beforeOpen?.(vfio);
      const id = ixgbe.ids.find((entry) => entry.device === deviceId)!;
      const nic = await ixgbe.open(vfio, id, { rxRingSize: 128, txRingSize: 128, ...options.open, pool });
      return { model, vfio, nic };
    };
    try {
      const a = await openOne(modelA, 'local:a');
      const b = await openOne(modelB, 'local:b');
      clearInterval(ticker);
      return new IxgbeRig(a, b, pool, link, ticker);
    } catch (error) {
      clearInterval(ticker);
      throw error;
    }
  }

  /** Lets both models work until they have nothing more to do. */
  settle(): void {
    for (let i = 0; i < 64; i++) {
      if (this.a.model.poll(256) + this.b.model.poll(256) === 0) return;
    }
  }

  /** Takes a buffer, fills it with `frame`, and returns its index. */
  buffer(frame: Uint8Array): number {
    const bufs = new Uint32Array(1);
    assert.is(this.pool.allocate(bufs, bufs.length), 1, 'a free buffer');
    this.pool.bytes(bufs[0]!).set(frame);
    this.pool.lengths[bufs[0]!] = frame.length;
    return bufs[0]!;
  }

  /** Sends frames from one side; returns how many the ring took (the rest is given back). */
  send(from: Side, frames: readonly Uint8Array[], queue = 0): number {
    const bufs = Uint32Array.from(frames, (frame) => this.buffer(frame));
    const sent = from.nic.txQueues[queue]!.send(bufs, bufs.length);
    this.pool.release(bufs, bufs.length - sent, sent);
    return sent;
  }

  /** Everything that has arrived at a side, over all queues, copied out; the buffers go back. */
  receive(at: Side): Uint8Array[] {
    const frames: Uint8Array[] = [];
    const bufs = new Uint32Array(64);
    for (const queue of at.nic.rxQueues) {
      for (let count = queue.receive(bufs); count > 0; count = queue.receive(bufs)) {
        for (const index of bufs.subarray(0, count)) {
          frames.push(this.pool.bytes(index).slice(0, this.pool.lengths[index]));
        }
        this.pool.release(bufs, count);
      }
    }
    return frames;
  }

  /** What the models hold against the driver. */
  complaints(): string[] {
    return [this.a.model, this.b.model].flatMap((model) => [
      ...model.violations.list.map((entry) => `${model.name} ${entry.subject}: ${entry.message}`),
      ...model.violations.faults.map((fault) => `${model.name} fault at 0x${fault.iova.toString(16)}`),
    ]);
  }

  async close(): Promise<void> {
    const ticker = setInterval(() => {
      this.a.model.poll(64);
      this.b.model.poll(64);
    }, 1);
    try {
      await this.b.nic.close();
      await this.a.nic.close();
    } finally {
      clearInterval(ticker);
      clearInterval(this.#ticker);
    }
    const complete = this.pool.available;
    this.pool.close();
    this.a.model.close();
    this.b.model.close();
    assert.is(complete, BUFFERS, 'every buffer is back in the pool');
  }
}

/** A frame of `length` bytes to `to`, numbered and with a pattern that no other number has. */
export function numberedFrame(to: Uint8Array, from: Uint8Array, number: number, length = 60): Uint8Array {
  const frame = Uint8Array.from({ length }, (_, i) => (i * 7 + number * 13) & 0xff);
  frame.set(to, 0);
  frame.set(from, 6);
  // Local experimental EtherType 1 (IEEE 802).
  frame.set([0x88, 0xb5, number >>> 8, number & 0xff], 12);
  return frame;
}
