/** The configuration space of a made-up device, read by the code that reads real ones. */
import * as assert from 'uvu/assert';
import {
  errorReporting,
  express,
  msi,
  msix,
  powerManagement,
  serialNumber,
} from '../../../src/emulator/device/capabilities.js';
import type { ConfigDescription } from '../../../src/emulator/device/config-space.js';
import { MemoryBar, PciFunction } from '../../../src/emulator/device/pci-function.js';
import { ConfigSpace } from '../../../src/pci/config-space.js';
import { Command } from '../../../src/pci/registers.js';
import { Region } from '../../../src/vfio/region.js';
import { suite } from '../../support/suite.js';

const CONFIG = 7;
const MAC = Uint8Array.of(2, 0x11, 0x22, 0x33, 0x44, 0x55);

const ALL = [
  powerManagement(0x50),
  express(0x60, { generation: 3, lanes: 4 }),
  msix(0xa0, 33, 2, 0x1000),
  msi(0xb0),
  serialNumber(0x100, MAC),
  errorReporting(0x148),
];

function make(description: Partial<ConfigDescription> = {}) {
  const events: string[] = [];
  const pciFunction = new PciFunction(
    { vendorId: 0x1d00, deviceId: 0xabcd, classCode: 0x028000, capabilities: ALL, ...description },
    { 0: new MemoryBar(0x10000), 2: new MemoryBar(0x2000) },
    {
      onCommand: (busMaster, intxEnabled) => events.push(`bus master ${busMaster}, INTx ${intxEnabled}`),
      onFunctionLevelReset: () => {
        events.push('reset');
        pciFunction.config.reset();
      },
    },
  );
  const info = { index: CONFIG, name: 'config space', sizeBytes: 4096, readable: true, writable: true };
  const region = new Region(
    info,
    {
      read: (offset, into) => pciFunction.read(CONFIG, offset, into),
      write: (offset, from) => pciFunction.write(CONFIG, offset, from),
    },
    [],
  );
  return { pciFunction, region, config: new ConfigSpace(region), events };
}

const space = suite('configuration space of a model');

space('has the identifiers of its description', () => {
  const { config } = make({ subsystemId: 7, revision: 3 });
  assert.equal(
    [config.vendorId, config.deviceId, config.subsystemVendorId, config.subsystemId],
    [0x1d00, 0xabcd, 0x1d00, 7],
  );
  assert.equal([config.revision, config.classCode], [3, 0x028000]);
  assert.is(make({ subsystemVendorId: 0x1234 }).config.subsystemVendorId, 0x1234);
});

space('lists its capabilities where they were put, in their order', () => {
  const { config, region } = make();
  assert.equal(config.capabilities(), [
    { id: 0x01, offset: 0x50 },
    { id: 0x10, offset: 0x60 },
    { id: 0x11, offset: 0xa0 },
    { id: 0x05, offset: 0xb0 },
  ]);
  assert.equal(config.extendedCapabilities(), [
    { id: 3, version: 1, offset: 0x100 },
    { id: 1, version: 1, offset: 0x148 },
  ]);
  const { tableSize, tableBar, tableOffset, pbaBar, pbaOffset, enabled } = config.msix()!;
  assert.equal([tableSize, tableBar, tableOffset, pbaBar, pbaOffset, enabled], [33, 2, 0, 2, 0x1000, false]);
  assert.equal(config.pcie(), { offset: 0x60, version: 2, portType: 0, hasFlr: true });
  assert.is(region.read16(0x60 + 0x12) & 0x3ff, 0x43, 'four lanes at 8 GT/s');
  assert.equal([region.read32(0x104), region.read32(0x108)], [0xff334455, 0x021122ff], 'EUI-64');
});

space('has as many interrupts as its capabilities say', () => {
  assert.equal(make().pciFunction.irqCounts, [1, 1, 33, 0, 0]);
  assert.equal(make({ capabilities: [] }).pciFunction.irqCounts, [1, 0, 0, 0, 0]);
});

space('without capabilities both lists are empty', () => {
  const { config } = make({ capabilities: [] });
  assert.equal(config.capabilities(), []);
  assert.equal(config.extendedCapabilities(), []);
  assert.is(config.msix(), undefined);
});

space('tells the sizes of its BARs, and serves them', () => {
  const { config, region, pciFunction } = make();
  assert.equal(
    config.bars().map(({ index, kind }) => [index, kind]),
    [
      [0, 'mem64'],
      [2, 'mem64'],
    ],
  );
  for (const offset of [0x10, 0x14, 0x18, 0x1c, 0x20, 0x24]) region.write32(offset, 0xffffffff);
  const read = [0x10, 0x14, 0x18, 0x1c, 0x20, 0x24].map((offset) => region.read32(offset));
  assert.equal(read, [0xffff000c, 0xffffffff, 0xffffe00c, 0xffffffff, 0, 0]);
  assert.equal(
    pciFunction.regions.map((entry) => entry?.sizeBytes),
    [0x10000, undefined, 0x2000, undefined, undefined, undefined, undefined, 4096, undefined],
  );
  pciFunction.write(2, 0x10, Uint8Array.of(1, 2, 3));
  const bytes = new Uint8Array(4).fill(9);
  pciFunction.read(2, 0x10, bytes);
  assert.equal(bytes, Uint8Array.of(1, 2, 3, 0));
  pciFunction.read(5, 0, bytes);
  assert.equal(bytes, new Uint8Array(4), 'a region that is not there');
});

space('reports the command register, and keeps what is fixed', () => {
  const { config, region, pciFunction, events } = make();
  config.changeCommand(Command.BUS_MASTER, 0);
  config.changeCommand(Command.INTX_DISABLE, 0);
  assert.equal(events, ['bus master true, INTx true', 'bus master true, INTx false']);
  assert.is(pciFunction.config.busMaster, true);
  region.write16(0x00, 0x4321);
  region.write16(0x06, 0);
  assert.is(config.vendorId, 0x1d00);
  assert.is(config.status, 0x0010);
  region.write16(0x04, 0xffff);
  assert.is(config.command, 0x0546, 'no I/O space without I/O BARs');
});

space('a function-level reset is reported, reads 0, and undoes what was written', () => {
  const { config, region, pciFunction, events } = make();
  config.changeCommand(Command.BUS_MASTER, 0);
  region.write32(0x10, 0xc0000000);
  events.length = 0;
  region.write16(0x60 + 0x08, 0x8000);
  assert.equal(events, ['reset', 'bus master false, INTx true']);
  assert.is(pciFunction.config.busMaster, false);
  assert.is(region.read16(0x60 + 0x08), 0x2810);
  assert.is(config.bars()[0]!.address, 0n);
});

space('without PCI Express nothing resets it', () => {
  const { region, events } = make({ capabilities: [msi(0x50)] });
  for (let offset = 0; offset < 4096; offset++) region.write8(offset, 0xff);
  assert.not(events.includes('reset'));
});

space.run();
