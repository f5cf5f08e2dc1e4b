/**
 * igbvf on the registers of a virtual function of an 82576, with a physical function behind its mailbox and descriptor rings behind
 * its queue, for the conformance of `NetDevice`.
 */
import type { NetDevice, OpenOptions } from '../../src/driver/device.js';
import { openOn } from '../../src/driver/registry.js';
import { Fake82576Vf, QUEUE_ENABLE, V } from '../support/fake-82576-vf.js';
import { FakeVfio } from '../support/fake-vfio.js';
import { type BufferMap, RxRingDevice, TxRingDevice } from '../support/ring-device.js';
import type { Family, Hardware } from './rig.js';

const MIN_FRAME_BYTES = 60;
const FCS_BYTES = 4;
/** Buffer size in KiB (82576 datasheet 8.10.2). */
const BSIZEPACKET_MASK = 0x7f;

export class IgbVfHardware implements Hardware {
  readonly model = new Fake82576Vf();
  #rx: RxRingDevice | undefined;
  #tx: TxRingDevice | undefined;
  readonly #sent: Uint8Array[] = [];
  #vfio: FakeVfio | undefined;
  #headroomBytes: number | undefined;

  constructor() {
    this.model.trusted = true;
    this.model.adminMac = [0x02, 0x76, 0x10, 0xca, 0, 1];
    this.model.onWrite = (offset, value) => this.#written(offset, value);
  }

  open(options: OpenOptions): Promise<NetDevice> {
    this.#vfio = new FakeVfio(this.model, { device: 0x10ca, vectors: 3 });
    this.#headroomBytes = undefined;
    return openOn(this.#vfio, options);
  }

  frame(number: number, lengthBytes: number): Uint8Array {
    const frame = Uint8Array.from({ length: lengthBytes }, (_, i) => (i * 5 + number * 17) & 0xff);
    frame.set([...this.model.mac, 0x02, 0, 0, 0, 0, 0, 0x88, 0xb5, number >>> 8, number & 0xff]);
    return frame;
  }

  arrive(frame: Uint8Array): boolean {
    const { model } = this;
    const ring = this.#rx;
    const isOn = (model.get(V.RXDCTL) & QUEUE_ENABLE) !== 0 && model.isIntroduced;
    if (ring === undefined || !isOn) return false;
    // What is longer than the physical function let be set is dropped by the port, and counted there.
    if (frame.length + FCS_BYTES > model.longestBytes) return true;
    if (!this.#accepts(frame)) return true;
    if (!ring.receive({ frame })) {
      model.registers.set(V.RQDPC, model.get(V.RQDPC) + 1);
      return false;
    }
    this.#count(V.VFGPRC, 1);
    this.#count(V.VFGORC, frame.length + FCS_BYTES);
    this.#interrupt();
    return true;
  }

  transmit(): Uint8Array[] {
    const { model } = this;
    const isOn = (model.get(V.TXDCTL) & QUEUE_ENABLE) !== 0 && model.isIntroduced;
    if (this.#tx !== undefined && isOn && model.linkUp) {
      this.#tx.transmit();
      model.registers.set(V.TDH, this.#tx.head);
      for (const { bytes } of this.#tx.sent.splice(0)) {
        const frame = new Uint8Array(Math.max(bytes.length, MIN_FRAME_BYTES));
        frame.set(bytes);
        this.#sent.push(frame);
        this.#count(V.VFGPTC, 1);
        this.#count(V.VFGOTC, frame.length + FCS_BYTES);
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
      ...this.model.faults,
    ];
  }

  /** The port's filters: addresses of this function, hashes of groups, broadcast. */
  #accepts(frame: Uint8Array): boolean {
    const { mac, hashes, allGroups } = this.model;
    const to = [...frame.subarray(0, 6)];
    if (to.every((byte) => byte === 0xff)) return true;
    if ((to[0]! & 1) === 0) return to.every((byte, i) => byte === mac[i]);
    return allGroups || hashes.includes(((to[5]! << 4) | (to[4]! >>> 4)) & 0xfff);
  }

  /** VTIVAR routes the queue to a vector; EIAM masks it when it fires. */
  #interrupt(): void {
    const { model } = this;
    const route = model.get(V.VTIVAR) & 0xff;
    const vector = route & 3;
    if ((model.get(V.EIMS) & (1 << vector)) === 0 || (route & 0x80) === 0) return;
    model.registers.set(V.EIMS, model.get(V.EIMS) & ~((1 << vector) & model.get(V.EIAM)));
    this.#vfio!.raise(vector);
  }

  #written(offset: number, value: number): void {
    const { registers } = this.model;
    switch (offset) {
      case V.EIMC:
        registers.set(V.EIMS, this.model.get(V.EIMS) & ~value);
        break;
      // A ring that is set up anew begins where its head is.
      case V.RDH:
        this.#rx = undefined;
        break;
      case V.TDH:
        this.#tx = undefined;
        break;
      case V.RDT:
        this.#rx = this.#receiveRing(value);
        break;
      case V.TDT:
        this.#tx = this.#transmitRing(value);
    }
  }

  #receiveRing(tail: number): RxRingDevice | undefined {
    const head = this.model.get(V.RDH);
    if (this.#rx === undefined) {
      if (tail === head || (this.model.get(V.RXDCTL) & QUEUE_ENABLE) === 0) return undefined;
      this.#rx = new RxRingDevice(this.#ring(V.RDBAL), this.#buffers());
      this.#rx.startAt(head);
    }
    this.#rx.tail[0] = tail;
    return this.#rx;
  }

  #transmitRing(tail: number): TxRingDevice | undefined {
    const head = this.model.get(V.TDH);
    if (this.#tx === undefined) {
      if (tail === head || (this.model.get(V.TXDCTL) & QUEUE_ENABLE) === 0) return undefined;
      this.#tx = new TxRingDevice(this.#ring(V.TDBAL), this.#buffers());
      this.#tx.startAt(head);
    }
    this.#tx.tail[0] = tail;
    return this.#tx;
  }

  #ring(base: number): Int32Array {
    const { model } = this;
    const iova = (BigInt(model.get(base + 4)) << 32n) | BigInt(model.get(base));
    return new Int32Array(this.#vfio!.mapper.memoryAt(iova, model.get(base + 8)));
  }

  /** Where the buffers are: the first thing that the driver maps. The first descriptor tells how far in a frame begins. */
  #buffers(): BufferMap {
    const { mapper } = this.#vfio!;
    const [[iova, sizeBytes]] = [...mapper.mapped] as [[bigint, number]];
    const bufferBytes = (this.model.get(V.SRRCTL) & BSIZEPACKET_MASK) * 1024;
    const first = this.#ring(V.RDBAL);
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

  /** 32 bits that wrap round. */
  #count(register: number, by: number): void {
    this.model.registers.set(register, (this.model.get(register) + by) >>> 0);
  }
}

export const igbvf: Family = {
  driver: 'igbvf',
  device: 'a virtual function of an 82576',
  backend: 'memory',
  headerBytes: 0,
  padsToBytes: MIN_FRAME_BYTES,
  // A group of 32 descriptors reports together.
  keepsSent: 31,
  hardwareCounters: ['rxMissed', 'wireRxPackets', 'wireRxBytes', 'wireTxPackets', 'wireTxBytes', 'resets'],
  ringSize: 128,
  refusedRingSizes: [99, 96, 1000],
  hasFilters: true,
  queuePairs: 1,
  portDropsTooLong: true,
  missesBeforeCounting: true,
  makeHardware: () => new IgbVfHardware(),
};
