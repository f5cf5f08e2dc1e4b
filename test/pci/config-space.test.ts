import fc from 'fast-check';
import * as assert from 'uvu/assert';
import { NicError } from '../../src/errors.js';
import { type ConfigAccess, ConfigSpace } from '../../src/pci/config-space.js';
import { CapabilityId, Command } from '../../src/pci/registers.js';
import { Region } from '../../src/vfio/region.js';
import { expectError } from '../support/expect-error.js';
import { suite } from '../support/suite.js';

class FakeConfig implements ConfigAccess {
  readonly name = 'config space of 0000:03:00.0';
  readonly bytes: DataView;
  readonly writes: string[] = [];

  constructor(sizeBytes = 4096) {
    this.bytes = new DataView(new ArrayBuffer(sizeBytes));
    this.set16(0x00, 0x8086).set16(0x02, 0x10c9);
  }

  get sizeBytes(): number {
    return this.bytes.byteLength;
  }

  set8(offset: number, value: number): this {
    this.bytes.setUint8(offset, value);
    return this;
  }

  set16(offset: number, value: number): this {
    this.bytes.setUint16(offset, value, true);
    return this;
  }

  set32(offset: number, value: number): this {
    this.bytes.setUint32(offset, value, true);
    return this;
  }

  /** Capability list, as (offset, identifier) in order. */
  capabilities(...list: [offset: number, id: number][]): this {
    this.set16(0x06, 0x0010).set8(0x34, list[0]?.[0] ?? 0);
    for (const [i, [offset, id]] of list.entries())
      this.set8(offset, id).set8(offset + 1, list[i + 1]?.[0] ?? 0);
    return this;
  }

  read8(offset: number): number {
    return this.bytes.getUint8(offset);
  }

  read16(offset: number): number {
    assert.is(offset % 2, 0, 'aligned');
    return this.bytes.getUint16(offset, true);
  }

  read32(offset: number): number {
    assert.is(offset % 4, 0, 'aligned');
    return this.bytes.getUint32(offset, true);
  }

  write8(offset: number, value: number): void {
    this.writes.push(`8 ${offset} ${value}`);
    this.set8(offset, value);
  }

  write16(offset: number, value: number): void {
    this.writes.push(`16 0x${offset.toString(16)} 0x${value.toString(16)}`);
    this.set16(offset, value);
  }

  write32(offset: number, value: number): void {
    this.writes.push(`32 ${offset} ${value}`);
    this.set32(offset, value);
  }
}

const allOnes = (sizeBytes = 4096): FakeConfig => {
  const config = new FakeConfig(sizeBytes);
  new Uint8Array(config.bytes.buffer).fill(0xff);
  return config;
};

const header = suite('config space header');

header('reads the identifiers', () => {
  const config = new FakeConfig().set32(0x08, 0x02000001).set16(0x2c, 0x8086).set16(0x2e, 0xa03c);
  const space = new ConfigSpace(config);
  assert.is(space.vendorId, 0x8086);
  assert.is(space.deviceId, 0x10c9);
  assert.is(space.revision, 1);
  assert.is(space.classCode, 0x020000);
  assert.is(space.subsystemVendorId, 0x8086);
  assert.is(space.subsystemId, 0xa03c);
});

header('works over a VFIO region', () => {
  const memory = new Uint8Array(256);
  memory.set([0x86, 0x80, 0xc9, 0x10]);
  const region = new Region(
    { index: 7, name: 'config', sizeBytes: 256, readable: true, writable: true },
    {
      read: (offset, into) => into.set(memory.subarray(offset, offset + into.length)),
      write: (offset, from) => memory.set(from, offset),
    },
    [],
  );
  const space = new ConfigSpace(region);
  assert.is(space.vendorId, 0x8086);
  space.changeCommand(Command.BUS_MASTER, 0);
  assert.is(memory[4], 0x04);
});

header('command bits are set and cleared with one 16-bit write where they change, the others stay', () => {
  const config = new FakeConfig().set16(0x04, 0x0143);
  const space = new ConfigSpace(config);
  space.changeCommand(Command.BUS_MASTER, 0);
  space.changeCommand(Command.INTX_DISABLE, Command.MEMORY_SPACE);
  space.changeCommand(Command.INTX_DISABLE, Command.MEMORY_SPACE);
  space.changeCommand(0, Command.BUS_MASTER);
  assert.equal(config.writes, ['16 0x4 0x147', '16 0x4 0x545', '16 0x4 0x541']);
  assert.is(Command.INTX_DISABLE, 0x400);
});

header('ones of a lost device are not written back', () => {
  const config = allOnes();
  const space = new ConfigSpace(config);
  expectError('DEVICE_GONE', () => space.changeCommand(0, Command.BUS_MASTER));
  assert.equal(config.writes, []);
});

