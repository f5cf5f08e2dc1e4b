/**
 * `barewire fwd` as a wire: what goes into one port comes out of the other, through both kernel interfaces; and the
 * same path with the kernel's bridge in the middle, for comparison. For the devices under test 0 and 1 of any family.
 */
import { existsSync } from 'node:fs';
import * as assert from 'uvu/assert';
import { bindDriver, interfaceOf, iommuGroup, nicAddresses, vfioCdev, waitForCarrier } from './guest.js';
import { PacketSocket } from './packet-socket.js';
import { type Background, run, sleep, waitFor } from './processes.js';
import { suite } from './suite.js';
import {
  addNamespaces,
  assertAllLengthsPass,
  assertBalanced,
  assertFramesPass,
  assertPings,
  assertTcp,
  cpuSeconds,
  describeTotals,
  finalTotals,
  iperf,
  isBusMaster,
  note,
  startTraffic,
  testFrame,
  vfioInterrupts,
  vfioNodesOf,
} from './wire.js';

const MIB = 2 ** 20;
const TRANSFER_BYTES = 64 * MIB;

const addresses = nicAddresses() as [string, string];
const running: { fwd?: Background } = {};

interface Backend {
  readonly name: 'group' | 'cdev';
  readonly stopBy: NodeJS.Signals;
  /** The nodes a process has open when it uses this interface. */
  readonly nodes: () => string[];
}

const BACKENDS: readonly Backend[] = [
  {
    name: 'group',
    stopBy: 'SIGINT',
    nodes: () => ['/dev/vfio/vfio', ...addresses.map((address) => `/dev/vfio/${iommuGroup(address)}`)],
  },
  {
    name: 'cdev',
    stopBy: 'SIGTERM',
    nodes: () => ['/dev/iommu', ...addresses.map(vfioCdev)],
  },
];

/** fwd of the suite that runs. */
function fwd(): Background {
  assert.ok(running.fwd, 'fwd has been started');
  return running.fwd;
}

async function killFwd(): Promise<void> {
  const left = running.fwd;
  delete running.fwd;
  if (left && existsSync(`/proc/${left.pid}`)) await left.stop('SIGKILL');
}

/** @param kernelDriver the kernel's driver of the ports, such as `igb`; they are given back to it in the end */
export function runFwdSuites(kernelDriver: string): void {
  addNamespaces();
  for (const address of addresses) bindDriver(address, 'vfio-pci');
  for (const backend of BACKENDS) runBackendSuite(backend);
  runLongFrameSuite();
  runBridgeSuite(kernelDriver);
}

function runBackendSuite(backend: Backend): void {
  const { name, stopBy } = backend;
  const wire = suite(`fwd through ${name}`);

  wire.after(killFwd);

  wire('starts, and has exactly the nodes of this interface open', async () => {
    running.fwd = await startTraffic(['fwd', ...addresses], { env: { BAREWIRE_VFIO: name } });
    assert.equal(vfioNodesOf(fwd().pid), backend.nodes().sort());
    assert.equal(addresses.map(isBusMaster), [true, true]);
  });

  wire('answers 200 of 200 pings', () => {
    note(`fwd ${name}: ping ${assertPings(200)}`);
  });

  wire(
    'carries frames of every length from 60 to 1514 bytes, unchanged and in order, both ways',
    async () => {
      note(`fwd ${name}: ${await assertAllLengthsPass()} frames`);
    },
  );

  wire('carries 64 MiB of TCP each way, with the same SHA-256', async () => {
    const there = await assertTcp('A', TRANSFER_BYTES);
    const back = await assertTcp('B', TRANSFER_BYTES);
    note(`fwd ${name}: 64 MiB of TCP A to B ${there} Mbit/s, B to A ${back} Mbit/s`);
  });

  wire('carries iperf3', async () => {
    const before = cpuSeconds(fwd().pid);
    const mbitPerS = await iperf(5);
    note(`fwd ${name}: iperf3 ${mbitPerS} Mbit/s, fwd used ${(cpuSeconds(fwd().pid) - before).toFixed(1)} s`);
    assert.ok(mbitPerS > 0);
  });

  wire('sleeps when idle, and forwards the first frame after that', async () => {
    const before = cpuSeconds(fwd().pid);
    await sleep(3000);
    note(`fwd ${name}: ${(cpuSeconds(fwd().pid) - before).toFixed(2)} s of processor time in 3 s of idling`);
    const a = new PacketSocket('k0', 'A');
    const b = new PacketSocket('k1', 'B');
    // Only a sleeper has its interrupt unmasked; a poller takes frames without.
    for (let i = 0; i < 3; i++) {
      await sleep(500);
      const interrupts = vfioInterrupts(addresses[0]);
      await assertFramesPass(a, b, [testFrame(60 + i, i)]);
      await waitFor('the interrupt', () => vfioInterrupts(addresses[0]) > interrupts);
    }
    a.close();
    b.close();
  });

  wire(`ends on ${stopBy} with status 0, totals that agree, and bus mastering off`, async () => {
    const outcome = await fwd().stop(stopBy);
    assert.is(outcome.status, 0, outcome.stderr);
    assert.is(outcome.stderr, '');
    const totals = finalTotals(outcome);
    note(`fwd ${name}: ${describeTotals(totals)}`);
    assertBalanced(totals);
    assert.equal(addresses.map(isBusMaster), [false, false]);
  });

  wire.run();
}

