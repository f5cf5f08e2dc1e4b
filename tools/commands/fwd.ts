/** `barewire fwd A B`: forwards every frame from A to B and from B to A; with more ports, so between those of each pair. */
import { type Command, Option } from 'commander';
import type { NetDevice, OpenOptions } from '../../src/driver/device.js';
import { open, sharedPoolOptions } from '../../src/driver/registry.js';
import { until } from '../../src/driver/until.js';
import { NicError } from '../../src/errors.js';
import type { Forwarder } from '../../src/forward/forwarder.js';
import { POLL_POLICIES, type PollPolicy } from '../../src/forward/poll-loop.js';
import type { PacketPool } from '../../src/hugepage/packet-pool.js';
import { collectAddress, PORT_FORMS, pageSizeFor } from '../addresses.js';
import { EmulatedPorts, type PortTraffic, trafficLine } from '../emulated-ports.js';
import {
  connectPorts,
  droppedBy,
  emptyRings,
  FORWARD_MODES,
  type ForwardMode,
  type ForwardSettings,
  loadHook,
  type MakeHook,
  moduleUrl,
  type PortForwarders,
  type PortQueues,
} from '../forward-queues.js';
import { ForwardWorkers } from '../forward-workers.js';
import { addInterfaceOptions, type InterfaceOptions, interfaceOptions } from '../interface-options.js';
import { warnOfMissingFrames } from '../missing-frames.js';
import { durationMs, integerBetween, positiveInteger, rate } from '../option-values.js';
import { print, warn } from '../output.js';
import { type Stop, stopOnSignals } from '../stop-signals.js';
import type { Tap } from '../tap.js';
import { addTapOptions, checkTap, isTapped, makeTap, type TapOptions } from '../tap-options.js';
import { runTraffic, type Traffic } from '../traffic-run.js';
import { waitWhileLess } from '../wait-progress.js';

const FLOWS_PER_QUEUE = 4;
/** Without a frame for that long, those that are missing do not come. */
const LOST_AFTER_MS = 1000;
const LOOK_MS = 5;

interface Options extends TapOptions, InterfaceOptions {
  readonly batch: number;
  readonly ring?: number;
  readonly queues?: number;
  readonly workers?: number;
  readonly flows?: number;
  readonly onPacket?: string;
  readonly mtu?: number;
  readonly path: 'auto' | 'pipe' | 'general';
  readonly mode: ForwardMode;
  readonly policy: PollPolicy;
  readonly interruptInterval?: number;
  readonly rate?: number;
  readonly size?: number;
  readonly duration?: number;
  readonly json?: true;
  readonly touch?: true;
  readonly perQueue?: true;
}

export function register(program: Command): void {
  const command = program
    .command('fwd')
    .description('forward all frames between two ports, both ways, or between those of several pairs')
    .argument(
      '[PORT...]',
      `two ports, or pairs of them: ${PORT_FORMS} (default: two emulated ones)`,
      collectAddress,
    )
    .option('--batch <n>', 'most packets moved at a time', integerBetween(1, 256), 32)
    .option('--ring <n>', "descriptors per ring (default: the driver's)", positiveInteger)
    .option('--queues <n>', 'queue pairs per port (default: 1, or one per worker)', positiveInteger)
    .option(
      '--workers <n>',
      'threads that share the queue pairs (default: none beside this one)',
      integerBetween(1, 16),
    )
    .option('--mtu <bytes>', 'largest layer 3 packet (default: what 2 KiB buffers hold)', positiveInteger)
    .addOption(
      new Option(
        '--path <path>',
        'pipe: rings share buffers; general: buffers go through the pool; auto: pipe if possible',
      )
        .choices(['auto', 'pipe', 'general'])
        .default('auto'),
    )
    .addOption(
      new Option(
        '--mode <mode>',
        'io: as they are; macswap: with MAC addresses turned round; reflect: so, back by the same port; rxonly: received and dropped',
      )
        .choices(FORWARD_MODES)
        .default('io'),
    )
    .addOption(
      new Option(
        '--policy <policy>',
        'when nothing comes, latency: poll on; balanced: sleep after 20 ms; power: sleep at once',
      )
        .choices(POLL_POLICIES)
        .default('balanced'),
    )
    .option(
      '--interrupt-interval <us>',
      'least time between two interrupts of a queue (default: none)',
      positiveInteger,
    )
    .option('--rate <pps>', 'emulated ports: frames per second into each (default: all they take)', rate)
    .option(
      '--size <bytes>',
      'emulated ports: frame size including FCS (default: 64)',
      integerBetween(64, 1518),
    )
    .option(
      '--flows <n>',
      'emulated ports: UDP flows, for several queues (default: 1, or 4 per queue)',
      integerBetween(1, 8192),
    )
    .option('--on-packet <file>', 'module whose default export makes the hook that sees each packet')
    .option('--duration <time>', 'stop after this time: 10 (seconds), 250ms, 5m', durationMs)
    .option('--per-queue', 'tell in the totals what each pair of queues moved (--json always does)')
    .option('--touch', 'read and rewrite a byte of every packet')
    .option('--json', 'print JSON lines')
    .action(run);
  addTapOptions(command);
  addInterfaceOptions(command);
}

