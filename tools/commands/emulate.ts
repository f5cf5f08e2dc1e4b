/** `barewire emulate`: serves emulated NICs over vfio-user, in a process of its own. */
import { type Command, InvalidArgumentError, Option } from 'commander';
import { every, systemClock } from '../../src/clock.js';
import { checkPaths } from '../../src/emulator/links/paths.js';
import { TrafficPeer } from '../../src/emulator/links/traffic-peer.js';
import { macAfter } from '../../src/emulator/mac-addresses.js';
import { emulatedDevices } from '../../src/emulator/models.js';
import { buildEmulator, type Emulator, type EmulatorDescription } from '../../src/emulator/topology.js';
import { NicError } from '../../src/errors.js';
import { formatId } from '../../src/pci/ids.js';
import { collectLink, describeLinks, type LinkOptions } from '../emulate-links.js';
import { endLines, portTraffic } from '../emulate-report.js';
import type { FromEmulator, ToEmulator } from '../emulated-ports.js';
import { durationMs, integerBetween, positiveInteger, rate, stationMac } from '../option-values.js';
import { print, warn } from '../output.js';
import { makeSocketFolder } from '../socket-folder.js';
import { type Stop, stopOnSignals } from '../stop-signals.js';

interface Options extends LinkOptions {
  readonly ports?: number;
  readonly socket?: string[];
  readonly device: number;
  readonly mac?: Uint8Array;
  readonly trap?: true;
  readonly strict?: true;
  readonly trustClient?: true;
  readonly duration?: number;
}

const DEVICES = emulatedDevices();
const DEVICE_IDS = DEVICES.map((device) => formatId(device.deviceId)).join(', ');
const MAX_PORTS = 16;
/** After a pause the traffic has ended when nothing has arrived for this long. */
const SETTLE_MS = 100;

export function register(program: Command): void {
  program
    .command('emulate')
    .description('serve emulated NICs over vfio-user sockets')
    .option(
      '--ports <n>',
      'number of ports (default: 2, or one per --socket or --link)',
      integerBetween(1, MAX_PORTS),
    )
    .option('--socket <path>', 'where to serve the next port; may be repeated', collect)
    .option(
      '--link <kind>',
      'the other end of each port: traffic, cable (ports joined in pairs), tap:NAME, stream:PATH (QEMU), play:FILE, record:FILE or none; once for all ports, or once for each in order (%d in a name is the port number; default: traffic)',
      collectLink,
    )
    .addOption(
      new Option('--device <id>', `PCI device ID: ${DEVICE_IDS}`)
        .argParser(deviceId)
        .default(DEVICES[0]!.deviceId, formatId(DEVICES[0]!.deviceId)),
    )
    .option(
      '--size <bytes>',
      'traffic: frame size including the 4 bytes of FCS (default: 64)',
      integerBetween(64, 1518),
    )
    .option('--rate <pps>', 'traffic: frames per second and port, such as 250k (default: all it can)', rate)
    .option('--count <n>', 'traffic: frames per port', positiveInteger)
    .option(
      '--flows <n>',
      'traffic: number of UDP flows, each numbered by itself (default: 1)',
      integerBetween(1, 8192),
    )
    .addOption(
      new Option(
        '--timing <timing>',
        'play: with the gaps of the capture, or as fast as frames are taken',
      ).choices(['original', 'burst']),
    )
    .option('--loop <n>', 'play: send the file so often (default: 1)', positiveInteger)
    .option('--bandwidth <rate>', 'bits per second of each link, such as 10G (default: unlimited)', rate)
    .option(
      '--bottleneck <rate>',
      'bits per second that a device halfway passes on; it drops what comes faster, such as 60M',
      rate,
    )
    .option('--delay <time>', 'time that frames are under way: 500ns, 50us, 2ms, 1s', delayNs)
    .option('--loss <share>', 'lose this share of the frames on the way, 0 to 1', share)
    .option('--damage <share>', 'let this share of the frames arrive with a wrong FCS, 0 to 1', share)
    .option('--duplicate <share>', 'let this share of the frames arrive twice, 0 to 1', share)
    .option('--reorder <share>', 'let this share of the frames be overtaken by the next, 0 to 1', share)
    .option('--seed <n>', 'choose other frames to lose and damage', integerBetween(1, 0x7fff_ffff))
    .addOption(
      new Option('--lossless', 'senders wait while a receiver has no room').conflicts([
        'bandwidth',
        'bottleneck',
        'delay',
        'loss',
        'damage',
        'duplicate',
        'reorder',
      ]),
    )
    .option(
      '--mac <mac>',
      "the first port's address; the others count up (default: made of the socket)",
      stationMac,
    )
    .option('--trap', 'let no client map registers: slower, and every access is checked')
    .option('--strict', 'refuse register accesses that the datasheet forbids')
    .option(
      '--trust-client',
      'take memory that a client could shrink, and so end this process (QEMU: memory-backend-file)',
    )
    .option(
      '--capture <file>',
      'write what passes to a file: pcapng, or pcap where its name ends in .pcap, packed in .gz (%d is the link number)',
    )
    .option('--force', 'replace files that --capture and record:FILE name')
    .option('--duration <time>', 'stop after this time: 10 (seconds), 250ms, 5m', durationMs)
    .action(run);
}

