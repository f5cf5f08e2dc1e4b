/** `barewire replay FILE PORT...`: sends the frames of a capture, at their times or as fast as is wanted. */
import { type Command, InvalidArgumentError, Option } from 'commander';
import { CaptureReader } from '../../src/capture/capture-reader.js';
import { checkReadAgain } from '../../src/capture/files.js';
import { compileFilter, type FrameFilter } from '../../src/capture/filter/index.js';
import type { FrameView } from '../../src/capture/frame-decoder.js';
import { LINKTYPE_ETHERNET, notEthernet } from '../../src/capture/link-types.js';
import type { NetworkMap } from '../../src/capture/rewrite.js';
import type { Clock } from '../../src/clock.js';
import type { NetDevice } from '../../src/driver/device.js';
import { open } from '../../src/driver/registry.js';
import { NicError } from '../../src/errors.js';
import { parseIpv4 } from '../../src/packet/addresses.js';
import { readU32 } from '../../src/packet/bytes.js';
import { collectAddress, PORT_FORMS, pageSizeFor } from '../addresses.js';
import { GapHistogram, octaveLines, shortTime } from '../gap-histogram.js';
import { addInterfaceOptions, type InterfaceOptions, interfaceOptions } from '../interface-options.js';
import {
  durationMs,
  integerBetween,
  macAddress,
  positiveInteger,
  rate,
  stationMac,
} from '../option-values.js';
import { print, warn } from '../output.js';
import { leftOutText, ReplaySource } from '../replay-source.js';
import { runTraffic, type Traffic } from '../traffic-run.js';

export interface ReplayOptions extends InterfaceOptions {
  readonly speed: number;
  readonly rate?: number;
  readonly burst?: true;
  readonly loop: number;
  /** Milliseconds from the capture's first frame. */
  readonly from?: number;
  readonly to?: number;
  readonly filter?: string;
  readonly srcMac?: Uint8Array;
  readonly dstMac?: Uint8Array;
  readonly map?: readonly NetworkMap[];
  readonly vlan?: number | 'none';
  readonly split?: string;
  readonly mtu?: number;
  readonly duration?: number;
  readonly json?: true;
}

const BATCH = 64;
/** Time between the moment when all is ready and the first frame. */
const LEAD_NS = 1e6;

export function register(program: Command): void {
  const command = program
    .command('replay')
    .description('send the frames of a capture (pcap, pcapng, also packed with gzip) with their gaps')
    .argument('<FILE>', 'the capture; - is stdin')
    .argument('<PORT...>', `${PORT_FORMS}; two with --split`, collectAddress)
    .option('--speed <x>', 'so many times faster than captured: 2, 0.5', factor, 1)
    .addOption(
      new Option('--rate <pps>', 'frames per second in place of the gaps, such as 250k')
        .argParser(rate)
        .conflicts(['burst', 'speed']),
    )
    .addOption(new Option('--burst', 'as fast as it goes').conflicts('speed'))
    .option('--loop <n>', 'send the file so often', positiveInteger, 1)
    .option(
      '--from <time>',
      'leave out what comes before this time of the capture: 10 (seconds), 250ms',
      durationMs,
    )
    .option('--to <time>', 'leave out what comes from this time on', durationMs)
    .option('--filter <text>', "only these frames, in tcpdump's language: 'udp port 53'")
    .option('--src-mac <mac>', 'source address of all frames', stationMac)
    .option('--dst-mac <mac>', 'destination address of all frames', macAddress)
    .option(
      '--map <net=net>',
      'IPv4 addresses of a net become those of another: 10.0.0.0/8=172.0.0.0/8',
      collectMap,
    )
    .option(
      '--vlan <id>',
      'ID of the VLAN tag, which is added where there is none; none takes it off',
      vlanId,
    )
    .option(
      '--split <what>',
      "what leaves by PORT, the rest by PORT2: 'interface' (the first of a pcapng) or a filter",
    )
    .option('--mtu <bytes>', 'largest layer 3 packet (default: what 2 KiB buffers hold)', positiveInteger)
    .option('--duration <time>', 'stop after this time: 10 (seconds), 250ms, 5m', durationMs)
    .option('--json', 'print JSON lines')
    .action(run);
  addInterfaceOptions(command);
}

