import { existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import type { NetworkInterfaceInfo } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import type { NicErrorCode } from '../../src/errors.js';
import { type BindOptions, bindToVfio, unbindFromVfio } from '../../src/pci/bind.js';
import { driverOf } from '../../src/pci/sysfs.js';
import { expectError } from '../support/expect-error.js';
import { suite } from '../support/suite.js';
import { FakeSysfs } from './fake-sysfs.js';

const NIC = '0000:03:00.0';
const SOUND = '0000:03:00.1';
const DIR = `bus/pci/devices/${NIC}`;

function optionsOf(fake: FakeSysfs, more: BindOptions = {}): BindOptions {
  return {
    sysfsRoot: fake.root,
    procRoot: fake.procRoot,
    stateDir: fake.stateDir,
    writeFile: fake.write,
    networkInterfaces: () => ({}),
    ...more,
  };
}

/** What `os.networkInterfaces` says of one interface. */
function withAddress(name: string, ...addresses: string[]): () => NodeJS.Dict<NetworkInterfaceInfo[]> {
  return () => ({ [name]: addresses.map((address) => ({ address }) as NetworkInterfaceInfo) });
}

function makeSuite(name: string) {
  const tests = suite<{ fake: FakeSysfs }>(name);
  tests.before.each((context) => {
    context.fake = new FakeSysfs();
  });
  tests.after.each((context) => context.fake.remove());
  return tests;
}

const bind = makeSuite('bind');

bind('overrides, unbinds and probes, in this order, and nothing else', ({ fake }) => {
  fake.add(NIC, { driver: 'igb', group: 12, net: ['eth1'] });
  const result = bindToVfio('03:00.0', optionsOf(fake));
  assert.equal(fake.writes, [
    `${DIR}/driver_override "vfio-pci"`,
    `${DIR}/driver/unbind "${NIC}"`,
    `bus/pci/drivers_probe "${NIC}"`,
  ]);
  assert.is(driverOf(NIC, fake.root), 'vfio-pci');
  assert.is(result.changed, true);
  assert.is(result.driver, 'vfio-pci');
  assert.is(result.device.driver, 'igb');
  assert.is(result.groupNode, '/dev/vfio/12');
  assert.equal(result.warnings, []);
});

bind('a NIC without a driver needs no unbind', ({ fake }) => {
  fake.add(NIC, { group: 12 });
  bindToVfio(NIC, optionsOf(fake));
  assert.equal(fake.writes, [`${DIR}/driver_override "vfio-pci"`, `bus/pci/drivers_probe "${NIC}"`]);
  assert.not(existsSync(join(fake.stateDir, `${NIC}.json`)));
});

bind('bound already: success, nothing written, the remembered driver kept', ({ fake }) => {
  fake.add(NIC, { driver: 'igb', group: 12 });
  bindToVfio(NIC, optionsOf(fake));
  const before = fake.writes.length;
  const again = bindToVfio(NIC, optionsOf(fake));
  assert.is(again.changed, false);
  assert.is(again.groupNode, '/dev/vfio/12');
  assert.is(fake.writes.length, before);
  assert.is(JSON.parse(readFileSync(join(fake.stateDir, `${NIC}.json`), 'utf8')).driver, 'igb');
});

bind('no such device, not a NIC, bad address: nothing is written, force or not', ({ fake }) => {
  fake.add('0000:05:00.0', { class: '0x010802', driver: 'nvme', group: 3 });
  for (const force of [false, true]) {
    expectError('NO_SUCH_DEVICE', () => bindToVfio('07:00.0', optionsOf(fake, { force })));
    assert.match(
      expectError('NOT_A_NIC', () => bindToVfio('05:00.0', optionsOf(fake, { force }))).message,
      'class 0x010802',
    );
    expectError('BAD_ADDRESS', () => bindToVfio('eth0', optionsOf(fake, { force })));
  }
  assert.equal(fake.writes, []);
});

bind('without the vfio-pci driver the NIC is left alone', () => {
  const fake = new FakeSysfs(['igb']);
  fake.add(NIC, { driver: 'igb', group: 12 });
  const error = expectError('NO_VFIO', () => bindToVfio(NIC, optionsOf(fake)));
  assert.match(error.hint!, 'modprobe vfio-pci');
  assert.equal(fake.writes, []);
  fake.remove();
});

for (const [errno, code, hint] of [
  ['EACCES', 'NO_PERMISSION', 'sudo'],
  ['EPERM', 'NO_PERMISSION', 'sudo'],
  ['EROFS', 'NO_PERMISSION', 'read-only'],
  ['EINVAL', 'BIND_FAILED', 'dmesg'],
] as const satisfies readonly (readonly [string, NicErrorCode, string])[]) {
  bind(`${errno} on the first write is ${code}, and nothing has changed`, ({ fake }) => {
    fake.add(NIC, { driver: 'igb', group: 12 });
    fake.failures.set('driver_override', errno);
    const error = expectError(code, () => bindToVfio(NIC, optionsOf(fake)));
    assert.match(error.hint!, hint);
    assert.match(error.message, `${errno} (`);
    assert.match(error.message, 'driver_override');
    assert.is(fake.writes.length, 1);
    assert.is(driverOf(NIC, fake.root), 'igb');
    assert.not(existsSync(fake.stateDir));
  });
}

bind('a missing attribute is an error, not a new file', ({ fake }) => {
  const dir = fake.add(NIC, { driver: 'igb', group: 12 });
  const { writeFile: _, ...options } = optionsOf(fake);
  // The real writer, on a tree where the file is not there.
  const broken = new FakeSysfs();
  mkdirSync(join(broken.root, DIR), { recursive: true });
  writeFileSync(join(broken.root, DIR, 'class'), '0x020000\n');
  expectError('BIND_FAILED', () => bindToVfio(NIC, { ...options, sysfsRoot: broken.root }));
  assert.not(existsSync(join(broken.root, DIR, 'driver_override')));
  assert.ok(existsSync(join(dir, 'driver_override')));
  broken.remove();
});

bind('the real writer writes the text as it is', ({ fake }) => {
  const dir = fake.add(NIC, { group: 12 });
  const { writeFile: _, ...options } = optionsOf(fake);
  writeFileSync(join(dir, 'driver_override'), '');
  writeFileSync(join(fake.root, 'bus/pci/drivers_probe'), '');
  // No kernel reacts here, so the driver does not change, and the NIC is given back.
  expectError('BIND_FAILED', () => bindToVfio(NIC, options));
  assert.is(readFileSync(join(fake.root, 'bus/pci/drivers_probe'), 'utf8'), NIC);
  assert.match(readFileSync(join(dir, 'driver_override'), 'utf8'), /^\n/);
});

bind('vfio-pci does not take it: the old driver has it again, and nothing is remembered', ({ fake }) => {
  fake.add(NIC, { driver: 'igb', group: 12 });
  fake.failures.set('drivers_probe', 'EINVAL');
  const write = (path: string, text: string): void => {
    // Only the first probe fails.
    try {
      fake.write(path, text);
    } finally {
      if (path.endsWith('drivers_probe')) fake.failures.clear();
    }
  };
  const error = expectError('BIND_FAILED', () => bindToVfio(NIC, optionsOf(fake, { writeFile: write })));
  assert.match(error.message, 'EINVAL');
  assert.is(driverOf(NIC, fake.root), 'igb');
  assert.is(readFileSync(join(fake.root, DIR, 'driver_override'), 'utf8'), '(null)\n');
  assert.not(existsSync(join(fake.stateDir, `${NIC}.json`)));
});

bind('the old driver refuses to let go: override is cleared and the error told', ({ fake }) => {
  fake.add(NIC, { driver: 'igb', group: 12 });
  fake.failures.set('unbind', 'ENODEV');
  expectError('BIND_FAILED', () => bindToVfio(NIC, optionsOf(fake)));
  assert.is(driverOf(NIC, fake.root), 'igb');
  assert.is(readFileSync(join(fake.root, DIR, 'driver_override'), 'utf8'), '(null)\n');
});

bind('without an IOMMU group: NO_IOMMU with what to switch on, and the old driver back', ({ fake }) => {
  fake.add(NIC, { driver: 'igb' });
  const error = expectError('NO_IOMMU', () => bindToVfio(NIC, optionsOf(fake)));
  assert.match(error.hint!, 'intel_iommu=on');
  assert.match(error.hint!, 'BIOS');
  assert.is(driverOf(NIC, fake.root), 'igb');
});

bind('without an IOMMU group but bound: a warning', ({ fake }) => {
  fake.add(NIC, { driver: 'vfio-pci' });
  const result = bindToVfio(NIC, optionsOf(fake));
  assert.is(result.groupNode, null);
  assert.is(result.warnings.length, 1);
  assert.match(result.warnings[0]!.hint, 'intel_iommu=on');
});

bind(
  'other endpoints of the group are named; bridges, free, stubbed and vfio-bound ones are not',
  ({ fake }) => {
    fake.add(NIC, { driver: 'igb', group: 7 });
    fake.add('0000:02:00.0', { class: '0x060400', driver: 'pcieport', group: 7 });
    fake.add('0000:03:00.1', { driver: 'igb', group: 7 });
    fake.add('0000:03:00.2', { group: 7 });
    fake.add('0000:03:00.3', { driver: 'vfio-pci', group: 7 });
    fake.add('0000:03:00.4', { driver: 'pci-stub', group: 7 });
    fake.add('0000:04:00.0', { driver: 'igb', group: 8 });
    const { warnings } = bindToVfio(NIC, optionsOf(fake));
    assert.is(warnings.length, 1);
    assert.match(warnings[0]!.message, 'group 7 also holds 0000:03:00.1 (igb);');
    assert.is(
      warnings[0]!.hint,
      'take it from its driver: sudo npx barewire bind 0000:03:00.1; or put the card in a slot with an IOMMU group of its own',
    );
  },
);

bind('a companion that is about to be bound as well is not in the way', ({ fake }) => {
  fake.add(NIC, { driver: 'igb', group: 7 });
  fake.add('0000:03:00.1', { driver: 'igb', group: 7 });
  fake.add('0000:03:00.2', { driver: 'igb', group: 7 });
  const { warnings } = bindToVfio(NIC, optionsOf(fake, { together: [NIC, '0000:03:00.1'] }));
  assert.match(warnings[0]!.message, 'also holds 0000:03:00.2 (igb);');
});

bind('a companion that bind would refuse: the warning says what works instead', ({ fake }) => {
  fake.add(NIC, { driver: 'igb', group: 7 });
  fake.add(SOUND, { class: '0x040300', driver: 'snd_hda_intel', group: 7 });
  const { warnings } = bindToVfio(NIC, optionsOf(fake));
  assert.match(warnings[0]!.message, `${SOUND} (audio device, snd_hda_intel)`);
  assert.not.match(warnings[0]!.hint, 'barewire bind');
  const [, path] = /\| sudo tee \/sys\/(\S+)/.exec(warnings[0]!.hint)!;
  // Done as it says, the group is free.
  fake.write(join(fake.root, path!), SOUND);
  assert.equal(bindToVfio(NIC, optionsOf(fake)).warnings, []);
});

bind('a companion that is no NIC, named itself: how to free the group for the NIC', ({ fake }) => {
  fake.add(NIC, { driver: 'igb', group: 7 });
  fake.add(SOUND, { class: '0x040300', driver: 'snd_hda_intel', group: 7 });
  const error = expectError('NOT_A_NIC', () => bindToVfio(SOUND, optionsOf(fake)));
  assert.match(error.message, 'is not a network controller (audio device, class 0x040300)');
  assert.match(
    error.hint!,
    `to free IOMMU group 7 for ${NIC}, take it from its driver: echo ${SOUND} | sudo tee`,
  );
  fake.write(join(fake.root, 'bus/pci/drivers/snd_hda_intel/unbind'), SOUND);
  const harmless = expectError('NOT_A_NIC', () => bindToVfio(SOUND, optionsOf(fake)));
  assert.match(harmless.hint!, 'barewire list');
});

bind('the name of an interface: the address that it stands for', ({ fake }) => {
  fake.add(NIC, { driver: 'igb', group: 12, net: ['eth1'] });
  const error = expectError('BAD_ADDRESS', () => bindToVfio('eth1', optionsOf(fake)));
  assert.is(error.message, '"eth1" is a network interface, not a device address');
  assert.is(error.hint, `eth1 is ${NIC} (Intel 82576): give that address`);
  const socket = expectError('BAD_ADDRESS', () => bindToVfio('vfio-user:/x', optionsOf(fake)));
  assert.match(socket.message, 'is not a PCI device');
  assert.equal(fake.writes, []);
});

bind('names the character device where the kernel has one', ({ fake }) => {
  fake.add(NIC, { driver: 'igb', group: 12, cdev: 3 });
  assert.is(bindToVfio(NIC, optionsOf(fake)).characterDevice, '/dev/vfio/devices/vfio3');
  assert.is(bindToVfio(NIC, optionsOf(fake)).characterDevice, '/dev/vfio/devices/vfio3', 'bound already');
  unbindFromVfio(NIC, optionsOf(fake));
  fake.add('0000:04:00.0', { driver: 'igb', group: 13 });
  assert.is(bindToVfio('0000:04:00.0', optionsOf(fake)).characterDevice, null);
});

bind('a state directory that cannot be written is a warning', ({ fake }) => {
  fake.add(NIC, { driver: 'igb', group: 12 });
  writeFileSync(fake.stateDir, 'a file in the way');
  const { changed, warnings } = bindToVfio(NIC, optionsOf(fake));
  assert.is(changed, true);
  assert.match(warnings[0]!.message, 'igb');
});

bind.run();

const inUse = makeSuite('bind refuses an interface in use');

const ROUTE4_HEADER = 'Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n';
const ZERO6 = '0'.repeat(32);

const uses: [name: string, reason: string, prepare: (fake: FakeSysfs) => BindOptions][] = [
  [
    'IPv4 default route',
    'eth1 carries the IPv4 default route',
    (fake) => {
      fake.writeProc(
        'net/route',
        `${ROUTE4_HEADER}eth0\t0000A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\neth1\t00000000\t0101A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n`,
      );
      return {};
    },
  ],
  [
    'IPv6 default route',
    'eth1 carries the IPv6 default route',
    (fake) => {
      fake.writeProc(
        'net/ipv6_route',
        `${ZERO6} 00 ${ZERO6} 00 fe80000000000000000000000000000${1} 00000400 00000002 00000000 00450003     eth1\n`,
      );
      return {};
    },
  ],
  [
    'an address while it is up',
    'eth1 is up with address 192.168.0.2, fe80::1',
    (fake) => {
      fake.addInterface(NIC, 'eth1', '.', 0x1003);
      return { networkInterfaces: withAddress('eth1', '192.168.0.2', 'fe80::1') };
    },
  ],
  [
    'a route while it is up without a carrier',
    'eth1 is up and has an IPv4 route',
    (fake) => {
      fake.addInterface(NIC, 'eth1', '.', 0x1003);
      fake.writeProc(
        'net/route',
        `${ROUTE4_HEADER}eth1\t0000A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n`,
      );
      return {};
    },
  ],
  [
    'a bond, although it has no address itself',
    'eth1 is part of bond0',
    (fake) => {
      fake.addUpper('eth1', 'bond0');
      return {};
    },
  ],
];

for (const [name, reason, prepare] of uses) {
  inUse(`${name}; --force binds all the same`, ({ fake }) => {
    fake.add(NIC, { driver: 'igb', group: 12, net: ['eth1'] });
    const options = optionsOf(fake, prepare(fake));
    const error = expectError('INTERFACE_IN_USE', () => bindToVfio(NIC, options));
    assert.match(error.message, reason);
    assert.match(error.hint!, '--force');
    assert.equal(fake.writes, []);
    assert.is(bindToVfio(NIC, { ...options, force: true }).changed, true);
  });
}

inUse('virtual functions that are switched on', ({ fake }) => {
  fake.add(NIC, { driver: 'igb', group: 12, attributes: { sriov_numvfs: '2', sriov_totalvfs: '7' } });
  assert.match(
    expectError('INTERFACE_IN_USE', () => bindToVfio(NIC, optionsOf(fake))).message,
    '2 virtual functions',
  );
});

inUse('the interface of a virtio NIC is found as well', ({ fake }) => {
  fake.add(NIC, { driver: 'virtio-pci', group: 12 });
  fake.addInterface(NIC, 'ens3', 'virtio0');
  fake.addUpper('ens3', 'br0');
  assert.match(
    expectError('INTERFACE_IN_USE', () => bindToVfio(NIC, optionsOf(fake))).message,
    'ens3 is part of br0',
  );
});

inUse(
  'not refused: routes and addresses of others, unreachable routes, an address while down',
  ({ fake }) => {
    fake.add(NIC, { driver: 'igb', group: 12, net: ['eth1'] });
    fake.writeProc(
      'net/route',
      // A name that only begins alike, an unreachable default, a network route on an interface that is down, and
      // 0.0.0.0/1, which is not the default.
      `${ROUTE4_HEADER}eth10\t00000000\t0101A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\neth1\t00000000\t00000000\t0201\t0\t0\t0\t00000000\t0\t0\t0\neth1\t0000000A\t00000000\t0001\t0\t0\t0\t000000FF\t0\t0\t0\neth1\t00000000\t0101A8C0\t0003\t0\t0\t0\t00000080\t0\t0\t0\n`,
    );
    fake.writeProc(
      'net/ipv6_route',
      `${ZERO6} 00 ${ZERO6} 00 ${ZERO6} ffffffff 00000001 00000000 00200200     eth1\nfe8${'0'.repeat(29)} 40 ${ZERO6} 00 ${ZERO6} 00000100 00000001 00000000 00000001     eth1\n${ZERO6} 60 ${ZERO6} 00 ${ZERO6} 00000100 00000001 00000000 00000001     eth1\ngarbage\n`,
    );
    const options = optionsOf(fake, { networkInterfaces: withAddress('eth1', '10.0.0.1') });
    assert.is(bindToVfio(NIC, options).changed, true);
  },
);

inUse.run();

const unbind = makeSuite('unbind');

unbind('clears the override, unbinds and probes; the NIC is as it was before bind', ({ fake }) => {
  fake.add(NIC, { driver: 'igb', group: 12 });
  bindToVfio(NIC, optionsOf(fake));
  fake.writes.length = 0;
  const result = unbindFromVfio('03:00.0', optionsOf(fake));
  assert.equal(fake.writes, [
    `${DIR}/driver_override "\\n"`,
    `${DIR}/driver/unbind "${NIC}"`,
    `bus/pci/drivers_probe "${NIC}"`,
  ]);
  assert.is(result.driver, 'igb');
  assert.is(result.changed, true);
  assert.equal(result.warnings, []);
  assert.is(driverOf(NIC, fake.root), 'igb');
  assert.is(readFileSync(join(fake.root, DIR, 'driver_override'), 'utf8'), '(null)\n');
  assert.not(existsSync(join(fake.stateDir, `${NIC}.json`)));
});

unbind('the kernel chooses none: the remembered driver is bound explicitly', ({ fake }) => {
  fake.add(NIC, { driver: 'igb', natural: null, accepts: ['igb'], group: 12 });
  bindToVfio(NIC, optionsOf(fake));
  const result = unbindFromVfio(NIC, optionsOf(fake));
  assert.is(fake.writes.at(-1), `bus/pci/drivers/igb/bind "${NIC}"`);
  assert.is(result.driver, 'igb');
});

unbind('the remembered driver is no longer loaded: says which, and a second try may succeed', ({ fake }) => {
  fake.add(NIC, { driver: 'vfio-pci', natural: null, accepts: ['exotic'], group: 12 });
  mkdirSync(fake.stateDir);
  writeFileSync(
    join(fake.stateDir, `${NIC}.json`),
    JSON.stringify({ driver: 'exotic', vendor: 0x8086, device: 0x10c9 }),
  );
  assert.match(
    expectError('BIND_FAILED', () => unbindFromVfio(NIC, optionsOf(fake))).hint!,
    'modprobe exotic',
  );
  fake.addDriver('exotic');
  assert.is(unbindFromVfio(NIC, optionsOf(fake)).driver, 'exotic');
});

for (const [what, state] of [
  ['damaged', '{"driver": "ig'],
  ['of another card', '{"driver":"igb","vendor":4660,"device":4297}'],
  ['with a path for a driver', '{"driver":"../../../evil","vendor":32902,"device":4297}'],
  ['not an object', '7'],
] as const) {
  unbind(`a state file ${what} is ignored: no driver, with a warning`, ({ fake }) => {
    fake.add(NIC, { driver: 'vfio-pci', natural: null, accepts: ['igb', 'evil'], group: 12 });
    mkdirSync(fake.stateDir);
    writeFileSync(join(fake.stateDir, `${NIC}.json`), state);
    const result = unbindFromVfio(NIC, optionsOf(fake));
    assert.is(result.driver, null);
    assert.is(result.warnings.length, 1);
    assert.is(fake.writes.at(-1), `bus/pci/drivers_probe "${NIC}"`);
  });
}

unbind('a NIC that its kernel driver has is left alone', ({ fake }) => {
  fake.add(NIC, { driver: 'igb', group: 12 });
  const result = unbindFromVfio(NIC, optionsOf(fake));
  assert.is(result.changed, false);
  assert.is(result.driver, 'igb');
  assert.equal(fake.writes, []);
});

unbind('an override that was left behind is cleared, though the kernel driver has the NIC', ({ fake }) => {
  fake.add(NIC, { driver: 'igb', group: 12, attributes: { driver_override: 'vfio-pci' } });
  assert.is(unbindFromVfio(NIC, optionsOf(fake)).driver, 'igb');
  assert.is(readFileSync(join(fake.root, DIR, 'driver_override'), 'utf8'), '(null)\n');
});

unbind('a NIC without a driver is given to the one that the kernel chooses', ({ fake }) => {
  fake.add(NIC, { natural: 'igb', group: 12 });
  assert.is(unbindFromVfio(NIC, optionsOf(fake)).driver, 'igb');
});

unbind('vfio-pci takes it again by its identifiers: says where to look', ({ fake }) => {
  fake.add(NIC, { driver: 'vfio-pci', natural: 'vfio-pci', group: 12 });
  assert.match(expectError('BIND_FAILED', () => unbindFromVfio(NIC, optionsOf(fake))).hint!, 'vfio-pci.ids');
});

for (const [node, prepare] of [
  ['/dev/vfio/12', () => {}],
  [
    '/dev/vfio/devices/vfio3',
    (fake: FakeSysfs) => mkdirSync(join(fake.root, DIR, 'vfio-dev/vfio3'), { recursive: true }),
  ],
] as const) {
  unbind(`refuses while a process holds ${node}, and names it`, ({ fake }) => {
    fake.add(NIC, { driver: 'vfio-pci', natural: 'igb', group: 12 });
    prepare(fake);
    fake.writeProc('4711/comm', 'testpmd\n');
    mkdirSync(join(fake.procRoot, '4711/fd'));
    symlinkSync('/dev/null', join(fake.procRoot, '4711/fd/0'));
    symlinkSync(node, join(fake.procRoot, '4711/fd/5'));
    fake.writeProc('4712/comm', 'other\n');
    mkdirSync(join(fake.procRoot, '4712/fd'));
    symlinkSync('/dev/vfio/1', join(fake.procRoot, '4712/fd/5'));
    const error = expectError('GROUP_BUSY', () => unbindFromVfio(NIC, optionsOf(fake)));
    assert.match(error.message, 'testpmd (pid 4711)');
    assert.not.match(error.message, '4712');
    assert.equal(fake.writes, []);
    assert.is(unbindFromVfio(NIC, optionsOf(fake, { force: true })).driver, 'igb');
  });
}

unbind('no permission: nothing has changed', ({ fake }) => {
  fake.add(NIC, { driver: 'vfio-pci', natural: 'igb', group: 12 });
  fake.failures.set('driver_override', 'EACCES');
  expectError('NO_PERMISSION', () => unbindFromVfio(NIC, optionsOf(fake)));
  assert.is(driverOf(NIC, fake.root), 'vfio-pci');
});

unbind.run();
