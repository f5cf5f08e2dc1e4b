/** `barewire capture PORT`: shows frames that a port receives, or writes them to a file. */
import { type Command, Option } from 'commander';
import { MAX_FRAME_BYTES } from '../../src/capture/byte-window.js';
import { compileFilter, type FrameFilter } from '../../src/capture/filter/index.js';
import { type Clock, timeOfDay } from '../../src/clock.js';
import type { NetDevice } from '../../src/driver/device.js';
import { open } from '../../src/driver/registry.js';
import { NicError } from '../../src/errors.js';
import { describeFrame } from '../../src/packet/describe.js';
import { deviceAddress, PORT_FORMS, pageSizeFor } from '../addresses.js';
import { checkOutput, interfaceOf, type Output, openOutputs, TIMES_COMMENT } from '../capture-output.js';
import { addInterfaceOptions, type InterfaceOptions, interfaceOptions } from '../interface-options.js';
import { warnOfMissingFrames } from '../missing-frames.js';
import { durationMs, integerBetween, positiveInteger, rate } from '../option-values.js';
import { print } from '../output.js';
import { runTraffic, type Traffic } from '../traffic-run.js';

export interface CaptureOptions extends InterfaceOptions {
  readonly write?: string;
  readonly format?: 'pcap' | 'pcapng';
  readonly gzip?: true;
  readonly force?: true;
  readonly fileSize?: number;
  readonly fileTime?: number;
  readonly files?: number;
  readonly filter?: string;
  readonly count?: number;
  readonly snapLength?: number;
  readonly duration?: number;
  readonly promiscuous: boolean;
  readonly ring?: number;
  readonly mtu?: number;
  /** Without words: it ends when the reader of the pipe does, and says nothing but what went wrong. */
  readonly endWithReader?: true;
}

const BATCH = 64;
/** Text that may wait for a terminal or a pipe; lines that would make it more are not made, and counted. */
const MAX_WAITING_TEXT = 1 << 20;

export function register(program: Command): void {
  const command = program
    .command('capture')
    .description('show the frames that a port receives, or write them to a file (pcapng, pcap)')
    .argument('<PORT>', PORT_FORMS, deviceAddress)
    .option(
      '-w, --write <file>',
      'write to a file: pcapng, or pcap where its name ends in .pcap; packed in .gz; - is stdout',
    )
    .addOption(new Option('--format <format>', 'of the file, whatever its name').choices(['pcapng', 'pcap']))
    .option('--gzip', 'pack the file with gzip, whatever its name')
    .option('--force', 'replace a file that has something in it')
    .option(
      '--file-size <bytes>',
      'a new file when one is so large: 100M; names get a number and the time',
      rate,
    )
    .option('--file-time <time>', 'a new file after this time: 60 (seconds), 5m', durationMs)
    .option('--files <n>', 'keep only the newest files', positiveInteger)
    .option('--filter <text>', "only these frames, in tcpdump's language: 'udp port 53'")
    .option('-c, --count <n>', 'stop after so many frames', positiveInteger)
    .option('-s, --snap-length <bytes>', 'keep so much of each frame', integerBetween(1, MAX_FRAME_BYTES))
    .option('--duration <time>', 'stop after this time: 10 (seconds), 250ms, 5m', durationMs)
    .option('--no-promiscuous', 'only frames that are addressed to the port')
    .option('--ring <n>', "receive descriptors (default: the driver's)", positiveInteger)
    .option('--mtu <bytes>', 'largest layer 3 packet (default: what 2 KiB buffers hold)', positiveInteger)
    .action(captureFrom);
  addInterfaceOptions(command);
}

/** Captures from a port, as the options say. @throws NicError what went wrong */
export async function captureFrom(port: string, options: CaptureOptions): Promise<void> {
  const ofInterface = interfaceOptions([port], options);
  const filter = options.filter === undefined ? undefined : compileFilter(options.filter);
  if (options.write !== undefined) checkOutput(options.write, options);
  else {
    const { format, gzip, force, fileSize, fileTime, files } = options;
    if ((format ?? gzip ?? force ?? fileSize ?? fileTime ?? files) !== undefined) {
      const given = '--format, --gzip, --force, --file-size, --file-time and --files';
      throw new NicError('BAD_OPTION', `${given} are for -w`, { hint: 'Leave them out, or give -w FILE.' });
    }
  }
  let capture: Capture | undefined;
  try {
    await runTraffic(
      [
        (signal) =>
          open(port, {
            pageSize: pageSizeFor([port]),
            promiscuous: options.promiscuous,
            signal,
            ...ofInterface(port),
            ...(options.ring === undefined ? {} : { rxRingSize: options.ring }),
            ...(options.mtu === undefined ? {} : { mtu: options.mtu }),
          }),
      ],
      ([device], clock) => {
        warnOfMissingFrames(device!, options.promiscuous);
        capture = new Capture(device!, options, filter, clock);
        return capture;
      },
      { duration: options.duration },
    );
  } finally {
    capture?.close();
  }
}

