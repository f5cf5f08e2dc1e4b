/** `barewire emulate`: serves emulated NICs over vfio-user, in a process of its own. */
import { type Command, InvalidArgumentError, Option } from 'commander';
import { TrafficPeer } from '../../src/emulator/links/traffic-peer.js';
import { emulatedDevices } from '../../src/emulator/models.js';
import {
  buildEmulator,
  type Emulator,
  type EndDescription,
  type LinkDescription,
} from '../../src/emulator/topology.js';
import { NicError } from '../../src/errors.js';
import { type FromEmulator, type PortTraffic, type ToEmulator, trafficLine } from '../emulated-ports.js';
import { durationMs, integerBetween, positiveInteger, rate } from '../option-values.js';
import { print, warn } from '../output.js';
import { makeSocketFolder } from '../socket-folder.js';
import { type Stop, stopOnSignals } from '../stop-signals.js';

interface Options {
  readonly ports?: number;
  readonly socket?: string[];
  readonly link: LinkKind;
  readonly device: number;
  readonly size: number;
  readonly rate?: number;
  readonly count?: number;
  readonly bandwidth?: number;
  readonly delay?: number;
  readonly loss?: number;
  readonly damage?: number;
  readonly seed?: number;
  readonly lossless?: true;
  readonly strict?: true;
  readonly trustClient?: true;
  readonly capture?: string;
  readonly duration?: number;
}

/** What is at the other end of each port's link. */
type LinkKind =
  | { readonly kind: 'traffic' }
  | { readonly kind: 'cable' }
  | { readonly kind: 'none' }
  | { readonly kind: 'tap' | 'stream' | 'play' | 'record'; readonly name: string };

const DEVICES = emulatedDevices();
const hex = (id: number): string => id.toString(16).padStart(4, '0');
const DEVICE_IDS = DEVICES.map((device) => hex(device.deviceId)).join(', ');
const FCS_BYTES = 4;
const MAX_PORTS = 16;
/** After a pause the traffic has ended when nothing has arrived for this long. */
const SETTLE_MS = 100;

export function register(program: Command): void {
  program
    .command('emulate')
    .description('serve emulated NICs over vfio-user sockets')
    .option('--ports <n>', 'number of ports (default: 2, or one per --socket)', integerBetween(1, MAX_PORTS))
    .option('--socket <path>', 'where to serve the next port; may be repeated', collect)
    .addOption(
      new Option(
        '--link <kind>',
        'the other end of each port: traffic, cable (ports joined in pairs), tap:NAME, stream:PATH (QEMU), play:FILE, record:FILE or none (%d in a name is the port number)',
      )
        .argParser(linkKind)
        .default({ kind: 'traffic' } satisfies LinkKind, 'traffic'),
    )
    .addOption(
      new Option('--device <id>', `PCI device ID: ${DEVICE_IDS}`)
        .argParser(deviceId)
        .default(DEVICES[0]!.deviceId, hex(DEVICES[0]!.deviceId)),
    )
    .option(
      '--size <bytes>',
      'traffic: frame size including the 4 bytes of FCS',
      integerBetween(64, 1518),
      64,
    )
    .option('--rate <pps>', 'traffic: frames per second and port, such as 250k (default: all it can)', rate)
    .option('--count <n>', 'traffic: frames per port', positiveInteger)
    .option('--bandwidth <rate>', 'bits per second of each link, such as 10G (default: unlimited)', rate)
    .option('--delay <time>', 'time that frames are under way: 500ns, 50us, 2ms, 1s', delayNs)
    .option('--loss <share>', 'lose this share of the frames on the way, 0 to 1', share)
    .option('--damage <share>', 'let this share of the frames arrive with a wrong FCS, 0 to 1', share)
    .option('--seed <n>', 'choose other frames to lose and damage', integerBetween(1, 0x7fff_ffff))
    .addOption(
      new Option('--lossless', 'senders wait while a receiver has no room').conflicts([
        'bandwidth',
        'delay',
        'loss',
        'damage',
      ]),
    )
    .option('--strict', 'refuse register accesses that the datasheet forbids')
    .option(
      '--trust-client',
      'take memory that a client could shrink, and so end this process (QEMU: memory-backend-file)',
    )
    .option('--capture <file>', 'write what passes to a pcap file (%d is the link number)')
    .option('--duration <time>', 'stop after this time: 10 (seconds), 250ms, 5m', durationMs)
    .action(run);
}

