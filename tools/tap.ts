/**
 * A look at what passes: copies of the frames that a command forwards go into a capture. The traffic never waits for it:
 * what the file or its reader does not take is lost to the capture alone, and counted.
 */
import type { CaptureWriter, RecordCounters } from '../src/capture/capture-writer.js';
import { compileFilter } from '../src/capture/filter/index.js';
import type { Clock } from '../src/clock.js';
import type { NetDevice } from '../src/driver/device.js';
import type { PacketHook } from '../src/driver/queue-link.js';
import { NicError } from '../src/errors.js';
import { checkOutput, interfaceOf, openOutput, TIMES_COMMENT } from './capture-output.js';
import { recordText } from './emulate-report.js';
import { print, warn } from './output.js';

export interface TapOptions {
  readonly capture?: string;
  readonly captureFilter?: string;
  readonly snapLength?: number;
  readonly force?: true;
}

/** What would keep a tap from its file, or its filter from being one, before anything is begun. @throws NicError `BAD_OPTION` */
export function checkTap(options: TapOptions): void {
  const { capture, captureFilter, snapLength, force } = options;
  if (captureFilter !== undefined) compileFilter(captureFilter);
  if (capture === '-') {
    throw new NicError('BAD_OPTION', 'standard output has the table', {
      hint: 'Give the name of a file or of a pipe: mkfifo /tmp/p; tshark -r /tmp/p.',
    });
  }
  if (capture !== undefined) checkOutput(capture, options);
  else if ((captureFilter ?? snapLength ?? force) !== undefined) {
    throw new NicError('BAD_OPTION', '--capture-filter, --snap-length and --force are for --capture', {
      hint: 'Leave them out, or give --capture FILE.',
    });
  }
}

export class Tap {
  readonly #writer: CaptureWriter;
  readonly #devices: readonly NetDevice[];
  readonly #options: TapOptions;
  readonly #clock: Clock;
  readonly #seen: Float64Array;
  #nowNs: number;

  /** @param devices frames that come from the first are those of interface 0 @throws NicError as `CaptureWriter.open` */
  constructor(
    devices: readonly NetDevice[],
    options: TapOptions & { readonly capture: string },
    clock: Clock,
  ) {
    this.#devices = devices;
    this.#options = options;
    this.#clock = clock;
    this.#nowNs = clock.nowNs();
    this.#seen = new Float64Array(devices.length);
    const { capture, captureFilter, snapLength } = options;
    this.#writer = openOutput(capture, options, {
      clock,
      interfaces: devices.map((device) => interfaceOf(device, captureFilter)),
      section: { comment: TIMES_COMMENT },
      ...(snapLength === undefined ? {} : { snapBytes: snapLength }),
      statistics: () => Array.from(this.#seen, (received) => ({ received })),
      onError: (error) => warn(error.message, 'The traffic goes on.'),
    });
  }

  get counters(): RecordCounters {
    return this.#writer.counters;
  }

  /** Asks the clock, once for all frames that are found until the next call. */
  tick(): void {
    this.#nowNs = this.#clock.nowNs();
  }

  /** Sees the frames that come from a device; they go on as they are. @param id the device's place */
  hook(id: number): PacketHook {
    const writer = this.#writer;
    const seen = this.#seen;
    const { pool } = this.#devices[id]!;
    const { captureFilter } = this.#options;
    const filter = captureFilter === undefined ? null : compileFilter(captureFilter);
    return (packet, lengthBytes) => {
      seen[id]! += 1;
      if (filter === null || filter(pool.frames, packet << pool.bufferShift, lengthBytes, lengthBytes))
        writer.write(pool.bytes(packet), 0, lengthBytes, id, this.#nowNs);
      return lengthBytes;
    };
  }

  /** Ends the file, and prints what became of the copies. */
  end(json: boolean): void {
    this.close();
    const { counters } = this;
    print(json ? JSON.stringify({ type: 'capture', ...counters }) : `capture: ${recordText(counters)}`);
  }

  /** May be called twice. */
  close(): void {
    this.#writer.close();
  }
}
