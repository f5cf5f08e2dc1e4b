/**
 * A sysfs tree in a temporary directory, with the links that the real one has, and a kernel behind it that reacts to
 * writes as drivers/pci/pci-driver.c and drivers/base/bus.c do.
 */
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { driverOf } from '../../src/pci/sysfs.js';

export interface FakeDevice {
  vendor?: string;
  device?: string;
  class?: string;
  /** Driver that has it at the start. */
  driver?: string;
  /** Driver that the kernel finds by itself; the same as `driver` where not given. */
  natural?: string | null;
  /** Drivers that accept it when bound explicitly, besides the natural one. */
  accepts?: string[];
  group?: number;
  /** Number of its character device while vfio-pci has it; a kernel without where not given. */
  cdev?: number;
  /** Interfaces, directly below the device. */
  net?: string[];
  /** Further attributes, by file name. */
  attributes?: Record<string, string>;
}

export class FakeSysfs {
  /** Temporary directory: `sys`, `proc` and `state` lie in it. */
  readonly dir = mkdtempSync(join(tmpdir(), 'barewire-sysfs-'));
  readonly root = join(this.dir, 'sys');
  readonly procRoot = join(this.dir, 'proc');
  readonly stateDir = join(this.dir, 'state');
  /** What was written, in order: path below the root, a blank, and the text in JSON. */
  readonly writes: string[] = [];
  /** Error code to fail with at a write whose path ends like the key. */
  readonly failures = new Map<string, string>();
  readonly #devices = new Map<string, FakeDevice>();

  constructor(drivers: readonly string[] = ['vfio-pci', 'igb', 'virtio-pci']) {
    mkdirSync(join(this.root, 'bus/pci/devices'), { recursive: true });
    mkdirSync(this.procRoot, { recursive: true });
    for (const driver of drivers) this.addDriver(driver);
  }

  addDriver(name: string): void {
    mkdirSync(join(this.root, 'bus/pci/drivers', name), { recursive: true });
  }

  add(address: string, device: FakeDevice = {}): string {
    const dir = join(this.root, 'devices/pci0000:00', address);
    mkdirSync(dir, { recursive: true });
    symlinkSync(`../../../devices/pci0000:00/${address}`, join(this.root, 'bus/pci/devices', address));
    const attributes = {
      vendor: device.vendor ?? '0x8086',
      device: device.device ?? '0x10c9',
      class: device.class ?? '0x020000',
      subsystem_vendor: '0x8086',
      subsystem_device: '0xa03c',
      numa_node: '-1',
      driver_override: '(null)',
      ...device.attributes,
    };
    for (const [name, text] of Object.entries(attributes)) writeFileSync(join(dir, name), `${text}\n`);
    if (device.group !== undefined) {
      const group = join(this.root, 'kernel/iommu_groups', String(device.group));
      mkdirSync(join(group, 'devices'), { recursive: true });
      symlinkSync(`../../../../devices/pci0000:00/${address}`, join(group, 'devices', address));
      symlinkSync(`../../../kernel/iommu_groups/${device.group}`, join(dir, 'iommu_group'));
    }
    for (const name of device.net ?? []) this.addInterface(address, name);
    this.#devices.set(address, device);
    if (device.driver !== undefined) this.#attach(address, device.driver);
    return dir;
  }

  /** Adds an interface below the device (`parent` for virtio), down by default. */
  addInterface(address: string, name: string, parent = '.', flags = 0x1002): void {
    mkdirSync(join(this.root, 'devices/pci0000:00', address, parent, 'net', name), { recursive: true });
    const dir = join(this.root, 'class/net', name);
    mkdirSync(dir, { recursive: true });
    writeFileSync(join(dir, 'flags'), `0x${flags.toString(16)}\n`);
  }

  /** Adds an interface of no PCI device: `lo`, a bridge, one on USB. */
  addVirtualInterface(name: string): void {
    mkdirSync(join(this.root, 'class/net', name), { recursive: true });
  }

  addUpper(name: string, upper: string): void {
    symlinkSync(`../${upper}`, join(this.root, 'class/net', name, `upper_${upper}`));
  }

  writeProc(path: string, text: string): void {
    mkdirSync(dirname(join(this.procRoot, path)), { recursive: true });
    writeFileSync(join(this.procRoot, path), text);
  }