header('every question to a lost device says that it is gone, and which', () => {
  for (const size of [256, 4096]) {
    const space = new ConfigSpace(allOnes(size));
    for (const question of [
      () => space.vendorId,
      () => space.capabilities(),
      () => space.extendedCapabilities(),
      () => space.msix(),
      () => space.pcie(),
      () => space.bars(),
    ]) {
      assert.match(expectError('DEVICE_GONE', question).message, '0000:03:00.0');
    }
  }
});

header.run();

const list = suite('capability list');

list('is walked in the device order, with the low pointer bits masked', () => {
  // The 82576: power management, MSI, MSI-X, PCI Express.
  const config = new FakeConfig().capabilities([0x40, 0x01], [0x50, 0x05], [0x70, 0x11], [0xa0, 0x10]);
  config.set8(0x34, 0x43).set8(0x41, 0x51);
  const space = new ConfigSpace(config);
  assert.equal(space.capabilities(), [
    { id: 1, offset: 0x40 },
    { id: 5, offset: 0x50 },
    { id: 0x11, offset: 0x70 },
    { id: 0x10, offset: 0xa0 },
  ]);
  assert.equal(space.findCapability(CapabilityId.MSI), { id: 5, offset: 0x50 });
  assert.is(space.findCapability(CapabilityId.VENDOR), undefined);
});

list('is empty where the status register says so, whatever the pointer', () => {
  const config = new FakeConfig().capabilities([0x40, 1]).set16(0x06, 0);
  assert.equal(new ConfigSpace(config).capabilities(), []);
});

list('a loop ends in CONFIG_SPACE', () => {
  for (const back of [0x40, 0x50]) {
    const config = new FakeConfig().capabilities([0x40, 1], [0x50, 5]).set8(0x51, back);
    assert.match(expectError('CONFIG_SPACE', () => new ConfigSpace(config).capabilities()).message, 'loop');
  }
});

list('a pointer into the header ends in CONFIG_SPACE', () => {
  const config = new FakeConfig().capabilities([0x40, 1]).set8(0x41, 0x10);
  assert.match(expectError('CONFIG_SPACE', () => new ConfigSpace(config).capabilities()).message, '0x10');
});

list('ones in the middle: malformed while the vendor answers, gone when it does not', () => {
  const config = new FakeConfig().capabilities([0x40, 1], [0x50, 5]).set16(0x50, 0xffff);
  expectError('CONFIG_SPACE', () => new ConfigSpace(config).capabilities());

  const lost = new FakeConfig().capabilities([0x40, 1], [0x50, 5]);
  const read16 = lost.read16.bind(lost);
  lost.read16 = (offset) => {
    if (offset === 0x50) new Uint8Array(lost.bytes.buffer).fill(0xff);
    return read16(offset);
  };
  expectError('DEVICE_GONE', () => new ConfigSpace(lost).capabilities());
});

list('extended: walked from 0x100, version and identifier decoded', () => {
  const config = new FakeConfig()
    .set32(0x100, 0x14010001)
    .set32(0x140, 0x1501_0003)
    .set32(0x150, 0x0001_000e);
  const space = new ConfigSpace(config);
  assert.equal(space.extendedCapabilities(), [
    { id: 1, version: 1, offset: 0x100 },
    { id: 3, version: 1, offset: 0x140 },
    { id: 0xe, version: 1, offset: 0x150 },
  ]);
  assert.is(space.findExtendedCapability(0xe)?.offset, 0x150);
});

list('extended: a first entry that VFIO has hidden is passed over', () => {
  const config = new FakeConfig().set32(0x100, 0x1400_0000).set32(0x140, 0x0001_0003);
  assert.equal(new ConfigSpace(config).extendedCapabilities(), [{ id: 3, version: 1, offset: 0x140 }]);
});

list('extended: none in 256 bytes, none where all is zero, none where a bridge answers ones', () => {
  assert.equal(new ConfigSpace(new FakeConfig(256)).extendedCapabilities(), []);
  assert.equal(new ConfigSpace(new FakeConfig()).extendedCapabilities(), []);
  assert.equal(new ConfigSpace(new FakeConfig().set32(0x100, 0xffffffff)).extendedCapabilities(), []);
});

list('extended: loops and pointers below 0x100 end in CONFIG_SPACE', () => {
  const loop = new FakeConfig().set32(0x100, 0x1401_0001).set32(0x140, 0x1001_0003);
  assert.match(
    expectError('CONFIG_SPACE', () => new ConfigSpace(loop).extendedCapabilities()).message,
    'loop',
  );
  const low = new FakeConfig().set32(0x100, 0x0401_0001);
  assert.match(
    expectError('CONFIG_SPACE', () => new ConfigSpace(low).extendedCapabilities()).message,
    '0x40',
  );
});

