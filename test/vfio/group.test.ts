import * as assert from 'uvu/assert';
import { VfioProcess } from '../../src/vfio/open.js';
import { throwsNicError } from '../support/expect-error.js';
import { suite } from '../support/suite.js';
import { FakeKernel } from './support/fake-kernel.js';

const A = '0000:03:00.0';
const B = '0000:03:00.1';
const C = '0000:04:00.0';
const MIB = 2 ** 20;

/** Two functions in group 7, a device in group 9. */
function machine() {
  const kernel = new FakeKernel();
  kernel.addDevice(A, '7');
  kernel.addDevice(B, '7');
  kernel.addDevice(C, '9');
  return { kernel, vfio: new VfioProcess(kernel, {}) };
}

function nothingLeft(kernel: FakeKernel): void {
  assert.is(kernel.openCount, 0, 'open descriptors');
  assert.is(kernel.mappingCount, 0, 'mapped windows');
  assert.equal(kernel.violations, []);
}

const order = suite('group: order of requests');
order('container, group, IOMMU, device; closed in reverse', () => {
  const { kernel, vfio } = machine();
  const device = vfio.open(A);
  assert.is(device.backend, 'group');
  assert.is(device.address, A);
  assert.equal(kernel.callsOf('open', 'VFIO_GROUP', 'VFIO_SET', 'VFIO_GET', 'VFIO_CHECK', 'VFIO_IOMMU'), [
    'open /dev/vfio/vfio',
    'VFIO_GET_API_VERSION',
    'VFIO_CHECK_EXTENSION',
    'open /dev/vfio/7',
    'VFIO_GROUP_GET_STATUS',
    'VFIO_GROUP_SET_CONTAINER',
    'VFIO_SET_IOMMU',
    'VFIO_IOMMU_GET_INFO',
    'VFIO_IOMMU_GET_INFO',
    'VFIO_GROUP_GET_DEVICE_FD',
  ]);
  device.close();
  assert.equal(kernel.callsOf('close'), [
    'close eventfd',
    'close eventfd',
    'close device',
    'close group',
    'close container',
  ]);
  nothingLeft(kernel);
});
order('two functions of a group share its descriptor', () => {
  const { kernel, vfio } = machine();
  const first = vfio.open(A);
  const second = vfio.open(B);
  assert.is(first.mapper, second.mapper);
  assert.equal(kernel.callsOf('open'), ['open /dev/vfio/vfio', 'open /dev/vfio/7']);
  first.close();
  assert.not(kernel.calls.includes('close group'), 'the second function still needs it');
  assert.is(second.region(0).read32(0), 0);
  second.close();
  nothingLeft(kernel);
});
order('two groups share the container, whose IOMMU is set once', () => {
  const { kernel, vfio } = machine();
  const first = vfio.open(A);
  const second = vfio.open(C);
  assert.is(first.mapper, second.mapper);
  assert.is(kernel.callsOf('open /dev/vfio/vfio').length, 1);
  assert.is(kernel.callsOf('VFIO_SET_IOMMU').length, 1);
  assert.is(kernel.callsOf('VFIO_GROUP_SET_CONTAINER').length, 2);
  first.mapper.map({ address: 0x7000_0000n, fd: 3, sizeBytes: 2 * MIB }, 0x20_0000n);
  first.close();
  assert.equal(kernel.dmaMaps, [[0x20_0000n, 0x20_0000n]], 'the other group keeps the container');
  second.close();
  nothingLeft(kernel);
});
order('a new container after the last device', () => {
  const { kernel, vfio } = machine();
  vfio.open(A).close();
  const again = vfio.open(C);
  assert.is(kernel.callsOf('VFIO_SET_IOMMU').length, 2);
  again.mapper.map({ address: 0x7000_0000n, fd: 3, sizeBytes: 2 * MIB }, 0x20_0000n);
  again.close();
  nothingLeft(kernel);
});
order('a failing second group leaves the first alone', () => {
  const { kernel, vfio } = machine();
  const first = vfio.open(A);
  kernel.faults.set('VFIO_GROUP_SET_CONTAINER', -22);
  const error = throwsNicError('VFIO', /into the container that other devices of this process use/, () =>
    vfio.open(C),
  );
  assert.is(error.syscall, 'ioctl(VFIO_GROUP_SET_CONTAINER)');
  assert.is(first.region(0).read32(0), 0);
  vfio.open(C).close();
  first.close();
  nothingLeft(kernel);
});
order('every failing request leaves nothing open', () => {
  const requests = [
    'VFIO_GET_API_VERSION',
    'VFIO_CHECK_EXTENSION',
    'VFIO_GROUP_GET_STATUS',
    'VFIO_GROUP_SET_CONTAINER',
    'VFIO_SET_IOMMU',
    'VFIO_IOMMU_GET_INFO',
    'VFIO_GROUP_GET_DEVICE_FD',
    'VFIO_DEVICE_GET_INFO',
    'VFIO_DEVICE_SET_IRQS',
  ];
  for (const request of requests) {
    const { kernel, vfio } = machine();
    kernel.faults.set(request, -5);
    const code =
      request === 'VFIO_CHECK_EXTENSION' ? 'NO_VFIO' : request.endsWith('IRQS') ? 'INTERRUPTS' : 'VFIO';
    const error = throwsNicError(code, /./, () => vfio.open(A));
    if (code !== 'NO_VFIO') assert.is(error.syscall, `ioctl(${request})`);
    nothingLeft(kernel);
    vfio.open(A).close();
  }
});
order.run();

const dma = suite('group: DMA');
dma('an old kernel gets 39 bits without the MSI window', () => {
  const { kernel, vfio } = machine();
  kernel.reportsRanges = false;
  const device = vfio.open(A);
  assert.equal(device.mapper.iovaRanges, [
    { first: 0n, last: 0xfedfffffn },
    { first: 0xfef00000n, last: 0x7fffffffffn },
  ]);
  device.close();
});
dma.run();
