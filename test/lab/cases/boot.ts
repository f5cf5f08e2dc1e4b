/**
 * The machine is what other cases take for granted: VFIO in all its forms, hugepages, NICs that the kernel drives,
 * and wires between them and the peers.
 */
import { existsSync, readdirSync } from 'node:fs';
import * as assert from 'uvu/assert';
import {
  addNamespace,
  bindDriver,
  chownVfio,
  driverOf,
  freeHugepages,
  interfaceOf,
  iommuGroup,
  nicAddresses,
  vfioCdev,
  waitForCarrier,
} from '../guest.js';
import { PacketSocket } from '../packet-socket.js';
import { Capture } from '../pcap.js';
import { attempt, run } from '../processes.js';
import { suite } from '../suite.js';
import { assertPings } from '../wire.js';

const machine = suite('lab machine');
const wires = suite('lab wires');
const vfio = suite('lab VFIO');

machine('has two igb NICs, each alone in an IOMMU group, under the kernel driver', () => {
  const addresses = nicAddresses();
  assert.is(addresses.length, 2);
  assert.equal(addresses.map(driverOf), ['igb', 'igb']);
  const groups = addresses.map(iommuGroup);
  assert.is.not(groups[0], groups[1]);
  for (const group of groups) assert.is(readdirSync(`/sys/kernel/iommu_groups/${group}/devices`).length, 1);
});

machine('has free hugepages', () => {
  assert.is(freeHugepages(), 128);
});

wires.before(async () => {
  addNamespace('A', 0, '10.0.0.1/24');
  addNamespace('B', 1, '10.0.0.2/24');
  const ports = nicAddresses().map((address) => interfaceOf(address)!);
  run('ip', ['link', 'add', 'br0', 'up', 'type', 'bridge']);
  for (const port of ports) run('ip', ['link', 'set', port, 'master', 'br0', 'up']);
  for (const port of ports) await waitForCarrier(port);
});

wires('carry ping through both NICs and a bridge', () => {
  assertPings(20, '10.0.0.2');
});

wires('carry raw frames, VLAN tags and all', async () => {
  const a = new PacketSocket('k0', 'A');
  const b = new PacketSocket('k1', 'B');
  const capture = await Capture.start('k1', { netns: 'B' });
  // To everyone, from a local address; VLAN 5; the local experimental EtherType.
  const frame = Buffer.from(`ffffffffffff${'020000000001'}81000005${'88b5'}`.padEnd(200, '5a'), 'hex');
  const isTest = (bytes: Uint8Array) => Buffer.from(bytes).readUInt16BE(16) === 0x88b5;
  a.send(frame);
  const received = await b.collect(1, isTest);
  assert.equal(
    received.map((bytes) => Buffer.from(bytes)),
    [frame],
  );
  const captured = (await capture.stop()).map(({ bytes }) => bytes).filter(isTest);
  assert.equal(
    captured.map((bytes) => Buffer.from(bytes)),
    [frame],
  );
  assert.equal(await a.collect(1, isTest, 200), [], 'a socket does not see what it sent itself');
  a.close();
  b.close();
});

vfio('offers groups, cdevs and iommufd', () => {
  for (const path of ['/dev/vfio/vfio', '/dev/iommu', '/sys/bus/pci/drivers/vfio-pci'])
    assert.ok(existsSync(path));
  const [address] = nicAddresses();
  bindDriver(address!, 'vfio-pci');
  assert.ok(existsSync(`/dev/vfio/${iommuGroup(address!)}`));
  assert.ok(existsSync(vfioCdev(address!)));
});

vfio('can be handed to a user without privileges', () => {
  const [address] = nicAddresses();
  const cdev = vfioCdev(address!);
  const user = { memlockBytes: 1 << 20 };
  assert.is.not(attempt('dd', [`if=${cdev}`, 'count=0'], { user }).status, 0);
  chownVfio(address!);
  assert.is(attempt('dd', [`if=${cdev}`, 'count=0'], { user }).status, 0);
  assert.is(run('bash', ['-c', 'id -u; ulimit -l'], { user }), '1000\n1024\n');
});

machine.run();
wires.run();
vfio.run();