async function run(ports: readonly string[], options: Options): Promise<void> {
  const { workers } = options;
  checkTap(options);
  if (options.policy === 'latency' && options.interruptInterval !== undefined) {
    throw new NicError('BAD_OPTION', '--interrupt-interval does nothing with --policy latency', {
      hint: 'Leave it out: who never sleeps is never interrupted.',
    });
  }
  if (workers !== undefined && workers > queuesOf(options)) {
    throw new NicError('BAD_OPTION', `${workers} workers for ${options.queues} queue pairs`, {
      hint: 'Give each worker a queue pair of its own at least: --queues.',
    });
  }
  if (workers !== undefined && isTapped(options)) {
    throw new NicError('BAD_OPTION', '--capture, --tap and --mirror do not go together with --workers', {
      hint: 'Leave --workers out: one thread makes the copies.',
    });
  }
  if (ports.length > 0) {
    checkPorts(ports, options);
    await forward(ports, undefined, options);
    return;
  }
  // From here on: a signal while the emulator starts must not leave it behind.
  const stop = stopOnSignals();
  try {
    await forwardEmulated(options, stop);
  } catch (error) {
    // The wish to stop while the emulator starts is no failure.
    if (error !== stop.signal.reason) throw error;
  } finally {
    stop.dispose();
  }
}

/** @throws NicError `BAD_OPTION` for ports that make no pairs, and for options that are not for them */
function checkPorts(ports: readonly string[], options: Options): void {
  const { mirror, rate, size, flows, workers } = options;
  if (ports.length === 1) {
    throw new NicError('BAD_OPTION', 'one port is not enough', {
      hint: 'Give two ports, or none to forward between emulated ones.',
    });
  }
  if (ports.length % 2 !== 0) {
    throw new NicError('BAD_OPTION', `${ports.length} ports make no pairs: ${ports.at(-1)} is left over`, {
      hint: 'Each forwards to its neighbour, the first to the second and the third to the fourth: give one more.',
    });
  }
  const twice = ports.find((port, i) => ports.indexOf(port) < i);
  if (twice !== undefined) {
    throw new NicError('BAD_OPTION', `${twice} is given twice`, { hint: 'Give each port once.' });
  }
  if (mirror !== undefined && ports.includes(mirror)) {
    throw new NicError('BAD_OPTION', `${mirror} forwards, and cannot be the mirror as well`, {
      hint: 'Give a port of its own.',
    });
  }
  if (workers !== undefined && ports.length > 2) {
    throw new NicError('BAD_OPTION', '--workers is for one pair of ports', {
      hint: 'Leave it out, or start a command for each pair.',
    });
  }
  if (rate !== undefined || size !== undefined || flows !== undefined) {
    throw new NicError('BAD_OPTION', '--rate, --size and --flows are for emulated ports', {
      hint: 'Leave them out.',
    });
  }
}

function queuesOf({ queues, workers }: Options): number {
  return queues ?? workers ?? 1;
}

/** With several queues the order holds within a flow only: such frames are numbered flow by flow. */
function flowsOf(options: Options): string[] {
  const queues = queuesOf(options);
  const flows = options.flows ?? (queues === 1 ? undefined : FLOWS_PER_QUEUE * queues);
  return flows === undefined ? [] : ['--flows', String(flows)];
}

async function forwardEmulated(options: Options, stop: Stop): Promise<void> {
  if (options.json !== true) print('No ports given: forwarding between two emulated 82599 ports.');
  const emulated = await EmulatedPorts.start(
    [
      '--lossless',
      ...(options.rate === undefined ? [] : ['--rate', String(options.rate)]),
      ...(options.size === undefined ? [] : ['--size', String(options.size)]),
      ...flowsOf(options),
    ],
    stop.signal,
  );
  try {
    await forward(emulated.addresses, emulated, options, stop);
  } finally {
    await emulated.close();
  }
}

