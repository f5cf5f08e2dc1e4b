/**
 * Two virtio ports with split or packed rings in DMA memory, the lockstep device behind them, and the forwarders that run on
 * them: the driver's, and ixy's virtio algorithm in C. As `lab.ts` for the 82599.
 */
import { type Ring, RingMemory } from '../src/driver/virtio/layout.js';
import { VirtioRxQueue } from '../src/driver/virtio/rx-queue.js';
import { VirtioTxQueue } from '../src/driver/virtio/tx-queue.js';
import { DmaRegion } from '../src/hugepage/dma-region.js';
import { PacketPool } from '../src/hugepage/packet-pool.js';
import {
  type Bench,
  BUFFER_BYTES,
  closeQueues,
  type DriverPath,
  type DriverQueues,
  DriverSubject,
  type LabDevice,
  LabMapper,
  NativeSubject,
  PEER_HEADER_BYTES,
  type Place,
  peerBuffers,
  poolBuffers,
  WARM,
} from './lab.js';
import { native, type Pointer } from './native.js';

/** Rings as the driver makes them by default, and QEMU. */
export const VIRTIO_PLACE: Place = { ...WARM, ring: 256 };
const { ring: VIRTIO_RING } = VIRTIO_PLACE;
const MIN_FRAME_BYTES = 14;
const DOORBELL_BYTES = 64;

class VirtioLab implements LabDevice {
  readonly place = VIRTIO_PLACE;
  readonly pointer: Pointer;
  readonly rings: RingMemory;
  readonly #doorbells = new DmaRegion({ sizeBytes: 4096, pageSize: '4K', name: 'doorbells' });

  /** @param bufferBytes from one buffer to the next */
  constructor(
    kind: Ring['kind'],
    memory: bigint,
    iova: bigint,
    buffers: number,
    bufferBytes: number,
    dataOffset: number,
  ) {
    this.rings = new RingMemory(kind, new Array<number>(4).fill(VIRTIO_RING), 64, 'auto');
    this.pointer = native.virtioLabNew(
      ...([memory, iova, buffers, bufferBytes, dataOffset, VIRTIO_RING] as const),
      kind === 'packed' ? 1 : 0,
    );
    const base = this.rings.region.address;
    for (const [i, { areas }] of this.rings.rings.entries()) {
      const [descriptors, driver, device] = areas.map((offset) => base + BigInt(offset));
      const doorbell = this.#doorbells.address + BigInt(i * DOORBELL_BYTES);
      native.virtioLabQueue(this.pointer, i >> 1, i & 1, descriptors!, driver!, device!, doorbell);
    }
  }

  doorbell(queue: number): Uint16Array {
    return new Uint16Array(this.#doorbells.buffer, queue * DOORBELL_BYTES, 1);
  }

  step(count: number, send: number = VIRTIO_RING): number {
    const arrived = native.virtioLabStep(this.pointer, send, count);
    if (arrived < 0) throw new Error(native.labError(this.pointer));
    return arrived;
  }

  cool(): void {}

  checkArmed(): void {
    if (native.virtioLabCheckArmed(this.pointer) < 0) throw new Error(native.labError(this.pointer));
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
    this.#doorbells.close();
  }
}

/** Real queues on a lab. */
class VirtioQueues implements DriverQueues {
  readonly pool = new PacketPool({ buffers: poolBuffers(VIRTIO_PLACE), bufferSizeBytes: BUFFER_BYTES });
  readonly lab: VirtioLab;
  readonly rx: readonly VirtioRxQueue[];
  readonly tx: readonly VirtioTxQueue[];
  readonly #mapper = new LabMapper();

  constructor(kind: Ring['kind']) {
    const { pool } = this;
    pool.attach(this.#mapper);
    const { address, iova } = this.#mapper.mapped[0]!;
    const lab = new VirtioLab(kind, address, iova, pool.capacity, BUFFER_BYTES, pool.headroomBytes);
    this.lab = lab;
    const onLie = (what: string): void => {
      throw new Error(what);
    };
    const options = (queue: number) => ({
      ...{ ring: lab.rings.rings[queue]!, queue, notify: lab.doorbell(queue), pool, onLie },
      ...{ maxFrameBytes: pool.maxFrameBytes, notifiesData: false, eventIdx: false },
    });
    this.rx = [0, 2].map(
      (queue) => new VirtioRxQueue({ ...options(queue), hasInterrupt: false, merges: true, metadata: false }),
    );
    this.tx = [1, 3].map(
      (queue) => new VirtioTxQueue({ ...options(queue), minFrameBytes: MIN_FRAME_BYTES, offloads: false }),
    );
    for (const queue of this.rx) queue.start();
  }

  close(): void {
    closeQueues(this, this.#mapper);
  }
}

function driverBench(kind: Ring['kind'], batch: number, path: DriverPath): Bench {
  const queues = new VirtioQueues(kind);
  return { lab: queues.lab, subject: new DriverSubject(queues, batch, path) };
}

function peerBench(batch: number, stack: 0 | 1): Bench {
  const buffers = peerBuffers(VIRTIO_PLACE);
  const memory = new DmaRegion({ sizeBytes: buffers * BUFFER_BYTES, name: 'peer' });
  const { address } = memory;
  const lab = new VirtioLab('split', address, address, buffers, BUFFER_BYTES, PEER_HEADER_BYTES);
  const { virtioPeerNew, virtioPeerRun, virtioPeerFree } = native;
  const make = (pointer: Pointer): Pointer => virtioPeerNew(pointer, stack);
  return { lab, subject: new NativeSubject(make, virtioPeerRun, virtioPeerFree, lab, batch, memory) };
}

/** What can be measured. */
export const VIRTIO_SUBJECTS = {
  /** ixy's virtio algorithm in C: looks for free descriptors from the front of the table. */
  'c-ixy': (batch: number): Bench => peerBench(batch, 0),
  /** The same with a stack of free descriptors. */
  'c-stack': (batch: number): Bench => peerBench(batch, 1),
  /** `receive` and `send`, as an application calls them. */
  'split-queues': (batch: number): Bench => driverBench('split', batch, 'queues'),
  /** `connectQueues`: buffers go through the pool. */
  'split-general': (batch: number): Bench => driverBench('split', batch, 'general'),
  'packed-queues': (batch: number): Bench => driverBench('packed', batch, 'queues'),
  'packed-general': (batch: number): Bench => driverBench('packed', batch, 'general'),
} as const;

export type VirtioSubject = keyof typeof VIRTIO_SUBJECTS;
