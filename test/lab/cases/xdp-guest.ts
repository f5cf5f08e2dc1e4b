/**
 * Interfaces that stay with a card's kernel driver, by AF_XDP, next to an igb that Barewire drives by VFIO: between them one pool,
 * and frames that are not copied by us. What the machine needs is in `cases.ts`.
 */
import { type Context, suite } from 'uvu';
import * as assert from 'uvu/assert';
import {
  addNamespace,
  bindDriver,
  dmarFaults,
  interfaceOf,
  kernelLog,
  nicAddresses,
  removeNamespace,
  waitForCarrier,
} from '../guest.js';
import { PacketSocket } from '../packet-socket.js';
import { type Background, run } from '../processes.js';
import {
  ADDRESS_A,
  addNamespaces,
  assertBalanced,
  assertFramesPass,
  assertPings,
  assertTcp,
  describeTotals,
  finalTotals,
  note,
  startTraffic,
  testFrame,
} from '../wire.js';

const TRANSFER_BYTES = 2 * 2 ** 20;
const [byKernel, byVfio, virtio] = nicAddresses() as [string, string, string];

addNamespaces();
bindDriver(byVfio, 'vfio-pci');

/** The driver in the kernel, and the number of the peer behind its port. */
for (const [driver, address, peer] of [
  ['igb', byKernel, 0],
  ['virtio_net', virtio, 2],
] as const) {
  const name = interfaceOf(address)!;
  const mixed = suite<Context>(`fwd between ${driver} of the kernel and igb by VFIO`);
  let fwd: Background | undefined;
  let log = '';

  mixed.before(async () => {
    if (peer !== 0) {
      removeNamespace('A');
      addNamespace('A', peer, `${ADDRESS_A}/24`);
      run('ip', ['-n', 'B', 'neigh', 'flush', 'all']);
    }
    run('ip', ['link', 'set', name, 'up']);
    await waitForCarrier(name);
    log = kernelLog();
    fwd = await startTraffic(['fwd', `xdp:${name}`, byVfio]);
  });
  mixed.after(async () => {
    if (fwd !== undefined) await fwd.stop('SIGKILL').catch(() => {});
  });

  mixed('answers 100 of 100 pings', () => {
    note(`${driver}: ping ${assertPings(100)}`);
    const link = run('ip', ['-details', 'link', 'show', 'dev', name]);
    note(`${driver}: ${/xdpgeneric/.test(link) ? 'generic' : 'native'} program`);
    assert.match(link, 'prog/xdp');
  });

  mixed('carries frames of 60 to 1514 bytes unchanged, both ways', async () => {
    const [a, b] = [new PacketSocket(`k${peer}`, 'A'), new PacketSocket('k1', 'B')];
    const frames = [60, 61, 64, 127, 128, 1023, 1513, 1514].map(testFrame);
    try {
      await assertFramesPass(a, b, frames);
      await assertFramesPass(b, a, frames);
    } finally {
      a.close();
      b.close();
    }
  });

  mixed('carries 2 MiB of TCP each way, with the same SHA-256', async () => {
    const there = await assertTcp('A', TRANSFER_BYTES);
    const back = await assertTcp('B', TRANSFER_BYTES);
    note(`${driver}: 2 MiB of TCP A to B ${there} Mbit/s, B to A ${back} Mbit/s`);
  });

  mixed('ends with status 0, totals that agree, no program, and no fault of the IOMMU', async () => {
    const outcome = await fwd!.stop('SIGINT');
    assert.is(outcome.status, 0, outcome.stderr);
    const totals = finalTotals(outcome);
    note(`${driver}: ${describeTotals(totals)}`);
    assertBalanced(totals);
    assert.not.match(run('ip', ['-details', 'link', 'show', 'dev', name]), 'prog/xdp');
    assert.equal(dmarFaults(kernelLog(log)), []);
  });

  mixed.run();
}
