import * as assert from 'uvu/assert';
import { openVfio, VfioProcess } from '../../src/vfio/open.js';
import { expectRejection, throwsNicError } from '../support/expect-error.js';
import { suite } from '../support/suite.js';
import { FakeKernel } from './support/fake-kernel.js';

const A = '0000:03:00.0';
const B = '0000:04:00.0';

function machine(cdev: number | undefined, environment: Record<string, string> = {}) {
  const kernel = new FakeKernel();
  const device = kernel.addDevice(A, '7', { cdev });
  return { kernel, device, vfio: new VfioProcess(kernel, environment) };
}

const choice = suite('open: choice of the interface');
choice('character device where it can be used, else the group', () => {
  const backendWith = (change: (kernel: FakeKernel) => void, cdev: number | undefined = 0) => {
    const { kernel, vfio } = machine(cdev);
    change(kernel);
    const device = vfio.open(A);
    device.close();
    assert.is(kernel.openCount, 0);
    return device.backend;
  };
  assert.is(
    backendWith(() => {}),
    'cdev',
  );
  const { kernel, vfio } = machine(undefined);
  assert.is(vfio.open(A).backend, 'group');
  assert.not(kernel.calls.includes('open /dev/iommu'));
  assert.is(
    backendWith((kernel) => kernel.missing.add('/dev/iommu')),
    'group',
  );
  assert.is(
    backendWith((kernel) => kernel.denied.add('/dev/iommu')),
    'group',
  );
  assert.is(
    backendWith((kernel) => kernel.denied.add('/dev/vfio/devices/vfio0')),
    'group',
  );
});
choice('BAREWIRE_VFIO forces one', () => {
  assert.is(machine(0, { BAREWIRE_VFIO: 'group' }).vfio.open(A).backend, 'group');
  assert.is(machine(0, { BAREWIRE_VFIO: 'cdev' }).vfio.open(A).backend, 'cdev');
  assert.is(machine(0, { BAREWIRE_VFIO: '' }).vfio.open(A).backend, 'cdev');
  const { vfio } = machine(undefined, { BAREWIRE_VFIO: 'cdev' });
  assert.match(
    throwsNicError('NO_VFIO', /no VFIO character device/, () => vfio.open(A)).hint ?? '',
    /Linux 6\.6/,
  );
});
choice('a wrong BAREWIRE_VFIO names the right ones', () => {
  const { vfio } = machine(0, { BAREWIRE_VFIO: 'iommufd' });
  throwsNicError('BAD_OPTION', /"iommufd": it can be group or cdev/, () => vfio.open(A));
});
choice('only a character device that may not be opened: the error names it and what else is missing', () => {
  const { kernel, vfio } = machine(0);
  kernel.missing.add('/dev/vfio/7');
  kernel.denied.add('/dev/vfio/devices/vfio0');
  const hint = (path: string) => {
    const error = throwsNicError('NO_PERMISSION', /This user \(ada\) may not open/, () => vfio.open(A));
    assert.is(error.path, path);
    return error.hint ?? '';
  };
  assert.match(
    hint('/dev/vfio/devices/vfio0'),
    /^sudo chown ada \/dev\/vfio\/devices\/vfio0; .* a udev rule .*: SUBSYSTEM=="vfio-dev", OWNER="ada"$/,
  );
  kernel.denied.add('/dev/iommu');
  assert.match(
    hint('/dev/vfio/devices/vfio0'),
    /^sudo chown ada \/dev\/vfio\/devices\/vfio0 \/dev\/iommu; .*"vfio-dev", .* and KERNEL=="iommu", OWNER="ada"$/,
  );
  kernel.denied.delete('/dev/vfio/devices/vfio0');
  assert.match(hint('/dev/iommu'), /^sudo chown ada \/dev\/iommu; .*KERNEL=="iommu"/);
  assert.is(kernel.openCount, 0);
});
choice('later devices use what the first one uses', () => {
  const { kernel, vfio } = machine(0);
  kernel.addDevice(B, '9', { cdev: undefined });
  const first = vfio.open(A);
  const error = throwsNicError('VFIO', /beside 0000:03:00\.0: this process uses the cdev interface/, () =>
    vfio.open(B),
  );
  assert.match(error.hint ?? '', /BAREWIRE_VFIO=group/);
  first.close();
  const alone = vfio.open(B);
  assert.is(alone.backend, 'group');
  assert.is(vfio.open(A).backend, 'group', 'though it has a character device');
});
choice('a forced interface that is not the one in use is refused', () => {
  const environment: Record<string, string> = {};
  const { kernel, vfio } = machine(0, environment);
  kernel.addDevice(B, '9', { cdev: 1 });
  vfio.open(A);
  environment.BAREWIRE_VFIO = 'group';
  throwsNicError('VFIO', /this process uses the cdev interface/, () => vfio.open(B));
});
choice.run();

