/** `pktgen --capture`: copies of all that the ports send and receive, in one capture. */
import type { CaptureWriter, CaptureWriterOptions } from '../src/capture/capture-writer.js';
import { compileFilter, type FrameFilter } from '../src/capture/filter/index.js';
import type { Clock } from '../src/clock.js';
import type { NetDevice } from '../src/driver/device.js';
import type { TrafficObserver } from '../src/traffic/index.js';
import { type CaptureLookOptions, captureSummary } from './capture-look.js';
import { interfaceOf } from './capture-output.js';

const COMMENT =
  'Times are those of the poll that gave a frame to the card, or found it; frames moved together have one time.';

/** Each port is two interfaces: of the first port 0 has what it sends and 1 what it receives, of the second 2 and 3. */
export class TrafficCapture implements TrafficObserver {
  readonly #devices: readonly NetDevice[];
  readonly #filter: FrameFilter | null;
  readonly #writer: CaptureWriter;
  /** Frames of each interface. */
  readonly #seen: Float64Array;

  /**
   * @param open makes the writer
   * @throws NicError what `open` throws; `BAD_OPTION` for a filter that is none
   */
  constructor(
    devices: readonly NetDevice[],
    { filter, snapBytes }: CaptureLookOptions,
    clock: Clock,
    open: (options: CaptureWriterOptions) => CaptureWriter,
  ) {
    this.#devices = devices;
    this.#filter = filter === undefined ? null : compileFilter(filter);
    this.#seen = new Float64Array(2 * devices.length);
    this.#writer = open({
      clock,
      interfaces: devices.flatMap((device) => {
        const port = interfaceOf(device, filter);
        return ['sent', 'received'].map((what) => ({ ...port, name: `${port.name} ${what}` }));
      }),
      section: { comment: COMMENT },
      ...(snapBytes === undefined ? {} : { snapBytes }),
      statistics: () => Array.from(this.#seen, (received) => ({ received })),
    });
  }

  sent(device: NetDevice, packets: Uint32Array, count: number, nowNs: number): void {
    this.#see(device, packets, count, 2 * this.#devices.indexOf(device), nowNs);
  }

  received(device: NetDevice, packets: Uint32Array, count: number, nowNs: number): void {
    this.#see(device, packets, count, 2 * this.#devices.indexOf(device) + 1, nowNs);
  }

  #see({ pool }: NetDevice, packets: Uint32Array, count: number, id: number, nowNs: number): void {
    const filter = this.#filter;
    this.#seen[id]! += count;
    for (let i = 0; i < count; i++) {
      const packet = packets[i]!;
      const lengthBytes = pool.lengths[packet]!;
      if (filter === null || filter(pool.frames, packet << pool.bufferShift, lengthBytes, lengthBytes))
        this.#writer.write(pool.bytes(packet), 0, lengthBytes, id, nowNs);
    }
  }

  /** What became of the copies. Asked after `close`. */
  summary(json: boolean): string {
    return captureSummary(this.#writer.counters, json);
  }

  /** May be called twice. */
  close(): void {
    this.#writer.close();
  }
}
