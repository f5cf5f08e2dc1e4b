/**
 * virtio-net, QEMU's own, driven by Barewire under the kernel's VFIO: between any two of one with split rings, one with packed
 * rings and an igb, and through both kernel interfaces. What the machine needs is in `cases.ts`.
 */
import * as assert from 'uvu/assert';
import {
  addNamespace,
  bindDriver,
  dmarFaults,
  interfaceByMac,
  kernelLog,
  nicAddresses,
  removeNamespace,
} from '../guest.js';
import { PacketSocket } from '../packet-socket.js';
import { type Background, sleep, waitFor } from '../processes.js';
import { peerMac } from '../qemu.js';
import { suite } from '../suite.js';
import {
  ADDRESS_A,
  ADDRESS_B,
  assertBalanced,
  assertFramesPass,
  assertPings,
  assertTcp,
  cpuSeconds,
  describeTotals,
  finalTotals,
  isBusMaster,
  note,
  startTraffic,
  testFrame,
  vfioInterrupts,
} from '../wire.js';

const TRANSFER_BYTES = 8 * 2 ** 20;
const NICS = nicAddresses();
/** Numbers of the devices, and of the peers behind them. */
const [SPLIT, SPLIT_2, PACKED, PACKED_2, IGB] = [0, 1, 2, 3, 4] as const;

interface Pair {
  readonly name: string;
  readonly ports: readonly [number, number];
  readonly backend: 'group' | 'cdev';
}

const PAIRS: readonly Pair[] = [
  { name: 'split and split', ports: [SPLIT, SPLIT_2], backend: 'cdev' },
  { name: 'split and packed', ports: [SPLIT, PACKED], backend: 'group' },
  { name: 'packed and packed', ports: [PACKED_2, PACKED], backend: 'cdev' },
  { name: 'packed and igb', ports: [PACKED_2, IGB], backend: 'group' },
  { name: 'split and igb', ports: [SPLIT, IGB], backend: 'group' },
];

const namespaces = new Set<'A' | 'B'>();
for (const address of NICS) bindDriver(address, 'vfio-pci');
for (const pair of PAIRS) runPair(pair);

function runPair({ name, ports: numbers, backend }: Pair): void {
  const [peerA, peerB] = numbers;
  const ports = numbers.map((number) => NICS[number]!);
  const wire = suite(`fwd between ${name} through ${backend}`);
  let fwd: Background | undefined;
  let log = '';

  wire.before(async () => {
    // An interface comes back from a namespace that is deleted some time later.
    for (const netns of ['A', 'B'] as const) if (namespaces.delete(netns)) removeNamespace(netns);
    const isBack = (peer: number) => () => interfaceByMac(peerMac(peer)) !== undefined;
    for (const peer of numbers) await waitFor(`interface k${peer}`, isBack(peer));
    addNamespace('A', peerA, `${ADDRESS_A}/24`);
    addNamespace('B', peerB, `${ADDRESS_B}/24`);
    for (const netns of ['A', 'B'] as const) namespaces.add(netns);
    log = kernelLog();
    fwd = await startTraffic(['fwd', ...ports], {
      // Devices that have no packed rings take split ones.
      env: { BAREWIRE_VFIO: backend, BAREWIRE_VIRTIO_RINGS: 'packed' },
    });
  });
  wire.after(async () => {
    if (fwd !== undefined) await fwd.stop('SIGKILL').catch(() => {});
  });

  wire('answers 100 of 100 pings', () => {
    note(`${name}: ping ${assertPings(100)}`);
  });

  wire('carries frames of 60 to 1514 bytes unchanged, both ways', async () => {
    const [a, b] = [new PacketSocket(`k${peerA}`, 'A'), new PacketSocket(`k${peerB}`, 'B')];
    const frames = [60, 61, 62, 63, 64, 65, 127, 128, 129, 1023, 1024, 1513, 1514].map(testFrame);
    try {
      await assertFramesPass(a, b, frames);
      await assertFramesPass(b, a, frames);
    } finally {
      a.close();
      b.close();
    }
  });

  wire('carries 8 MiB of TCP each way, with the same SHA-256', async () => {
    const there = await assertTcp('A', TRANSFER_BYTES);
    const back = await assertTcp('B', TRANSFER_BYTES);
    note(`${name}: 8 MiB of TCP A to B ${there} Mbit/s, B to A ${back} Mbit/s`);
  });

  wire('sleeps when idle, and an interrupt wakes it', async () => {
    const before = cpuSeconds(fwd!.pid);
    await sleep(2000);
    note(`${name}: ${(cpuSeconds(fwd!.pid) - before).toFixed(2)} s of processor time in 2 s of idling`);
    const [a, b] = [new PacketSocket(`k${peerA}`, 'A'), new PacketSocket(`k${peerB}`, 'B')];
    try {
      const interrupts = vfioInterrupts(ports[0]!);
      await assertFramesPass(a, b, [testFrame(60, 7)]);
      await waitFor('the interrupt', () => vfioInterrupts(ports[0]!) > interrupts);
    } finally {
      a.close();
      b.close();
    }
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
}
