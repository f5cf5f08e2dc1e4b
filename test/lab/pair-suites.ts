/** `barewire fwd` between any two devices of a machine, with a station of the kernel's at each end. */
import * as assert from 'uvu/assert';
import { bindDriver, dmarFaults, kernelLog, nicAddress, nicAddresses } from './guest.js';
import { PacketSocket } from './packet-socket.js';
import { attempt, type Background, sleep, waitFor } from './processes.js';
import { Stations } from './stations.js';
import { suite } from './suite.js';
import {
  ADDRESS_B,
  assertBalanced,
  assertFramesPass,
  assertPings,
  cpuSeconds,
  describeTotals,
  finalTotals,
  isBusMaster,
  note,
  startTraffic,
  testFrame,
  vfioInterrupts,
} from './wire.js';

const TRANSFER_BYTES = 8 * 2 ** 20;
const LENGTHS = [60, 61, 62, 63, 64, 65, 127, 128, 129, 1023, 1024, 1513, 1514];
export const LONG_MTU = 9000;
/** Devices that have no packed rings take split ones. */
export const PACKED_RINGS = { BAREWIRE_VIRTIO_RINGS: 'packed' };

export interface Pair {
  readonly name: string;
  /** Numbers of the devices, and of the peers behind them. */
  readonly ports: readonly [number, number];
  readonly backend: 'group' | 'cdev';
  readonly args?: readonly string[];
  /** Frames beyond 1514 bytes that this pair takes. */
  readonly longLengths?: readonly number[];
  /** What is behind the devices says that the link is up before it is: frames are lost until a ping was answered. */
  readonly settles?: boolean;
}

/** Gives all devices under test to VFIO and runs the pairs, with stations at their wires meanwhile. */
export async function runPairs(pairs: readonly Pair[]): Promise<void> {
  for (const address of nicAddresses()) bindDriver(address, 'vfio-pci');
  const stations = await Stations.start();
  for (const pair of pairs) runPair(stations, pair);
  const cleared = suite('the stations');
  cleared('give their interfaces back', async () => {
    await stations.stop();
  });
  cleared.run();
}

/** Starts a forwarder between two devices, and sees what it carries between the stations at their wires. */
function runPair(
  stations: Stations,
  { name, ports: numbers, backend, args = [], longLengths = [], settles = false }: Pair,
): void {
  const [peerA, peerB] = numbers;
  const ports = numbers.map(nicAddress);
  const wire = suite(`fwd between ${name} through ${backend}`);
  let fwd: Background | undefined;
  let log = '';

  wire.before(async () => {
    stations.place(peerA, peerB, longLengths.length > 0 ? LONG_MTU : 1500);
    log = kernelLog();
    fwd = await startTraffic(['fwd', ...ports, ...args], {
      env: { BAREWIRE_VFIO: backend, ...PACKED_RINGS },
    });
    const ping = ['netns', 'exec', 'A', 'ping', '-c', '1', '-W', '1', ADDRESS_B];
    if (settles) await waitFor('a ping that is answered', () => attempt('ip', ping).status === 0);
  });
  wire.after(async () => {
    if (fwd !== undefined) await fwd.stop('SIGKILL').catch(() => {});
  });

  wire('carries frames of 60 to 1514 bytes and longer ones unchanged, both ways', async () => {
    await betweenStations(async (a, b) => {
      const frames = [...LENGTHS, ...longLengths].map(testFrame);
      await assertFramesPass(a, b, frames);
      await assertFramesPass(b, a, frames);
    });
  });

  wire('answers 100 of 100 pings, and carries 8 MiB of TCP each way, with the same SHA-256', async () => {
    stations.setMtu(1500);
    note(`${name}: ping ${assertPings(100)}; TCP ${await stations.assertTcp(TRANSFER_BYTES)} Mbit/s`);
  });

  wire('sleeps when idle, and an interrupt wakes it', async () => {
    await sleep(1000);
    const before = cpuSeconds(fwd!.pid);
    await sleep(500);
    note(`${name}: ${(cpuSeconds(fwd!.pid) - before).toFixed(2)} s of processor time in 0.5 s of idling`);
    await betweenStations(async (a, b) => {
      const interrupts = vfioInterrupts(ports[0]!);
      await assertFramesPass(a, b, [testFrame(60, 7)]);
      await waitFor('the interrupt', () => vfioInterrupts(ports[0]!) > interrupts);
    });
  });

  wire('ends with status 0, totals that agree, bus mastering off, and no fault of the IOMMU', async () => {
    const outcome = await fwd!.stop('SIGINT');
    assert.is(outcome.status, 0, outcome.stderr);
    const totals = finalTotals(outcome);
    note(`${name}: ${describeTotals(totals)}`);
    assertBalanced(totals);
    assert.equal(ports.map(isBusMaster), [false, false]);
    assert.equal(dmarFaults(kernelLog(log)), []);
  });

  wire.run();

  async function betweenStations(use: (a: PacketSocket, b: PacketSocket) => Promise<void>): Promise<void> {
    const [a, b] = [new PacketSocket(`k${peerA}`, 'A'), new PacketSocket(`k${peerB}`, 'B')];
    try {
      await use(a, b);
    } catch (error) {
      const busy = fwd!.stdout.split('\n').filter((line) => /Mpps":(?!0[,}])/.test(line));
      note([...busy.slice(-3), stations.counters()].join('\n'));
      throw error;
    } finally {
      a.close();
      b.close();
    }
  }
}