const addresses = suite('open: addresses');
addresses('short form, and the same device twice', () => {
  const { kernel, vfio } = machine(undefined);
  const device = vfio.open('03:00.0');
  assert.is(device.address, A);
  throwsNicError('ALREADY_OPEN', /0000:03:00\.0 is open/, () => vfio.open(A));
  assert.is(device.region(0).read32(0), 0, 'the first one still works');
  device.close();
  device.close();
  vfio.open(A).close();
  assert.is(kernel.openCount, 0);
});
addresses('a device that could not be opened is not taken for open', () => {
  const { kernel, vfio } = machine(undefined);
  kernel.faults.set('VFIO_DEVICE_GET_INFO', -5);
  throwsNicError('VFIO', /Cannot get information about 0000:03:00\.0/, () => vfio.open(A));
  vfio.open(A).close();
});
addresses('not an address', async () => {
  throwsNicError('BAD_ADDRESS', /./, () => machine(undefined).vfio.open('eth0'));
  await expectRejection('BAD_ADDRESS', openVfio('eth0'));
});
addresses('not on this machine', async () => {
  const { message } = await expectRejection('NO_SUCH_DEVICE', openVfio('ffff:1f:1f.7'));
  assert.match(message, /ffff:1f:1f\.7|ffff/);
});
addresses('a wrong BAREWIRE_TRUST_SERVER names the right ones', async () => {
  process.env.BAREWIRE_TRUST_SERVER = 'yes';
  try {
    const { message } = await expectRejection('BAD_OPTION', openVfio('vfio-user:/nowhere/x.sock'));
    assert.match(message, '"yes": it can be 0 or 1');
  } finally {
    delete process.env.BAREWIRE_TRUST_SERVER;
  }
});
addresses.run();