async function forward(
  addresses: readonly string[],
  emulated: EmulatedPorts | undefined,
  options: Options,
  stop?: Stop,
): Promise<void> {
  const { ring, mtu, interruptInterval } = options;
  const makeHook = await loadHook(hookUrl(options));
  const ofInterface = interfaceOptions(addresses, options);
  const optionsOf = (address: string): OpenOptions => ({
    ...ofInterface(address),
    ...(mtu === undefined ? {} : { mtu }),
  });
  // The first port makes the pool, large enough for all.
  let pool: PacketPool | undefined;
  const openers = addresses.map((address) => async (signal: AbortSignal): Promise<NetDevice> => {
    const device = await open(address, {
      ...optionsOf(address),
      ...(pool === undefined
        ? { buffersForDevices: addresses.length, ...sharedPoolOptions(addresses, optionsOf) }
        : { pool }),
      pageSize: pageSizeFor(addresses),
      ...(ring === undefined ? {} : { rxRingSize: ring, txRingSize: ring }),
      ...(interruptInterval === undefined ? {} : { interruptIntervalUs: interruptInterval }),
      queuePairs: queuesOf(options),
      // Both directions of a flow meet in one thread.
      symmetricRss: true,
      promiscuous: true,
      signal,
    });
    warnOfMissingFrames(device);
    pool ??= device.pool;
    return device;
  });
  const { mirror } = options;
  if (mirror !== undefined) openers.push((signal) => openMirror(mirror, options, signal));
  let tap: Tap | undefined;
  try {
    await runTraffic(
      openers,
      (devices, clock) => {
        const ports = devices.slice(0, addresses.length);
        const mirrorPort = devices[addresses.length];
        if (isTapped(options)) tap = makeTap(ports, mirrorPort, options, clock);
        return forwardBothWays(ports, { emulated, options, makeHook, tap, mirror: mirrorPort });
      },
      options,
      stop,
    );
  } finally {
    tap?.close();
  }
}

/** The mirror has buffers of its own: it takes none from the traffic. */
function openMirror(address: string, { mtu }: Options, signal: AbortSignal): Promise<NetDevice> {
  return open(address, { pageSize: pageSizeFor([address]), ...(mtu === undefined ? {} : { mtu }), signal });
}

function hookUrl({ onPacket }: Options): string | undefined {
  return onPacket === undefined ? undefined : moduleUrl(onPacket);
}

interface Run {
  readonly emulated: EmulatedPorts | undefined;
  readonly options: Options;
  readonly makeHook: MakeHook | undefined;
  readonly tap: Tap | undefined;
  readonly mirror: NetDevice | undefined;
}

async function forwardBothWays(ports: readonly NetDevice[], run: Run): Promise<Traffic> {
  const { emulated, options, tap, mirror } = run;
  const { batch, touch = false, path, mode, policy } = options;
  const settings: ForwardSettings = { batch, touch, path, mode, onPacket: hookUrl(options) };
  const made =
    options.workers === undefined
      ? forwardHere(ports, settings, run.makeHook, tap)
      : await forwardInWorkers(ports as readonly [NetDevice, NetDevice], options.workers, settings, policy);
  for (const line of pathLines(made.paths, options.json === true)) print(line);
  emulated?.resume();
  let traffic: readonly PortTraffic[] = [];
  return {
    ...made.traffic,
    policy,
    report: [
      ...ports.map((device, port) => ({
        device,
        dropped: () => made.dropped(port),
        ...(options.perQueue === true || options.json === true ? { queues: () => device.queueStats() } : {}),
      })),
      ...(mirror === undefined ? [] : [{ device: mirror, dropped: () => 0 }]),
    ],
    async beforeEnd() {
      if (emulated !== undefined) await allReceived(ports, await emulated.pause());
    },
    async afterDrain() {
      if (emulated !== undefined) traffic = await emulated.count();
    },
    afterTotals() {
      for (const line of tap?.end(options.json === true) ?? []) print(line);
      for (const [port, counted] of traffic.entries()) {
        print(
          options.json === true
            ? JSON.stringify({ type: 'traffic', port, ...counted })
            : trafficLine(port, counted),
        );
      }
    },
  };
}

/** Waits until the ports have received what they were sent, or nothing for a while: somebody has lost it. */
function allReceived(ports: readonly NetDevice[], sent: readonly number[]): Promise<void> {
  const missing = (): number =>
    ports.reduce((sum, device, port) => sum + Math.max(0, sent[port]! - device.stats().rxPackets), 0);
  const look = (): true | undefined => (missing() === 0 ? true : undefined);
  return waitWhileLess(
    missing,
    async () => (await until(look, { timeoutMs: LOST_AFTER_MS, everyMs: LOOK_MS })) ?? false,
  );
}