async function run(options: Options): Promise<void> {
  const stop = stopOnSignals();
  const parent = parentOf(stop);
  const { sockets, remove } = socketPaths(options);
  let emulator: Emulator | undefined;
  try {
    emulator = await buildEmulator(describe(options, sockets), (error, where) => {
      const hint = error instanceof NicError && error.hint !== undefined ? ` (${error.hint})` : '';
      warn(`${where}: ${error instanceof Error ? error.message : String(error)}${hint}`);
    });
    const { host, ends, models } = emulator;
    const peers = ends.flat().filter((end) => end instanceof TrafficPeer);
    parent.serve(peers);
    if (!parent.present) for (const [i, path] of sockets.entries()) print(`port ${i}: vfio-user:${path}`);
    parent.send({ type: 'ready', sockets });
    const end = options.duration === undefined ? undefined : setTimeout(() => stop.stop(), options.duration);
    stop.signal.addEventListener('abort', () => host.stop());
    if (!stop.signal.aborted) await host.run();
    clearTimeout(end);
    if (!parent.present) for (const [i, peer] of peers.entries()) print(trafficLine(i, portTraffic(peer)));
    for (const { name, violations } of models) {
      for (const entry of violations.list)
        warn(`${name}: ${entry.subject}: ${entry.message} (${entry.count} times)`);
      if (violations.faultCount > 0) warn(`${name}: ${violations.faultCount} accesses outside mapped memory`);
    }
  } finally {
    emulator?.host.close();
    remove();
    stop.dispose();
    parent.disconnect();
  }
  stop.throwIfFailed();
}

function portTraffic(peer: TrafficPeer): PortTraffic {
  return { sent: peer.source.sent, ...peer.sink.counters };
}

/** The process that started this one as its emulator, if there is one: its end is our end. */
function parentOf(stop: Stop) {
  const send = (message: FromEmulator): void => {
    // A parent that has just gone is noticed by the end of the channel; without a callback, this would throw.
    process.send?.(message, undefined, undefined, () => {});
  };
  // a parent that is gone already has left the channel's function behind
  const present = process.send !== undefined;
  const onGone = (): void => {
    stop.stop(
      new NicError('PEER_GONE', 'The process that started this emulator is gone', {
        hint: 'It was killed or crashed; start it again.',
      }),
    );
  };
  process.on('disconnect', onGone);
  if (present && process.connected !== true) onGone();
  return {
    present,
    send,
    serve(peers: readonly TrafficPeer[]): void {
      // Frames sent before the parent has its drivers up would only be lost.
      for (const peer of peers) peer.paused = present;
      process.on('message', ({ type }: ToEmulator) => {
        if (type === 'end') {
          process.removeAllListeners('disconnect');
          stop.stop();
          return;
        }
        for (const peer of peers) peer.paused = type === 'pause';
        if (type === 'resume') return;
        settled(peers, () => send({ type: 'traffic', ports: peers.map(portTraffic) }));
      });
    },
    disconnect(): void {
      if (process.connected === true) process.disconnect();
    },
  };
}

/** Calls back when no more frames come in: a forwarder that the system lets wait is not done at once. */
function settled(peers: readonly TrafficPeer[], done: () => void): void {
  let before = -1;
  const timer = setInterval(() => {
    const received = peers.reduce((sum, peer) => sum + peer.sink.counters.received, 0);
    if (received !== before) {
      before = received;
      return;
    }
    clearInterval(timer);
    done();
  }, SETTLE_MS);
}

/** The paths to serve at: those given, the others in a new folder that `remove` removes. */
function socketPaths(options: Options): { sockets: string[]; remove: () => void } {
  const given = options.socket ?? [];
  const count = options.ports ?? (given.length > 0 ? given.length : 2);
  if (given.length > count) {
    throw new NicError('BAD_OPTION', `${given.length} sockets for ${count} ports`, {
      hint: 'Leave --ports out, or give at most one --socket per port.',
    });
  }
  if (given.length === count) return { sockets: [...given], remove: () => {} };
  const folder = makeSocketFolder();
  const sockets = Array.from({ length: count }, (_, i) => given[i] ?? folder.socketPath(i));
  return { sockets, remove: () => folder.remove() };
}

