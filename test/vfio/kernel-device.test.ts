import * as assert from 'uvu/assert';
import type { NicError } from '../../src/errors.js';
import { VfioProcess } from '../../src/vfio/open.js';
import { PciIrq, PciRegion } from '../../src/vfio/types.js';
import { throwsNicError } from '../support/expect-error.js';
import { suite } from '../support/suite.js';
import { FakeKernel } from './support/fake-kernel.js';

const A = '0000:03:00.0';

function machine(backend: 'group' | 'cdev' = 'group') {
  const kernel = new FakeKernel();
  const card = kernel.addDevice(A, '7', { cdev: backend === 'cdev' ? 0 : undefined });
  const open = () => new VfioProcess(kernel, {}).open(A);
  return { kernel, card, open };
}

function nothingLeft(kernel: FakeKernel): void {
  assert.is(kernel.openCount, 0, 'open descriptors');
  assert.is(kernel.mappingCount, 0, 'mapped windows');
  assert.equal(kernel.violations, []);
}

const regions = suite('kernel device: regions');
regions('a region is mapped once, when it is asked for', () => {
  const { kernel, open } = machine();
  const device = open();
  assert.is(kernel.mappingCount, 0);
  const bar = device.region(PciRegion.BAR0);
  assert.is(device.region(PciRegion.BAR0), bar);
  assert.is(kernel.mappingCount, 1);
  assert.is(bar.sizeBytes, 0x20000);
  assert.is(bar.name, `BAR0 of ${A}`);
  const before = kernel.preads;
  bar.write32(0x18, 0xdeadbeef);
  assert.is(bar.read32(0x18), 0xdeadbeef);
  assert.is(bar.window(0, 0x20000)?.length, 0x8000);
  assert.is(kernel.preads, before, 'no system call');
  device.close();
  nothingLeft(kernel);
});
regions('sparse areas are mapped, the slow path serves what is between', () => {
  const { kernel, card, open } = machine();
  const bar = { sizeBytes: 0x10000, flags: 7, bytes: new Uint8Array(0x10000) };
  card.regions[3] = {
    ...bar,
    areas: [
      [0, 0x2000],
      [0x4000, 0xc000],
    ],
  };
  const device = open();
  const region = device.region(3);
  assert.is(kernel.mappingCount, 2);
  assert.is(region.window(0x1000, 0x1000)?.length, 0x400);
  assert.is(region.window(0x2000, 4), undefined);
  const [preads, pwrites] = [kernel.preads, kernel.pwrites];
  region.write32(0x3000, 0x11223344);
  assert.is(region.read32(0x3000), 0x11223344);
  assert.is(region.read16(0x3002), 0x1122);
  assert.equal([...bar.bytes.subarray(0x3000, 0x3004)], [0x44, 0x33, 0x22, 0x11]);
  assert.equal([kernel.preads - preads, kernel.pwrites - pwrites], [2, 1]);
  region.write32(0xfffc, 7);
  assert.is(kernel.pwrites - pwrites, 1, 'the last word is mapped');
  device.close();
  nothingLeft(kernel);
});
regions('an area that is not made of pages is mapped where it is', () => {
  const { kernel, card, open } = machine();
  card.regions[1] = { sizeBytes: 0x8000, flags: 7, bytes: new Uint8Array(0x8000), areas: [[0x800, 0x3000]] };
  card.regions[2] = { sizeBytes: 0x800, flags: 7, bytes: new Uint8Array(0x800) };
  card.regions[4] = { sizeBytes: 0x8000, flags: 7, bytes: new Uint8Array(0x8000), areas: [[0x100, 0x200]] };
  const device = open();
  assert.is(device.region(1).window(0x1000, 0x2000)?.length, 0x800);
  assert.is(device.region(1).window(0x800, 4), undefined);
  assert.is(device.region(1).window(0x3000, 4), undefined);
  assert.is(device.region(2).window(0, 0x800)?.length, 0x200, 'a BAR below a page is mapped as it is');
  assert.is(device.region(4).window(0x100, 4), undefined);
  assert.is(device.region(4).read32(0x100), 0);
  device.close();
  nothingLeft(kernel);
});
regions('no areas, or no permission to map: slow path only', () => {
  const { kernel, card, open } = machine();
  card.regions[1] = { sizeBytes: 0x1000, flags: 7, bytes: new Uint8Array(0x1000), areas: [] };
  card.regions[2] = { sizeBytes: 0x1000, flags: 3, bytes: new Uint8Array(0x1000) };
  const device = open();
  for (const index of [1, 2]) {
    device.region(index).write32(4, 5);
    assert.is(device.region(index).read32(4), 5);
  }
  assert.is(kernel.mappingCount, 0);
  device.close();
});
regions('a region that is not there', () => {
  const { open } = machine();
  const device = open();
  throwsNicError('REGION_RANGE', /There is no BAR1 of 0000:03:00\.0/, () => device.region(1));
  throwsNicError('REGION_RANGE', /There is no expansion ROM/, () => device.region(PciRegion.ROM));
  throwsNicError('REGION_RANGE', /There is no region 8/, () => device.region(8));
  throwsNicError('REGION_RANGE', /There is no region -1/, () => device.region(-1));
  device.close();
});
regions('a mapping that fails takes the others of its region along', () => {
  const { kernel, card, open } = machine();
  const bytes = new Uint8Array(0x10000);
  const areas = [[0, 0x1000] as const, [0x2000, 0x1000] as const];
  card.regions[1] = { sizeBytes: 0x10000, flags: 7, bytes, areas };
  const device = open();
  const { mmap } = kernel;
  let calls = 0;
  kernel.mmap = (...args) => {
    calls++;
    if (calls === 2) kernel.faults.set('mmap', -12);
    return mmap.apply(kernel, args);
  };
  const error = throwsNicError('VFIO', /Cannot map BAR1/, () => device.region(1));
  assert.is(error.syscall, 'mmap');
  assert.is(kernel.mappingCount, 0);
  device.close();
  nothingLeft(kernel);
});
regions('short transfers and failing ones are errors', () => {
  const { kernel, open } = machine();
  const device = open();
  const config = device.region(PciRegion.CONFIG);
  kernel.pread = () => 1;
  throwsNicError('VFIO', /Cannot read config space .* 1 of 4 bytes/, () => config.read32(0));
  device.close();
});
regions('nothing works after close', () => {
  const { open } = machine();
  const device = open();
  const bar = device.region(0);
  device.close();
  throwsNicError('CLOSED', /closed/, () => bar.read32(0));
  throwsNicError('CLOSED', /closed/, () => device.region(0));
  throwsNicError('CLOSED', /closed/, () => device.reset());
  throwsNicError('CLOSED', /closed/, () => device.enableBusMaster());
});
regions.run();

