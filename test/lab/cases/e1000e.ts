/** `barewire fwd` between two 82574L of QEMU's, and between one and an 82576, each pair through another interface of VFIO. */
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
import { type Background, run, sleep, waitFor } from '../processes.js';
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
const [first, second, igb] = nicAddresses() as [string, string, string];

for (const address of [first, second, igb]) bindDriver(address, 'vfio-pci');
addNamespace('A', 0, `${ADDRESS_A}/24`);

interface Pair {
  readonly name: string;
  readonly other: string;
  /** Index of the other port and of the peer at its wire. */
  readonly index: number;
  readonly backend: 'group' | 'cdev';
  readonly args: readonly string[];
  /** Lengths of frames that this pair takes. */
  readonly lengths: readonly number[];
}

const PAIRS: readonly Pair[] = [
  {
    name: 'e1000e and e1000e',
    other: second,
    index: 1,
    backend: 'group',
    args: [],
    lengths: [60, 1514, 1518],
  },
  {
    name: 'e1000e and e1000e, two queue pairs in two worker threads',
    other: second,
    index: 1,
    backend: 'cdev',
    args: ['--queues', '2', '--workers', '2'],
    lengths: [60, 1514, 1518],
  },
  {
    name: 'e1000e and igb, general path, long frames',
    other: igb,
    index: 2,
    backend: 'cdev',
    args: ['--path', 'general', '--mtu', '9000'],
    lengths: [60, 1514, 1519, 4096, 9014],
  },
];

for (const pair of PAIRS) runPair(pair);

function runPair({ name, other, index, backend, args, lengths }: Pair): void {
  const wire = suite(`${name} through ${backend}`);
  const ports = [first, other];
  let fwd: Background | undefined;

  wire.before(async () => {
    // A namespace that is deleted gives its interfaces back a little later.
    await waitFor(`the peer of port ${index}`, () => interfaceByMac(peerMac(index)));
    addNamespace('B', index, `${ADDRESS_B}/24`);
    for (const [netns, peer] of [
      ['A', 'k0'],
      ['B', `k${index}`],
    ] as const) {
      run('ip', ['-n', netns, 'link', 'set', peer, 'mtu', '9000']);
    }
    // The address had another station before.
    run('ip', ['-n', 'A', 'neigh', 'flush', 'dev', 'k0']);
    fwd = await startTraffic(['fwd', ...ports, ...args], { env: { BAREWIRE_VFIO: backend } });
  });
  wire.after(() => {
    fwd?.kill('SIGKILL');
    removeNamespace('B');
  });

  wire('carries frames of all lengths that fit, both ways', async () => {
    const [a, b] = [new PacketSocket('k0', 'A'), new PacketSocket(`k${index}`, 'B')];
    try {
      const frames = lengths.map((length, i) => testFrame(length, i));
      await assertFramesPass(a, b, frames);
      await assertFramesPass(b, a, frames);
    } finally {
      a.close();
      b.close();
    }
  });

  wire('answers 100 of 100 pings, and carries 8 MiB of TCP each way with the same SHA-256', async () => {
    for (const [netns, peer] of [
      ['A', 'k0'],
      ['B', `k${index}`],
    ] as const) {
      run('ip', ['-n', netns, 'link', 'set', peer, 'mtu', '1500']);
    }
    note(`${name}: ping ${assertPings(100)}`);
    const there = await assertTcp('A', TRANSFER_BYTES);
    const back = await assertTcp('B', TRANSFER_BYTES);
    note(`${name}: TCP A to B ${there} Mbit/s, B to A ${back} Mbit/s`);
  });

  wire('sleeps when idle, and wakes by an interrupt', async () => {
    const before = cpuSeconds(fwd!.pid);
    await sleep(2000);
    note(`${name}: ${(cpuSeconds(fwd!.pid) - before).toFixed(2)} s of processor time in 2 s of idling`);
    const [a, b] = [new PacketSocket('k0', 'A'), new PacketSocket(`k${index}`, 'B')];
    try {
      const interrupts = vfioInterrupts(first);
      await assertFramesPass(a, b, [testFrame(60, 1)]);
      await waitFor('the interrupt', () => vfioInterrupts(first) > interrupts);
    } finally {
      a.close();
      b.close();
    }
  });

  wire('ends with status 0, totals that agree, bus mastering off, and no fault of the IOMMU', async () => {
    const outcome = await fwd!.stop('SIGINT');
    assert.is(outcome.status, 0, outcome.stderr);
    assert.is(outcome.stderr, '');
    const totals = finalTotals(outcome);
    note(`${name}: ${describeTotals(totals)}`);
    assertBalanced(totals);
    assert.equal(ports.map(isBusMaster), [false, false]);
    assert.equal(dmarFaults(kernelLog()), []);
  });

  wire.run();
}
