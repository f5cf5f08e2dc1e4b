/** Looks that write what they see as a capture: into a file, or to a viewer that has connected. */
import type { CaptureWriter, CaptureWriterOptions, RecordCounters } from '../src/capture/capture-writer.js';
import { compileFilter, type FrameFilter } from '../src/capture/filter/index.js';
import type { PacketPool } from '../src/hugepage/packet-pool.js';
import { interfaceOf, TIMES_COMMENT } from './capture-output.js';
import { recordText } from './emulate-report.js';
import type { Look, Tap } from './tap.js';

export interface CaptureLookOptions {
  /** In tcpdump's language. */
  readonly filter?: string | undefined;
  /** Most bytes kept of a frame. */
  readonly snapBytes?: number | undefined;
}

export class CaptureLook implements Look {
  readonly #pool: PacketPool;
  readonly #filter: FrameFilter | null;
  readonly #writer: CaptureWriter;

  /**
   * @param open makes the writer, by options that tell of the tap's ports and of the frames that came since now
   * @throws NicError what `open` throws; `BAD_OPTION` for a filter that is none
   */
  constructor(
    tap: Tap,
    { filter, snapBytes }: CaptureLookOptions,
    open: (options: CaptureWriterOptions) => CaptureWriter,
  ) {
    this.#pool = tap.pool;
    this.#filter = filter === undefined ? null : compileFilter(filter);
    const before = Array.from(tap.seen);
    this.#writer = open({
      clock: tap.clock,
      interfaces: tap.devices.map((device) => interfaceOf(device, filter)),
      section: { comment: TIMES_COMMENT },
      ...(snapBytes === undefined ? {} : { snapBytes }),
      statistics: () => Array.from(tap.seen, (seen, id) => ({ received: seen - before[id]! })),
    });
  }

  get counters(): RecordCounters {
    return this.#writer.counters;
  }

  see(packet: number, lengthBytes: number, id: number, nowNs: number): void {
    const pool = this.#pool;
    const filter = this.#filter;
    if (filter === null || filter(pool.frames, packet << pool.bufferShift, lengthBytes, lengthBytes))
      this.#writer.write(pool.bytes(packet), 0, lengthBytes, id, nowNs);
  }

  summary(json: boolean): string {
    return captureSummary(this.counters, json);
  }

  close(): void {
    this.#writer.close();
  }
}

/** What became of the copies, a line at the end of the run. */
export function captureSummary(counters: RecordCounters, json: boolean): string {
  return json ? JSON.stringify({ type: 'capture', ...counters }) : `capture: ${recordText(counters)}`;
}