const control = suite('kernel device: reset and bus mastering');
control('memory decoding is on from the start, bus mastering when it is asked for', () => {
  const { card, open } = machine();
  const command = () => card.regions[7]?.bytes[4];
  const device = open();
  assert.is(command(), 0x2, 'a mapped register is a SIGBUS otherwise');
  device.enableBusMaster();
  assert.is(command(), 0x6);
  device.disableBusMaster();
  assert.is(command(), 0x2);
  device.enableBusMaster();
  device.close();
  assert.is(command(), 0x2);
});
control('other bits of the command register are kept', () => {
  const { card, open } = machine();
  card.regions[7]?.bytes.set([0x01, 0x04], 4);
  const device = open();
  device.enableBusMaster();
  assert.equal([...(card.regions[7]?.bytes.subarray(4, 6) ?? [])], [0x07, 0x04]);
  device.close();
});
control('reset where the device has it', () => {
  const { card, open } = machine();
  const device = open();
  assert.is(device.canReset, true);
  device.reset();
  assert.is(card.resets, 1);
  device.close();
  card.canReset = false;
  const without = open();
  assert.is(without.canReset, false);
  without.reset();
  assert.is(card.resets, 1);
  without.close();
});
control('a reset that fails', () => {
  const { kernel, open } = machine();
  const device = open();
  kernel.faults.set('VFIO_DEVICE_RESET', -11);
  const error = throwsNicError('VFIO', /Cannot reset 0000:03:00\.0: EAGAIN/, () => device.reset());
  assert.is(error.syscall, 'ioctl(VFIO_DEVICE_RESET)');
  device.close();
});
control.run();

