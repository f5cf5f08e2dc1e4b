/** A VFIO device whose BAR 0 is a register model. Everything that happens to it goes to one log, in order. */
import { writeSync } from 'node:fs';
import { NicError } from '../../src/errors.js';
import { Region } from '../../src/vfio/region.js';
import { type IrqInfo, PciIrq, PciRegion, type VfioDevice } from '../../src/vfio/types.js';
import { FakeMapper } from './fake-mapper.js';
import { GoneListeners } from './gone-listeners.js';

/** Registers as the hardware has them: 32 bits at byte offsets. */
export interface RegisterModel {
  read(offset: number): number;
  write(offset: number, value: number): void;
  /** Function-level reset. */
  reset(): void;
}

/** What happened: `register` has offset and value; the rest only their name. */
export interface DeviceEvent {
  readonly what: 'write' | 'bus master on' | 'bus master off' | 'map' | 'unmap' | 'function reset' | 'close';
  readonly offset?: number;
  readonly value?: number;
}

export interface FakeVfioOptions {
  readonly vendor?: number;
  readonly device?: number;
  readonly baseClass?: number;
  readonly vectors?: number;
  /** Vectors of MSI. Default 0. */
  readonly msiVectors?: number;
}

const BAR0_BYTES = 0x2_0000;
const CONFIG_BYTES = 256;
const NO_IRQ: IrqInfo = { count: 0, eventfd: false, maskable: false, noResize: false };

export class FakeVfio implements VfioDevice {
  readonly address = '0000:03:00.0';
  readonly backend = 'group';
  readonly canReset = true;
  readonly mapper: FakeMapper;
  readonly events: DeviceEvent[] = [];
  /** Offsets in the order they were read. */
  readonly reads: number[] = [];
  readonly model: RegisterModel;
  eventfds: readonly number[] = [];
  /** Kind of the interrupts that were connected last. */
  irqIndex: number | undefined;
  readonly goneListeners = new GoneListeners();
  busMaster = false;
  closed = false;
  /** All registers read all ones from the n-th read on, as of a device that was pulled out. */
  goneAfterReads = Number.POSITIVE_INFINITY;
  /** Thrown by the next call of the method of that name. */
  readonly failures: { setIrqEventfds?: Error; enableBusMaster?: Error; reset?: Error } = {};
  readonly #regions: ReadonlyMap<number, Region>;
  readonly #vectors: number;
  readonly #msiVectors: number;

  constructor(model: RegisterModel, options: FakeVfioOptions = {}) {
    const { vendor = 0x8086, device = 0x10c9, baseClass = 0x02, vectors = 10, msiVectors = 0 } = options;
    this.model = model;
    this.#vectors = vectors;
    this.#msiVectors = msiVectors;
    this.mapper = new LoggedMapper((what) => this.events.push({ what }));
    const config = new Uint8Array(CONFIG_BYTES);
    config.set([vendor & 0xff, vendor >>> 8, device & 0xff, device >>> 8]);
    config[0x0b] = baseClass;
    const bar0 = {
      index: PciRegion.BAR0,
      name: 'BAR0 of 0000:03:00.0',
      sizeBytes: BAR0_BYTES,
      readable: true,
      writable: true,
    };
    const registers = new Region(
      bar0,
      {
        read: (offset, into) =>
          new DataView(into.buffer, into.byteOffset).setUint32(0, this.#read(offset), true),
        write: (offset, from) =>
          this.#write(offset, new DataView(from.buffer, from.byteOffset).getUint32(0, true)),
      },
      [],
    );
    const configRegion = new Region(
      { ...bar0, index: PciRegion.CONFIG, name: 'config space of 0000:03:00.0', sizeBytes: CONFIG_BYTES },
      {
        read: (offset, into) => into.set(config.subarray(offset, offset + into.length)),
        write: (offset, from) => config.set(from, offset),
      },
      [],
    );
    this.#regions = new Map([
      [PciRegion.BAR0, registers],
      [PciRegion.CONFIG, configRegion],
    ]);
  }

  region(index: number): Region {
    const region = this.#regions.get(index);
    if (region === undefined) throw new NicError('REGION_RANGE', `no region ${index}`);
    return region;
  }

  irqInfo(index: number): IrqInfo {
    const counts = new Map<number, number>([
      [PciIrq.MSIX, this.#vectors],
      [PciIrq.MSI, this.#msiVectors],
    ]);
    const count = counts.get(index) ?? 0;
    return count > 0 ? { ...NO_IRQ, count, eventfd: true } : NO_IRQ;
  }

  setIrqEventfds(index: number, eventfds: readonly number[]): void {
    const { setIrqEventfds } = this.failures;
    if (setIrqEventfds !== undefined) throw setIrqEventfds;
    this.eventfds = eventfds;
    this.irqIndex = index;
  }

  disableIrqs(): void {
    this.eventfds = [];
  }

  /** The device raises an interrupt. */
  raise(vector: number): void {
    writeSync(this.eventfds[vector]!, new Uint8Array(BigUint64Array.of(1n).buffer));
  }

  reset(): void {
    if (this.failures.reset !== undefined) throw this.failures.reset;
    this.events.push({ what: 'function reset' });
    this.model.reset();
  }

  enableBusMaster(): void {
    if (this.failures.enableBusMaster !== undefined) throw this.failures.enableBusMaster;
    this.busMaster = true;
    this.events.push({ what: 'bus master on' });
  }

  disableBusMaster(): void {
    this.busMaster = false;
    this.events.push({ what: 'bus master off' });
  }

  onGone(listener: (error: Error) => void): () => void {
    return this.goneListeners.add(listener);
  }

  close(): void {
    if (this.closed) return;
    this.closed = true;
    this.busMaster = false;
    this.goneListeners.clear();
    for (const region of this.#regions.values()) region.revoke();
    this.events.push({ what: 'close' });
  }

  #read(offset: number): number {
    this.reads.push(offset);
    if (this.reads.length > this.goneAfterReads) return 0xffff_ffff;
    return this.model.read(offset);
  }

  #write(offset: number, value: number): void {
    this.events.push({ what: 'write', offset, value });
    if (this.reads.length < this.goneAfterReads) this.model.write(offset, value);
  }
}

class LoggedMapper extends FakeMapper {
  readonly #note: (what: 'map' | 'unmap') => void;

  constructor(note: (what: 'map' | 'unmap') => void) {
    super();
    this.#note = note;
  }

  override map(...parameters: Parameters<FakeMapper['map']>): void {
    super.map(...parameters);
    this.#note('map');
  }

  override unmap(...parameters: Parameters<FakeMapper['unmap']>): void {
    super.unmap(...parameters);
    this.#note('unmap');
  }
}
