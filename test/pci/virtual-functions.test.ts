import { existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { type BindOptions, bindToVfio } from '../../src/pci/bind.js';
import { driverOf } from '../../src/pci/sysfs.js';
import { restoreVirtualFunctions, switchOnVirtualFunctions } from '../../src/pci/virtual-functions.js';
import { expectError } from '../support/expect-error.js';
import { suite } from '../support/suite.js';
import { type FakeDevice, FakeSysfs } from './fake-sysfs.js';

const PORT = '0000:03:00.0';
const DIR = `bus/pci/devices/${PORT}`;

const tests = suite<{ fake: FakeSysfs; options: BindOptions }>('virtual functions');
tests.before.each((context) => {
  const fake = new FakeSysfs();
  context.fake = fake;
  context.options = {
    sysfsRoot: fake.root,
    procRoot: fake.procRoot,
    stateDir: fake.stateDir,
    writeFile: fake.write,
    networkInterfaces: () => ({}),
  };
});
tests.after.each(({ fake }) => fake.remove());

function addPort(fake: FakeSysfs, more: FakeDevice = {}): void {
  const sriov = { sriov_numvfs: '0', sriov_totalvfs: '7', sriov_drivers_autoprobe: '1' };
  fake.add(PORT, {
    driver: 'igb',
    group: 12,
    net: ['eth1'],
    ...more,
    attributes: { ...sriov, ...more.attributes },
  });
}

const numVfs = (fake: FakeSysfs): number =>
  Number(readFileSync(join(fake.root, DIR, 'sriov_numvfs'), 'utf8'));

tests('are made without a driver, and the switch for the kernel is as before', ({ fake, options }) => {
  addPort(fake);
  const { changed, addresses } = switchOnVirtualFunctions('03:00.0', 2, options);
  assert.ok(changed);
  assert.equal(addresses, [fake.virtual(0), fake.virtual(1)]);
  assert.equal(fake.writes, [
    `${DIR}/sriov_drivers_autoprobe "0"`,
    `${DIR}/sriov_numvfs "2"`,
    `${DIR}/sriov_drivers_autoprobe "1"`,
  ]);
  assert.equal(
    addresses.map((address) => driverOf(address, fake.root)),
    [null, null],
  );
  assert.is(driverOf(PORT, fake.root), 'igb');
  for (const address of addresses) bindToVfio(address, options);
  assert.is(driverOf(addresses[1]!, fake.root), 'vfio-pci');
});

tests('as many as there are already: nothing is written', ({ fake, options }) => {
  addPort(fake);
  switchOnVirtualFunctions(PORT, 2, options);
  fake.writes.splice(0);
  const { changed, addresses } = switchOnVirtualFunctions(PORT, 2, options);
  assert.not(changed);
  assert.is(addresses.length, 2);
  assert.equal(fake.writes, []);
});

tests(
  'another number: only with force, by way of 0; and the first number is the one to go back to',
  ({ fake, options }) => {
    addPort(fake);
    fake.write(join(fake.root, DIR, 'sriov_numvfs'), '3');
    const { hint } = expectError('INTERFACE_IN_USE', () => switchOnVirtualFunctions(PORT, 2, options));
    assert.match(hint!, '--force');
    assert.is(numVfs(fake), 3);
    switchOnVirtualFunctions(PORT, 2, { ...options, force: true });
    switchOnVirtualFunctions(PORT, 4, { ...options, force: true });
    assert.is(numVfs(fake), 4);
    assert.equal(restoreVirtualFunctions(PORT, options), { before: 4, now: 3 });
    assert.is(numVfs(fake), 3);
    assert.is(restoreVirtualFunctions(PORT, options), undefined, 'once');
  },
);

tests('the switch for the kernel is as before also where the number is refused', ({ fake, options }) => {
  addPort(fake);
  fake.failures.set('sriov_numvfs', 'EINVAL');
  expectError('BIND_FAILED', () => switchOnVirtualFunctions(PORT, 2, options));
  assert.is(fake.writes.at(-1), `${DIR}/sriov_drivers_autoprobe "1"`);
});

tests('no SR-IOV, too many, and a port that its kernel driver does not have', ({ fake, options }) => {
  fake.add('0000:04:00.0', { driver: 'igb', group: 13 });
  expectError(
    'BAD_OPTION',
    () => switchOnVirtualFunctions('0000:04:00.0', 1, options),
    /no virtual functions/,
  );
  addPort(fake);
  const { hint } = expectError('BAD_OPTION', () => switchOnVirtualFunctions(PORT, 8, options), /7 virtual/);
  assert.match(hint!, '7');
  bindToVfio(PORT, options);
  fake.writes.splice(0);
  const error = expectError('BIND_FAILED', () => switchOnVirtualFunctions(PORT, 2, options));
  assert.match(error.hint!, 'unbind');
  assert.equal(fake.writes, []);
});

tests('one that a process has open is not taken away', ({ fake, options }) => {
  addPort(fake);
  const [first] = switchOnVirtualFunctions(PORT, 2, options).addresses;
  bindToVfio(first!, options);
  const fds = join(fake.procRoot, '77/fd');
  mkdirSync(fds, { recursive: true });
  symlinkSync('/dev/vfio/30', join(fds, '5'));
  writeFileSync(join(fake.procRoot, '77/comm'), 'node\n');
  expectError('GROUP_BUSY', () => restoreVirtualFunctions(PORT, options));
  assert.is(numVfs(fake), 2);
  assert.equal(restoreVirtualFunctions(PORT, { ...options, force: true }), { before: 2, now: 0 });
  assert.not(existsSync(join(fake.root, DIR, 'virtfn0')));
});

tests(
  'nothing is restored of another card in the same slot, nor from a damaged file',
  ({ fake, options }) => {
    addPort(fake);
    switchOnVirtualFunctions(PORT, 2, options);
    const file = join(fake.stateDir, `${PORT}.vfs.json`);
    const good = readFileSync(file, 'utf8');
    for (const text of [
      '',
      '{',
      '7',
      'null',
      '{"numVfs":"0; x"}',
      good.replace('4297', '1'),
      good.replace('0,', '-1,'),
    ]) {
      writeFileSync(file, text);
      assert.is(restoreVirtualFunctions(PORT, options), undefined, text);
    }
    assert.is(numVfs(fake), 2);
  },
);

tests.run();
