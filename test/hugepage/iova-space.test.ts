import fc from 'fast-check';
import * as assert from 'uvu/assert';
import { IovaSpace } from '../../src/hugepage/iova-space.js';
import { coversIova } from '../../src/vfio/iova-ranges.js';
import type { IovaRange } from '../../src/vfio/types.js';
import { expectError } from '../support/expect-error.js';
import { suite } from '../support/suite.js';

const KIB = 1024;
const MIB = 1024 * KIB;
const GIB = 1024 * MIB;
/** Where x86 takes memory writes for interrupt messages (Intel SDM volume 3, 11.11.1). */
const MSI_FIRST = 0xfee0_0000n;
const MSI_END = 0xfef0_0000n;

/** What holds for every allocation. */
function assertSound(iova: bigint, sizeBytes: number, alignmentBytes: number): void {
  const end = iova + BigInt(sizeBytes);
  assert.ok(iova > 0n, 'never 0');
  assert.is(iova % BigInt(alignmentBytes), 0n, 'aligned');
  assert.is(iova >> 32n, (end - 1n) >> 32n, 'never across a 4 GiB line');
  assert.ok(end <= MSI_FIRST || iova >= MSI_END, 'never in the MSI window');
}

const space = suite('IovaSpace');

space('hands out low addresses, one after the other', () => {
  const iova = new IovaSpace();
  const first = iova.allocate(4096, 4096);
  assertSound(first, 4096, 4096);
  assert.ok(first < 0x1000_0000n);
  assert.is(iova.allocate(4096, 4096), first + 4096n);
  assert.is(iova.allocate(2 * MIB, 2 * MIB) % BigInt(2 * MIB), 0n);
});

space('leaves out the MSI window', () => {
  const iova = new IovaSpace();
  for (let i = 0; i < 40; i++) assertSound(iova.allocate(128 * MIB, 4096), 128 * MIB, 4096);
});

space('regions of up to 4 GiB lie between two 4 GiB lines', () => {
  const iova = new IovaSpace();
  for (const size of [4 * GIB, 3 * GIB, 3 * GIB, 4 * GIB, 4096]) {
    assertSound(iova.allocate(size, 4096), size, 4096);
  }
  for (const size of [4 * GIB + 4096, 0]) expectError('IOVA_SPACE', () => iova.allocate(size, 4096));
});

space('keeps to what further IOMMUs translate', () => {
  const iova = new IovaSpace();
  iova.restrict([{ first: 0n, last: (1n << 39n) - 1n }]);
  iova.restrict([
    { first: 0x1000n, last: 0x0fff_ffffn },
    { first: 0x2000_0000n, last: 0x2fff_ffffn },
  ]);
  const got: bigint[] = [];
  for (let i = 0; i < 7; i++) got.push(iova.allocate(64 * MIB, 4096));
  for (const [i, address] of got.entries()) {
    assertSound(address, 64 * MIB, 4096);
    const end = address + BigInt(64 * MIB);
    const inFirst = address >= 0x1000n && end <= 0x1000_0000n;
    const inSecond = address >= 0x2000_0000n && end <= 0x3000_0000n;
    assert.ok(inFirst || inSecond, `allocation ${i}`);
  }
  expectError('IOVA_SPACE', () => iova.allocate(64 * MIB, 4096));
});

space('an IOMMU that translates only what is never used leaves nothing', () => {
  for (const ranges of [[], [{ first: MSI_FIRST, last: MSI_END - 1n }], [{ first: 0n, last: 0xfffffn }]]) {
    const iova = new IovaSpace();
    iova.restrict(ranges);
    const error = expectError('IOVA_SPACE', () => iova.allocate(4096, 4096));
    assert.ok(error.hint !== undefined);
  }
});

space('what is released is used again, whole', () => {
  const iova = new IovaSpace();
  iova.restrict([{ first: 0x10_0000n, last: 0x10_ffffn }]);
  const all = Array.from({ length: 16 }, () => iova.allocate(4096, 4096));
  expectError('IOVA_SPACE', () => iova.allocate(4096, 4096));
  // Every second one: 32 KiB free, but no two pages together.
  for (let i = 0; i < 16; i += 2) iova.release(all[i]!);
  expectError('IOVA_SPACE', () => iova.allocate(8192, 4096));
  iova.release(all[5]!);
  assert.is(iova.allocate(8192, 4096), all[4]);
  assert.is(iova.allocate(4096, 4096), all[0]);
  iova.release(0x1234_5000n);
});