interface Made {
  /** The path of each pair: its queues are alike. */
  readonly paths: readonly string[];
  /** Packets dropped on their way to a port. */
  readonly dropped: (port: number) => number;
  readonly traffic: Pick<Traffic, 'poll' | 'wakeOn' | 'without' | 'run' | 'afterPolling'>;
}

/** `path: pipe`; with several pairs `path of ports 0 and 1: pipe`. */
function pathLines(paths: readonly string[], json: boolean): string[] {
  return paths.map((path, i) => {
    const ports = paths.length === 1 ? undefined : [2 * i, 2 * i + 1];
    if (json) return JSON.stringify({ type: 'path', path, ports });
    return `path${ports === undefined ? '' : ` of ports ${ports.join(' and ')}`}: ${path}`;
  });
}

/** What ends when one of its ports does. */
interface Unit {
  readonly ports: readonly NetDevice[];
  readonly forwarders: readonly Forwarder[];
}

function forwardHere(
  ports: readonly NetDevice[],
  settings: ForwardSettings,
  makeHook: MakeHook | undefined,
  tap: Tap | undefined,
): Made {
  const makeHooks = tap === undefined ? makeHook : tapped(tap, makeHook);
  const pairs: PortForwarders[] = [];
  let left: Unit[] = [];
  for (let first = 0; first < ports.length; first += 2) {
    const [a, b] = ports.slice(first, first + 2) as [NetDevice, NetDevice];
    const queues = a.rxQueues.map((_, queue) => queue);
    const pair = connectPorts([queuesAt(a), queuesAt(b)], queues, settings, makeHooks, first);
    const { toA, toB } = pair;
    pairs.push(pair);
    if (settings.mode === 'reflect')
      left.push({ ports: [b], forwarders: toB }, { ports: [a], forwarders: toA });
    else left.push({ ports: [a, b], forwarders: [...toB, ...toA] });
  }
  let forwarders = left.flatMap((unit) => unit.forwarders);
  const poll = (): number => {
    tap?.tick();
    let moved = 0;
    for (let i = 0; i < forwarders.length; i++) moved += forwarders[i]!.poll();
    return moved;
  };
  return {
    paths: pairs.map(({ toB }) => toB[0]!.path),
    dropped: (port) => droppedBy(port % 2 === 0 ? pairs[port >> 1]!.toA : pairs[port >> 1]!.toB),
    traffic: {
      poll,
      wakeOn: ports,
      without(device, error) {
        // Without its mirror the command does not do what it was asked for.
        if (!ports.includes(device)) return [];
        const ended = left.find((unit) => unit.ports.includes(device));
        left = left.filter((unit) => unit !== ended);
        forwarders = left.flatMap((unit) => unit.forwarders);
        if (ended !== undefined && left.length > 0) warnOfLoss(ended, error);
        return left.flatMap((unit) => unit.ports);
      },
      afterPolling: () => emptyRings(poll),
    },
  };
}

function queuesAt({ rxQueues: rx, txQueues: tx }: NetDevice): PortQueues {
  return { rx, tx };
}

/** Said when it happens: the run goes on, maybe for days. */
function warnOfLoss({ ports }: Unit, error: unknown): void {
  const names = ports.map(({ address }) => address);
  warn(
    error instanceof Error ? error.message : String(error),
    `${names.join(' and ')} ${names.length === 1 ? 'forwards' : 'forward'} no more; the others go on, and in the end the run has failed`,
  );
}

/** Hooks that copy what arrives, and then ask the user's. */
function tapped(tap: Tap, makeHook: MakeHook | undefined): MakeHook {
  return (context) => {
    const copy = tap.hook(context.from);
    const hook = makeHook?.(context);
    if (hook === undefined) return copy;
    return (packet, lengthBytes) => {
      copy(packet, lengthBytes);
      return hook(packet, lengthBytes);
    };
  };
}

async function forwardInWorkers(
  ports: readonly [NetDevice, NetDevice],
  count: number,
  settings: ForwardSettings,
  policy: PollPolicy,
): Promise<Made> {
  const { workers, path } = await ForwardWorkers.start(ports, count, settings, policy);
  return {
    paths: [path],
    dropped: (port) => workers.dropped(port as 0 | 1),
    traffic: {
      poll: () => 0,
      wakeOn: [],
      async run(signal) {
        const ended = new Promise<void>((resolve) => {
          if (signal.aborted) resolve();
          else signal.addEventListener('abort', () => resolve(), { once: true });
        });
        try {
          await Promise.race([ended, workers.failed]);
        } finally {
          await workers.end();
        }
      },
    },
  };
}
