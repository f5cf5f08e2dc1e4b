/**
 * What every VFIO back end gives: regions, interrupts, reset and a DMA mapper. A NIC driver sees nothing else,
 * so it cannot tell a kernel group, an iommufd character device and a vfio-user socket apart.
 *
 * Specification: Linux Documentation/driver-api/vfio.rst, include/uapi/linux/vfio.h; vfio-user protocol 0.9.
 */
import type { Region } from './region.js';

/** Region indices of a PCI device (vfio.h, VFIO_PCI_*_REGION_INDEX). */
export const PciRegion = {
  BAR0: 0,
  BAR1: 1,
  BAR2: 2,
  BAR3: 3,
  BAR4: 4,
  BAR5: 5,
  ROM: 6,
  CONFIG: 7,
} as const;
/** The indices of `PciRegion`, and one for VGA, which no NIC has (VFIO_PCI_NUM_REGIONS). */
export const PCI_REGION_COUNT = 9;

/** For messages: `BAR0`, `config space`. */
export function regionName(index: number): string {
  if (index >= PciRegion.BAR0 && index <= PciRegion.BAR5) return `BAR${index}`;
  if (index === PciRegion.ROM) return 'expansion ROM';
  return index === PciRegion.CONFIG ? 'config space' : `region ${index}`;
}

/** Interrupt indices of a PCI device (vfio.h, VFIO_PCI_*_IRQ_INDEX). */
export const PciIrq = { INTX: 0, MSI: 1, MSIX: 2, ERR: 3, REQ: 4 } as const;
export const PCI_IRQ_COUNT = 5;

/** Inclusive range of I/O virtual addresses that a device may be given. */
export interface IovaRange {
  readonly first: bigint;
  readonly last: bigint;
}

/** A piece of memory as a mapper needs it: kernel back ends use the address, vfio-user the file descriptor. */
export interface DmaBacking {
  /** Virtual address in this process, page aligned. */
  readonly address: bigint;
  /** File descriptor of the memory (memfd). The region starts at offset 0 of it. */
  readonly fd: number;
  /** Length, a multiple of the page size the memory is made of. */
  readonly sizeBytes: number;
}

/** Gives devices access to memory. One mapper can serve several devices (one container or IOAS a process). */
export interface DmaMapper {
  /** What the IOMMU can translate, ascending, not overlapping. */
  readonly iovaRanges: readonly IovaRange[];
  /**
   * Makes `backing` readable and writable by the device(s) at `iova`.
   * @throws NicError `DMA_MAP`, `MEMLOCK_LIMIT`
   */
  map(backing: DmaBacking, iova: bigint): void;
  /** Takes the access away again. The range must be one that was mapped. @throws NicError `DMA_MAP` */
  unmap(iova: bigint, sizeBytes: number): void;
}

export interface IrqInfo {
  /** Number of vectors, 0 where the device has none of this kind. */
  readonly count: number;
  readonly eventfd: boolean;
  readonly maskable: boolean;
  /** True where the set of vectors cannot grow without disabling all of them first. */
  readonly noResize: boolean;
}

export type VfioBackend = 'group' | 'cdev' | 'vfio-user';

/** An open device. Closing it turns bus mastering off and gives the device back. */
export interface VfioDevice {
  /** Address as given by the user, normalised: `0000:03:00.0` or `vfio-user:/path`. */
  readonly address: string;
  readonly backend: VfioBackend;
  readonly mapper: DmaMapper;
  /** Whether the device can be reset (VFIO_DEVICE_FLAGS_RESET). */
  readonly canReset: boolean;
  /**
   * The region with this index (`PciRegion`). The same object at each call.
   * @throws NicError `REGION_RANGE` where the device has no such region or it is empty
   */
  region(index: number): Region;
  irqInfo(index: number): IrqInfo;
  /**
   * Connects vectors 0..n-1 to event file descriptors, all in one request: setting them one at a time would
   * replace the ones before. @throws NicError `INTERRUPTS`
   */
  setIrqEventfds(index: number, eventfds: readonly number[]): void;
  /** Disconnects all vectors of the index. */
  disableIrqs(index: number): void;
  /** Function-level reset. Does nothing where `canReset` is false. @throws NicError `VFIO` */
  reset(): void;
  /** Lets the device start DMA (and answer memory accesses): PCI command register bits 1 and 2. */
  enableBusMaster(): void;
  disableBusMaster(): void;
  /**
   * Calls `listener` once when the device is lost: surprise removal, or the vfio-user server is gone.
   * Returns a function that removes the listener.
   */
  onGone(listener: (error: Error) => void): () => void;
  /** Bus master off, interrupts off, mappings of regions gone, descriptors closed. May be called twice. */
  close(): void;
}
