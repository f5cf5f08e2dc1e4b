/** `barewire fwd A B`: forwards every frame from A to B and from B to A. */
import type { Command } from 'commander';
import type { NetDevice } from '../../src/driver/device.js';
import { Forwarder } from '../../src/driver/forwarder.js';
import { open } from '../../src/driver/registry.js';
import { NicError } from '../../src/errors.js';
import { PacketPool } from '../../src/hugepage/packet-pool.js';
import { deviceAddress, durationMs, integerBetween, powerOfTwoBetween } from '../cli.js';
import { runTraffic, type Traffic } from '../traffic-run.js';

interface Options {
  readonly batch: number;
  readonly ring: number;
  readonly queues: number;
  readonly duration?: number;
  readonly json?: true;
  readonly touch?: true;
}

/** Packets in flight beyond what the rings hold. */
const SPARE_BUFFERS = 1024;

export function register(program: Command): void {
  program
    .command('fwd')
    .description('forward all frames between two ports, both ways')
    .argument('<A>', 'first port: PCI address or vfio-user:/path.sock', deviceAddress)
    .argument('<B>', 'second port', deviceAddress)
    .option('--batch <n>', 'most packets moved at a time', integerBetween(1, 256), 32)
    .option('--ring <n>', 'descriptors per ring, a power of two', powerOfTwoBetween(64, 4096), 512)
    .option('--queues <n>', 'queue pairs per port', integerBetween(1, 8), 1)
    .option('--duration <time>', 'stop after this time: 10 (seconds), 250ms, 5m', durationMs)
    .option('--touch', 'read and rewrite a byte of every packet')
    .option('--json', 'print JSON lines')
    .action(async (a: string, b: string, options: Options) => {
      if (a === b) throw new NicError('BAD_OPTION', `${a} is given twice`, { hint: 'Give two ports.' });
      // Made with the first port, so that a port that cannot be opened costs no memory.
      let pool: PacketPool | undefined;
      const opener = (address: string) => (): Promise<NetDevice> => {
        pool ??= new PacketPool({ buffers: 4 * options.ring * options.queues + SPARE_BUFFERS });
        return open(address, {
          pool,
          rxRingSize: options.ring,
          txRingSize: options.ring,
          queuePairs: options.queues,
          promiscuous: true,
        });
      };
      try {
        await runTraffic([opener(a), opener(b)], (devices) => forwardBothWays(devices, options), options);
      } finally {
        pool?.close();
      }
    });
}

function forwardBothWays(devices: readonly NetDevice[], options: Options): Traffic {
  const [a, b] = devices as readonly [NetDevice, NetDevice];
  const between = (from: NetDevice, to: NetDevice): Forwarder[] =>
    from.rxQueues.map((queue, i) => new Forwarder(queue, to.txQueues[i]!, from.pool, options));
  const toB = between(a, b);
  const toA = between(b, a);
  const forwarders = [...toB, ...toA];
  const dropped = (list: readonly Forwarder[]) => (): number =>
    list.reduce((sum, one) => sum + one.dropped, 0);
  return {
    poll() {
      let moved = 0;
      for (let i = 0; i < forwarders.length; i++) moved += forwarders[i]!.poll();
      return moved;
    },
    wakeOn: devices,
    report: [
      { device: a, dropped: dropped(toA) },
      { device: b, dropped: dropped(toB) },
    ],
  };
}