function describe(options: Options, sockets: readonly string[]) {
  const nics = sockets.map((path, i) => ({
    path,
    name: `port ${i}`,
    deviceId: options.device,
    strict: options.strict ?? false,
  }));
  const host = { trustClient: options.trustClient ?? false };
  return { nics, links: describeLinks(options, sockets.length), host };
}

function describeLinks(options: Options, ports: number): LinkDescription[] {
  const common = (link: number) => ({
    ...(options.lossless === undefined ? {} : { flowControl: options.lossless }),
    ...cableOf(options),
    ...(options.capture === undefined ? {} : { capture: numbered(options.capture, link) }),
  });
  const { link } = options;
  if (link.kind === 'none') return [];
  if (link.kind === 'cable') {
    if (ports % 2 !== 0) {
      throw new NicError('BAD_OPTION', `${ports} ports cannot be joined in pairs`, {
        hint: 'Give an even number of ports for --link cable.',
      });
    }
    return Array.from({ length: ports / 2 }, (_, i) => ({
      ends: [{ nic: 2 * i }, { nic: 2 * i + 1 }] as const,
      ...common(i),
    }));
  }
  return Array.from({ length: ports }, (_, nic) => ({
    ends: [{ nic }, farEnd(link, nic, options)] as const,
    ...common(nic),
  }));
}

/** A link without any of these is memory to memory, which costs nothing. */
function cableOf(options: Options): Pick<LinkDescription, 'cable'> {
  const { bandwidth, delay, loss, damage, seed } = options;
  if ((bandwidth ?? delay ?? loss ?? damage) === undefined) return {};
  return {
    cable: {
      ...(bandwidth === undefined ? {} : { rateBitsPerSecond: bandwidth }),
      ...(delay === undefined ? {} : { delayNs: delay }),
      ...(loss === undefined ? {} : { loss }),
      ...(damage === undefined ? {} : { damage }),
      ...(seed === undefined ? {} : { seed }),
    },
  };
}

type FarLink = Exclude<LinkKind, { readonly kind: 'cable' } | { readonly kind: 'none' }>;

function farEnd(link: FarLink, port: number, options: Options): EndDescription {
  if (link.kind === 'traffic') {
    return {
      traffic: {
        sizeBytes: options.size - FCS_BYTES,
        ...(options.rate === undefined ? {} : { framesPerSecond: options.rate }),
        ...(options.count === undefined ? {} : { count: options.count }),
      },
    };
  }
  switch (link.kind) {
    case 'tap':
      return { tap: numbered(link.name, port) };
    case 'stream':
      return { stream: numbered(link.name, port) };
    case 'play':
      return { play: numbered(link.name, port) };
    case 'record':
      return { record: numbered(link.name, port) };
  }
}

function numbered(name: string, number: number): string {
  return name.replaceAll('%d', String(number));
}

function linkKind(text: string): LinkKind {
  if (text === 'traffic' || text === 'cable' || text === 'none') return { kind: text } as LinkKind;
  const [, kind, name] = /^(tap|stream|play|record):(.+)$/.exec(text) ?? [];
  if (kind === undefined || name === undefined) {
    throw new InvalidArgumentError(
      'It must be traffic, cable, none, tap:NAME, stream:PATH, play:FILE or record:FILE.',
    );
  }
  return { kind: kind as 'tap', name };
}

function deviceId(text: string): number {
  const id = Number.parseInt(text, 16);
  if (!DEVICES.some((device) => device.deviceId === id))
    throw new InvalidArgumentError(`It must be one of ${DEVICE_IDS}.`);
  return id;
}

const NANOSECONDS: Readonly<Record<string, number>> = { ns: 1, us: 1e3, ms: 1e6, s: 1e9 };

function delayNs(text: string): number {
  const [, number, unit] = /^([0-9]+(?:\.[0-9]+)?)(ns|us|ms|s)$/.exec(text) ?? [];
  if (number === undefined || unit === undefined)
    throw new InvalidArgumentError('It must be a time with its unit, such as 500ns, 50us or 2ms.');
  return Math.round(Number(number) * NANOSECONDS[unit]!);
}

function share(text: string): number {
  const value = Number(text);
  if (text.trim() === '' || !(value >= 0 && value <= 1))
    throw new InvalidArgumentError('It must be from 0 to 1.');
  return value;
}

function collect(text: string, before: string[] = []): string[] {
  return [...before, text];
}
