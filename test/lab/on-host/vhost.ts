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
  const output = `${testpmd.stdout}${testpmd.stderr}`.slice(-3000);
  assert.ok(guest.totals.passed > 0, output);
  assert.is(guest.totals.failed, 0, output);
});

backEnd('every packet of ours was taken, and handed on or counted as dropped', async () => {
  testpmd.say('show fwd stats all');
  const ports = await waitFor('statistics', () => {
    const found = testpmd.stdout.split('Forward statistics for port').slice(1);
    return found.length === ENDS.length && found.every((text) => text.includes('TX-total'))
      ? found
      : undefined;
  });
  const counts = ports.map((text) =>
    ['RX-total', 'TX-total', 'TX-dropped'].map((name) =>
      Number(text.match(new RegExp(`${name}: *(\\d+)`))?.[1]),
    ),
  );
  console.log(`\n   received, handed on and dropped: ${JSON.stringify(counts)}`);
  for (const [port, [received]] of counts.entries()) {
    assert.ok(received! > 1000);
    // The cable joins neighbours. testpmd has a packet for which a ring is full in both of its counts of drops.
    const [, total, dropped] = counts[port ^ 1]!;
    const missing = received! - (total! - dropped!);
    assert.ok(missing >= 0 && missing <= dropped!, `of ${received} packets ${missing} are missing`);
  }
});

backEnd.after(async () => {
  testpmd.say('quit');
  await testpmd.ended;
  rmSync(folder, { recursive: true });
});

backEnd.run();