list('any bytes: every question ends, with an answer or with a NicError', () => {
  const bytes = fc.uint8Array({ minLength: 4096, maxLength: 4096 });
  fc.assert(
    fc.property(bytes, (content) => {
      const config = new FakeConfig();
      new Uint8Array(config.bytes.buffer).set(content);
      config.set16(0x06, 0x0010);
      const space = new ConfigSpace(config);
      for (const question of [
        () => space.capabilities(),
        () => space.extendedCapabilities(),
        () => space.msix(),
        () => space.pcie(),
        () => space.bars(),
      ]) {
        try {
          question();
        } catch (error) {
          assert.ok(
            error instanceof NicError && ['CONFIG_SPACE', 'DEVICE_GONE'].includes(error.code),
            String(error),
          );
        }
      }
    }),
    { numRuns: 300 },
  );
});

list.run();

const msix = suite('MSI-X and PCI Express');

msix('table size, BARs and offsets', () => {
  // The 82576: 25 vectors, table at BAR3 + 0, pending bits at BAR3 + 0x2000.
  const config = new FakeConfig()
    .capabilities([0x70, 0x11])
    .set16(0x72, 24)
    .set32(0x74, 3)
    .set32(0x78, 0x2003);
  assert.equal(new ConfigSpace(config).msix(), {
    offset: 0x70,
    tableSize: 25,
    tableBar: 3,
    tableOffset: 0,
    pbaBar: 3,
    pbaOffset: 0x2000,
    enabled: false,
  });
  config.set16(0x72, 0x87ff).set32(0x74, 0xfffffff8);
  const full = new ConfigSpace(config).msix()!;
  assert.is(full.tableSize, 2048);
  assert.is(full.enabled, true);
  assert.is(full.tableOffset, 0xfffffff8);
  assert.is(full.tableBar, 0);
});

msix('a BAR that cannot exist is CONFIG_SPACE', () => {
  const config = new FakeConfig().capabilities([0x70, 0x11]).set32(0x74, 6);
  expectError('CONFIG_SPACE', () => new ConfigSpace(config).msix());
});

msix('a capability that reaches over the end is CONFIG_SPACE', () => {
  expectError('CONFIG_SPACE', () => new ConfigSpace(new FakeConfig(256).capabilities([0xf8, 0x11])).msix());
  expectError('CONFIG_SPACE', () => new ConfigSpace(new FakeConfig(256).capabilities([0xfc, 0x10])).pcie());
});

msix('absent capabilities are undefined', () => {
  const space = new ConfigSpace(new FakeConfig());
  assert.is(space.msix(), undefined);
  assert.is(space.pcie(), undefined);
});

msix('function-level reset is bit 28 of the device capabilities', () => {
  const config = new FakeConfig().capabilities([0xa0, 0x10]).set16(0xa2, 0x0002).set32(0xa4, 0x1000_8cc2);
  assert.equal(new ConfigSpace(config).pcie(), { offset: 0xa0, version: 2, portType: 0, hasFlr: true });
  config.set32(0xa4, 0xefff_ffff).set16(0xa2, 0x0042);
  assert.equal(new ConfigSpace(config).pcie(), { offset: 0xa0, version: 2, portType: 4, hasFlr: false });
});

msix('pending transactions are bit 5 of the device status', () => {
  const config = new FakeConfig().capabilities([0xa0, 0x10]).set16(0xaa, 0xffdf);
  assert.is(new ConfigSpace(config).transactionsPending(), false);
  config.set16(0xaa, 0x0020);
  assert.is(new ConfigSpace(config).transactionsPending(), true);
  assert.is(new ConfigSpace(new FakeConfig()).transactionsPending(), false, 'no PCI Express, no such bit');
  expectError('CONFIG_SPACE', () =>
    new ConfigSpace(new FakeConfig(256).capabilities([0xf8, 0x10])).transactionsPending(),
  );
});

msix.run();

const bars = suite('BARs');

bars('memory of 32 and 64 bits, I/O, and unused ones', () => {
  const config = new FakeConfig()
    .set32(0x10, 0xfebc_000c)
    .set32(0x14, 0x0000_0038)
    .set32(0x18, 0xfea0_0000)
    .set32(0x1c, 0x0000_c041)
    .set32(0x24, 0xfe00_0008);
  assert.equal(new ConfigSpace(config).bars(), [
    { index: 0, kind: 'mem64', prefetchable: true, address: 0x38_febc_0000n },
    { index: 2, kind: 'mem32', prefetchable: false, address: 0xfea0_0000n },
    { index: 3, kind: 'io', prefetchable: false, address: 0xc040n },
    { index: 5, kind: 'mem32', prefetchable: true, address: 0xfe00_0000n },
  ]);
});

bars('a 64-bit BAR in the last place is CONFIG_SPACE', () => {
  expectError('CONFIG_SPACE', () => new ConfigSpace(new FakeConfig().set32(0x24, 4)).bars());
});

bars('a bridge has two, a multi-function device six', () => {
  const config = new FakeConfig();
  for (let index = 0; index < 6; index++) config.set32(0x10 + 4 * index, 0xfe00_0000);
  config.set8(0x0e, 0x81);
  assert.is(new ConfigSpace(config).bars().length, 2);
  config.set8(0x0e, 0x80);
  assert.is(new ConfigSpace(config).bars().length, 6);
});

bars.run();
