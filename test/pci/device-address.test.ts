import fc from 'fast-check';
import * as assert from 'uvu/assert';
import { NicError } from '../../src/errors.js';
import { formatDeviceAddress, openAddress, parseDeviceAddress } from '../../src/pci/device-address.js';
import {
  formatPciAddress,
  isPciAddress,
  normalizePciAddress,
  type PciAddress,
  parsePciAddress,
} from '../../src/pci/pci-address.js';
import { expectError } from '../support/expect-error.js';
import { suite } from '../support/suite.js';
import { FakeSysfs } from './fake-sysfs.js';

const pciAddress: fc.Arbitrary<PciAddress> = fc.record(
  {
    domain: fc.oneof(fc.integer({ min: 0, max: 0xffff }), fc.integer({ min: 0, max: 0xffffffff })),
    bus: fc.integer({ min: 0, max: 0xff }),
    device: fc.integer({ min: 0, max: 0x1f }),
    function: fc.integer({ min: 0, max: 7 }),
  },
  { noNullPrototype: true },
);

const pci = suite('PCI address');

pci('takes the long and the short form, in either case', () => {
  assert.equal(parsePciAddress('0000:03:00.0'), { domain: 0, bus: 3, device: 0, function: 0 });
  assert.equal(parsePciAddress('AF:1F.7'), { domain: 0, bus: 0xaf, device: 0x1f, function: 7 });
  assert.is(normalizePciAddress('03:00.1'), '0000:03:00.1');
  assert.is(normalizePciAddress('00FF:Be:0a.2'), '00ff:be:0a.2');
});

pci('takes domains of more than four digits, as behind Intel VMD', () => {
  assert.is(normalizePciAddress('10000:e1:00.0'), '10000:e1:00.0');
  assert.is(normalizePciAddress('00010000:e1:00.0'), '10000:e1:00.0');
  assert.is(parsePciAddress('ffffffff:00:00.0').domain, 0xffffffff);
});

for (const text of [
  '',
  '03:00',
  '03:00.8',
  '03:20.0',
  '100:00.0',
  '0000:03:00.0 ',
  ' 03:00.0',
  '0000:03:00.0\n',
  '123456789:03:00.0',
  '03:00.00',
  '0000:0000:03:00.0',
  'g3:00.0',
  '../../etc',
  'eth0',
]) {
  pci(`refuses ${JSON.stringify(text)}`, () => {
    const error = expectError('BAD_ADDRESS', () => parsePciAddress(text));
    assert.match(error.hint!, '0000:03:00.0');
    assert.not(isPciAddress(text));
  });
}

pci('formatting refuses numbers out of range', () => {
  const good = { domain: 0, bus: 0, device: 0, function: 0 };
  for (const bad of [
    { bus: 256 },
    { device: 32 },
    { function: 8 },
    { domain: -1 },
    { bus: 1.5 },
    { domain: 2 ** 32 },
  ]) {
    expectError('BAD_ADDRESS', () => formatPciAddress({ ...good, ...bad }));
  }
});

pci('round trip: parse after format gives the same address', () => {
  fc.assert(
    fc.property(pciAddress, fc.boolean(), (address, upper) => {
      const text = formatPciAddress(address);
      assert.equal(parsePciAddress(upper ? text.toUpperCase() : text), address);
      assert.ok(isPciAddress(text));
    }),
  );
});

pci.run();

const device = suite('device address');

device('tells PCI and vfio-user apart', () => {
  assert.equal(parseDeviceAddress('03:00.0'), { kind: 'pci', bdf: '0000:03:00.0' });
  assert.equal(parseDeviceAddress('vfio-user:/run/nic.sock'), { kind: 'vfio-user', path: '/run/nic.sock' });
  assert.equal(parseDeviceAddress('vfio-user:a:b'), { kind: 'vfio-user', path: 'a:b' });
});

device('refuses an empty path, a zero byte, and a path that no socket can have', () => {
  assert.match(expectError('BAD_ADDRESS', () => parseDeviceAddress('vfio-user:')).message, 'names no socket');
  expectError('BAD_ADDRESS', () => parseDeviceAddress('vfio-user:/a\0b'));
  // unix(7): 108 bytes with the terminating zero. Bytes count, not characters.
  assert.is(parseDeviceAddress(`vfio-user:${'x'.repeat(107)}`).kind, 'vfio-user');
  expectError('BAD_ADDRESS', () => parseDeviceAddress(`vfio-user:${'x'.repeat(108)}`));
  expectError('BAD_ADDRESS', () => parseDeviceAddress(`vfio-user:${'\u00e4'.repeat(54)}`));
});

device('hint gives both forms, message stays on one line', () => {
  const error = expectError('BAD_ADDRESS', () => parseDeviceAddress('eth0\nx'));
  assert.match(error.hint!, '0000:03:00.0');
  assert.match(error.hint!, 'vfio-user:/path/to.sock');
  assert.not.match(error.message, '\n');
});

device('the name of an interface gives the address of its device', () => {
  const fake = new FakeSysfs();
  try {
    fake.add('0000:03:00.1', { driver: 'igb', net: ['eth1'] });
    fake.add('0000:00:03.0', { vendor: '0x1af4', device: '0x1041', driver: 'virtio-pci' });
    fake.addInterface('0000:00:03.0', 'ens3', 'virtio0');
    fake.addVirtualInterface('lo');
    const refused = (text: string) => expectError('BAD_ADDRESS', () => parseDeviceAddress(text, fake.root));
    assert.is(refused('eth1').message, '"eth1" is a network interface, not a device address');
    assert.is(refused('eth1').hint, 'eth1 is 0000:03:00.1 (Intel 82576): give that address');
    assert.match(refused('ens3').hint!, 'ens3 is 0000:00:03.0 (virtio net)');
    assert.match(refused('lo').message, 'is a network interface');
    assert.match(refused('lo').hint!, 'lo is not the interface of a PCI device');
    for (const text of ['eth', 'eth10', '.', '..', '', 'net/eth1'])
      assert.match(refused(text).message, 'is not a device address');
  } finally {
    fake.remove();
  }
});

device('a path without vfio-user: and an address without a function: what was meant', () => {
  const hintFor = (text: string) =>
    expectError('BAD_ADDRESS', () => parseDeviceAddress(text, '/nonexistent')).hint!;
  for (const text of ['/tmp/a.sock', './a', 'a.sock']) assert.match(hintFor(text), `vfio-user:${text}`);
  for (const text of ['03:00', '0000:03:00', 'a:1F'])
    assert.match(hintFor(text), `${text}.0 is the first one`);
  assert.match(hintFor('03:00.8'), '0000:03:00.0 or 03:00.0');
});

device('one that is open says the same from every folder', () => {
  for (const [text, open] of [
    ['03:00.0', '0000:03:00.0'],
    ['vfio-user:/y/../x/./z', 'vfio-user:/x/z'],
    ['vfio-user:x', `vfio-user:${process.cwd()}/x`],
  ] as const)
    assert.is(openAddress(parseDeviceAddress(text)), open);
});

device('any text either parses and keeps its meaning, or is BAD_ADDRESS', () => {
  const near = fc.stringMatching(/^(vfio-user:)?[0-9a-fA-F:.]{0,14}$/);
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.string({ unit: 'binary' }), near), (text) => {
      try {
        const address = parseDeviceAddress(text);
        assert.equal(parseDeviceAddress(formatDeviceAddress(address)), address);
      } catch (error) {
        assert.ok(error instanceof NicError && error.code === 'BAD_ADDRESS', String(error));
      }
    }),
    { numRuns: 1000 },
  );
});

device.run();
