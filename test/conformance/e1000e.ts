/**
 * e1000e on the registers of an 82574, with descriptor rings and address filters behind them, for the conformance of
 * `NetDevice`. Sections are those of the 82574 datasheet, revision 3.4.
 */
import type { NetDevice, OpenOptions } from '../../src/driver/device.js';
import { openOn } from '../../src/driver/registry.js';
import { passesFilter } from '../support/address-filter.js';
import { Fake82574, QUEUE_STRIDE, R } from '../support/fake-82574.js';
import { FakeVfio } from '../support/fake-vfio.js';
import { type BufferMap, RxRingDevice, TxRingDevice } from '../support/ring-device.js';
import type { Family, Hardware } from './rig.js';

/** 10.2.5.1: receiver on, long packets, FCS stripped. */
const RCTL_EN = 1 << 1;
const RCTL_LPE = 1 << 5;
const RCTL_SECRC = 1 << 26;
/** 10.2.6.1: transmitter on, pad short packets. */
const TCTL_EN = 1 << 1;
const TCTL_PSP = 1 << 3;
/** 10.2.5.22: extended descriptors. */
const RFCTL_EXSTEN = 1 << 15;
const MIN_FRAME_BYTES = 60;
const FCS_BYTES = 4;
/** Longest frame without LPE, FCS included. */
const SHORT_BYTES = 1522;
const MAX_QUEUES = 2;
const KIB = 1024;
const DD = 1;
const EOP = 2;

/** Bytes that the hardware writes to a buffer at most: FLXBUF 30:27 in KiB; or BSIZE 17:16, times 16 with BSEX 25. */
function bufferBytes(rctl: number): number {
  const kib = (rctl >>> 27) & 0xf;
  if (kib !== 0) return kib * KIB;
  const size = [2048, 1024, 512, 256][(rctl >>> 16) & 3]!;
  return (rctl & (1 << 25)) === 0 ? size : 16 * size;
}

function commonDivisor(a: number, b: number): number {
  return b === 0 ? a : commonDivisor(b, a % b);
}

class E1000eHardware implements Hardware {
  readonly model = new Fake82574();
  readonly #rx: (RxRingDevice | undefined)[] = [];
  readonly #tx: (TxRingDevice | undefined)[] = [];
  readonly #sent: Uint8Array[] = [];
  #vfio: FakeVfio | undefined;
  #headroomBytes: number | undefined;
  #bufferSize: number | undefined;

  constructor() {
    this.model.onWrite = (offset, value) => this.#written(offset, value);
  }

  open(options: OpenOptions): Promise<NetDevice> {
    this.#vfio = new FakeVfio(this.model, { device: 0x10d3, vectors: 5 });
    return openOn(this.#vfio, options);
  }

  /** Nothing hashes here: the last byte of the source address chooses the queue. */
  frame(number: number, lengthBytes: number, queue = 0): Uint8Array {
    const frame = Uint8Array.from({ length: lengthBytes }, (_, i) => (i * 5 + number * 17) & 0xff);
    frame.set([...this.model.mac, 0x02, 0, 0, 0, 0, queue, 0x88, 0xb5, number >>> 8, number & 0xff]);
    return frame;
  }

  arrive(frame: Uint8Array): boolean {
    const { model } = this;
    const rctl = model.get(R.RCTL);
    const queue = frame[11]! % MAX_QUEUES;
    const ring = this.#rx[queue];
    if (ring === undefined || (rctl & RCTL_EN) === 0) return false;
    if ((rctl & RCTL_LPE) === 0 && frame.length + FCS_BYTES > SHORT_BYTES) {
      this.#count(R.ROC);
      return true;
    }
    if (!passesFilter(frame, (register) => model.get(register), R)) return true;
    const size = bufferBytes(rctl);
    if (ring.available < Math.ceil(frame.length / size)) {
      // What the packet buffer has no room for is missed, and no good frame.
      this.#count(R.MPC);
      return false;
    }
    this.#count(R.GPRC);
    this.#countOctets(R.GORCL, R.GORCH, frame.length + FCS_BYTES);
    const stripped = (rctl & RCTL_SECRC) !== 0 ? frame : Uint8Array.of(...frame, 0, 0, 0, 0);
    for (let start = 0; start < stripped.length; start += size) {
      const piece = stripped.subarray(start, start + size);
      const status = start + size >= stripped.length ? DD | EOP : DD;
      ring.receive({ frame: piece, status });
    }
    this.#interrupt(queue);
    return true;
  }

  transmit(): Uint8Array[] {
    const { model } = this;
    const pads = (model.get(R.TCTL) & TCTL_PSP) !== 0;
    const sends = (model.get(R.TCTL) & TCTL_EN) !== 0 && model.linkUp;
    for (const [q, ring] of (sends ? this.#tx : []).entries()) {
      if (ring === undefined) continue;
      ring.transmit();
      model.registers.set(R.TDH + QUEUE_STRIDE * q, ring.head);
      for (const { bytes } of ring.sent.splice(0)) {
        const frame = new Uint8Array(pads ? Math.max(bytes.length, MIN_FRAME_BYTES) : bytes.length);
        frame.set(bytes);
        this.#sent.push(frame);
        this.#count(R.GPTC);
        this.#countOctets(R.GOTCL, R.GOTCH, frame.length + FCS_BYTES);
      }
    }
    return this.#sent.splice(0);
  }

  setLink(up: boolean): void {
    this.model.linkUp = up;
  }

  pullOut(error: Error): void {
    this.#vfio!.goneAfterReads = 0;
    this.#vfio!.goneListeners.tell(error);
  }

  /** All that is mapped beside the pool, which is mapped first. From now on nobody looks at what the driver does. */
  sharedMemory(): Int32Array[] {
    this.model.onWrite = () => {};
    return this.#vfio!.mapper.views().slice(1);
  }

  complaints(): string[] {
    const { mapper, closed, busMaster, eventfds } = this.#vfio!;
    return [
      ...(closed ? [] : ['the device is open']),
      ...(busMaster ? ['bus mastering is on'] : []),
      ...(eventfds.length > 0 ? ['interrupts are connected'] : []),
      ...Array.from(mapper.mapped.keys(), (iova) => `0x${iova.toString(16)} is still mapped`),
    ];
  }

  /** 7.1.1: the address filters; the hash of a group is bits 47:36 of its address. */
  /** 7.4: the cause of the queue, routed by IVAR. IAM masks when it fires, EIAC takes the cause back. */
  #interrupt(queue: number): void {
    const { model } = this;
    const cause = 1 << (20 + queue);
    const route = (model.get(R.IVAR) >>> (4 * queue)) & 0xf;
    if ((model.get(R.IMS) & cause) === 0 || (route & 8) === 0) return;
    model.registers.set(R.IMS, model.get(R.IMS) & ~(cause & model.get(R.IAM)));
    this.#vfio!.raise(route & 7);
  }

  #written(offset: number, value: number): void {
    // A ring that is set up anew begins at its first descriptor.
    for (let q = 0; q < MAX_QUEUES; q++) {
      const at = QUEUE_STRIDE * q;
      if (offset === R.RDH + at) {
        this.#rx[q] = undefined;
        this.#headroomBytes = undefined;
        this.#bufferSize = undefined;
      }
      if (offset === R.TDH + at) this.#tx[q] = undefined;
      if (offset === R.RDT + at && value !== 0) {
        this.#rx[q] ??= new RxRingDevice(this.#ring(R.RDBAL + at), this.#buffers(at));
      }
      if (offset === R.TDT + at && value !== 0) {
        this.#tx[q] ??= new TxRingDevice(this.#ring(R.TDBAL + at), this.#buffers(at), true);
      }
      const ring = offset === R.RDT + at ? this.#rx[q] : offset === R.TDT + at ? this.#tx[q] : undefined;
      if (ring !== undefined) ring.tail[0] = value;
    }
  }