async function run(file: string, addresses: readonly string[], options: ReplayOptions): Promise<void> {
  const wanted = options.split === undefined ? 1 : 2;
  if (new Set(addresses).size !== wanted || addresses.length !== wanted) {
    throw new NicError('BAD_OPTION', 'two ports and --split go together', {
      hint: 'Give a second port and what leaves by the first: --split "src net 10.0.0.0/8"; or neither.',
    });
  }
  const ofInterface = interfaceOptions(addresses, options);
  const filter = options.filter === undefined ? undefined : compileFilter(options.filter);
  const portOf = splitter(options.split);
  const reader = await openInput(file, options.loop);
  let first: NetDevice | undefined;
  let replay: Replay | undefined;
  try {
    await runTraffic(
      addresses.map((address) => async (signal: AbortSignal) => {
        const device = await open(address, {
          pageSize: pageSizeFor(addresses),
          signal,
          ...ofInterface(address),
          ...(first === undefined ? { buffersForDevices: addresses.length } : { pool: first.pool }),
          ...(options.mtu === undefined ? {} : { mtu: options.mtu }),
        });
        first ??= device;
        return device;
      }),
      (devices, clock) => {
        replay = new Replay(reader, devices, options, { filter, portOf }, clock);
        return replay;
      },
      options,
    );
  } finally {
    await (replay ?? reader).close();
  }
}

/**
 * Opens what is to be sent.
 * @throws NicError as `CaptureReader.open`; `BAD_OPTION` where its frames are not Ethernet, or a pipe is to be read twice
 */
async function openInput(file: string, loops: number): Promise<CaptureReader> {
  if (loops > 1) {
    if (file !== '-') checkReadAgain(file);
    else
      throw new NicError('BAD_OPTION', 'standard input cannot be sent more than once', {
        hint: 'Leave --loop out, or save the capture to a file.',
      });
  }
  const reader =
    file === '-' ? await CaptureReader.open(process.stdin, 'standard input') : await CaptureReader.open(file);
  const { linkType = LINKTYPE_ETHERNET } = reader;
  if (linkType === LINKTYPE_ETHERNET) return reader;
  await reader.close();
  throw notEthernet(reader.name, linkType);
}

/** Sends what is due by the clock; the first frame a moment after enough has been read ahead. */
export class Replay implements Traffic {
  /** None: the poll must go on, to be in time. */
  readonly wakeOn = [];
  readonly report;
  readonly #devices: readonly NetDevice[];
  readonly #clock: Clock;
  readonly #source: ReplaySource;
  readonly #gaps: GapHistogram | undefined;
  readonly #json: boolean;
  readonly #bufs = new Uint32Array(BATCH);
  #startNs = Number.NaN;
  #sent = 0;

