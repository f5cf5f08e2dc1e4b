/** AF_XDP on a kernel whose rings are plain memory, for the conformance of `NetDevice`. */
import type { NetDevice, OpenOptions } from '../../src/driver/device.js';
import { checkOpenOptions } from '../../src/driver/options.js';
import { XdpDevice } from '../../src/driver/xdp/xdp-device.js';
import { FakeKernel } from '../support/xdp/fake-kernel.js';
import type { Family, Hardware } from './rig.js';

/** So that the longest frame of the interface just fits a buffer of 2048 bytes. */
const MTU = 1774;

class XdpHardware implements Hardware {
  #kernel = new FakeKernel({ mtu: MTU });
  readonly #before: FakeKernel[] = [];

  async open(options: OpenOptions): Promise<NetDevice> {
    checkOpenOptions(options);
    options.signal?.throwIfAborted();
    if (this.#kernel.sockets.length > 0) {
      this.#before.push(this.#kernel);
      this.#kernel = new FakeKernel({ mtu: MTU });
    }
    try {
      return await new XdpDevice('xdp:fake0', this.#kernel, 0, options).start();
    } catch (error) {
      // As `open` does.
      this.#kernel.netInterface.close();
      throw error;
    }
  }

  /** The last byte of the source address chooses the queue. */
  frame(number: number, lengthBytes: number, queue = 0): Uint8Array {
    const frame = Uint8Array.from({ length: lengthBytes }, (_, i) => (i * 5 + number * 17) & 0xff);
    const { mac } = this.#kernel.netInterface;
    frame.set([...mac, 0x02, 0, 0, 0, 0, queue, 0x88, 0xb5, number >>> 8, number & 0xff]);
    return frame;
  }

  arrive(frame: Uint8Array): boolean {
    return this.#kernel.arrive(frame, frame[11]!);
  }

  transmit(): Uint8Array[] {
    return this.#kernel.transmit();
  }

  setLink(up: boolean): void {
    this.#kernel.linkUp = up;
  }

  pullOut(error: Error): void {
    this.#kernel.end(error);
  }

  complaints(): string[] {
    return [...this.#before, this.#kernel].flatMap((kernel) => kernel.leftOvers());
  }
}

export const xdp: Family = {
  driver: 'xdp',
  device: 'rings in memory',
  backend: 'memory',
  headerBytes: 0,
  padsToBytes: 0,
  keepsSent: 0,
  hardwareCounters: ['rxMissed'],
  ringSize: 128,
  refusedRingSizes: [99, 96, 200],
  hasFilters: false,
  buffers: { keptBytes: 256, largestBytes: 4096, largestMtu: 1770 },
  makeHardware: () => new XdpHardware(),
};
