/**
 * The contract between the vfio-user server and the device it serves. The server speaks the protocol, keeps the
 * client's DMA windows and event descriptors, and checks every index, offset and length; the device sees only
 * requests that are inside what it declared.
 */

/** Part of a region that the client may map. Offsets and sizes are multiples of the page size. */
export interface ServedArea {
  readonly offset: number;
  readonly sizeBytes: number;
  /**
   * Some registers of the area do what memory does not: a read clears them, or bits that are written do not stick. Only a client
   * that says it knows may map it (`Capabilities.trappedReads`); for others every access of the area is a message.
   */
  readonly onlyKnowing?: boolean;
}

export interface ServedRegion {
  readonly sizeBytes: number;
  readonly readable: boolean;
  readonly writable: boolean;
  /** Memory behind the mappable areas: byte n of the region is byte n of the file. */
  readonly fd?: number;
  readonly areas?: readonly ServedArea[];
}

/**
 * A piece of the client's memory that the device may access. `bytes` and `words` cover the whole window; both
 * are stale after the window is unmapped, so look windows up again at each burst and keep none.
 */
export interface DmaWindow {
  readonly iova: number;
  readonly sizeBytes: number;
  readonly readable: boolean;
  readonly writable: boolean;
  readonly bytes: Uint8Array;
  /** The same memory as 32-bit words (windows are page aligned). */
  readonly words: Int32Array;
}

/** What the server gives the device while a client is connected. */
export interface DeviceHost {
  /**
   * The window that holds `iova` (a number below 2^53), or undefined: an IOMMU fault, which the device reports.
   * The range to access may end beyond the window: check against `window.iova + window.sizeBytes`.
   */
  findWindow(iova: number): DmaWindow | undefined;
  /** Changes whenever a window is added or removed: what was looked up before is stale. */
  readonly windowGeneration: number;
  /** Signals an interrupt vector (adds 1 to its eventfd); nothing where the client connected none. */
  raiseInterrupt(irqIndex: number, vector: number): void;
}

export interface ServedDevice {
  /** Indexed by `PciRegion`; undefined where there is none. Nine entries. */
  readonly regions: readonly (ServedRegion | undefined)[];
  /** Vectors per interrupt index (`PciIrq`): INTx, MSI, MSI-X, ERR, REQ. */
  readonly irqCounts: readonly number[];
  /** A client connected. */
  attach(host: DeviceHost): void;
  /** The client is gone: stop all DMA at once; its memory is unmapped right after this call. */
  detach(): void;
  /** Fills `into` with what a read of the region gives. Any offset and length inside the region. */
  regionRead(index: number, offset: number, into: Uint8Array): void;
  regionWrite(index: number, offset: number, from: Uint8Array): void;
  /** DEVICE_RESET: registers take their reset values. */
  reset(): void;
}
