/**
 * The host's half of the case: DPDK's vhost library as the other side of all virtio rings of the machine, in testpmd, which is the cable
 * between each device under test and its peer. The guest's half is cases/vhost.ts.
 *
 *     guest:     k0 [kernel]   u0 [VFIO, barewire fwd] u1   k1 [kernel]
 *                 |             |                      |     |
 *     testpmd:   vhost ------ vhost                  vhost -- vhost
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { start, waitFor } from '../processes.js';
import { runInGuest } from '../run-case.js';
import { suite } from '../suite.js';
import { prepareLab } from '../vm.js';

const ENDS = ['u0', 'k0', 'u1', 'k1'];
const folder = mkdtempSync(join(tmpdir(), 'barewire-vhost-'));
const { dpdk } = prepareLab({ dpdk: true });

const testpmd = start(
  'setpriv',
  [
    // Line by line, or it would not show what it prints before it has 4 KiB of it.
    ...['--pdeathsig', 'KILL', 'stdbuf', '-oL', join(dpdk!, 'launch', 'dpdk-testpmd')],
    ...['-l', '0,1', '--no-telemetry', '--no-pci', '--no-huge', '-m', '256'],
    ...ENDS.flatMap((end, i) => ['--vdev', `net_vhost${i},iface=${folder}/${end},queues=1,iommu-support=1`]),
    ...['--', '--interactive', '--total-num-mbufs=8192', '--forward-mode=io', '--disable-link-check'],
  ],
  { interactive: true },
);
await testpmd.waitForOutput(/testpmd> /, 60_000);
testpmd.say('start');

const guest = await runInGuest({
  ...{ name: 'vhost', nics: ['virtio', 'virtio,packed=on'], vhostUser: folder, timeoutS: 420 },
});
process.stdout.write(guest.text);

const backEnd = suite("DPDK's vhost as the other side of our rings");

backEnd('the tests in the guest pass', () => {
  assert.ok(guest.totals.passed > 0, testpmd.stdout + testpmd.stderr);
  assert.is(guest.totals.failed, 0, testpmd.stdout + testpmd.stderr);
});

backEnd('every packet of ours was taken, and handed on to the wire', async () => {
  testpmd.say('show port stats all');
  const ports = await waitFor('statistics', () => {
    const found = testpmd.stdout.split('NIC statistics for port').slice(1);
    return found.length >= ENDS.length && found.every((text) => text.includes('TX-packets'))
      ? found
      : undefined;
  });
  const count = (port: number, name: string): number =>
    Number(ports[port]!.match(new RegExp(`${name}: +(\\d+)`))?.[1]);
  for (const [device, peer] of [
    [0, 1],
    [2, 3],
  ] as const) {
    const [out, back] = [count(device, 'RX-packets'), count(peer, 'RX-packets')];
    console.log(`${ENDS[device]}: ${out} packets out, ${back} back`);
    assert.ok(out > 1000 && back > 1000);
    assert.equal([count(device, 'RX-errors'), count(peer, 'RX-errors')], [0, 0]);
    assert.is(count(peer, 'TX-packets'), out);
  }
});

backEnd.after(async () => {
  testpmd.say('quit');
  await testpmd.ended;
  rmSync(folder, { recursive: true });
});

backEnd.run();
