/**
 * A PCI function as vfio-user serves it: configuration space and BARs. Models keep one and hand it their region
 * accesses; it knows nothing of what the device does.
 */
import { PCI_IRQ_COUNT, PCI_REGION_COUNT, PciIrq, PciRegion } from '../../vfio/types.js';
import type { ServedArea, ServedRegion } from '../../vfio/user/served-device.js';
import { type ConfigDescription, type ConfigEvents, EmulatedConfigSpace } from './config-space.js';

/** What lies behind a BAR. Offsets and lengths are inside it; see `ServedRegion` for `fd` and `areas`. */
export interface BarContent {
  /** A power of two. */
  readonly sizeBytes: number;
  readonly fd?: number | undefined;
  readonly areas?: readonly ServedArea[];
  read(offset: number, into: Uint8Array): void;
  write(offset: number, from: Uint8Array): void;
}

/** A BAR of plain memory, such as the table of MSI-X: the interrupts themselves go by eventfd and do not look at it. */
export class MemoryBar implements BarContent {
  readonly sizeBytes: number;
  readonly #bytes: Uint8Array;

  constructor(sizeBytes: number) {
    this.sizeBytes = sizeBytes;
    this.#bytes = new Uint8Array(sizeBytes);
  }

  read(offset: number, into: Uint8Array): void {
    into.set(this.#bytes.subarray(offset, offset + into.length));
  }

  write(offset: number, from: Uint8Array): void {
    this.#bytes.set(from, offset);
  }

  reset(): void {
    this.#bytes.fill(0);
  }
}

export class PciFunction {
  readonly config: EmulatedConfigSpace;
  /** For `ServedDevice.regions`. */
  readonly regions: readonly (ServedRegion | undefined)[];
  /** For `ServedDevice.irqCounts`. */
  readonly irqCounts: readonly number[];
  readonly #contents: (Pick<BarContent, 'read' | 'write'> | undefined)[] = new Array(PCI_REGION_COUNT).fill(
    undefined,
  );

  /** @param bars by index, 0 to 4; each takes the next one as well */
  constructor(
    description: ConfigDescription,
    bars: Readonly<Record<number, BarContent>>,
    events: ConfigEvents,
  ) {
    const entries = Object.entries(bars).map(([index, content]) => ({ index: Number(index), content }));
    const sizes = entries.map(({ index, content }) => ({ index, sizeBytes: content.sizeBytes }));
    this.config = new EmulatedConfigSpace(description, sizes, events);
    const regions: (ServedRegion | undefined)[] = new Array(PCI_REGION_COUNT).fill(undefined);
    const access = { readable: true, writable: true };
    for (const { index, content } of entries) {
      const { sizeBytes, fd, areas = [] } = content;
      regions[index] = { sizeBytes, ...access, ...(fd === undefined ? {} : { fd, areas }) };
      this.#contents[index] = content;
    }
    regions[PciRegion.CONFIG] = { sizeBytes: this.config.sizeBytes, ...access };
    this.#contents[PciRegion.CONFIG] = this.config;
    this.regions = regions;
    const counts: number[] = new Array(PCI_IRQ_COUNT).fill(0);
    counts[PciIrq.INTX] = 1;
    for (const { interrupts } of description.capabilities) {
      if (interrupts !== undefined) counts[interrupts.kind] = interrupts.vectors;
    }
    this.irqCounts = counts;
  }

  read(index: number, offset: number, into: Uint8Array): void {
    const content = this.#contents[index];
    if (content === undefined) into.fill(0);
    else content.read(offset, into);
  }

  write(index: number, offset: number, from: Uint8Array): void {
    this.#contents[index]?.write(offset, from);
  }
}
