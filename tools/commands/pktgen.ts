/** `barewire pktgen PORT`: sends UDP frames from prefilled buffers, at full speed or at a rate. */
import { type Command, InvalidArgumentError } from 'commander';
import type { NetDevice } from '../../src/driver/device.js';
import { open } from '../../src/driver/registry.js';
import { UdpFrame } from '../../src/packet/udp-frame.js';
import { deviceAddress } from '../addresses.js';
import { durationMs, integerBetween, positiveInteger, rate } from '../option-values.js';
import { runTraffic, type Traffic } from '../traffic-run.js';

interface Options {
  readonly size: number;
  readonly rate?: number;
  readonly count?: number;
  readonly duration?: number;
  readonly batch: number;
  readonly dstMac?: Uint8Array;
  readonly json?: true;
}

const FCS_BYTES = 4;
/** RFC 2544, appendix C.2.2: addresses for benchmarks. */
const SOURCE_IP = Uint8Array.of(198, 18, 0, 1);
const DESTINATION_IP = Uint8Array.of(198, 19, 0, 1);
const DESTINATION_MAC = Uint8Array.of(2, 0, 0, 0, 0, 1);
const SOURCE_PORT = 49_152;
/** The discard service. */
const DESTINATION_PORT = 9;

export function register(program: Command): void {
  program
    .command('pktgen')
    .description('send UDP frames with sequence numbers')
    .argument('<PORT>', 'PCI address or vfio-user:/path.sock', deviceAddress)
    .option('--size <bytes>', 'frame size including the 4 bytes of FCS', integerBetween(64, 1518), 64)
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
      await runTraffic([() => open(port)], ([device]) => new Generator(device!, options), options);
    });
}

class Generator implements Traffic {
  readonly wakeOn = [];
  readonly report;
  readonly #device: NetDevice;
  readonly #frame: UdpFrame;
  readonly #bufs: Uint32Array;
  readonly #ratePerMs: number;
  readonly #count: number;
  readonly #startMs = performance.now();
  #sent = 0;
  /** Buffers at the front of `#bufs` that are numbered, but found no room in the ring. */
  #waiting = 0;
  #numbered = 0;

  constructor(device: NetDevice, options: Options) {
    this.#device = device;
    this.report = [{ device, dropped: () => 0 }];
    this.#frame = new UdpFrame({
      sizeBytes: options.size - FCS_BYTES,
      destinationMac: options.dstMac ?? DESTINATION_MAC,
      sourceMac: device.mac,
      sourceIp: SOURCE_IP,
      destinationIp: DESTINATION_IP,
      sourcePort: SOURCE_PORT,
      destinationPort: DESTINATION_PORT,
    });
    this.#bufs = new Uint32Array(options.batch);
    this.#ratePerMs = (options.rate ?? Number.POSITIVE_INFINITY) / 1000;
    this.#count = options.count ?? Number.POSITIVE_INFINITY;
    this.#prefill();
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
      const due = Math.min(bufs.length, this.#due() - this.#numbered);
      if (due <= 0) return 0;
      this.#waiting = pool.allocate(bufs, due);
      for (let i = 0; i < this.#waiting; i++) {
        this.#frame.setSequence(pool.memory, bufs[i]! << pool.bufferShift, this.#numbered++);
      }
    }
    const sent = txQueues[0]!.send(bufs, this.#waiting);
    if (sent > 0 && sent < this.#waiting) bufs.copyWithin(0, sent, this.#waiting);
    this.#waiting -= sent;
    this.#sent += sent;
    return sent;
  }

  /** Number of frames that should have been sent by now. */
  #due(): number {
    if (this.#ratePerMs === Number.POSITIVE_INFINITY) return this.#count;
    const elapsed = performance.now() - this.#startMs;
    return Math.min(this.#count, Math.floor(elapsed * this.#ratePerMs));
  }

  readonly #received = new Uint32Array(64);

  /** Frames that come in are counted and thrown away, so that the ring does not fill up. */
  #discardReceived(queue: NetDevice['rxQueues'][number]): void {
    const count = queue.receive(this.#received);
    if (count > 0) {
      // What was received overwrote a prefilled frame.
      const { pool } = this.#device;
      for (let i = 0; i < count; i++) this.#fill(this.#received[i]!);
      pool.release(this.#received, 0, count);
    }
  }

  /** Writes the frame to every buffer once; afterwards only numbers and checksums change. */
  #prefill(): void {
    const { pool } = this.#device;
    const all = new Uint32Array(pool.available);
    const count = pool.allocate(all);
    for (let i = 0; i < count; i++) this.#fill(all[i]!);
    pool.release(all, 0, count);
  }

  #fill(buffer: number): void {
    const { pool } = this.#device;
    this.#frame.fill(pool.memory, buffer << pool.bufferShift);
    pool.lengths[buffer] = this.#frame.sizeBytes;
  }
}

function macAddress(text: string): Uint8Array {
  if (!/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/i.test(text)) {
    throw new InvalidArgumentError('It must be a MAC address such as 02:00:00:00:00:01.');
  }
  return Uint8Array.from(text.split(':'), (byte) => Number.parseInt(byte, 16));
}
