/**
 * igb on the registers of an 82576, with descriptor rings behind them, for the conformance of `NetDevice`. Sections are those
 * of the 82576 datasheet, revision 2.63.
 */
import type { NetDevice, OpenOptions } from '../../src/driver/device.js';
import { openOn } from '../../src/driver/registry.js';
import { passesFilter } from '../support/address-filter.js';
import { Fake82576, QUEUE_STRIDE, R } from '../support/fake-82576.js';
import { FakeVfio } from '../support/fake-vfio.js';
import { type BufferMap, RxRingDevice, TxRingDevice } from '../support/ring-device.js';
import type { Family, Hardware } from './rig.js';

/** Receive Oversize Count (8.19). */
const ROC = 0x40ac;
/** 8.10.1, 8.12.1: receiver and transmitter on, pad short packets. */
const RCTL_RXEN = 1 << 1;
const TCTL_EN = 1 << 1;
const TCTL_PSP = 1 << 3;
const MIN_FRAME_BYTES = 60;
const FCS_BYTES = 4;
/** Buffer size in KiB (8.10.2, SRRCTL.BSIZEPACKET). */
const BSIZEPACKET_MASK = 0x7f;
const MAX_QUEUES = 8;

class IgbHardware implements Hardware {
  readonly #model = new Fake82576();
  readonly #rx: (RxRingDevice | undefined)[] = [];
  readonly #tx: (TxRingDevice | undefined)[] = [];
  readonly #sent: Uint8Array[] = [];
  #vfio: FakeVfio | undefined;
  /** Interrupts that are not masked, one bit a queue. */
  #unmasked = 0;
  #headroomBytes: number | undefined;

  constructor() {
    this.#model.onWrite = (offset, value) => this.#written(offset, value);
  }

  open(options: OpenOptions): Promise<NetDevice> {
    this.#vfio = new FakeVfio(this.#model);
    return openOn(this.#vfio, options);
  }

  /** Nothing hashes here: the last byte of the source address chooses the queue. */
  frame(number: number, lengthBytes: number, queue = 0): Uint8Array {
    const frame = Uint8Array.from({ length: lengthBytes }, (_, i) => (i * 5 + number * 17) & 0xff);
    frame.set([...this.#model.mac, 0x02, 0, 0, 0, 0, queue, 0x88, 0xb5, number >>> 8, number & 0xff]);
    return frame;
  }

  arrive(frame: Uint8Array): boolean {
    const model = this.#model;
    const queue = frame[11]!;
    const ring = this.#rx[queue];
    if (ring === undefined || (model.get(R.RCTL) & RCTL_RXEN) === 0) return false;
    if (!passesFilter(frame, (register) => model.get(register), R)) return true;
    // 8.10.5: longer packets are dropped by the MAC.
    if (frame.length + FCS_BYTES > model.get(R.RLPML)) {
      this.#count(ROC);
      return true;
    }
    this.#count(R.GPRC);
    this.#countOctets(R.GORCL, R.GORCH, frame.length + FCS_BYTES);
    if (!ring.receive({ frame })) {
      this.#count(R.RQDPC + QUEUE_STRIDE * queue);
      return false;
    }
    const vector = 1 << queue;
    if ((this.#unmasked & vector) !== 0) {
      // EIAM: masked when it fires.
      this.#unmasked &= ~vector;
      this.#vfio!.raise(queue);
    }
    return true;
  }

  transmit(): Uint8Array[] {
    const model = this.#model;
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
    this.#model.linkUp = up;
  }

  pullOut(error: Error): void {
    this.#vfio!.goneAfterReads = 0;
    this.#vfio!.goneListeners.tell(error);
  }

  /** All that is mapped beside the pool, which is mapped first. From now on nobody looks at what the driver does. */
  sharedMemory(): Int32Array[] {
    this.#model.onWrite = () => {};
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

  #written(offset: number, value: number): void {
    if (offset === R.EIMS) this.#unmasked |= value;
    if (offset === R.EIMC) this.#unmasked &= ~value;
    // A ring that is set up anew begins at its first descriptor.
    for (let q = 0; q < MAX_QUEUES; q++) {
      const at = QUEUE_STRIDE * q;
      if (offset === R.RDH + at) {
        this.#rx[q] = undefined;
        this.#headroomBytes = undefined;
      }
      if (offset === R.TDH + at) this.#tx[q] = undefined;
      if (offset === R.RDT + at && value !== 0) {
        this.#rx[q] ??= new RxRingDevice(this.#ring(R.RDBAL + at), this.#buffers(at));
      }
      if (offset === R.TDT + at && value !== 0) {
        this.#tx[q] ??= new TxRingDevice(this.#ring(R.TDBAL + at), this.#buffers(at));
      }
      const ring = offset === R.RDT + at ? this.#rx[q] : offset === R.TDT + at ? this.#tx[q] : undefined;
      if (ring !== undefined) ring.tail[0] = value;
    }
  }

  /** The ring whose base, low word first, and length stand in registers (8.10.5 to 8.10.7, 8.12.8 to 8.12.10). */
  #ring(base: number): Int32Array {
    const model = this.#model;
    const iova = (BigInt(model.get(base + 4)) << 32n) | BigInt(model.get(base));
    return new Int32Array(this.#vfio!.mapper.memoryAt(iova, model.get(base + 8)));
  }

  /** Where the buffers are: the first thing that the driver maps. The first descriptor tells how far in a frame begins. */
  #buffers(at: number): BufferMap {
    const { mapper } = this.#vfio!;
    const [[iova, sizeBytes]] = [...mapper.mapped] as [[bigint, number]];
    const bufferBytes = (this.#model.get(R.SRRCTL + at) & BSIZEPACKET_MASK) * 1024;
    const first = this.#ring(R.RDBAL + at);
    const address = (BigInt(first[1]! >>> 0) << 32n) | BigInt(first[0]! >>> 0);
    this.#headroomBytes ??= Number((address - iova) % BigInt(bufferBytes));
    return {
      iova,
      bufferBytes,
      headroomBytes: this.#headroomBytes,
      buffers: Math.floor(sizeBytes / bufferBytes),
      memory: new Uint8Array(mapper.memoryAt(iova, sizeBytes)),
    };
  }

  #count(register: number, by = 1): void {
    // Reading clears.
    this.#model.count(register, this.#model.read(register) + by);
  }

  /** Two registers: reading the high one clears both. */
  #countOctets(low: number, high: number, octets: number): void {
    this.#count(low, octets);
    this.#model.count(high, 0);
  }
}

export const igb: Family = {
  driver: 'igb',
  device: 'registers and rings of an 82576',
  backend: 'memory',
  headerBytes: 0,
  padsToBytes: 60,
  // A group of 32 descriptors reports together.
  keepsSent: 31,
  hardwareCounters: ['rxMissed', 'rxErrors', 'wireRxPackets', 'wireRxBytes', 'wireTxPackets', 'wireTxBytes'],
  ringSize: 128,
  refusedRingSizes: [99, 96, 1000],
  hasFilters: true,
  makeHardware: () => new IgbHardware(),
};