space('coversIova wants the whole range in one of the ranges', () => {
  const ranges: IovaRange[] = [
    { first: 0x1000n, last: 0x1fffn },
    { first: 0x2000n, last: 0x4fffn },
  ];
  assert.ok(coversIova(ranges, 0x1000n, 0x1000));
  assert.ok(coversIova(ranges, 0x2000n, 0x3000));
  assert.not(coversIova(ranges, 0x1000n, 0x1001));
  assert.not(coversIova(ranges, 0xfffn, 0x10));
  assert.not(coversIova(ranges, 0x4fffn, 2));
  assert.not(coversIova([], 0n, 1));
});

/** A space that is a list of pages: the obvious way, and slow. */
class NaivePages {
  readonly #usable: boolean[];
  readonly #firstPage: number;

  constructor(ranges: readonly IovaRange[], pages: number, firstPage: number) {
    this.#firstPage = firstPage;
    this.#usable = Array.from({ length: pages }, (_, i) => {
      const first = BigInt(firstPage + i) * 4096n;
      const reserved = first < 0x10_0000n || (first >= MSI_FIRST && first < MSI_END);
      return !reserved && ranges.some((range) => range.first <= first && first + 4095n <= range.last);
    });
  }

  allocate(pages: number, alignmentPages: number): number | undefined {
    for (let i = 0; i + pages <= this.#usable.length; i++) {
      const page = this.#firstPage + i;
      const lineOf = (n: number): number => Math.floor(n / 0x10_0000);
      if (page % alignmentPages !== 0 || lineOf(page) !== lineOf(page + pages - 1)) continue;
      if (!this.#usable.slice(i, i + pages).every(Boolean)) continue;
      this.#usable.fill(false, i, i + pages);
      return page;
    }
    return undefined;
  }

  release(page: number, pages: number): void {
    this.#usable.fill(true, page - this.#firstPage, page - this.#firstPage + pages);
  }
}

// Windows of 64 pages where something is in the way: the lowest address, the MSI window, the 4 GiB line.
for (const [name, firstPage] of [
  ['the lowest address', 0x100 - 8],
  ['the start of the MSI window', 0xfee00 - 32],
  ['the end of the MSI window', 0xfef00 - 32],
  ['the 4 GiB line', 0x10_0000 - 32],
] as const) {
  const order = fc.record({
    pages: fc.integer({ min: 1, max: 24 }),
    alignment: fc.constantFrom(1, 2, 4, 16),
    /** Releases the n-th live allocation first. */
    release: fc.option(fc.nat(20)),
  });
  const hole = fc.option(
    fc.record({ at: fc.integer({ min: 1, max: 60 }), pages: fc.integer({ min: 1, max: 4 }) }),
  );
  space(`does what a list of pages does, around ${name}`, () => {
    fc.assert(
      fc.property(hole, fc.array(order, { maxLength: 30 }), (gap, orders) => {
        const address = (page: number): bigint => BigInt(firstPage + page) * 4096n;
        const ranges: IovaRange[] =
          gap === null
            ? [{ first: address(0), last: address(64) - 1n }]
            : [
                { first: address(0), last: address(gap.at) - 1n },
                { first: address(gap.at + gap.pages), last: address(64) - 1n },
              ].filter((range) => range.first <= range.last);
        const real = new IovaSpace();
        real.restrict(ranges);
        const naive = new NaivePages(ranges, 64, firstPage);
        const live: { page: number; pages: number }[] = [];
        for (const { pages, alignment, release } of orders) {
          const victim = release === null ? [] : live.splice(release, 1);
          for (const { page, pages: size } of victim) {
            real.release(BigInt(page) * 4096n);
            naive.release(page, size);
          }
          const expected = naive.allocate(pages, alignment);
          if (expected === undefined) {
            expectError('IOVA_SPACE', () => real.allocate(pages * 4096, alignment * 4096));
            continue;
          }
          const got = real.allocate(pages * 4096, alignment * 4096);
          assert.is(got, BigInt(expected) * 4096n);
          assertSound(got, pages * 4096, alignment * 4096);
          live.push({ page: expected, pages });
        }
      }),
      { numRuns: 150 },
    );
  });
}

space.run();
