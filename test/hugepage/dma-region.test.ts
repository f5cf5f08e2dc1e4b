import { readdirSync, readFileSync } from 'node:fs';
import * as assert from 'uvu/assert';
import { NicError } from '../../src/errors.js';
import { DmaRegion } from '../../src/hugepage/dma-region.js';
import { IovaSpace } from '../../src/hugepage/iova-space.js';
import { mapShared, munmap } from '../../src/syscalls/memory.js';
import { DIST, runScript } from '../support/child.js';
import { expectError } from '../support/expect-error.js';
import { FakeMapper, mapFailure } from '../support/fake-mapper.js';
import { suite } from '../support/suite.js';

const region = suite('DmaRegion');

const small = (sizeBytes = 8192, space = new IovaSpace()): DmaRegion =>
  new DmaRegion({ sizeBytes, pageSize: '4K', name: 'test', space });

const fds = (): number => readdirSync('/proc/self/fd').length;

/** Hugepages of 2 MiB that are free: where a machine has some, what is said about their absence cannot be tested. */
function freeHugepages(directory: string): number {
  try {
    return Number(readFileSync(`/sys/kernel/mm/hugepages/${directory}/free_hugepages`, 'utf8'));
  } catch {
    return 0;
  }
}

region('is zeroed memory of whole pages, named in the process map', () => {
  const memory = small(5000);
  assert.is(memory.sizeBytes, 8192);
  assert.is(memory.buffer.byteLength, 8192);
  assert.is(memory.pageSizeBytes, 4096);
  assert.ok(new Uint8Array(memory.buffer).every((byte) => byte === 0));
  assert.match(readFileSync('/proc/self/maps', 'utf8'), 'memfd:barewire-test');
  memory.close();
});

region('is shared: another mapping of its descriptor is the same memory, at the same offsets', () => {
  const memory = small();
  const other = mapShared(memory.fd, 8192);
  new Uint8Array(other.buffer)[5000] = 42;
  assert.is(new Uint8Array(memory.buffer)[5000], 42);
  new Uint8Array(memory.buffer)[0] = 7;
  assert.is(new Uint8Array(other.buffer)[0], 7);
  munmap(other);
  memory.close();
});

for (const sizeBytes of [0, -1, 1.5, Number.NaN, 2 ** 32 + 1, Number.POSITIVE_INFINITY]) {
  region(`${sizeBytes} bytes are refused`, () => {
    const before = fds();
    expectError('BAD_OPTION', () => small(sizeBytes));
    assert.is(fds(), before);
  });
}

region('has no I/O address before it is mapped', () => {
  const memory = small();
  expectError('DMA_MAP', () => memory.iovaLow);
  expectError('DMA_MAP', () => memory.iovaHigh);
  memory.close();
});

region('is mapped once however many users a mapper has', () => {
  const mapper = new FakeMapper();
  const memory = small();
  memory.mapInto(mapper);
  const low = memory.iovaLow;
  memory.mapInto(mapper);
  assert.is(mapper.log.length, 1);
  assert.is(mapper.mapped.get(BigInt(low)), 8192);
  memory.unmapFrom(mapper);
  assert.is(mapper.mapped.size, 1);
  memory.unmapFrom(mapper);
  assert.is(mapper.mapped.size, 0);
  memory.unmapFrom(mapper);
  assert.is(mapper.log.length, 2, 'once too often does nothing');
  memory.mapInto(mapper);
  assert.is(memory.iovaLow, low, 'the address is its own for life');
  memory.close();
});

region('has the same address in each mapper', () => {
  const [a, b] = [new FakeMapper(), new FakeMapper()];
  const memory = small();
  memory.mapInto(a);
  memory.mapInto(b);
  assert.equal([...a.mapped], [...b.mapped]);
  memory.unmapFrom(a);
  assert.is(b.mapped.size, 1);
  memory.close();
  assert.is(b.mapped.size, 0);
});

region('splits its address into words', () => {
  const mapper = new FakeMapper([{ first: 0x12_8000_0000n, last: 0x12_8fff_ffffn }]);
  const memory = small();
  memory.mapInto(mapper);
  assert.is(memory.iovaHigh, 0x12);
  assert.is(memory.iovaLow, 0x8000_0000);
  memory.close();
});

region('a mapper that fails leaves nothing, and may be tried again', () => {
  const mapper = new FakeMapper();
  mapper.mapFailures.push(mapFailure());
  const memory = small();
  expectError('DMA_MAP', () => memory.mapInto(mapper));
  memory.unmapFrom(mapper);
  assert.equal(mapper.log, []);
  memory.mapInto(mapper);
  memory.close();
  assert.is(mapper.mapped.size, 0);
});

region('a further IOMMU that cannot reach it is refused', () => {
  const memory = small();
  memory.mapInto(new FakeMapper([{ first: 1n << 33n, last: (1n << 34n) - 1n }]));
  const small32 = new FakeMapper([{ first: 0n, last: (1n << 32n) - 1n }]);
  const error = expectError('IOVA_SPACE', () => memory.mapInto(small32));
  assert.ok(error.hint !== undefined);
  assert.equal(small32.log, []);
  memory.close();
});