/** Receives all that comes, and writes or prints what the filter takes. */
export class Capture implements Traffic {
  readonly wakeOn: readonly NetDevice[];
  /** No table: frames are what is shown. */
  readonly report = [];
  readonly #device: NetDevice;
  readonly #filter: FrameFilter | undefined;
  readonly #clock: Clock;
  readonly #writer: Output | undefined;
  readonly #bufs = new Uint32Array(BATCH);
  readonly #count: number;
  readonly #snapBytes: number;
  /** Wall-clock milliseconds when the clock's time is 0. */
  readonly #epochMs: number;
  readonly #endsWithReader: boolean;
  readonly #quiet: boolean;
  #readerLeft = false;
  #received = 0;
  #captured = 0;
  #unprinted = 0;

  /** @throws NicError where the file cannot be written */
  constructor(device: NetDevice, options: CaptureOptions, filter: FrameFilter | undefined, clock: Clock) {
    this.#device = device;
    this.wakeOn = [device];
    this.#filter = filter;
    this.#clock = clock;
    this.#count = options.count ?? Number.POSITIVE_INFINITY;
    this.#snapBytes = options.snapLength ?? MAX_FRAME_BYTES;
    this.#epochMs = clock.wallMs() - clock.nowNs() / 1e6;
    this.#quiet = options.endWithReader === true;
    this.#endsWithReader = this.#quiet || options.write === '-';
    if (options.write === undefined) return;
    this.#writer = openOutputs(options.write, options, {
      clock,
      snapBytes: this.#snapBytes,
      interfaces: [interfaceOf(device, options.filter)],
      section: { comment: TIMES_COMMENT },
      statistics: () => [this.#statistics()],
      onReaderLeft: () => {
        this.#readerLeft = this.#endsWithReader;
      },
    });
  }

  /** All that was asked for is there, or nobody is left to take it. */
  get done(): boolean {
    return this.#captured >= this.#count || this.#readerLeft || this.#writer?.error !== undefined;
  }

  poll(): number {
    const { pool, rxQueues } = this.#device;
    const bufs = this.#bufs;
    let count = 0;
    for (let i = 0; i < rxQueues.length; i++) {
      const received = rxQueues[i]!.receive(bufs);
      if (received === 0) continue;
      this.#take(received);
      pool.release(bufs, received);
      count += received;
    }
    return count;
  }

  /** Takes what the port has received before the wish to stop, a ring of it at most. */
  async beforeEnd(): Promise<void> {
    let left = this.#device.rxQueues.reduce((sum, queue) => sum + queue.size, 0);
    for (let count = 1; count > 0 && left > 0; left -= count) count = this.poll();
  }

  #take(received: number): void {
    const { pool } = this.#device;
    const nowNs = this.#clock.nowNs();
    this.#received += received;
    for (let i = 0; i < received && this.#captured < this.#count; i++) {
      const packet = this.#bufs[i]!;
      const lengthBytes = pool.lengths[packet]!;
      const start = packet << pool.bufferShift;
      if (this.#filter !== undefined && !this.#filter(pool.frames, start, lengthBytes, lengthBytes)) continue;
      this.#captured++;
      if (this.#writer !== undefined) this.#writer.write(pool.bytes(packet), 0, lengthBytes, 0, nowNs);
      else this.#print(start, Math.min(lengthBytes, this.#snapBytes), nowNs);
    }
  }

  #print(start: number, lengthBytes: number, nowNs: number): void {
    if (process.stdout.writableLength > MAX_WAITING_TEXT) this.#unprinted++;
    else
      print(
        `${timeOf(this.#epochMs + nowNs / 1e6)} ${describeFrame(this.#device.pool.frames, lengthBytes, start)}`,
      );
  }

  #statistics() {
    const { missed, lost } = this.#losses();
    return {
      received: this.#received + missed,
      droppedByInterface: missed,
      droppedBySystem: lost,
      accepted: this.#captured,
    };
  }

  #losses(): { missed: number; damaged: number; lost: number } {
    const { rxMissed = 0, rxErrors = 0, rxTooLong, rxDamaged } = this.#device.stats();
    const { unread, slow, failed } = this.#writer?.counters ?? { unread: 0, slow: 0, failed: 0 };
    return { missed: rxMissed, damaged: rxErrors + rxTooLong + rxDamaged, lost: unread + slow + failed };
  }

  afterTotals(): void {
    this.close();
    const { missed, damaged, lost } = this.#losses();
    const into = this.#writer === undefined ? `not printed ${this.#unprinted}` : `not written ${lost}`;
    if (!this.#quiet)
      process.stderr.write(
        `captured ${this.#captured} of ${this.#received} frames; lost by the port ${missed}, damaged ${damaged}, ${into}\n`,
      );
    if (this.#writer?.error !== undefined) throw this.#writer.error;
  }

  /** Ends the file. May be called twice. */
  close(): void {
    this.#writer?.close();
  }
}

/** `13:05:07.000123`, local time, as tcpdump prints it. */
function timeOf(wallMs: number): string {
  const micros = Math.floor(wallMs * 1000);
  return `${timeOfDay(Math.floor(micros / 1000))}.${String(micros % 1e6).padStart(6, '0')}`;
}
