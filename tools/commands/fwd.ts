/** `barewire fwd A B`: forwards every frame from A to B and from B to A. */
import { type Command, Option } from 'commander';
import { MAX_FRAME_BYTES } from '../../src/capture/byte-window.js';
import type { NetDevice } from '../../src/driver/device.js';
import { open } from '../../src/driver/registry.js';
import { NicError } from '../../src/errors.js';
import { connectQueues, type Forwarder } from '../../src/forward/forwarder.js';
import type { PacketPool } from '../../src/hugepage/packet-pool.js';
import { deviceAddress, pageSizeFor } from '../addresses.js';
import { EmulatedPorts, type PortTraffic, trafficLine } from '../emulated-ports.js';
import { durationMs, integerBetween, positiveInteger, rate } from '../option-values.js';
import { print } from '../output.js';
import { type Stop, stopOnSignals } from '../stop-signals.js';
import { checkTap, Tap, type TapOptions } from '../tap.js';
import { runTraffic, type Traffic } from '../traffic-run.js';

interface Options extends TapOptions {
  readonly batch: number;
  readonly ring?: number;
  readonly queues: number;
  readonly mtu?: number;
  readonly path: 'auto' | 'pipe' | 'general';
  readonly rate?: number;
  readonly size?: number;
  readonly duration?: number;
  readonly json?: true;
  readonly touch?: true;
}

export function register(program: Command): void {
  program
    .command('fwd')
    .description('forward all frames between two ports, both ways')
    .argument(
      '[A]',
      'first port: PCI address or vfio-user:/path.sock (default: emulated ports)',
      deviceAddress,
    )
    .argument('[B]', 'second port', deviceAddress)
    .option('--batch <n>', 'most packets moved at a time', integerBetween(1, 256), 32)
    .option('--ring <n>', "descriptors per ring (default: the driver's)", positiveInteger)
    .option('--queues <n>', 'queue pairs per port', positiveInteger, 1)
    .option('--mtu <bytes>', 'largest layer 3 packet (default: what 2 KiB buffers hold)', positiveInteger)
    .addOption(
      new Option(
        '--path <path>',
        'pipe: rings share buffers; general: buffers go through the pool; auto: pipe if possible',
      )
        .choices(['auto', 'pipe', 'general'])
        .default('auto'),
    )
    .option('--rate <pps>', 'emulated ports: frames per second into each (default: all they take)', rate)
    .option(
      '--size <bytes>',
      'emulated ports: frame size including FCS (default: 64)',
      integerBetween(64, 1518),
    )
    .option('--duration <time>', 'stop after this time: 10 (seconds), 250ms, 5m', durationMs)
    .option('--capture <file>', 'write copies of what passes to a pcapng file or a pipe')
    .option('--capture-filter <text>', "only these, in tcpdump's language: 'udp port 53'")
    .option('--snap-length <bytes>', 'keep so much of each frame', integerBetween(1, MAX_FRAME_BYTES))
    .option('--force', 'replace the file of --capture')
    .option('--touch', 'read and rewrite a byte of every packet')
    .option('--json', 'print JSON lines')
    .action(run);
}

async function run(a: string | undefined, b: string | undefined, options: Options): Promise<void> {
  checkTap(options);
  if (a !== undefined && b !== undefined) {
    if (a === b) throw new NicError('BAD_OPTION', `${a} is given twice`, { hint: 'Give two ports.' });
    if (options.rate !== undefined || options.size !== undefined) {
      throw new NicError('BAD_OPTION', '--rate and --size are for emulated ports', {
        hint: 'Leave them out.',
      });
    }
    await forward([a, b], undefined, options);
    return;
  }
  if (a !== undefined) {
    throw new NicError('BAD_OPTION', 'one port is not enough', {
      hint: 'Give two ports, or none to forward between emulated ones.',
    });
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

async function forwardEmulated(options: Options, stop: Stop): Promise<void> {
  if (options.json !== true) print('No ports given: forwarding between two emulated 82599 ports.');
  const emulated = await EmulatedPorts.start(
    [
      '--lossless',
      ...(options.rate === undefined ? [] : ['--rate', String(options.rate)]),
      ...(options.size === undefined ? [] : ['--size', String(options.size)]),
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
  const { queues, ring, mtu } = options;
  // The first port makes the pool, large enough for both.
  let pool: PacketPool | undefined;
  const openers = addresses.map((address) => async (signal: AbortSignal): Promise<NetDevice> => {
    const device = await open(address, {
      ...(pool === undefined ? { buffersForDevices: addresses.length } : { pool }),
      pageSize: pageSizeFor(addresses),
      ...(ring === undefined ? {} : { rxRingSize: ring, txRingSize: ring }),
      ...(mtu === undefined ? {} : { mtu }),
      queuePairs: queues,
      promiscuous: true,
      signal,
    });
    pool ??= device.pool;
    return device;
  });
  let tap: Tap | undefined;
  try {
    await runTraffic(
      openers,
      (devices, clock) => {
        const { capture } = options;
        tap = capture === undefined ? undefined : new Tap(devices, { ...options, capture }, clock);
        return forwardBothWays(devices, emulated, options, tap);
      },
      options,
      stop,
    );
  } finally {
    tap?.close();
  }
}

function forwardBothWays(
  devices: readonly NetDevice[],
  emulated: EmulatedPorts | undefined,
  options: Options,
  tap: Tap | undefined,
): Traffic {
  let traffic: readonly PortTraffic[] = [];
  emulated?.resume();
  const [a, b] = devices as readonly [NetDevice, NetDevice];
  const { batch, touch = false, path: wanted } = options;
  const between = (from: NetDevice, to: NetDevice, id: number): Forwarder[] => {
    const looked = tap === undefined ? {} : { onPacket: tap.hook(id) };
    const settings = { batch, touch, path: wanted, ...looked };
    return from.rxQueues.map((queue, i) => connectQueues(queue, to.txQueues[i]!, settings));
  };
  const toB = between(a, b, 0);
  const toA = between(b, a, 1);
  const forwarders = [...toB, ...toA];
  // All queues are alike, so all go the same way.
  const { path } = forwarders[0]!;
  print(options.json === true ? JSON.stringify({ type: 'path', path }) : `path: ${path}`);
  const dropped = (list: readonly Forwarder[]) => (): number =>
    list.reduce((sum, one) => sum + one.dropped, 0);
  return {
    poll() {
      tap?.tick();
      let moved = 0;
      for (let i = 0; i < forwarders.length; i++) moved += forwarders[i]!.poll();
      return moved;
    },
    wakeOn: devices,
    report: [
      { device: a, dropped: dropped(toA) },
      { device: b, dropped: dropped(toB) },
    ],
    async beforeEnd() {
      if (emulated !== undefined) traffic = await emulated.pause();
    },
    afterTotals() {
      tap?.end(options.json === true);
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
