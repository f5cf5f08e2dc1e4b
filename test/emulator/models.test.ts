/** The registry of models, and a model from outside the project that goes all the way through it. */
import { closeSync, ftruncateSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import * as assert from 'uvu/assert';
import { models } from '../../examples/sample-nic.js';
import { createModel, emulatedDevices, MODELS } from '../../src/emulator/models.js';
import { type RunningEmulator, startEmulator } from '../../src/emulator/worker.js';
import { ConfigSpace } from '../../src/pci/config-space.js';
import { MFD_ALLOW_SEALING, MFD_CLOEXEC, mapShared, memfdCreate, munmap } from '../../src/syscalls/memory.js';
import { PciIrq, PciRegion, type VfioDevice } from '../../src/vfio/types.js';
import { connectVfioUser } from '../../src/vfio/user/client.js';
import { expectError, expectRejection } from '../support/expect-error.js';
import { until } from '../support/hang.js';
import { suite } from '../support/suite.js';

const SAMPLE = new URL('../../examples/sample-nic.js', import.meta.url).href;
const SAMPLE_ID = 0x5a01;
const IOVA = 0x100000;
const MEMORY_BYTES = 0x2000;
/** Registers of the sample NIC. */
const R = { RX_LOW: 0x00, RX_LENGTH: 0x08, TX_LOW: 0x10, TX_LENGTH: 0x18 };

const directory = mkdtempSync(join(tmpdir(), 'barewire-models-'));
const registry = suite('models');

registry('the default is an 82599', () => {
  assert.equal(emulatedDevices()[0], { vendorId: 0x8086, deviceId: 0x10fb, name: '82599ES SFP+' });
  const model = createModel({ mappable: false });
  assert.match(model.name, /^82599ES SFP\+ #/);
  model.close();
});

registry('no PCI ID stands for two models', () => {
  const ids = emulatedDevices([...MODELS, ...models]).map(({ deviceId }) => deviceId);
  assert.is(new Set(ids).size, ids.length);
});

registry('makes the model whose ID it is', () => {
  const families = [...MODELS, ...models];
  for (const { deviceId, vendorId } of emulatedDevices(families)) {
    const model = createModel({ deviceId, mappable: false }, families);
    const ids = new Uint8Array(4);
    model.regionRead(PciRegion.CONFIG, 0, ids);
    assert.equal(Array.from(new Uint16Array(ids.buffer)), [vendorId, deviceId]);
    model.close();
  }
});

registry('refuses an ID that no family has, and says which there are', () => {
  const error = expectError('BAD_OPTION', () => createModel({ deviceId: SAMPLE_ID }), /5a01/);
  assert.match(error.hint!, /8086:10fb, 8086:10f7, 8086:1528$/);
});

registry('strict mode names the datasheet of the model', () => {
  const model = createModel({ deviceId: SAMPLE_ID, strict: true }, models);
  const write = () => model.regionWrite(0, R.TX_LENGTH, Uint8Array.of(0, 0, 0, 1));
  const error = expectError('DEVICE_STATE', write, /^TX_LENGTH: reserved bits 0x1000000/);
  assert.is(error.hint, 'sample NIC manual, section 2.2');
});

const sample = suite('sample model, served');

/** A driver of the sample NIC: a buffer each way, the second page for what it sends. */
class Driver {
  readonly device: VfioDevice;
  readonly bytes: Uint8Array;
  readonly #fd = memfdCreate('models-test', MFD_CLOEXEC | MFD_ALLOW_SEALING);
  readonly #mapping;

  static async at(path: string): Promise<Driver> {
    return new Driver(await connectVfioUser(path));
  }

  private constructor(device: VfioDevice) {
    this.device = device;
    ftruncateSync(this.#fd, MEMORY_BYTES);
    this.#mapping = mapShared(this.#fd, MEMORY_BYTES);
    this.bytes = new Uint8Array(this.#mapping.buffer);
    const { address, sizeBytes } = this.#mapping;
    this.device.mapper.map({ address, fd: this.#fd, sizeBytes }, BigInt(IOVA));
    this.device.enableBusMaster();
    this.write(R.RX_LOW, IOVA);
    this.write(R.RX_LENGTH, 0);
  }

  write(register: number, value: number): void {
    this.device.region(PciRegion.BAR0).write32(register, value);
  }

  read(register: number): number {
    return this.device.region(PciRegion.BAR0).read32(register);
  }

  send(frame: Uint8Array): Promise<void> {
    this.bytes.set(frame, MEMORY_BYTES / 2);
    return this.sendFrom(IOVA + MEMORY_BYTES / 2, frame.length);
  }

  async sendFrom(iova: number, length: number): Promise<void> {
    this.write(R.TX_LOW, iova);
    this.write(R.TX_LENGTH, length);
    await until(() => this.read(R.TX_LENGTH) === 0, 'a frame is sent');
  }

  /** The next frame; the buffer goes back. */
  async receive(): Promise<Uint8Array> {
    await until(() => this.read(R.RX_LENGTH) > 0, 'a frame is received');
    const frame = this.bytes.slice(0, this.read(R.RX_LENGTH));
    this.write(R.RX_LENGTH, 0);
    return frame;
  }

  close(): void {
    this.device.close();
    munmap(this.#mapping);
    closeSync(this.#fd);
  }
}

async function withEmulator(
  use: (drivers: [Driver, Driver], emulator: RunningEmulator) => Promise<void>,
): Promise<void> {
  const paths = ['a', 'b'].map((name) => join(directory, `${name}.sock`));
  const emulator = await startEmulator({
    modules: [SAMPLE],
    nics: paths.map((path) => ({ path, deviceId: SAMPLE_ID })),
    links: [{ ends: [{ nic: 0 }, { nic: 1 }] }],
  });
  try {
    const drivers: [Driver, Driver] = [await Driver.at(paths[0]!), await Driver.at(paths[1]!)];
    await use(drivers, emulator);
    for (const driver of drivers) driver.close();
  } finally {
    await emulator.close();
  }
}

sample('carries frames both ways, in the thread of the emulator', () =>
  withEmulator(async ([a, b], emulator) => {
    for (let i = 0; i < 50; i++) {
      const frame = Uint8Array.from({ length: 60 + i * 20 }, (_, n) => n + i);
      const [from, to] = i % 2 === 0 ? [a, b] : [b, a];
      await from.send(frame);
      assert.equal(await to.receive(), frame);
    }
    const { nics } = await emulator.report();
    const counters = { received: 25, sent: 25, lost: 0 };
    assert.equal(
      nics.map((nic) => [nic.name.replace(/\d+$/, ''), nic.counters, nic.violationCount, nic.faultCount]),
      [
        ['sample NIC #', counters, 0, 0],
        ['sample NIC #', counters, 0, 0],
      ],
    );
  }),
);

sample('its configuration space is one that drivers can walk', () =>
  withEmulator(async ([{ device }]) => {
    const config = new ConfigSpace(device.region(PciRegion.CONFIG));
    assert.is(config.classCode, 0x020000);
    assert.equal(
      config.capabilities().map(({ id, offset }) => [id, offset]),
      [
        [0x10, 0x40],
        [0x11, 0x80],
      ],
    );
    assert.equal(config.extendedCapabilities(), []);
    const msix = config.msix()!;
    assert.equal([msix.tableSize, msix.tableBar, msix.pbaOffset], [1, 2, 0x800]);
    assert.is(device.irqInfo(PciIrq.MSIX).count, 1);
    assert.is(device.irqInfo(PciIrq.MSI).count, 0);
    assert.is(config.pcie()!.hasFlr, true);
  }),
);

sample('a fault and a mistake are reported', () =>
  withEmulator(async ([a, b], emulator) => {
    await a.sendFrom(0x666000, 100);
    await a.sendFrom(IOVA, 2049);
    await a.send(new Uint8Array(60).fill(7));
    assert.equal(await b.receive(), new Uint8Array(60).fill(7));
    const { nics } = await emulator.report();
    assert.equal(nics[0]!.faults, [
      { iova: 0x666000, sizeBytes: 100, direction: 'read', purpose: 'frame to send' },
    ]);
    assert.equal(
      nics[0]!.violations.map(({ subject, section, message }) => [subject, section, message]),
      [['TX_LENGTH', '2.2', 'a frame is longer than a buffer']],
    );
  }),
);

sample('a module without models is refused', async () => {
  const path = join(directory, 'nothing.mjs');
  writeFileSync(path, 'export const model = 1;\n');
  const started = startEmulator({ modules: [pathToFileURL(path).href], nics: [], links: [] });
  const error = await expectRejection('BAD_OPTION', started, /nothing\.mjs exports no array "models"/);
  assert.match(error.hint!, /export const models/);
});

sample.after(() => rmSync(directory, { recursive: true }));
registry.run();
sample.run();
