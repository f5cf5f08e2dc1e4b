import { mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import {
  isInterfaceUp,
  isNic,
  isPciBridge,
  listDevices,
  listNics,
  readDevice,
  upperInterfaces,
} from '../../src/pci/sysfs.js';
import { suite } from '../support/suite.js';
import { FakeSysfs } from './fake-sysfs.js';

const sysfs = suite<{ fake: FakeSysfs }>('sysfs');
sysfs.before.each((context) => {
  context.fake = new FakeSysfs();
});
sysfs.after.each((context) => context.fake.remove());

sysfs('reads a NIC with everything', ({ fake }) => {
  fake.add('0000:03:00.0', {
    driver: 'igb',
    group: 12,
    net: ['eth1'],
    attributes: { numa_node: '1', sriov_numvfs: '2', sriov_totalvfs: '7' },
  });
  assert.equal(readDevice('0000:03:00.0', fake.root), {
    address: '0000:03:00.0',
    vendor: 0x8086,
    device: 0x10c9,
    subsystemVendor: 0x8086,
    subsystemDevice: 0xa03c,
    class: 0x020000,
    driver: 'igb',
    iommuGroup: 12,
    groupMembers: [],
    numaNode: 1,
    interfaces: ['eth1'],
    physicalFunction: null,
    numVfs: 2,
    totalVfs: 7,
  });
});

sysfs('missing driver, group, node and interfaces are null or empty', ({ fake }) => {
  fake.add('0000:03:00.0');
  const device = readDevice('0000:03:00.0', fake.root)!;
  assert.is(device.driver, null);
  assert.is(device.iommuGroup, null);
  assert.is(device.numaNode, null, 'the kernel says -1');
  assert.is(device.numVfs, null);
  assert.equal(device.interfaces, []);
  assert.equal(device.groupMembers, []);
});

sysfs('a directory without any attribute is a device of which nothing is known', ({ fake }) => {
  mkdirSync(join(fake.root, 'bus/pci/devices/0000:09:00.0'));
  const device = readDevice('0000:09:00.0', fake.root)!;
  assert.is(device.vendor, null);
  assert.is(device.class, null);
  assert.equal(listNics(fake.root), []);
});

for (const garbage of ['', 'hello', '0x', '0x12345', '-1', '0x8086 0x10c9', '\0\0', '0xzz', '1e3x']) {
  sysfs(`garbage in an attribute is null: ${JSON.stringify(garbage)}`, ({ fake }) => {
    fake.add('0000:03:00.0', {
      vendor: garbage,
      attributes: { numa_node: `x${garbage}`, sriov_numvfs: `${garbage}.` },
    });
    const device = readDevice('0000:03:00.0', fake.root)!;
    assert.is(device.vendor, null);
    assert.is(device.device, 0x10c9);
    assert.is(device.numaNode, null);
    assert.is(device.numVfs, null);
  });
}

sysfs('a virtio NIC has its interface below the virtio device', ({ fake }) => {
  fake.add('0000:00:03.0', { vendor: '0x1af4', device: '0x1041', driver: 'virtio-pci' });
  fake.addInterface('0000:00:03.0', 'ens3', 'virtio2');
  assert.equal(readDevice('0000:00:03.0', fake.root)!.interfaces, ['ens3']);
});

sysfs('lists in order of address, long domains last, and leaves out what is no address', ({ fake }) => {
  for (const address of ['10000:01:00.0', '0000:0a:00.0', 'ffff:00:00.0', '0000:03:00.1']) fake.add(address);
  mkdirSync(join(fake.root, 'bus/pci/devices/.hidden'));
  assert.equal(
    listDevices(fake.root).map((device) => device.address),
    ['0000:03:00.1', '0000:0a:00.0', 'ffff:00:00.0', '10000:01:00.0'],
  );
});

sysfs('a device that vanished is left out', ({ fake }) => {
  const dir = fake.add('0000:03:00.0');
  fake.add('0000:04:00.0');
  // The link of the bus directory stays for a moment; what it points at is gone.
  rmSync(dir, { recursive: true });
  assert.is(readDevice('0000:03:00.0', fake.root), null);
  assert.equal(
    listDevices(fake.root).map((device) => device.address),
    ['0000:04:00.0'],
  );
});

sysfs('without a PCI bus there are no devices', () => {
  assert.equal(listDevices('/nonexistent'), []);
  assert.is(readDevice('0000:03:00.0', '/nonexistent'), null);
});

sysfs('an address that could leave the directory is not looked up', ({ fake }) => {
  assert.is(readDevice('../devices', fake.root), null);
});

sysfs('only class 02 is a NIC; 0604 is a bridge', ({ fake }) => {
  fake.add('0000:00:01.0', { class: '0x060400' });
  fake.add('0000:00:02.0', { class: '0x010802' });
  fake.add('0000:00:03.0', { class: '0x020000' });
  fake.add('0000:00:04.0', { class: '0x028000' });
  assert.equal(
    listNics(fake.root).map((device) => device.address),
    ['0000:00:03.0', '0000:00:04.0'],
  );
  assert.equal(listDevices(fake.root).map(isPciBridge), [true, false, false, false]);
  assert.not(isNic({ class: null }));
});

sysfs('names the other functions of the group', ({ fake }) => {
  fake.add('0000:03:00.0', { group: 7 });
  fake.add('0000:03:00.1', { group: 7, driver: 'igb' });
  fake.add('0000:02:00.0', { group: 7, class: '0x060400', driver: 'pcieport' });
  fake.add('0000:05:00.0', { group: 8 });
  assert.equal(readDevice('0000:03:00.0', fake.root)!.groupMembers, [
    { address: '0000:02:00.0', class: 0x060400, driver: 'pcieport' },
    { address: '0000:03:00.1', class: 0x020000, driver: 'igb' },
  ]);
});

sysfs("VFIO's no-IOMMU group counts as none", ({ fake }) => {
  fake.add('0000:03:00.0', { group: 0 });
  assert.is(readDevice('0000:03:00.0', fake.root)!.iommuGroup, 0);
  writeFileSync(join(fake.root, 'kernel/iommu_groups/0/name'), 'vfio-noiommu\n');
  assert.is(readDevice('0000:03:00.0', fake.root)!.iommuGroup, null);
});

sysfs('a virtual function names its physical function', ({ fake }) => {
  fake.add('0000:03:00.0');
  const dir = fake.add('0000:03:10.0', { device: '0x10ca' });
  symlinkSync('../0000:03:00.0', join(dir, 'physfn'));
  assert.is(readDevice('0000:03:10.0', fake.root)!.physicalFunction, '0000:03:00.0');
});

sysfs('reads interface flags and uppers', ({ fake }) => {
  fake.add('0000:03:00.0');
  fake.addInterface('0000:03:00.0', 'up', '.', 0x1003);
  fake.addInterface('0000:03:00.0', 'down', '.', 0x1002);
  fake.addUpper('down', 'bond0');
  assert.ok(isInterfaceUp('up', fake.root));
  assert.not(isInterfaceUp('down', fake.root));
  assert.not(isInterfaceUp('none', fake.root));
  assert.equal(upperInterfaces('down', fake.root), ['bond0']);
  assert.equal(upperInterfaces('up', fake.root), []);
});

sysfs.run();
