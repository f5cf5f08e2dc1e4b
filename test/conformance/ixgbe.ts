/** ixgbe on the 82599 model, in strict mode, for the conformance of `NetDevice`. */
import type { NetDevice, OpenOptions } from '../../src/driver/device.js';
import { openOn } from '../../src/driver/registry.js';
import { IxgbeModel } from '../../src/emulator/ixgbe/ixgbe-model.js';
import { type Connection, connect } from '../../src/emulator/link.js';
import type { DeviceHost, ServedDevice } from '../../src/vfio/user/served-device.js';
import { internetChecksum, memoryOf, Recorder } from '../emulator/support.js';
import { LocalDevice, LocalMapper } from '../support/local-device.js';
import type { Family, Hardware } from './rig.js';

const MAC = Uint8Array.of(0x02, 0, 0, 0, 0, 0x1a);

/** 198.18.0.1 to 198.19.0.1 (RFC 2544, appendix C.2.2). */
const ADDRESSES = [198, 18, 0, 1, 198, 19, 0, 1];
const DISCARD = 9;
/** Key of Microsoft's RSS verification suite ("Verifying the RSS Hash Calculation"). */
const KEY = BigInt('0x6d5a56da255b0ec24167253d43a38fb0d0ca2bcbae7b30b477cb2da38030f20c6a42b73bbeac01fa');
const KEY_BITS = 320;

/** The hash of that suite: a window of 32 bits of the key slides along the input. */
function toeplitz(input: readonly number[]): number {
  let hash = 0n;
  for (let bit = 0; bit < input.length * 8; bit++) {
    const isSet = ((input[bit >>> 3]! >>> (7 - (bit & 7))) & 1) === 1;
    if (isSet) hash ^= (KEY >> BigInt(KEY_BITS - 32 - bit)) & 0xffff_ffffn;
  }
  return Number(hash);
}

/** The first source port whose hash chooses a queue: the 128 entries of the table name the queues in turn. */
function portOf(queue: number, queuePairs: number): number {
  for (let port = 1024; ; port++) {
    const flow = [...ADDRESSES, port >>> 8, port & 0xff, 0, DISCARD];
    if ((toeplitz(flow) % 128) % queuePairs === queue) return port;
  }
}

/** A model that can be pulled out: all registers read all ones from then on. */
class Pluggable implements ServedDevice {
  readonly regions: ServedDevice['regions'];
  readonly irqCounts: ServedDevice['irqCounts'];
  gone = false;
  readonly #model: IxgbeModel;

  constructor(model: IxgbeModel) {
    this.#model = model;
    this.regions = model.regions;
    this.irqCounts = model.irqCounts;
  }

  attach(host: DeviceHost): void {
    this.#model.attach(host);
  }

  detach(): void {
    this.#model.detach();
  }

  regionRead(index: number, offset: number, into: Uint8Array): void {
    if (this.gone) into.fill(0xff);
    else this.#model.regionRead(index, offset, into);
  }

  regionWrite(index: number, offset: number, from: Uint8Array): void {
    if (!this.gone) this.#model.regionWrite(index, offset, from);
  }

  reset(): void {
    if (!this.gone) this.#model.reset();
  }
}

class IxgbeHardware implements Hardware {
  readonly #model = new IxgbeModel({ name: 'nic', mac: MAC, mappable: false, strict: true });
  readonly #plug = new Pluggable(this.#model);
  // Above 4 GiB, so that a forgotten high word of an address matters.
  readonly #mapper = new LocalMapper([{ first: 1n << 32n, last: (1n << 39n) - 1n }]);
  readonly #wire = new Recorder();
  readonly #link: Connection = connect(this.#model, this.#wire);
  #vfio: LocalDevice | undefined;
  #queuePairs = 1;

  open(options: OpenOptions): Promise<NetDevice> {
    this.#queuePairs = options?.queuePairs ?? 1;
    this.#vfio = new LocalDevice(this.#plug, 'local:nic', this.#mapper);
    return openOn(this.#vfio, options);
  }

  /** What is no IP goes to queue 0. For another queue: UDP from a port whose hash chooses it. */
  frame(number: number, lengthBytes: number, queue = 0): Uint8Array {
    const frame = Uint8Array.from({ length: lengthBytes }, (_, i) => (i * 5 + number * 17) & 0xff);
    frame.set([...MAC, 0x02, 0, 0, 0, 0, 0x99, 0x88, 0xb5, number >>> 8, number & 0xff]);
    if (queue === 0) return frame;
    const view = new DataView(frame.buffer);
    view.setUint16(12, 0x0800);
    const ipBytes = lengthBytes - 14;
    frame.set([0x45, 0, ipBytes >>> 8, ipBytes & 0xff, 0, 0, 0x40, 0, 64, 17, 0, 0, ...ADDRESSES], 14);
    view.setUint16(24, internetChecksum(frame.subarray(14, 34)));
    view.setUint16(34, portOf(queue, this.#queuePairs));
    view.setUint16(36, DISCARD);
    view.setUint16(38, ipBytes - 20);
    // No checksum of UDP.
    view.setUint16(40, 0);
    view.setUint16(42, number);
    return frame;
  }

  arrive(frame: Uint8Array): boolean {
    const stored = this.#model.deliver(memoryOf(frame), 0, frame.length);
    this.#model.flush();
    return stored;
  }

  transmit(): Uint8Array[] {
    if (!this.#plug.gone) while (this.#model.poll(1024) > 0);
    return this.#wire.frames.splice(0);
  }

  setLink(up: boolean): void {
    this.#link.setCarrier(up);
  }

  pullOut(error: Error): void {
    this.#plug.gone = true;
    this.#vfio!.goneListeners.tell(error);
  }

  /** All that is mapped beside the pool, which is mapped first. */
  sharedMemory(): Int32Array[] {
    return this.#mapper.windows.slice(1).map(({ words }) => words);
  }

  complaints(): string[] {
    const { list, faults } = this.#model.violations;
    return [
      ...list.map((entry) => `${entry.subject}: ${entry.message}`),
      ...faults.map((fault) => `fault at 0x${fault.iova.toString(16)}`),
      ...this.#mapper.windows.map((window) => `0x${window.iova.toString(16)} is still mapped`),
    ];
  }
}

export const ixgbe: Family = {
  driver: 'ixgbe',
  device: 'the 82599 model',
  backend: 'memory',
  headerBytes: 0,
  padsToBytes: 60,
  // A group of 32 descriptors reports together.
  keepsSent: 31,
  hardwareCounters: ['rxMissed', 'rxErrors', 'wireRxPackets', 'wireRxBytes', 'wireTxPackets', 'wireTxBytes'],
  ringSize: 128,
  refusedRingSizes: [99, 96, 1000],
  hasFilters: true,
  makeHardware: () => new IxgbeHardware(),
};
