/**
 * A device model in the same thread as its driver: a `VfioDevice` whose registers are calls into a `ServedDevice`. No
 * socket, no second process, so driver and model take turns exactly as a test says.
 */
import { writeSync } from 'node:fs';
import { ConfigSpace } from '../../src/pci/config-space.js';
import { Command } from '../../src/pci/registers.js';
import { viewMemory } from '../../src/syscalls/memory.js';
import { Region } from '../../src/vfio/region.js';
import {
  type DmaBacking,
  type DmaMapper,
  type IovaRange,
  PciRegion,
  type VfioDevice,
} from '../../src/vfio/types.js';
import type { DeviceHost, DmaWindow, ServedDevice } from '../../src/vfio/user/served-device.js';
import { GoneListeners } from './gone-listeners.js';

/** What the driver did through VFIO, in order: `reset`, `bus master on`, `map`, ... */
export type LocalEvent = string;

export class LocalDevice implements VfioDevice {
  readonly goneListeners = new GoneListeners();
  readonly address: string;
  readonly backend = 'vfio-user' as const;
  canReset = true;
  readonly mapper: LocalMapper;
  readonly events: LocalEvent[] = [];
  readonly model: ServedDevice;
  readonly #regions = new Map<number, Region>();
  readonly #eventfds = new Map<number, readonly number[]>();
  readonly #config: ConfigSpace;
  #closed = false;

  constructor(model: ServedDevice, address = 'local:0', mapper = new LocalMapper()) {
    this.address = address;
    this.mapper = mapper;
    this.model = model;
    const host: DeviceHost = {
      findWindow: (iova) => mapper.find(iova),
      get windowGeneration() {
        return mapper.generation;
      },
      raiseInterrupt: (index, vector) => {
        const fd = this.#eventfds.get(index)?.[vector];
        if (fd !== undefined) writeSync(fd, new Uint8Array(BigUint64Array.of(1n).buffer));
      },
    };
    model.attach(host);
    this.#config = new ConfigSpace(this.region(PciRegion.CONFIG));
  }

  region(index: number): Region {
    const known = this.#regions.get(index);
    if (known !== undefined) return known;
    const served = this.model.regions[index];
    if (served === undefined) throw new Error(`no region ${index}`);
    const access = {
      read: (offset: number, into: Uint8Array) => this.model.regionRead(index, offset, into),
      write: (offset: number, from: Uint8Array) => this.model.regionWrite(index, offset, from),
    };
    const region = new Region({ ...served, index, name: `region ${index} of ${this.address}` }, access, []);
    this.#regions.set(index, region);
    return region;
  }

  irqInfo(index: number) {
    return { count: this.model.irqCounts[index] ?? 0, eventfd: true, maskable: false, noResize: false };
  }

  setIrqEventfds(index: number, eventfds: readonly number[]): void {
    this.events.push('interrupts on');
    this.#eventfds.set(index, [...eventfds]);
  }

  disableIrqs(index: number): void {
    this.events.push('interrupts off');
    this.#eventfds.delete(index);
  }

  reset(): void {
    if (!this.canReset) return;
    this.events.push('reset');
    this.model.reset();
  }

  enableBusMaster(): void {
    this.events.push('bus master on');
    this.#config.changeCommand(Command.BUS_MASTER, 0);
  }

  disableBusMaster(): void {
    this.events.push('bus master off');
    this.#config.changeCommand(0, Command.BUS_MASTER);
  }

  onGone(listener: (error: Error) => void): () => void {
    return this.goneListeners.add(listener);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.goneListeners.clear();
    this.events.push('close');
    this.#eventfds.clear();
    this.model.detach();
    for (const region of this.#regions.values()) region.revoke();
  }
}

/** One address space for all devices that share it. */
export class LocalMapper implements DmaMapper {
  readonly iovaRanges: readonly IovaRange[];
  generation = 0;
  readonly #windows: (DmaWindow & { readonly words: Int32Array })[] = [];

  constructor(iovaRanges: readonly IovaRange[] = [{ first: 0n, last: (1n << 39n) - 1n }]) {
    this.iovaRanges = iovaRanges;
  }

  get windows(): readonly DmaWindow[] {
    return this.#windows;
  }

  find(iova: number): DmaWindow | undefined {
    return this.#windows.find((window) => iova >= window.iova && iova < window.iova + window.sizeBytes);
  }

  map(backing: DmaBacking, iova: bigint): void {
    const buffer = viewMemory(backing.address, backing.sizeBytes);
    this.generation++;
    this.#windows.push({
      iova: Number(iova),
      sizeBytes: backing.sizeBytes,
      readable: true,
      writable: true,
      bytes: new Uint8Array(buffer),
      words: new Int32Array(buffer),
    });
  }

  unmap(iova: bigint, sizeBytes: number): void {
    const index = this.#windows.findIndex(
      (window) => window.iova === Number(iova) && window.sizeBytes === sizeBytes,
    );
    if (index < 0) throw new Error(`unmap of 0x${iova.toString(16)}, which is not mapped`);
    this.generation++;
    this.#windows.splice(index, 1);
  }
}