region('close unmaps from every mapper, then gives address, pages and descriptor back', () => {
  const space = new IovaSpace();
  const before = fds();
  const mappers = [new FakeMapper(), new FakeMapper()];
  const memory = small(8192, space);
  for (const mapper of mappers) memory.mapInto(mapper);
  const low = memory.iovaLow;
  memory.close();
  memory.close();
  for (const mapper of mappers) assert.is(mapper.mapped.size, 0);
  assert.is(fds(), before);
  assert.not.match(readFileSync('/proc/self/maps', 'utf8'), 'memfd:barewire-test');
  assert.is(Number(space.allocate(8192, 4096)), low);
  expectError('CLOSED', () => memory.mapInto(mappers[0]!));
});

region('close gives the memory back although a mapper fails, but not its address', () => {
  const space = new IovaSpace();
  const before = fds();
  const [broken, sound] = [new FakeMapper(), new FakeMapper()];
  const memory = small(8192, space);
  memory.mapInto(broken);
  memory.mapInto(sound);
  const low = memory.iovaLow;
  broken.unmapFailures.push(new NicError('DMA_MAP', 'planted'));
  assert.is(expectError('DMA_MAP', () => memory.close()).message, 'planted');
  assert.is(sound.mapped.size, 0);
  assert.is(fds(), before);
  assert.is.not(Number(space.allocate(8192, 4096)), low, 'the device may still reach it there');
});

region('descriptors and mappings of many regions all go', () => {
  const before = fds();
  const mapper = new FakeMapper();
  for (let i = 0; i < 50; i++) {
    const memory = small();
    memory.mapInto(mapper);
    memory.close();
  }
  assert.is(fds(), before);
  assert.is(mapper.mapped.size, 0);
});

region('a view that outlives its region reads zeros, and writing to it goes nowhere', () => {
  const { status, signal, stdout, stderr } = runScript(`
    import { DmaRegion } from '${DIST}src/hugepage/dma-region.js';
    const region = new DmaRegion({ sizeBytes: 1 << 20, pageSize: '4K', name: 'stale' });
    const words = new Int32Array(region.buffer);
    words.fill(-1);
    region.close();
    const sum = words.reduce((a, b) => a + b, 0);
    words.fill(5);
    const other = new DmaRegion({ sizeBytes: 1 << 20, pageSize: '4K', name: 'next' });
    console.log(sum, new Int32Array(other.buffer).every((word) => word === 0));
  `);
  assert.equal({ status, signal, stderr }, { status: 0, signal: null, stderr: '' });
  assert.is(stdout, '0 true\n');
});

region.run();

const hugepages = suite('hugepages');
const none = freeHugepages('hugepages-2048kB') === 0;

for (const [pageSize, directory] of [
  ['2M', 'hugepages-2048kB'],
  ['1G', 'hugepages-1048576kB'],
] as const) {
  hugepages(`${pageSize} is NO_MEMORY where none is free, and says how to get some`, () => {
    if (freeHugepages(directory) > 0)
      return console.log(`    (not tried: this machine has ${pageSize} pages)`);
    const before = fds();
    const error = expectError(
      'NO_MEMORY',
      () => new DmaRegion({ sizeBytes: 3 * 2 ** 20, pageSize, name: 'test' }),
    );
    assert.match(error.message, pageSize === '2M' ? '2 hugepages of 2MiB' : '1 hugepages of 1GiB');
    assert.match(error.hint!, /nr_hugepages$|no hugepages of that size/);
    assert.is(fds(), before);
  });
}

hugepages('auto falls back to normal pages with one warning for the process', () => {
  const { status, stdout, stderr } = runScript(`
    import { DmaRegion } from '${DIST}src/hugepage/dma-region.js';
    const regions = [1, 2, 3].map(() => new DmaRegion({ sizeBytes: 4096, pageSize: 'auto', name: 'auto' }));
    console.log(regions.map((region) => region.pageSizeBytes).join(' '));
  `);
  assert.is(status, 0, stderr);
  if (!none) return assert.match(stdout, /^2097152/);
  assert.is(stdout, '4096 4096 4096\n');
  assert.is(stderr.match(/BAREWIRE_NO_HUGEPAGES/g)?.length, 1, stderr);
  assert.match(stderr, /nr_hugepages|no hugepages of that size/);
});

hugepages('the warning can be taken over', () => {
  const { stdout, stderr } = runScript(`
    import { onHugepageWarning, PacketPool } from '${DIST}src/index.js';
    onHugepageWarning((message) => console.log(message));
    for (let i = 0; i < 3; i++) new PacketPool({ buffers: 4 }).close();
  `);
  assert.is(stderr, '');
  if (none) assert.match(stdout, /^No free hugepages: [^\n]+\n$/);
});

hugepages.run();