const irqs = suite('kernel device: interrupts');
irqs('information; none for an index that is not there', () => {
  const { kernel, open } = machine();
  const device = open();
  assert.equal(device.irqInfo(PciIrq.MSIX), { count: 10, eventfd: true, maskable: false, noResize: true });
  assert.is(device.irqInfo(9).count, 0);
  kernel.faults.set('VFIO_DEVICE_GET_IRQ_INFO', -22);
  assert.is(device.irqInfo(PciIrq.ERR).count, 0);
  device.close();
});
irqs('all vectors in one request; set again after disabling; disabled once', () => {
  const { kernel, card, open } = machine();
  const device = open();
  const fds = Array.from({ length: 4 }, () => kernel.eventfd());
  card.irqRequests.length = 0;
  device.setIrqEventfds(PciIrq.MSIX, fds.slice(0, 3));
  assert.equal(card.irqRequests, [{ index: 2, count: 3 }]);
  device.setIrqEventfds(PciIrq.MSIX, fds);
  assert.equal(card.irqs.get(2), fds);
  assert.equal(card.irqRequests.slice(1), [
    { index: 2, count: 0 },
    { index: 2, count: 4 },
  ]);
  device.disableIrqs(PciIrq.MSIX);
  device.disableIrqs(PciIrq.MSIX);
  assert.is(card.irqRequests.length, 4, 'the kernel refuses to disable what is not enabled');
  device.close();
  for (const fd of fds) kernel.close(fd);
  nothingLeft(kernel);
});
irqs('too many, none, refused, and fewer than asked for', () => {
  const { kernel, open } = machine();
  const device = open();
  const fds = Array.from({ length: 11 }, () => kernel.eventfd());
  throwsNicError('INTERRUPTS', /has 10 vectors .* 11 were asked for/, () => device.setIrqEventfds(2, fds));
  throwsNicError('INTERRUPTS', /0 were asked for/, () => device.setIrqEventfds(2, []));
  kernel.faults.set('VFIO_DEVICE_SET_IRQS', -28);
  const refused = throwsNicError('INTERRUPTS', /ENOSPC/, () => device.setIrqEventfds(2, fds.slice(0, 2)));
  assert.is(refused.syscall, 'ioctl(VFIO_DEVICE_SET_IRQS)');
  kernel.faults.set('VFIO_DEVICE_SET_IRQS', 3);
  throwsNicError('INTERRUPTS', /only 3 free/, () => device.setIrqEventfds(2, fds.slice(0, 5)));
  device.close();
});
irqs('close disables what is connected, before the device is closed', () => {
  for (const backend of ['group', 'cdev'] as const) {
    const { kernel, card, open } = machine(backend);
    const device = open();
    assert.is(device.backend, backend);
    const fd = kernel.eventfd();
    device.setIrqEventfds(PciIrq.MSIX, [fd]);
    device.region(0);
    device.enableBusMaster();
    device.close();
    assert.is(card.irqs.size, 0);
    kernel.close(fd);
    nothingLeft(kernel);
  }
});
irqs('close goes on where a step fails', () => {
  const { kernel, card, open } = machine();
  const device = open();
  device.region(0);
  kernel.faults.set('VFIO_DEVICE_SET_IRQS', -19);
  kernel.pwrite = () => {
    throw new Error('the device is gone');
  };
  card.regions[7]?.bytes.set([6], 4);
  device.close();
  assert.is(kernel.openCount, 0);
  assert.is(kernel.mappingCount, 0);
});
irqs.run();

const gone = suite('kernel device: loss');
gone('listeners are told once, those who come late as well', async () => {
  const { kernel, card, open } = machine();
  const device = open();
  const told: NicError[] = [];
  const removed: Error[] = [];
  device.onGone((error) => told.push(error as NicError));
  device.onGone((error) => removed.push(error))();
  const [request] = card.irqs.get(PciIrq.REQ) ?? [];
  const [failure] = card.irqs.get(PciIrq.ERR) ?? [];
  assert.ok(request !== undefined && failure !== undefined);
  kernel.signal(request);
  kernel.signal(request);
  kernel.signal(failure);
  assert.is(told.length, 1);
  assert.is(told[0]?.code, 'DEVICE_GONE');
  assert.match(told[0]?.message ?? '', /the kernel asks for it back/);
  assert.is(removed.length, 0);
  const late = await new Promise<Error>((resolve) => device.onGone(resolve));
  assert.is(late, told[0]);
  device.close();
  nothingLeft(kernel);
});
gone('an uncorrectable error', () => {
  const { kernel, card, open } = machine();
  const device = open();
  const told: string[] = [];
  device.onGone((error) => told.push(error.message));
  kernel.signal(card.irqs.get(PciIrq.ERR)?.[0] ?? -1);
  assert.match(told[0] ?? '', /uncorrectable PCI Express error/);
  device.close();
});
gone('a device that cannot tell', () => {
  const { kernel, card, open } = machine();
  card.irqCounts = [1, 1, 3];
  const device = open();
  device.onGone(() => {});
  assert.is(card.irqs.size, 0);
  device.close();
  nothingLeft(kernel);
});
gone('a listener may close the device', () => {
  const { kernel, card, open } = machine();
  const device = open();
  device.onGone(() => device.close());
  kernel.signal(card.irqs.get(PciIrq.REQ)?.[0] ?? -1);
  nothingLeft(kernel);
});
gone.run();
