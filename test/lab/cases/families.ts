/**
 * `barewire fwd` between any two of QEMU's NICs under the kernel's VFIO: virtio-net with split rings and with packed ones, the 82574L,
 * the 82576 (two of which the case `fwd` has); then what works on each family, and its conformance on a wire. What the machine
 * needs is in `cases.ts`.
 */
import * as assert from 'uvu/assert';
import { type NicError, open } from '../../../src/index.js';
import { raiseStation, runFamilyPair, runWireSuites } from '../family-suites.js';
import { interfaceByMac, nicAddresses } from '../guest.js';
import { Monitor } from '../monitor.js';
import { LONG_MTU, PACKED_RINGS, type Pair, runPairs } from '../pair-suites.js';
import { run, waitFor } from '../processes.js';
import { dutMac, peerMac } from '../qemu.js';
import { suite } from '../suite.js';
import type { LabPort } from '../wire-ports.js';

const NICS = nicAddresses();
/** Numbers of the devices, and of the peers behind them. */
const [SPLIT, SPLIT_2, PACKED, PACKED_2, E1000E, E1000E_2, IGB, TRANSITIONAL] = [
  0, 1, 2, 3, 4, 5, 6, 7,
] as const;

const PAIRS: readonly Pair[] = [
  { name: 'split and split', ports: [SPLIT, SPLIT_2], backend: 'cdev' },
  { name: 'split and packed', ports: [SPLIT, PACKED], backend: 'group' },
  {
    name: 'packed and packed, in a worker thread',
    ports: [PACKED_2, PACKED],
    backend: 'cdev',
    args: ['--workers', '1'],
  },
  {
    name: 'split and e1000e, in a worker thread',
    ports: [SPLIT, E1000E],
    backend: 'cdev',
    args: ['--workers', '1'],
  },
  { name: 'packed and e1000e', ports: [PACKED, E1000E], backend: 'group' },
  { name: 'packed and igb', ports: [PACKED, IGB], backend: 'group' },
  { name: 'split and igb', ports: [SPLIT, IGB], backend: 'group' },
  { name: 'e1000e and e1000e', ports: [E1000E, E1000E_2], backend: 'group', longLengths: [1518] },
  {
    name: 'e1000e and e1000e, two queue pairs in two worker threads',
    ports: [E1000E, E1000E_2],
    backend: 'cdev',
    args: ['--queues', '2', '--workers', '2'],
  },
  {
    name: 'e1000e and igb, general path, long frames',
    ports: [E1000E, IGB],
    backend: 'cdev',
    args: ['--path', 'general', '--mtu', `${LONG_MTU}`],
    longLengths: [1519, 4096, 9014],
  },
];

await runPairs(PAIRS);

let monitor: Monitor | undefined;

/** One wire for two devices, with nobody else at it. */
async function joinWires(a: number, b: number): Promise<() => Promise<void>> {
  monitor ??= await Monitor.open();
  const { setLink } = monitor;
  for (const index of [a, b]) await setLink.call(monitor, `k${index}`, false);
  const part = await monitor.join(a, b);
  return async () => {
    await part();
    for (const index of [a, b]) await setLink.call(monitor!, `k${index}`, true);
    monitor!.close();
    monitor = undefined;
  };
}

for (const [name, a, b, backend] of [
  ['virtio with split rings', SPLIT, SPLIT_2, 'group'],
  ['virtio with packed rings', PACKED, PACKED_2, 'cdev'],
  ['e1000e', E1000E, E1000E_2, 'cdev'],
] as const) {
  runFamilyPair({
    ...{ name, backend, env: PACKED_RINGS, toMac: dutMac(b) },
    devices: () => [NICS[a]!, NICS[b]!],
    join: () => joinWires(a, b),
  });
}

const virtio = suite('virtio');

virtio('tells the network where it is when QEMU asks it to, and acknowledges that', async () => {
  const monitor = await Monitor.open();
  const nic = await open(NICS[SPLIT]!);
  try {
    await nic.waitForLink({ timeoutMs: 90_000 });
    await monitor.command('announce_self');
    // QEMU asks again only when it was answered.
    await waitFor('two announcements', () => nic.stats().txPackets >= 2);
  } finally {
    await nic.close();
    monitor.close();
  }
});

// QEMU has no transitional device whose DMA goes through the IOMMU.
virtio('refuses a transitional device whose DMA goes past the IOMMU', async () => {
  const error = await open(NICS[TRANSITIONAL]!).then(
    () => assert.unreachable('it was opened'),
    (reason: NicError) => reason,
  );
  assert.is(error?.code, 'UNSUPPORTED_DEVICE');
  assert.match(error!.hint!, /iommu_platform=on/);
});

virtio.run();

const wirePorts = [
  ['virtio', "QEMU's virtio-net, split rings", SPLIT, false, 'group'],
  ['virtio', "QEMU's virtio-net, packed rings", PACKED, false, 'cdev'],
  ['e1000e', "QEMU's 82574L", E1000E, true, 'cdev'],
  ['igb', "QEMU's 82576", IGB, true, 'group'],
] as const;

runWireSuites(() =>
  wirePorts.map(([driver, device, index, hasWireCounters, usually]): LabPort => {
    const [name, station] = [interfaceByMac(peerMac(index))!, `k${index}`];
    run('ip', ['link', 'set', name, 'down']);
    run('ip', ['link', 'set', name, 'name', station]);
    raiseStation(station, LONG_MTU);
    return {
      ...{ address: NICS[index]!, usually, driver, device, station, hasWireCounters },
      ...{ packed: index === PACKED, cable: `u${index}`, stationMaxBytes: LONG_MTU + 14 },
    };
  }),
);
