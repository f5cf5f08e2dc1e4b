import * as assert from 'uvu/assert';
import type { KernelFiles } from '../../src/pci/files.js';
import { blockingMembers, isVfioDriver, processesHolding } from '../../src/pci/vfio-state.js';
import { suite } from '../support/suite.js';

const state = suite('VFIO state');
const NIC = 0x020000;
const BRIDGE = 0x060400;

for (const [driver, deviceClass, blocks] of [
  ['igb', NIC, true],
  ['vfio', NIC, true],
  [null, NIC, false],
  ['vfio-pci', NIC, false],
  ['mlx5_vfio_pci', NIC, false],
  ['pci-stub', NIC, false],
  ['pcieport', null, false],
  ['shpchp', BRIDGE, false],
  ['some-bridge-driver', BRIDGE, false],
  ['some-bridge-driver', null, true],
] as const) {
  state(`driver ${driver}, class ${deviceClass}: ${blocks ? 'keeps' : 'does not keep'} VFIO away`, () => {
    const member = { address: '0000:03:00.1', class: deviceClass, driver };
    assert.is(blockingMembers([member]).length, blocks ? 1 : 0);
  });
}

state('VFIO drivers are vfio-pci and those built on it', () => {
  const names = ['vfio-pci', 'mlx5_vfio_pci', 'vfio_pci', 'vfio', 'igb', '', null];
  assert.equal(names.filter(isVfioDriver), ['vfio-pci', 'mlx5_vfio_pci', 'vfio_pci']);
});

state('processes that hold one of the nodes are named, this one is not', () => {
  const node = '/dev/vfio/12';
  const links: Record<string, string> = {
    '/p/7/fd/0': '/dev/null',
    '/p/7/fd/3': node,
    '/p/8/fd/1': '/dev/vfio/1',
    '/p/9/fd/9': '/dev/vfio/devices/vfio0',
    [`/p/${process.pid}/fd/4`]: node,
  };
  const below = (path: string) =>
    Object.keys(links)
      .filter((link) => link.startsWith(`${path}/`))
      .map((link) => link.slice(path.length + 1).split('/')[0]!);
  const files: KernelFiles = {
    list: (path) => (path === '/p' ? [...new Set(below(path)), 'self', '10'] : below(path)),
    readLink: (path) => links[path],
    readText: (path) => (path === '/p/7/comm' ? 'qemu' : undefined),
    exists: () => true,
  };
  const holding = (nodes: readonly (string | undefined)[]) => processesHolding(nodes, '/p', files);
  assert.equal(holding([node, undefined]), ['qemu (pid 7)']);
  assert.equal(holding([node, '/dev/vfio/devices/vfio0']), ['qemu (pid 7)', 'a process (pid 9)']);
  assert.equal(holding(['/dev/vfio/99', undefined]), []);
});

state.run();
