/** What firmware would have done, on a config space that behaves as PCI 3.0 section 6.2.5.1 says. */
import * as assert from 'uvu/assert';
import { Region } from '../../../src/vfio/region.js';
import { assignBars } from '../../../src/vfio/user/bar-assignment.js';
import { suite } from '../../support/suite.js';

const COMMAND = 0x04;
const MEMORY_ON = 0x2;

interface Bar {
  readonly sizeBytes: number;
  /** The low bits: 0 memory, 1 I/O, 4 memory with 64 bits, 8 prefetchable. */
  readonly flags?: number;
}

class ConfigSpace {
  readonly region: Region;
  readonly barBytes: number[];
  writes = 0;
  movedWhileOn = 0;
  readonly view = new DataView(new ArrayBuffer(0x100));

  constructor(bars: readonly (Bar | undefined)[]) {
    this.barBytes = bars.map((bar) => bar?.sizeBytes ?? 0);
    bars.forEach((bar, index) => {
      if (bar?.flags) this.view.setUint32(0x10 + 4 * index, bar.flags, true);
    });
    const bytes = new Uint8Array(this.view.buffer);
    const properties = { index: 7, name: 'CONFIG', sizeBytes: 0x100, readable: true, writable: true };
    this.region = new Region(
      properties,
      {
        read: (offset, into) => into.set(bytes.subarray(offset, offset + into.length)),
        write: (offset, from) => {
          this.writes++;
          const isBar = offset >= 0x10 && offset < 0x28;
          if (isBar && (this.view.getUint16(COMMAND, true) & MEMORY_ON) !== 0) this.movedWhileOn++;
          bytes.set(from, offset);
          if (isBar) this.#keepReadOnlyBits(bars);
        },
      },
      [],
    );
  }

  address(index: number): number {
    const low = this.view.getUint32(0x10 + 4 * index, true);
    const high = (low & 0x7) === 0x4 ? this.view.getUint32(0x14 + 4 * index, true) : 0;
    return high * 2 ** 32 + ((low & ~0xf) >>> 0);
  }

  get command(): number {
    return this.view.getUint16(COMMAND, true);
  }

  assign(): void {
    assignBars(this.region, this.barBytes);
  }

  #keepReadOnlyBits(bars: readonly (Bar | undefined)[]): void {
    for (let index = 0; index < 6; index++) {
      const bar = bars[index];
      const before = bars[index - 1];
      const at = 0x10 + 4 * index;
      if (bar !== undefined) {
        const mask = bar.sizeBytes >= 2 ** 32 ? 0 : ~(bar.sizeBytes - 1) & ~0xf;
        this.view.setUint32(at, (this.view.getUint32(at, true) & mask) | (bar.flags ?? 0), true);
      } else if (before === undefined || ((before.flags ?? 0) & 0x7) !== 0x4) {
        this.view.setUint32(at, 0, true);
      }
    }
  }
}

/** Addresses that overlap, or that are not aligned to their BAR's size. */
function misplaced(config: ConfigSpace, indices: readonly number[]): number[] {
  return indices.filter((index) => {
    const start = config.address(index);
    const end = start + config.barBytes[index]!;
    const overlaps = indices.some((other) => {
      const otherStart = config.address(other);
      return other !== index && otherStart < end && start < otherStart + config.barBytes[other]!;
    });
    return overlaps || start === 0 || start % config.barBytes[index]! !== 0;
  });
}

const test = suite('vfio-user BAR assignment');

test('BARs in any order of sizes are aligned and apart, and memory space is on', () => {
  const sizes = [0x4000, 0x20000, 0x10, 0x20000, 0x1000000, 0x1000];
  const config = new ConfigSpace(sizes.map((sizeBytes) => ({ sizeBytes })));
  config.assign();
  assert.equal(misplaced(config, [0, 1, 2, 3, 4, 5]), []);
  assert.is(config.command, MEMORY_ON);
});

test('I/O BARs are no memory, and I/O space stays off', () => {
  const config = new ConfigSpace([{ sizeBytes: 0x20000 }, undefined, { sizeBytes: 32, flags: 1 }]);
  config.assign();
  assert.equal([config.address(0), config.view.getUint32(0x18, true)], [0xc0000000, 1]);
  assert.is(config.command, MEMORY_ON);
});

test('64-bit BARs take two registers, and go above 4 GiB where there is no room below', () => {
  const big = { sizeBytes: 2 ** 33, flags: 0xc };
  const config = new ConfigSpace([
    { sizeBytes: 0x80000, flags: 0x4 },
    undefined,
    big,
    undefined,
    { sizeBytes: 0x4000, flags: 0x4 },
    undefined,
  ]);
  config.assign();
  assert.equal(misplaced(config, [0, 2, 4]), []);
  assert.equal([config.address(0), config.address(2), config.address(4)], [0xc0000000, 2 ** 40, 0xc0080000]);
});

test('a 32-bit BAR without room stays without an address, and the others get theirs', () => {
  const config = new ConfigSpace([{ sizeBytes: 2 ** 31 }, { sizeBytes: 0x1000 }]);
  config.assign();
  assert.equal([config.address(0), config.address(1)], [0, 0xc0000000]);
});

test('nothing moves while memory space is on; other bits of the command stay', () => {
  const config = new ConfigSpace([{ sizeBytes: 0x1000 }]);
  config.view.setUint16(COMMAND, 0x406, true);
  config.assign();
  assert.equal([config.address(0), config.command, config.movedWhileOn], [0xc0000000, 0x406, 0]);
});

test('nothing is written to a device that has an address, has no memory BAR or is a bridge', () => {
  const placed = new ConfigSpace([{ sizeBytes: 0x1000 }, { sizeBytes: 0x1000 }]);
  placed.view.setUint32(0x14, 0xfe000000, true);
  const high = new ConfigSpace([{ sizeBytes: 0x1000, flags: 4 }]);
  high.view.setUint32(0x14, 0x1, true);
  const bridge = new ConfigSpace([{ sizeBytes: 0x1000 }]);
  bridge.view.setUint8(0x0e, 0x81);
  const none = new ConfigSpace([{ sizeBytes: 32, flags: 1 }]);
  for (const config of [placed, high, bridge, none]) {
    config.assign();
    assert.equal([config.writes, config.command], [0, 0]);
  }
});

test.run();
