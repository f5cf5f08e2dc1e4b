/** `barewire pktgen PORT`: sends UDP frames from prefilled buffers, at full speed or at a rate. */
import type { Command } from 'commander';
import type { Clock } from '../../src/clock.js';
import type { NetDevice } from '../../src/driver/device.js';
import { open } from '../../src/driver/registry.js';
import { NicError } from '../../src/errors.js';
import { TestFrame } from '../../src/packet/test-frame.js';
import { deviceAddress, pageSizeFor } from '../addresses.js';
import { durationMs, integerBetween, macAddress, positiveInteger, rate } from '../option-values.js';
import { Pace } from '../pace.js';
import type { ReportPort } from '../traffic-report.js';
import { runTraffic, type Traffic } from '../traffic-run.js';

interface Options {
  readonly size: number;
  readonly mtu?: number;
  readonly rate?: number;
  readonly count?: number;
  readonly duration?: number;
  readonly batch: number;
  readonly dstMac?: Uint8Array;
  readonly json?: true;
}

const FCS_BYTES = 4;

export function register(program: Command): void {
  program
    .command('pktgen')
    .description('send UDP frames with sequence numbers')
    .argument('<PORT>', 'PCI address or vfio-user:/path.sock', deviceAddress)
    .option('--size <bytes>', 'frame size including the 4 bytes of FCS', integerBetween(64, 16_384), 64)
    .option('--mtu <bytes>', 'largest layer 3 packet (default: what 2 KiB buffers hold)', positiveInteger)
    .option('--rate <pps>', 'frames per second, such as 250k or 1.5M (default: as fast as it goes)', rate)
    .option('--count <n>', 'stop after this many frames', positiveInteger)
    .option('--duration <time>', 'stop after this time: 10 (seconds), 250ms, 5m', durationMs)
    .option(
      '--dst-mac <mac>',
      'destination MAC address (default: 02:00:00:00:00:01, locally administered)',
      macAddress,
    )
    .option('--batch <n>', 'most frames sent at a time', integerBetween(1, 256), 32)
    .option('--json', 'print JSON lines')
    .action(async (port: string, options: Options) => {
      await runTraffic(
        [
          (signal) =>
            open(port, {
              pageSize: pageSizeFor([port]),
              signal,
              ...(options.mtu === undefined ? {} : { mtu: options.mtu }),
            }),
        ],
        ([device], clock) => new Generator(device!, options, clock),
        options,
      );
    });
}

/** Sends what is due by the clock, from the moment when it is made, at most 10 ms late. */
export class Generator implements Traffic {
  readonly wakeOn = [];
  readonly report;
  readonly #device: NetDevice;
  readonly #frame: TestFrame;
  readonly #bufs: Uint32Array;
  readonly #count: number;
  readonly #pace: Pace | undefined;
  #sent = 0;
  /** Buffers at the front of `#bufs` that are numbered, but found no room in the ring. */
  #waiting = 0;
  #numbered = 0;
  /** Whether ring or pool had no room since the schedule was asked the last time. */
  #wasFull = false;

  constructor(device: NetDevice, options: Options, clock: Clock) {
    this.#device = device;
    const longest = device.maxFrameBytes + FCS_BYTES;
    if (options.size > longest) {
      throw new NicError(
        'BAD_OPTION',
        `${device.address} sends frames of up to ${longest} bytes, not ${options.size}`,
        {
          hint: 'Give a smaller --size, or a larger --mtu.',
        },
      );
    }
    this.#frame = new TestFrame({
      sizeBytes: options.size - FCS_BYTES,
      sourceMac: device.mac,
      ...(options.dstMac === undefined ? {} : { destinationMac: options.dstMac }),
    });
    this.#bufs = new Uint32Array(options.batch);
    this.#count = options.count ?? Number.POSITIVE_INFINITY;
    this.#prefill();
    const pace = options.rate === undefined ? undefined : new Pace(options.rate, clock);
    this.#pace = pace;
    this.report = [
      { device, dropped: () => 0, ...(pace === undefined ? {} : { pace: () => pace.report }) },
    ] satisfies readonly ReportPort[];
  }

  get done(): boolean {
    return this.#sent >= this.#count;
  }

  /** Numbers and sends what is due; returns how many frames the ring took. */
  poll(): number {
    const { pool, txQueues, rxQueues } = this.#device;
    const bufs = this.#bufs;
    this.#discardReceived(rxQueues[0]!);
    if (this.#waiting === 0) {
      const due = Math.min(bufs.length, this.#due());
      if (due <= 0) return 0;
      this.#waiting = pool.allocate(bufs, due);
      if (this.#waiting < due) this.#wasFull = true;
      for (let i = 0; i < this.#waiting; i++) {
        this.#frame.stamp(pool.frames, bufs[i]! << pool.bufferShift, this.#numbered++);
      }
    }
    const sent = txQueues[0]!.send(bufs, this.#waiting);
    if (sent > 0 && sent < this.#waiting) bufs.copyWithin(0, sent, this.#waiting);
    this.#waiting -= sent;
    if (this.#waiting > 0) this.#wasFull = true;
    this.#sent += sent;
    return sent;
  }

  /** Frames that are to be sent now. */
  #due(): number {
    const left = this.#count - this.#numbered;
    if (this.#pace === undefined) return left;
    const due = this.#pace.due(this.#numbered, this.#wasFull);
    this.#wasFull = false;
    return Math.min(left, due);
  }

  readonly #received = new Uint32Array(64);

  /** Frames that come in are counted and thrown away, so that the ring does not fill up. */
  #discardReceived(queue: NetDevice['rxQueues'][number]): void {
    const count = queue.receive(this.#received);
    if (count > 0) {
      // What was received overwrote a prefilled frame.
      const { pool } = this.#device;
      for (let i = 0; i < count; i++) this.#fill(this.#received[i]!);
      pool.release(this.#received, count);
    }
  }

  /** Writes the frame to every buffer once; afterwards only numbers and checksums change. */
  #prefill(): void {
    const { pool } = this.#device;
    const all = new Uint32Array(pool.available);
    const count = pool.allocate(all, all.length);
    for (let i = 0; i < count; i++) this.#fill(all[i]!);
    pool.release(all, count);
  }

  #fill(buffer: number): void {
    const { pool } = this.#device;
    this.#frame.fill(pool.frames, buffer << pool.bufferShift);
    pool.lengths[buffer] = this.#frame.sizeBytes;
  }
}