/** Frames beyond Ethernet's usual 1514 bytes, which the peers send when their MTU is larger. */
function runLongFrameSuite(): void {
  const long = suite('fwd, long frames');

  long.before(() => {
    run('ip', ['-n', 'A', 'link', 'set', 'k0', 'mtu', '9000']);
    run('ip', ['-n', 'B', 'link', 'set', 'k1', 'mtu', '9000']);
  });
  long.after(async () => {
    await killFwd();
    run('ip', ['-n', 'A', 'link', 'set', 'k0', 'mtu', '1500']);
    run('ip', ['-n', 'B', 'link', 'set', 'k1', 'mtu', '1500']);
  });

  for (const [mtu, lengths] of [
    // What is left of a buffer of 2 KiB behind 64 bytes of headroom.
    [undefined, [1515, 1600, 1983, 1984]],
    // An MTU leaves room for two VLAN tags.
    ['9000', [1515, 1985, 2048, 4096, 9014]],
  ] as const) {
    long(
      `carries up to ${lengths.at(-1)} bytes with ${mtu === undefined ? 'default buffers' : `--mtu ${mtu}`}`,
      async () => {
        running.fwd = await startTraffic(
          ['fwd', ...addresses, ...(mtu === undefined ? [] : ['--mtu', mtu])],
          {},
        );
        const a = new PacketSocket('k0', 'A');
        const b = new PacketSocket('k1', 'B');
        try {
          const frames = lengths.map((length, i) => testFrame(length, i));
          await assertFramesPass(a, b, frames);
          await assertFramesPass(b, a, frames);
        } finally {
          a.close();
          b.close();
        }
        const outcome = await fwd().stop('SIGINT');
        assert.is(outcome.status, 0, outcome.stderr);
        const totals = finalTotals(outcome);
        note(`fwd, long frames: ${describeTotals(totals)}`);
        assertBalanced(totals);
      },
    );
  }

  long.run();
}

function runBridgeSuite(kernelDriver: string): void {
  const bridge = suite('kernel bridge, for comparison');

  bridge('carries the same traffic', async () => {
    run('ip', ['link', 'add', 'br0', 'up', 'type', 'bridge']);
    for (const address of addresses) {
      bindDriver(address, kernelDriver);
      const port = await waitFor('the interface', () => interfaceOf(address));
      run('ip', ['link', 'set', port, 'master', 'br0', 'up']);
      await waitForCarrier(port);
    }
    note(`kernel bridge: ping ${assertPings(200)}`);
    note(`kernel bridge: iperf3 ${await iperf(5)} Mbit/s`);
  });

  bridge.run();
}
