/**
 * virtio-net, QEMU's own, driven by Barewire under the kernel's VFIO: between two of them through both kernel interfaces,
 * and between one and an igb. What the machine needs is in `cases.ts`.
 */
import { type Context, suite } from 'uvu';
import * as assert from 'uvu/assert';
import { addNamespace, bindDriver, dmarFaults, kernelLog, nicAddresses, removeNamespace } from '../guest.js';
import { PacketSocket } from '../packet-socket.js';
import { type Background, run, sleep, waitFor } from '../processes.js';
import {
  ADDRESS_B,
  addNamespaces,
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

interface Pair {
  readonly name: string;
  readonly ports: readonly [string, string];
  readonly backend: 'group' | 'cdev';
  /** Number of the peer behind the second port. */
  readonly peer: number;
}

const PAIRS: readonly Pair[] = [
  { name: 'virtio and virtio through group', ports: [first, second], backend: 'group', peer: 1 },
  { name: 'virtio and virtio through cdev', ports: [first, second], backend: 'cdev', peer: 1 },
  { name: 'virtio and igb', ports: [first, igb], backend: 'group', peer: 2 },
];

addNamespaces();
for (const address of [first, second, igb]) bindDriver(address, 'vfio-pci');
for (const pair of PAIRS) runPair(pair);

function runPair({ name, ports, backend, peer }: Pair): void {
  const wire = suite<Context>(`fwd between ${name}`);
  let fwd: Background | undefined;
  let log = '';

  wire.before(async () => {
    if (peer === 2) {
      removeNamespace('B');
      addNamespace('B', peer, `${ADDRESS_B}/24`);
      // The peer at this IP address is another one now.
      run('ip', ['-n', 'A', 'neigh', 'flush', 'all']);
    }
    log = kernelLog();
    fwd = await startTraffic(['fwd', ...ports], { env: { BAREWIRE_VFIO: backend } });
  });
  wire.after(async () => {
    if (fwd !== undefined) await fwd.stop('SIGKILL').catch(() => {});
  });

  wire('answers 100 of 100 pings', () => {
    note(`${name}: ping ${assertPings(100)}`);
  });

  wire('carries frames of 60 to 1514 bytes unchanged, both ways', async () => {
    const [a, b] = [new PacketSocket('k0', 'A'), new PacketSocket(`k${peer}`, 'B')];
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
    const [a, b] = [new PacketSocket('k0', 'A'), new PacketSocket(`k${peer}`, 'B')];
    try {
      const interrupts = vfioInterrupts(first);
      await assertFramesPass(a, b, [testFrame(60, 7)]);
      await waitFor('the interrupt', () => vfioInterrupts(first) > interrupts);
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