async function run(options: Options): Promise<void> {
  const stop = stopOnSignals();
  const parent = parentOf(stop);
  let remove = (): void => {};
  let emulator: Emulator | undefined;
  try {
    const count = portCount(options);
    const links = describeLinks(options, count);
    const overwrite = options.force ?? false;
    // Before anything is made, the folder for sockets included.
    checkPaths({ nics: (options.socket ?? []).map((path) => ({ path })), links, overwrite });
    const made = socketPaths(options, count);
    const { sockets } = made;
    remove = made.remove;
    emulator = await buildEmulator(
      {
        nics: describeNics(options, sockets),
        links,
        overwrite,
        host: { trustClient: options.trustClient ?? false },
      },
      {
        onError: (error, where) => {
          const hint = error instanceof NicError ? error.hint : undefined;
          warn(`${where}: ${error instanceof Error ? error.message : String(error)}`, hint);
        },
      },
    );
    const { host, ends, models } = emulator;
    const peers = ends.flat().filter((end) => end instanceof TrafficPeer);
    parent.serve(peers);
    if (!parent.present) for (const [i, path] of sockets.entries()) print(`port ${i}: vfio-user:${path}`);
    parent.send({ type: 'ready', sockets });
    const cancelEnd = systemClock.after(options.duration ?? Number.POSITIVE_INFINITY, () => stop.stop());
    stop.signal.addEventListener('abort', () => host.stop());
    if (!stop.signal.aborted) await host.run();
    cancelEnd();
    await emulator.drain();
    if (!parent.present) for (const line of endLines(emulator, links)) print(line);
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

/** The process that started this one as its emulator, if there is one: its end is our end. */
function parentOf(stop: Stop) {
  const send = (message: FromEmulator): void => {
    // A parent that has just gone is noticed by the end of the channel; without a callback, this would throw.
    process.send?.(message, undefined, undefined, () => {});
  };
  // a parent that is gone already has left the channel's function behind
  const present = process.send !== undefined;
  const onGone = (): void => {
    // One that was told to end by a signal needs no reason.
    if (stop.signal.aborted) return;
    stop.stop(
      new NicError('PEER_GONE', 'The process that started this emulator is gone', {
        hint: 'It was killed or crashed; start it again.',
      }),
    );
  };
  let onMessage = (_message: ToEmulator): void => {};
  process.on('disconnect', onGone);
  if (present && process.connected !== true) onGone();
  return {
    present,
    send,
    serve(peers: readonly TrafficPeer[]): void {
      // Frames sent before the parent has its drivers up would only be lost.
      for (const peer of peers) peer.paused = present;
      onMessage = ({ type }) => {
        if (type === 'end') {
          process.off('disconnect', onGone);
          stop.stop();
          return;
        }
        if (type === 'count') {
          settled(peers, () => send({ type: 'traffic', ports: peers.map(portTraffic) }));
          return;
        }
        for (const peer of peers) peer.paused = type === 'pause';
        if (type === 'pause') send({ type: 'paused', sent: peers.map(({ source }) => source.sent) });
      };
      process.on('message', onMessage);
    },
    disconnect(): void {
      process.off('disconnect', onGone);
      process.off('message', onMessage);
      if (process.connected === true) process.disconnect();
    },
  };
}

/** Calls back when no more frames come in: a link may delay them. */
function settled(peers: readonly TrafficPeer[], done: () => void): void {
  let before = -1;
  const end = every(systemClock, SETTLE_MS, () => {
    const received = peers.reduce((sum, peer) => sum + peer.sink.counters.received, 0);
    if (received !== before) {
      before = received;
      return;
    }
    end();
    done();
  });
}

/** @throws NicError `BAD_OPTION` where more sockets are given than ports */
function portCount({ ports, socket = [], link = [] }: Options): number {
  const count = ports ?? (Math.max(socket.length, link.length > 1 ? link.length : 0) || 2);
  if (socket.length <= count) return count;
  throw new NicError('BAD_OPTION', `${socket.length} sockets for ${count} ports`, {
    hint: 'Leave --ports out, or give at most one --socket per port.',
  });
}

/** The paths to serve at: those given, the others in a new folder that `remove` removes. */
function socketPaths(options: Options, count: number): { sockets: string[]; remove: () => void } {
  const given = options.socket ?? [];
  if (given.length === count) return { sockets: [...given], remove: () => {} };
  const folder = makeSocketFolder();
  const sockets = Array.from({ length: count }, (_, i) => given[i] ?? folder.socketPath(i));
  return { sockets, remove: () => folder.remove() };
}

function describeNics(options: Options, sockets: readonly string[]): EmulatorDescription['nics'] {
  return sockets.map((path, i) => ({
    path,
    name: `port ${i}`,
    deviceId: options.device,
    strict: options.strict ?? false,
    ...(options.mac === undefined ? {} : { mac: [...macAfter(options.mac, i)] }),
    ...(options.trap === undefined ? {} : { mappable: false }),
  }));
}

function deviceId(text: string): number {
  const id = /^(0x)?[0-9a-f]{1,4}$/i.test(text) ? Number.parseInt(text, 16) : Number.NaN;
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
