/**
 * `barewire fwd` without privileges: what a user has to be given, and what it is told where something is missing. And
 * without hugepages, which a user cannot reserve for itself.
 *
 * memfd_create with MFD_HUGETLB asks for no privilege: neither CAP_IPC_LOCK nor the group in vm.hugetlb_shm_group,
 * which guard SysV shared memory only (fs/hugetlbfs/inode.c, hugetlb_file_setup).
 */
import { chownSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import * as assert from 'uvu/assert';
import { bindDriver, chownVfio, freeHugepages, iommuGroup, nicAddresses, vfioCdev } from '../guest.js';
import { attempt, type Outcome } from '../processes.js';
import { suite } from '../suite.js';
import {
  addNamespaces,
  assertBalanced,
  assertPings,
  BAREWIRE,
  finalTotals,
  note,
  startTraffic,
  vfioNodesOf,
} from '../wire.js';

const MIB = 2 ** 20;
/** fwd maps 6 MiB of packet buffers and 2 MiB of rings a port. */
const ENOUGH_BYTES = 16 * MIB;
const addresses = nicAddresses() as [string, string];
const nodes = {
  group: addresses.map((address) => `/dev/vfio/${iommuGroup(address)}`),
  cdev: [] as string[],
};

function fwd(backend: string, memlockBytes: number): Outcome {
  return attempt(process.execPath, [BAREWIRE, 'fwd', ...addresses], {
    user: { memlockBytes },
    env: { BAREWIRE_VFIO: backend },
  });
}

/** One line that says what happened, one that says what to do. */
function assertRefused(outcome: Outcome, message: RegExp, hint: RegExp): void {
  assert.is(outcome.status, 1, outcome.stderr);
  assert.is(outcome.stdout, '');
  const [first, second, ...rest] = outcome.stderr.trimEnd().split('\n');
  assert.match(first!, message);
  assert.match(second!, hint);
  assert.equal(rest, []);
}

addNamespaces();
for (const address of addresses) {
  bindDriver(address, 'vfio-pci');
  nodes.cdev.push(vfioCdev(address));
}

for (const backend of ['group', 'cdev'] as const) {
  const user = suite(`unprivileged user, ${backend}`);

  user.before(() => {
    for (const node of [...nodes.group, ...nodes.cdev, '/dev/iommu']) chownSync(node, 0, 0);
  });

  user('is refused without permission, and told which node', () => {
    const [node] = nodes[backend];
    assertRefused(
      fwd(backend, ENOUGH_BYTES),
      new RegExp(`^barewire: This user \\(.*\\) may not open ${node}: EACCES`),
      new RegExp(`^hint: sudo chown \\S+ (\\S+ )*${node}[ ;]`),
    );
  });

  user('is refused below its limit of locked memory, and told how much it needs', () => {
    for (const address of addresses) chownVfio(address);
    assertRefused(
      fwd(backend, 2 * MIB),
      /^barewire: Cannot map \d+ MiB for DMA .*this user may lock 2 MiB, and \d+ MiB are needed/,
      /^hint: raise the limit to \d+ MiB, .*`ulimit -l` then says \d+/,
    );
  });

  user('forwards on hugepages with a small limit of locked memory', async () => {
    const before = freeHugepages();
    const command = await startTraffic(['fwd', ...addresses], {
      user: { memlockBytes: ENOUGH_BYTES },
      env: { BAREWIRE_VFIO: backend },
    });
    const status = readFileSync(`/proc/${command.pid}/status`, 'utf8');
    assert.match(status, /^Uid:\s+1000\s+1000\s+1000\s+1000$/m);
    assert.match(status, /^CapEff:\s+0+$/m);
    assert.ok(nodes[backend].every((node) => vfioNodesOf(command.pid).includes(node)));
    const used = before - freeHugepages();
    assert.ok(used >= 5, `${used} hugepages in use`);
    const ping = assertPings(50);
    const outcome = await command.stop();
    assert.is(outcome.status, 0, outcome.stderr);
    assert.is(outcome.stderr, '', 'no warning');
    assertBalanced(finalTotals(outcome));
    assert.is(freeHugepages(), before);
    note(`uid 1000, ${backend}, ${ENOUGH_BYTES / MIB} MiB of memlock: ${used} hugepages; ping ${ping}`);
  });

  user('forwards on ordinary pages, with one warning, where no hugepages are free', async () => {
    const file = '/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages';
    const reserved = readFileSync(file, 'utf8');
    writeFileSync(file, '0');
    try {
      assert.is(freeHugepages(), 0);
      const command = await startTraffic(['fwd', ...addresses], {
        user: { memlockBytes: ENOUGH_BYTES },
        env: { BAREWIRE_VFIO: backend },
      });
      assertPings(50);
      const outcome = await command.stop();
      assert.is(outcome.status, 0, outcome.stderr);
      assertBalanced(finalTotals(outcome));
      assert.is(outcome.stderr.match(/No free hugepages/g)?.length, 1, outcome.stderr);
      assert.match(outcome.stderr, new RegExp(`echo [1-9]\\d* > ${file}`));
    } finally {
      writeFileSync(file, reserved);
    }
    assert.is(freeHugepages(), Number(reserved), 'all are reserved again');
  });

  user.run();
}

const container = suite('VFIO container node');

container('is for everyone as the kernel makes it', () => {
  // Whoever opens it can do nothing without a group.
  note(`mode of /dev/vfio/vfio: ${(statSync('/dev/vfio/vfio').mode & 0o777).toString(8)}`);
  assert.is(statSync('/dev/vfio/vfio').mode & 0o666, 0o666);
});

container.run();