const errors = suite('open: errors that teach');
errors('no such device', () => {
  const { vfio } = machine(undefined);
  const error = throwsNicError('NO_SUCH_DEVICE', /no PCI device 0000:09:00\.0/, () => vfio.open('09:00.0'));
  assert.match(error.hint ?? '', /barewire list/);
});
errors('no IOMMU, also with the no-IOMMU mode of VFIO', () => {
  const { kernel, vfio } = machine(undefined);
  kernel.texts.set(`/sys/bus/pci/devices/${A}/iommu_group/name`, 'vfio-noiommu\n');
  throwsNicError('NO_IOMMU', /not behind an IOMMU/, () => vfio.open(A));
  kernel.missing.add(`/sys/bus/pci/devices/${A}/iommu_group`);
  const error = throwsNicError('NO_IOMMU', /not behind an IOMMU/, () => vfio.open(A));
  assert.match(error.hint ?? '', /BIOS.*intel_iommu=on/);
});
errors('bound to a kernel driver, or to none', () => {
  const { device, vfio } = machine(undefined);
  device.driver = 'ixgbe';
  const error = throwsNicError('NOT_BOUND', /bound to the driver ixgbe/, () => vfio.open(A));
  assert.is(error.hint, `sudo npx barewire bind ${A}`);
  device.driver = undefined;
  throwsNicError('NOT_BOUND', /not bound to any driver/, () => vfio.open(A));
  device.driver = 'mlx5_vfio_pci';
  vfio.open(A).close();
});
errors('a device that bind refuses is not sent there', () => {
  const { device, vfio } = machine(undefined);
  device.driver = 'snd_hda_intel';
  device.classCode = 0x040300;
  const { hint = '' } = throwsNicError('NOT_BOUND', /bound to the driver snd_hda_intel/, () => vfio.open(A));
  assert.match(hint, /no network controller \(audio device\); "barewire list"/);
  assert.not.match(hint, 'barewire bind');
});
errors('no VFIO in the kernel', () => {
  const { kernel, vfio } = machine(undefined);
  kernel.missing.add('/dev/vfio/vfio');
  const error = throwsNicError('NO_VFIO', /Cannot open \/dev\/vfio\/vfio .*ENOENT/, () => vfio.open(A));
  assert.match(error.hint ?? '', /modprobe vfio-pci/);
  assert.is(error.syscall, 'open');
  assert.is(kernel.openCount, 0);
});
errors('no permission on the group', () => {
  const { kernel, vfio } = machine(undefined);
  kernel.denied.add('/dev/vfio/7');
  const error = throwsNicError('NO_PERMISSION', /\(ada\) may not open \/dev\/vfio\/7/, () => vfio.open(A));
  assert.match(error.hint ?? '', /^sudo chown ada \/dev\/vfio\/7; .*: SUBSYSTEM=="vfio", OWNER="ada"$/);
  assert.is(error.path, '/dev/vfio/7');
  kernel.denied.add('/dev/vfio/vfio');
  const container = throwsNicError('NO_PERMISSION', /may not open \/dev\/vfio\/vfio/, () => vfio.open(A));
  assert.match(container.hint ?? '', /^sudo chown ada \/dev\/vfio\/7 \/dev\/vfio\/vfio; /);
  assert.is(kernel.openCount, 0);
});
errors(
  'a character device that is this user already, and /dev/iommu that is not: one node is missing',
  () => {
    const { kernel, vfio } = machine(0);
    kernel.denied.add('/dev/vfio/7');
    kernel.denied.add('/dev/iommu');
    const error = throwsNicError('NO_PERMISSION', /may not open/, () => vfio.open(A));
    assert.match(error.hint ?? '', /^sudo chown ada \/dev\/iommu; /);
  },
);
errors('no permission for root, as in a container: no chown', () => {
  const { kernel, vfio } = machine(undefined);
  kernel.isRoot = true;
  kernel.denied.add('/dev/vfio/7');
  const error = throwsNicError('NO_PERMISSION', /\(root\) may not open/, () => vfio.open(A));
  assert.match(error.hint ?? '', /container.*docker run --device=\/dev\/vfio\/7/);
  assert.not.match(error.hint ?? '', 'chown');
});
errors('the group is in use', () => {
  const { kernel, vfio } = machine(undefined);
  kernel.heldElsewhere.add('/dev/vfio/7');
  const error = throwsNicError('GROUP_BUSY', /\(\/dev\/vfio\/7\) is in use by another process/, () =>
    vfio.open(A),
  );
  assert.match(error.message, /EBUSY/);
  assert.is(kernel.openCount, 0);
});
errors('the group is shared with a kernel driver, found early or late', () => {
  for (const early of [true, false]) {
    const { kernel, vfio } = machine(undefined);
    kernel.checksViabilityInStatus = early;
    kernel.addDevice('0000:03:00.1', '7', { driver: 'igb' });
    kernel.addDevice('0000:03:00.2', '7', { driver: undefined });
    const error = throwsNicError('GROUP_NOT_VIABLE', /IOMMU group 7 of 0000:03:00\.0/, () => vfio.open(A));
    assert.match(error.message, /03:00\.0 \(vfio-pci\), 0000:03:00\.1 \(igb\), 0000:03:00\.2 \(no driver\)/);
    assert.match(error.hint ?? '', /sudo npx barewire bind 0000:03:00\.1;/);
    assert.is(kernel.openCount, 0);
  }
});
errors('the group is shared with devices that are no NICs: bind is not the way', () => {
  const { kernel, vfio } = machine(undefined);
  kernel.addDevice('0000:03:00.1', '7', { driver: 'snd_hda_intel', classCode: 0x040300 });
  const error = throwsNicError('GROUP_NOT_VIABLE', /IOMMU group 7 of 0000:03:00\.0/, () => vfio.open(A));
  assert.match(error.message, '0000:03:00.1 (audio device, snd_hda_intel)');
  assert.match(
    error.hint ?? '',
    'echo 0000:03:00.1 | sudo tee /sys/bus/pci/drivers/snd_hda_intel/unbind (the audio device will be gone',
  );
  assert.not.match(error.hint ?? '', 'barewire bind');
});
errors('a group that is not viable though no driver is in the way: the kernel log', () => {
  const { kernel, device, vfio } = machine(undefined);
  kernel.addDevice('0000:03:00.1', '7', { driver: 'pci-stub' });
  assert.is(device.driver, 'vfio-pci');
  const error = throwsNicError('GROUP_NOT_VIABLE', /03:00\.1 \(pci-stub\)/, () => vfio.open(A));
  assert.match(error.hint ?? '', 'sudo dmesg');
});
errors('SET_CONTAINER refused with no driver in the way: somebody else owns the group', () => {
  const { kernel, vfio } = machine(undefined);
  kernel.faults.set('VFIO_GROUP_SET_CONTAINER', -16);
  throwsNicError('GROUP_BUSY', /in use/, () => vfio.open(A));
});
errors('no interrupt remapping', () => {
  const { kernel, vfio } = machine(undefined);
  kernel.faults.set('VFIO_SET_IOMMU', -1);
  const error = throwsNicError('VFIO', /cannot isolate the interrupts/, () => vfio.open(A));
  assert.match(error.hint ?? '', /vfio_iommu_type1\/parameters\/allow_unsafe_interrupts/);
  assert.is(kernel.openCount, 0);
});
errors.run();