  /** The ring whose base, low word first, and length stand in registers. Without EXSTEN it would be another kind of ring. */
  #ring(base: number): Int32Array {
    const { model } = this;
    if ((model.get(R.RFCTL) & RFCTL_EXSTEN) === 0) throw new Error('RFCTL.EXSTEN is off');
    const iova = (BigInt(model.get(base + 4)) << 32n) | BigInt(model.get(base));
    return new Int32Array(this.#vfio!.mapper.memoryAt(iova, model.get(base + 8)));
  }

  /** Where the buffers are: the first thing that the driver maps. The descriptors tell how long they are and where frames begin. */
  #buffers(at: number): BufferMap {
    const { mapper } = this.#vfio!;
    const [[iova, sizeBytes]] = [...mapper.mapped] as [[bigint, number]];
    const ring = this.#ring(R.RDBAL + at);
    const offsets = Array.from({ length: ring.length / 4 }, (_, slot) =>
      Number(((BigInt(ring[4 * slot + 1]! >>> 0) << 32n) | BigInt(ring[4 * slot]! >>> 0)) - iova),
    );
    // All begin as far behind the start of a buffer.
    this.#bufferSize ??= offsets.reduce(
      (size, offset) => commonDivisor(size, Math.abs(offset - offsets[0]!)),
      0,
    );
    const bufferSize = this.#bufferSize;
    this.#headroomBytes ??= offsets[0]! % bufferSize;
    return {
      iova,
      bufferBytes: bufferSize,
      headroomBytes: this.#headroomBytes,
      buffers: Math.floor(sizeBytes / bufferSize),
      memory: new Uint8Array(mapper.memoryAt(iova, sizeBytes)),
    };
  }

  #count(register: number, by = 1): void {
    // Reading clears.
    this.model.count(register, this.model.read(register) + by);
  }

  #countOctets(low: number, high: number, octets: number): void {
    this.#count(low, octets);
    this.model.count(high, 0);
  }
}

export const e1000e: Family = {
  driver: 'e1000e',
  device: 'registers and rings of an 82574',
  backend: 'memory',
  headerBytes: 0,
  padsToBytes: 60,
  // A group of 32 descriptors reports together.
  keepsSent: 31,
  hardwareCounters: ['rxMissed', 'rxErrors', 'wireRxPackets', 'wireRxBytes', 'wireTxPackets', 'wireTxBytes'],
  ringSize: 128,
  refusedRingSizes: [99, 96, 1000],
  hasFilters: true,
  // 2 KiB buffers without LPE: 1522 bytes with FCS.
  longestFrame: (bufferSizeBytes) => (bufferSizeBytes === 2048 ? 1518 : bufferSizeBytes - 1024),
  queuePairs: 2,
  // MPC counts what the packet buffer has no room for, GPRC does not.
  missesBeforeCounting: true,
  makeHardware: () => new E1000eHardware(),
};
