/** Mapping memory for DMA: the same for a container and for an IOAS, each on an emulated kernel. */
import * as assert from 'uvu/assert';
import { VfioProcess } from '../../src/vfio/open.js';
import type { VfioDevice } from '../../src/vfio/types.js';
import { throwsNicError } from '../support/expect-error.js';
import { suite } from '../support/suite.js';
import { FakeKernel, PC_RANGES } from './support/fake-kernel.js';

const A = '0000:03:00.0';
const C = '0000:04:00.0';
const MIB = 2 ** 20;
const BACKING = { address: 0x7000_0000n, fd: 3, sizeBytes: 2 * MIB };
const IOVA = 0x20_0000n;

/** Names of the requests, and how often the ranges are asked for until 100 of them fit. */
const WAYS = {
  group: { map: 'VFIO_IOMMU_MAP_DMA', unmap: 'VFIO_IOMMU_UNMAP_DMA', ranges: 'VFIO_IOMMU_GET_INFO' },
  cdev: { map: 'IOMMU_IOAS_MAP', unmap: 'IOMMU_IOAS_UNMAP', ranges: 'IOMMU_IOAS_IOVA_RANGES' },
} as const;

for (const [backend, requests] of Object.entries(WAYS)) {
  const dma = suite(`DMA mapper: ${backend}`);

  const machine = () => {
    const kernel = new FakeKernel();
    kernel.addDevice(A, '7', backend === 'cdev' ? { cdev: 0 } : {});
    kernel.addDevice(C, '9', backend === 'cdev' ? { cdev: 1 } : {});
    return { kernel, vfio: new VfioProcess(kernel, {}) };
  };
  const test = (name: string, run: (device: VfioDevice, kernel: FakeKernel, vfio: VfioProcess) => void) =>
    dma(name, () => {
      const { kernel, vfio } = machine();
      const device = vfio.open(A);
      assert.is(device.backend, backend);
      run(device, kernel, vfio);
      device.close();
      assert.equal([kernel.openCount, kernel.violations], [0, []]);
    });

  test('usable ranges are those of the kernel', (device) => {
    assert.equal(
      device.mapper.iovaRanges,
      PC_RANGES.map(([first, last]) => ({ first, last })),
    );
  });

  dma('many ranges: asked again with more room', () => {
    const { kernel, vfio } = machine();
    kernel.ranges = Array.from(
      { length: 100 },
      (_, i) => [BigInt(i) << 20n, (BigInt(i) << 20n) + 0xffffn] as const,
    );
    const device = vfio.open(A);
    assert.is(device.mapper.iovaRanges.length, 100);
    assert.is(kernel.callsOf(requests.ranges).length, 2);
    device.close();
  });

  test('another device may narrow the ranges', (device, kernel, vfio) => {
    kernel.ranges = [[0n, 0x7fff_ffffn]];
    const other = vfio.open(C);
    assert.equal(device.mapper.iovaRanges, [{ first: 0n, last: 0x7fffffffn }]);
    other.close();
  });

  test('a range is mapped and unmapped as a whole', ({ mapper }, kernel) => {
    mapper.map(BACKING, IOVA);
    assert.equal(kernel.dmaMaps, [[IOVA, 0x20_0000n]]);
    throwsNicError('DMA_MAP', /2097152 bytes are mapped there/, () => mapper.unmap(IOVA, 4096));
    throwsNicError('DMA_MAP', /nothing is mapped there/, () => mapper.unmap(0x40_0000n, 4096));
    assert.is(kernel.callsOf(requests.unmap).length, 0, 'the kernel was not asked');
    mapper.unmap(IOVA, 2 * MIB);
    assert.equal(kernel.dmaMaps, []);
    mapper.map(BACKING, IOVA);
  });

  test('an unmapping that fell short is an error', ({ mapper }, kernel) => {
    mapper.map(BACKING, IOVA);
    kernel.unmapShortBytes = 4096n;
    const short = /unmapped 2093056 of 2097152 bytes/;
    const error = throwsNicError('DMA_MAP', short, () => mapper.unmap(IOVA, 2 * MIB));
    assert.is(error.syscall, `ioctl(${requests.unmap})`);
  });

  test('after the last device: unmapping is done already, mapping is refused', (device) => {
    const { mapper } = device;
    mapper.map(BACKING, IOVA);
    device.close();
    mapper.unmap(IOVA, 2 * MIB);
    throwsNicError('CLOSED', /closed/, () => mapper.map(BACKING, IOVA));
  });

  test('outside the ranges, on top of another, unaligned: the hint says which', ({ mapper }) => {
    mapper.map(BACKING, IOVA);
    const hintAt = (iova: bigint) =>
      throwsNicError('DMA_MAP', /Cannot map 2 MiB for DMA/, () => mapper.map(BACKING, iova)).hint ?? '';
    assert.match(hintAt(0xfee0_0000n), /translates only 0x0-0xfedfffff, 0xfef00000-0xffffffffffff/);
    assert.match(hintAt(0x30_0000n), /mapped there already/);
    assert.match(hintAt(0x80_0001n), /multiples of the page size/);
  });

  test('the limit of locked memory: what it is, what is needed, how to raise it', ({ mapper }, kernel) => {
    kernel.limitBytes = 3 * MIB;
    mapper.map(BACKING, IOVA);
    const more = () => mapper.map({ ...BACKING, address: 0x7100_0000n }, 0x40_0000n);
    const error = throwsNicError('MEMLOCK_LIMIT', /may lock 3 MiB, and 4 MiB are needed so far/, more);
    assert.is(error.syscall, `ioctl(${requests.map})`);
    // 4 MiB, 8 MiB for the rings of more ports, rounded up to a power of two
    assert.match(
      error.hint ?? '',
      /to 16 MiB.*`sudo prlimit --memlock=16777216 --pid \$\$`.*`ulimit -l` then says 16384.*memlock 16384.*limits\.conf.*LimitMEMLOCK=16777216/,
    );
    kernel.limitBytes = 64 * MIB;
    kernel.faults.set(requests.map, -12);
    assert.match(throwsNicError('DMA_MAP', /ENOMEM/, more).hint ?? '', /other processes of this user/);
    kernel.texts.set('/proc/self/status', 'Name:\tnode\nVmLck:\t   65536 kB\n');
    kernel.faults.set(requests.map, -12);
    throwsNicError('MEMLOCK_LIMIT', /may lock 64 MiB, and 66 MiB are needed/, more);
    kernel.limitBytes = Number.POSITIVE_INFINITY;
    kernel.faults.set(requests.map, -12);
    assert.match(throwsNicError('DMA_MAP', /ENOMEM/, more).hint ?? '', /out of memory/);
  });

  dma.run();
}
