import * as assert from 'uvu/assert';
import { VfioProcess } from '../../src/vfio/open.js';
import { throwsNicError } from '../support/expect-error.js';
import { suite } from '../support/suite.js';
import { FakeKernel } from './support/fake-kernel.js';

const A = '0000:03:00.0';
const B = '0000:04:00.0';
const MIB = 2 ** 20;
const BACKING = { address: 0x7000_0000n, fd: 3, sizeBytes: 2 * MIB };

function machine() {
  const kernel = new FakeKernel();
  kernel.addDevice(A, '7', { cdev: 0 });
  kernel.addDevice(B, '9', { cdev: 1 });
  return { kernel, vfio: new VfioProcess(kernel, {}) };
}

function nothingLeft(kernel: FakeKernel): void {
  assert.is(kernel.openCount, 0, 'open descriptors');
  assert.equal(kernel.violations, []);
}

const order = suite('iommufd: order of requests');
order('device, iommu, bind, address space, attach; closed in reverse', () => {
  const { kernel, vfio } = machine();
  const device = vfio.open(A);
  assert.is(device.backend, 'cdev');
  assert.equal(kernel.calls.slice(0, 6), [
    'open /dev/vfio/devices/vfio0',
    'open /dev/iommu',
    'VFIO_DEVICE_BIND_IOMMUFD',
    'IOMMU_IOAS_ALLOC',
    'VFIO_DEVICE_ATTACH_IOMMUFD_PT',
    'IOMMU_IOAS_IOVA_RANGES',
  ]);
  device.close();
  assert.equal(kernel.callsOf('close').slice(-2), ['close device', 'close iommufd']);
  nothingLeft(kernel);
});
order('two devices share one address space', () => {
  const { kernel, vfio } = machine();
  const first = vfio.open(A);
  const second = vfio.open(B);
  assert.is(first.mapper, second.mapper);
  assert.is(kernel.callsOf('open /dev/iommu').length, 1);
  assert.is(kernel.callsOf('IOMMU_IOAS_ALLOC').length, 1);
  first.mapper.map(BACKING, 0x20_0000n);
  first.close();
  assert.equal(kernel.dmaMaps, [[0x20_0000n, 0x20_0000n]]);
  second.close();
  nothingLeft(kernel);
});
order('every failing request leaves nothing open', () => {
  const requests = [
    'VFIO_DEVICE_BIND_IOMMUFD',
    'IOMMU_IOAS_ALLOC',
    'VFIO_DEVICE_ATTACH_IOMMUFD_PT',
    'IOMMU_IOAS_IOVA_RANGES',
    'VFIO_DEVICE_GET_INFO',
  ];
  for (const request of requests) {
    const { kernel, vfio } = machine();
    kernel.faults.set(request, -5);
    assert.is(throwsNicError('VFIO', /./, () => vfio.open(A)).syscall, `ioctl(${request})`);
    nothingLeft(kernel);
    vfio.open(A).close();
  }
});
order('a failing second device leaves the first alone', () => {
  const { kernel, vfio } = machine();
  const first = vfio.open(A);
  kernel.faults.set('VFIO_DEVICE_ATTACH_IOMMUFD_PT', -22);
  throwsNicError('VFIO', /Cannot attach/, () => vfio.open(B));
  first.mapper.map(BACKING, 0x20_0000n);
  first.close();
  nothingLeft(kernel);
});
order.run();

const refused = suite('iommufd: refused');
refused('another process has the device', () => {
  const { kernel, vfio } = machine();
  kernel.heldElsewhere.add('/dev/vfio/devices/vfio0');
  kernel.folders.set('/proc', ['812', `${process.pid}`, 'self', 'sys']);
  kernel.folders.set(`/proc/${process.pid}/fd`, ['7']);
  kernel.links.set(`/proc/${process.pid}/fd/7`, '/dev/vfio/devices/vfio0');
  kernel.folders.set('/proc/812/fd', ['0', '5']);
  kernel.links.set('/proc/812/fd/5', '/dev/vfio/devices/vfio0');
  kernel.texts.set('/proc/812/comm', 'qemu-system-x86\n');
  const error = throwsNicError('GROUP_BUSY', /in use by qemu-system-x86 \(pid 812\):/, () => vfio.open(A));
  assert.is(error.path, '/dev/vfio/devices/vfio0');
  assert.match(error.hint ?? '', /fuser -v \/dev\/vfio\/devices\/vfio0/);
  nothingLeft(kernel);
});
refused('a kernel driver holds another device of the group', () => {
  const { kernel, vfio } = machine();
  kernel.addDevice('0000:03:00.1', '7', { driver: 'igb' });
  throwsNicError('GROUP_NOT_VIABLE', /0000:03:00\.0 \(vfio-pci\), 0000:03:00\.1 \(igb\)/, () => vfio.open(A));
  nothingLeft(kernel);
});
refused('no interrupt remapping', () => {
  const { kernel, vfio } = machine();
  kernel.faults.set('VFIO_DEVICE_ATTACH_IOMMUFD_PT', -1);
  const error = throwsNicError('VFIO', /cannot isolate the interrupts/, () => vfio.open(A));
  assert.match(error.hint ?? '', /iommufd\/parameters\/allow_unsafe_interrupts/);
});
refused.run();