  /** The write hook for `BindOptions.writeFile`. */
  readonly write = (path: string, text: string): void => {
    const below = path.slice(this.root.length + 1);
    this.writes.push(`${below} ${JSON.stringify(text)}`);
    for (const [end, code] of this.failures) {
      if (below.endsWith(end))
        throw Object.assign(new Error(`${code}: write`), { code, errno: -(errnos[code] ?? 5) });
    }
    const parts = below.split('/');
    const last = parts.at(-1)!;
    if (last === 'driver_override') {
      const driver = text.trim();
      writeFileSync(path, driver === '' ? '(null)\n' : `${driver}\n`);
    } else if (last === 'unbind') {
      if (driverOf(text, this.root) === null)
        throw Object.assign(new Error('ENODEV'), { code: 'ENODEV', errno: -19 });
      rmSync(join(this.#dir(text), 'driver'));
      for (const name of ['net', 'vfio-dev'])
        rmSync(join(this.#dir(text), name), { recursive: true, force: true });
    } else if (last === 'drivers_probe') {
      this.#probe(text);
    } else if (last === 'bind') {
      const driver = basename(dirname(path));
      const { natural, accepts = [] } = this.#devices.get(text)!;
      if (driver !== natural && !accepts.includes(driver))
        throw Object.assign(new Error('ENODEV'), { code: 'ENODEV' });
      this.#attach(text, driver);
    } else if (last === 'sriov_drivers_autoprobe') {
      writeFileSync(path, `${text.trim()}\n`);
    } else if (last === 'sriov_numvfs') {
      this.#setVirtualFunctions(parts.at(-2)!, Number(text));
    } else {
      throw new Error(`the fake kernel has no ${below}`);
    }
  };

  remove(): void {
    rmSync(this.dir, { recursive: true, force: true });
  }

  /** Address of virtual function i of any device. */
  virtual(i: number): string {
    return `0000:03:10.${i}`;
  }

  /** drivers/pci/iov.c, sriov_numvfs_store: from one number to another only by way of 0. */
  #setVirtualFunctions(address: string, count: number): void {
    const dir = this.#dir(address);
    const before = Number(readFileSync(join(dir, 'sriov_numvfs'), 'utf8'));
    if (before > 0 && count > 0) throw Object.assign(new Error('EBUSY'), { code: 'EBUSY', errno: -16 });
    for (let i = 0; i < before; i++) {
      const virtual = this.virtual(i);
      for (const path of [join(dir, `virtfn${i}`), join(this.root, 'bus/pci/devices', virtual)]) rmSync(path);
      rmSync(join(this.root, 'kernel/iommu_groups', `${30 + i}`), { recursive: true });
      rmSync(this.#dir(virtual), { recursive: true });
    }
    const probes = readFileSync(join(dir, 'sriov_drivers_autoprobe'), 'utf8').trim() === '1';
    for (let i = 0; i < count; i++) {
      const virtual = this.virtual(i);
      const natural = 'igbvf';
      this.add(virtual, {
        ...{ device: '0x10ca', group: 30 + i, natural },
        ...(probes ? { driver: natural } : {}),
      });
      symlinkSync(`../${virtual}`, join(dir, `virtfn${i}`));
    }
    writeFileSync(join(dir, 'sriov_numvfs'), `${count}\n`);
  }

  #probe(address: string): void {
    if (driverOf(address, this.root) !== null) return;
    const device = this.#devices.get(address)!;
    const override = readFileSync(join(this.#dir(address), 'driver_override'), 'utf8').trim();
    const natural = device.natural === undefined ? (device.driver ?? null) : device.natural;
    const driver = override === '(null)' ? natural : override;
    // vfio-pci refuses a device without a group, and the write to drivers_probe succeeds all the same.
    if (driver === null || (driver === 'vfio-pci' && device.group === undefined)) return;
    if (existsSync(join(this.root, 'bus/pci/drivers', driver))) this.#attach(address, driver);
  }

  #attach(address: string, driver: string): void {
    this.addDriver(driver);
    symlinkSync(`../../../bus/pci/drivers/${driver}`, join(this.#dir(address), 'driver'));
    const { cdev } = this.#devices.get(address)!;
    if (driver === 'vfio-pci' && cdev !== undefined)
      mkdirSync(join(this.#dir(address), 'vfio-dev', `vfio${cdev}`), { recursive: true });
  }

  #dir(address: string): string {
    return join(this.root, 'devices/pci0000:00', address);
  }
}

const errnos: Readonly<Record<string, number>> = { EPERM: 1, EACCES: 13, ENODEV: 19, EINVAL: 22, EROFS: 30 };
