/** A pool, a receive and a transmit queue, and the simulated hardware behind them. */
import * as assert from 'uvu/assert';
import { IntelRxQueue, type RxMetadataBits } from '../../src/driver/intel/rx-queue.js';
import { IntelTxQueue } from '../../src/driver/intel/tx-queue.js';
import { PacketPool } from '../../src/hugepage/packet-pool.js';
import { CLOSED } from './closed.js';
import { FakeMapper } from './fake-mapper.js';
import { type BufferMap, RX_ERROR_RXE, RxRingDevice, TxRingDevice } from './ring-device.js';

export interface RigOptions {
  readonly rxSize?: number;
  readonly txSize?: number;
  readonly buffers?: number;
  readonly bufferSizeBytes?: number;
  readonly headroomBytes?: number;
  readonly debug?: boolean;
  /** By default RXE, as a family has it. */
  readonly errorMask?: number;
  readonly metadata?: RxMetadataBits;
  /** Legacy descriptors in the transmit ring. Default false. */
  readonly legacy?: boolean;
  /** What `sendOffloaded` does, by default what all families do. */
  readonly offloads?: number;
}

export class QueueRig {
  readonly pool: PacketPool;
  readonly mapper = new FakeMapper();
  readonly rx: IntelRxQueue;
  readonly tx: IntelTxQueue;
  readonly rxDevice: RxRingDevice;
  readonly txDevice: TxRingDevice;
  readonly rxRing: Int32Array;
  readonly txRing: Int32Array;
  /** Room for what a test receives or allocates. */
  readonly bufs = new Uint32Array(8192);
  #frames = 0;

  constructor(options: RigOptions = {}) {
    const {
      rxSize = 64,
      txSize = 64,
      buffers = 512,
      bufferSizeBytes = 2048,
      headroomBytes = 64,
      debug = false,
      errorMask = RX_ERROR_RXE,
      metadata,
      legacy = false,
      offloads,
    } = options;
    this.pool = new PacketPool({ buffers, bufferSizeBytes, headroomBytes, pageSize: '4K', debug });
    this.pool.attach(this.mapper);
    const map: BufferMap = {
      iova: [...this.mapper.mapped.keys()][0]!,
      bufferBytes: bufferSizeBytes,
      headroomBytes: this.pool.headroomBytes,
      buffers,
      memory: this.pool.memory,
    };
    this.rxRing = new Int32Array(rxSize * 4).fill(-1);
    this.txRing = new Int32Array(txSize * 4).fill(-1);
    this.rxDevice = new RxRingDevice(this.rxRing, map);
    this.txDevice = new TxRingDevice(this.txRing, map, legacy);
    const { pool } = this;
    this.rx = new IntelRxQueue({
      ring: this.rxRing,
      tail: this.rxDevice.tail,
      pool,
      errorMask,
      metadata,
    });
    this.tx = new IntelTxQueue({
      ring: this.txRing,
      tail: this.txDevice.tail,
      pool,
      legacy,
      ...(offloads === undefined ? {} : { offloads }),
    });
    this.rx.start();
  }

  /** A frame of a length, each with contents of its own. */
  frame(length: number): Uint8Array {
    const seed = this.#frames++;
    return Uint8Array.from({ length }, (_, i) => (i * 31 + seed * 7 + (seed >>> 8)) & 0xff);
  }

  /** The device receives `count` frames of 60 bytes; returns how many found a descriptor. */
  arrive(count: number): number {
    let taken = 0;
    while (taken < count && this.rxDevice.receive({ frame: this.frame(60) })) taken++;
    return taken;
  }

  /** Takes `count` buffers from the pool as packets of `length` bytes. */
  allocate(count: number, length = 60): Uint32Array {
    const out = new Uint32Array(count);
    assert.is(this.pool.allocate(out, count), count);
    for (const buffer of out) this.pool.lengths[buffer] = length;
    return out;
  }

  /** Buffers that the pool has as free. */
  free(): number[] {
    return [...this.pool.free.subarray(0, this.pool.freeCount)];
  }

  /** Buffers in the receive ring. */
  rxBuffers(): number[] {
    return Array.from({ length: this.rxDevice.size }, (_, slot) => this.rxDevice.bufferOf(slot));
  }

  /**
   * Every buffer is in exactly one place: free, in the receive ring, with the application, or sent and not reclaimed.
   * @param owned buffers of the application
   * @param sent buffers that `send` took, in order
   */
  checkOwnership(owned: readonly number[], sent: readonly number[]): void {
    const { capacity } = this.pool;
    const seen = new Map<number, string>();
    const claim = (buffers: readonly number[], place: string): void => {
      for (const buffer of buffers) {
        assert.ok(buffer >= 0 && buffer < capacity, `${place}: buffer ${buffer}`);
        assert.is(seen.get(buffer), undefined, `buffer ${buffer} is ${place} and ${seen.get(buffer)}`);
        seen.set(buffer, place);
      }
    };
    claim(this.free(), 'free');
    claim(this.rxBuffers(), 'in the receive ring');
    claim(owned, 'owned by the application');
    // What is left has been sent: the last ones, since reclaiming goes in order.
    const inFlight = capacity - seen.size;
    assert.ok(inFlight < this.txDevice.size, `${inFlight} buffers in the transmit ring`);
    assert.ok(inFlight <= sent.length, `${inFlight} buffers are lost`);
    claim(sent.slice(sent.length - inFlight), 'in the transmit ring');
    assert.ok(sent.length - inFlight <= this.txDevice.sent.length, 'nothing is reclaimed before it is sent');
  }

  close(): void {
    this.rx.close(CLOSED);
    this.tx.close(CLOSED);
    this.pool.detach(this.mapper);
    this.pool.close();
  }
}

/** Runs a test with a rig and closes it. */
export function withRig(options: RigOptions, test: (rig: QueueRig) => void): () => void {
  return () => {
    const rig = new QueueRig(options);
    try {
      test(rig);
    } finally {
      rig.close();
    }
  };
}