  constructor(
    reader: CaptureReader,
    devices: readonly NetDevice[],
    options: ReplayOptions,
    chosen: { readonly filter: FrameFilter | undefined; readonly portOf: (frame: FrameView) => number },
    clock: Clock,
  ) {
    this.#devices = devices;
    this.#clock = clock;
    this.#json = options.json ?? false;
    this.report = devices.map((device) => ({ device, dropped: () => 0 }));
    this.#gaps = options.burst === true ? undefined : new GapHistogram();
    this.#source = new ReplaySource(reader, devices[0]!.pool, {
      ...chosen,
      loops: options.loop,
      pace: paceOf(options),
      fromS: (options.from ?? 0) / 1000,
      toS: (options.to ?? Number.POSITIVE_INFINITY) / 1000,
      sourceMac: options.srcMac,
      destinationMac: options.dstMac,
      networks: options.map ?? [],
      vlan: options.vlan,
      maxFrameBytes: Math.min(...devices.map((device) => device.maxFrameBytes)),
      onNotice: ({ message, hint }) => warn(message, hint),
    });
  }

  get done(): boolean {
    return this.#source.done;
  }

  /** Sends what is due, as far as the rings have room; returns how many frames that were. */
  poll(): number {
    this.#discardReceived();
    const source = this.#source;
    const nowNs = this.#clock.nowNs();
    source.load(nowNs - this.#startNs);
    if (source.ready === 0) return 0;
    if (Number.isNaN(this.#startNs)) {
      if (!source.primed) return 0;
      this.#startNs = nowNs + LEAD_NS;
    }
    let moved = 0;
    for (let more = true; more; ) {
      const sent = this.#sendRun(nowNs);
      moved += sent;
      more = sent > 0 && moved < BATCH;
    }
    return moved;
  }

  /** Sends the frames that are due and leave by one port, up to the first of another. */
  #sendRun(nowNs: number): number {
    const source = this.#source;
    const bufs = this.#bufs;
    const limit = Math.min(source.ready, bufs.length);
    const port = limit === 0 ? 0 : source.ports[source.at(0)]!;
    let count = 0;
    for (; count < limit; count++) {
      const slot = source.at(count);
      if (source.ports[slot] !== port || this.#startNs + source.dueNs[slot]! > nowNs) break;
      bufs[count] = source.packets[slot]!;
    }
    if (count === 0) return 0;
    const sent = this.#devices[port]!.txQueues[0].send(bufs, count);
    if (this.#gaps !== undefined)
      for (let i = 0; i < sent; i++) this.#gaps.add(this.#startNs + source.dueNs[source.at(i)]!, nowNs);
    source.take(sent);
    this.#sent += sent;
    return sent;
  }

  readonly #received = new Uint32Array(BATCH);

  /** Frames that come in are counted and thrown away, so that the ring does not fill up. */
  #discardReceived(): void {
    for (let i = 0; i < this.#devices.length; i++) {
      const device = this.#devices[i]!;
      const count = device.rxQueues[0].receive(this.#received);
      if (count > 0) device.pool.release(this.#received, count);
    }
  }

  /** What was sent, what was left out and why, and how exact the gaps were. @throws NicError what is wrong with the file */
  afterTotals(): void {
    // Else it was ended before.
    const isWhole = this.#source.done;
    this.#source.end();
    const { leftOut, frames, damage } = this.#source;
    const gaps = this.#gaps;
    if (this.#json) {
      const timing =
        gaps === undefined
          ? {}
          : { gapErrors: gaps.octaves, lastLateNs: gaps.lastLateNs, maxLateNs: gaps.maxLateNs };
      print(JSON.stringify({ type: 'replay', frames, sent: this.#sent, ...leftOut, ...timing }));
    } else {
      print(`replayed ${this.#sent} of ${frames} frames${leftOutText(leftOut)}`);
      if (gaps !== undefined && this.#sent > 1) {
        for (const line of octaveLines('errors of gaps', gaps.octaves)) print(line);
        print(`late: the last frame ${shortTime(gaps.lastLateNs)}, at most ${shortTime(gaps.maxLateNs)}`);
      }
    }
    if (damage !== undefined) throw damage;
    if (this.#sent === 0 && isWhole) throw this.#source.nothingToSend();
  }

  close(): Promise<void> {
    return this.#source.close();
  }
}

function paceOf({ rate: framesPerSecond, burst, speed }: ReplayOptions) {
  if (burst === true) return 'burst';
  return framesPerSecond === undefined ? { speed } : { framesPerSecond };
}

/** By which port a frame leaves. @throws NicError `BAD_OPTION` for a filter that is none */
function splitter(split: string | undefined): (frame: FrameView) => number {
  if (split === undefined) return () => 0;
  if (split === 'interface') return ({ interfaceId }) => (interfaceId === 0 ? 0 : 1);
  const filter = compileFilter(split);
  return ({ bytes, offsetBytes, lengthBytes, originalBytes }) =>
    filter(bytes, offsetBytes, lengthBytes, originalBytes) ? 0 : 1;
}

function vlanId(text: string): number | 'none' {
  return text === 'none' ? text : integerBetween(0, 4095)(text);
}

function factor(text: string): number {
  const value = /^[0-9]+(\.[0-9]+)?$/.test(text) ? Number(text) : Number.NaN;
  if (value > 0 && value <= 1e6) return value;
  throw new InvalidArgumentError('It must be a number above 0, such as 2 or 0.5.');
}

function collectMap(text: string, before: readonly NetworkMap[] = []): NetworkMap[] {
  const match = /^([0-9.]+)\/([0-9]+)=([0-9.]+)\/\2$/.exec(text);
  const bits = Number(match?.[2]);
  if (match === null || bits > 32)
    throw new InvalidArgumentError('It must be two nets of one size, such as 10.0.0.0/8=172.0.0.0/8.');
  const mask = bits === 0 ? 0 : (-1 << (32 - bits)) >>> 0;
  const [from, to] = [match[1]!, match[3]!].map((address) => {
    try {
      return (readU32(parseIpv4(address), 0) & mask) >>> 0;
    } catch (error) {
      throw new InvalidArgumentError((error as Error).message);
    }
  });
  return [...before, { from: from!, to: to!, mask }];
}
