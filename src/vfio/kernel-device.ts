/**
 * A PCI device on a VFIO descriptor of the kernel. How the descriptor was got (group or character device) is over when
 * this starts: regions, interrupts and reset are the same requests for both.
 *
 * Specification: include/uapi/linux/vfio.h, "IOCTLs for DEVICE file descriptors"; PCI Local Bus 3.0, 6.2.2.
 */
import createDebug from 'debug';
import { NicError } from '../errors.js';
import { ConfigSpace } from '../pci/config-space.js';
import { Command } from '../pci/registers.js';
import { type Mapping, PAGE_BYTES, PROT_READ, PROT_WRITE } from '../syscalls/memory.js';
import { checkedIoctl, type KernelApi, rawIoctl } from './kernel-api.js';
import { type MappedWindow, Region, type RegionAccess } from './region.js';
import {
  type DmaMapper,
  type IrqInfo,
  PciIrq,
  PciRegion,
  regionName,
  type VfioBackend,
  type VfioDevice,
} from './types.js';
import * as uapi from './uapi.js';

const debug = createDebug('barewire:vfio');

/** A descriptor from a back end. */
export interface DeviceHandle {
  readonly fd: number;
  /** Gives back what the descriptor came from. Called once, after `fd` is closed. */
  release(): void;
}

/** One way into the kernel; holds what all devices of the process share. */
export interface KernelBackend {
  readonly name: Exclude<VfioBackend, 'vfio-user'>;
  readonly mapper: DmaMapper;
  /** Opens the device and puts it into the shared container or IOAS. Failing, it leaves nothing open. */
  attach(bdf: string): DeviceHandle;
}

/** Node 20 aborts on buffers over 4 GiB, and making one costs 50 us per MiB: beyond this, the slow path serves. */
const MAX_WINDOW_BYTES = 2 ** 30;
/** A region's information with its capabilities has been below 200 bytes; more is taken for damaged. */
const MAX_REGION_INFO_BYTES = 64 * 1024;

/**
 * Opens `bdf` through `backend`. Where a step fails, everything done so far is undone.
 * @throws NicError
 */
export function openKernelDevice(kernel: KernelApi, backend: KernelBackend, bdf: string): VfioDevice {
  const device = new KernelDevice(kernel, backend, bdf, backend.attach(bdf));
  try {
    device.initialise();
  } catch (error) {
    device.close();
    throw error;
  }
  return device;
}

class KernelDevice implements VfioDevice {
  readonly address: string;
  readonly backend: VfioBackend;
  readonly mapper: DmaMapper;
  readonly #kernel: KernelApi;
  readonly #handle: DeviceHandle;
  readonly #regions = new Map<number, Region>();
  readonly #mappings: Mapping[] = [];
  /** Interrupt indices that are connected: the kernel refuses to disable one that is not. */
  readonly #activeIrqs = new Set<number>();
  readonly #goneListeners = new Set<(error: Error) => void>();
  /** Undo steps of the gone notification: stop watching, close the event descriptor. */
  readonly #watches: (() => void)[] = [];
  #flags = 0;
  #regionCount = 0;
  #irqCount = 0;
  #gone: NicError | undefined;
  #closed = false;

  constructor(kernel: KernelApi, backend: KernelBackend, bdf: string, handle: DeviceHandle) {
    this.address = bdf;
    this.backend = backend.name;
    this.mapper = backend.mapper;
    this.#kernel = kernel;
    this.#handle = handle;
  }

  get canReset(): boolean {
    return (this.#flags & uapi.VFIO_DEVICE_FLAGS_RESET) !== 0;
  }

  initialise(): void {
    const info = uapi.newStruct(uapi.VFIO_DEVICE_INFO);
    this.#ioctl(uapi.VFIO_DEVICE_GET_INFO, info, 'Cannot get information about');
    this.#flags = info.u32(uapi.VFIO_DEVICE_INFO.flags);
    this.#regionCount = info.u32(uapi.VFIO_DEVICE_INFO.num_regions);
    this.#irqCount = info.u32(uapi.VFIO_DEVICE_INFO.num_irqs);
    if ((this.#flags & uapi.VFIO_DEVICE_FLAGS_PCI) === 0) {
      throw new NicError('UNSUPPORTED_DEVICE', `${this.address} is not a PCI device for VFIO`);
    }
    // With memory decoding off, a load from a mapped BAR is a SIGBUS and not an error: never leave it off.
    this.#changeCommand(Command.MEMORY_SPACE, 0);
    this.#watch(PciIrq.REQ, 'the kernel asks for it back (unplugged, or its driver is being unbound)');
    this.#watch(PciIrq.ERR, 'it reported an uncorrectable PCI Express error');
    debug(
      '%s: %s, flags 0x%s, %d regions, %d interrupt indices',
      this.address,
      this.backend,
      this.#flags.toString(16),
      this.#regionCount,
      this.#irqCount,
    );
  }

  region(index: number): Region {
    this.#requireOpen();
    let region = this.#regions.get(index);
    if (region === undefined) {
      region = this.#openRegion(index);
      this.#regions.set(index, region);
    }
    return region;
  }

  irqInfo(index: number): IrqInfo {
    this.#requireOpen();
    const none: IrqInfo = { count: 0, eventfd: false, maskable: false, noResize: false };
    if (index < 0 || index >= this.#irqCount) return none;
    const info = uapi.encodeIrqInfo(index);
    // ERR is refused on a conventional PCI device, instead of a count of 0.
    if (rawIoctl(this.#kernel, this.#handle.fd, uapi.VFIO_DEVICE_GET_IRQ_INFO, info) < 0) return none;
    return uapi.decodeIrqInfo(info);
  }

  setIrqEventfds(index: number, eventfds: readonly number[]): void {
    const available = this.irqInfo(index).count;
    const wanted = eventfds.length;
    if (wanted === 0 || wanted > available) {
      throw new NicError(
        'INTERRUPTS',
        `${this.address} has ${available} vectors of interrupt index ${index}, ${wanted} were asked for`,
      );
    }
    this.disableIrqs(index);
    const what = `Cannot connect ${wanted} vectors of interrupt index ${index} of ${this.address}`;
    const set = uapi.encodeIrqEventfds(index, eventfds);
    const result = checkedIoctl(
      this.#kernel,
      this.#handle.fd,
      uapi.VFIO_DEVICE_SET_IRQS,
      set,
      what,
      'INTERRUPTS',
    );
    // The kernel's interrupt allocation answers with the number it could have given.
    if (result > 0) {
      throw new NicError('INTERRUPTS', `${what}: the kernel has only ${result} free`, {
        syscall: 'ioctl(VFIO_DEVICE_SET_IRQS)',
        hint: `ask for ${result} vectors or fewer`,
      });
    }
    this.#activeIrqs.add(index);
  }

  disableIrqs(index: number): void {
    this.#requireOpen();
    if (!this.#activeIrqs.has(index)) return;
    const set = uapi.encodeIrqTrigger(index, 0);
    const what = `Cannot disable interrupt index ${index} of`;
    this.#ioctl(uapi.VFIO_DEVICE_SET_IRQS, set, what, 'INTERRUPTS');
    this.#activeIrqs.delete(index);
  }

  reset(): void {
    this.#requireOpen();
    if (!this.canReset) return;
    this.#ioctl(uapi.VFIO_DEVICE_RESET, 0, 'Cannot reset');
  }

  enableBusMaster(): void {
    this.#requireOpen();
    this.#changeCommand(Command.MEMORY_SPACE | Command.BUS_MASTER, 0);
  }

  disableBusMaster(): void {
    this.#requireOpen();
    this.#changeCommand(0, Command.BUS_MASTER);
  }

  onGone(listener: (error: Error) => void): () => void {
    const gone = this.#gone;
    if (gone !== undefined) queueMicrotask(() => listener(gone));
    else this.#goneListeners.add(listener);
    return () => this.#goneListeners.delete(listener);
  }

  close(): void {
    if (this.#closed) return;
    // A device that is gone refuses some of these. The others still have to be done.
    this.#attempt(() => this.disableBusMaster());
    for (const index of [...this.#activeIrqs]) this.#attempt(() => this.disableIrqs(index));
    this.#closed = true;
    this.#goneListeners.clear();
    for (const stop of this.#watches.splice(0)) this.#attempt(stop);
    for (const region of this.#regions.values()) region.revoke();
    for (const mapping of this.#mappings.splice(0)) this.#attempt(() => this.#kernel.munmap(mapping));
    this.#attempt(() => this.#kernel.close(this.#handle.fd));
    this.#attempt(() => this.#handle.release());
    debug('%s: closed', this.address);
  }

  #openRegion(index: number): Region {
    const name = `${regionName(index)} of ${this.address}`;
    const known = Number.isInteger(index) && index >= 0 && index < this.#regionCount;
    const info = known ? this.#regionInfo(index) : undefined;
    if (info === undefined || info.sizeBytes === 0) {
      throw new NicError('REGION_RANGE', `There is no ${name}`);
    }
    const readable = (info.flags & uapi.VFIO_REGION_INFO_FLAG_READ) !== 0;
    const writable = (info.flags & uapi.VFIO_REGION_INFO_FLAG_WRITE) !== 0;
    const protection = (readable ? PROT_READ : 0) | (writable ? PROT_WRITE : 0);
    const windows = this.#mapWindows(name, info, protection);
    debug('%s: 0x%s bytes, %d windows', name, info.sizeBytes.toString(16), windows.length);
    const properties = { index, name, sizeBytes: info.sizeBytes, readable, writable };
    return new Region(properties, this.#slowPath(name, info.fileOffset), windows);
  }

  /** Region information, asked again with more room for as long as the kernel wants more. */
  #regionInfo(index: number): uapi.RegionInfo | undefined {
    for (let sizeBytes: number = uapi.VFIO_REGION_INFO.sizeBytes; ; ) {
      const info = uapi.encodeRegionInfo(index, sizeBytes);
      const result = rawIoctl(this.#kernel, this.#handle.fd, uapi.VFIO_DEVICE_GET_REGION_INFO, info);
      // Indices after config space (VGA) may be refused, which means the same as a size of 0.
      if (result < 0) return undefined;
      const wanted = info.u32(uapi.VFIO_REGION_INFO.argsz);
      if (wanted <= sizeBytes) return uapi.decodeRegionInfo(info);
      if (wanted > MAX_REGION_INFO_BYTES) {
        throw new NicError('VFIO', `The kernel wants ${wanted} bytes to describe ${regionName(index)}`);
      }
      sizeBytes = wanted;
    }
  }

  #mapWindows(name: string, info: uapi.RegionInfo, protection: number): MappedWindow[] {
    const windows: MappedWindow[] = [];
    const first = this.#mappings.length;
    try {
      for (const area of info.areas) {
        const window = wholePages(area, info.sizeBytes);
        if (window === undefined) continue;
        const { offset, sizeBytes } = window;
        const mapping = this.#kernel.mmap(this.#handle.fd, sizeBytes, info.fileOffset + offset, protection);
        this.#mappings.push(mapping);
        windows.push({ offset, buffer: mapping.buffer });
      }
    } catch (cause) {
      for (const mapping of this.#mappings.splice(first)) this.#attempt(() => this.#kernel.munmap(mapping));
      const { errno } = cause as NicError;
      throw new NicError('VFIO', `Cannot map ${name}`, { syscall: 'mmap', errno, cause });
    }
    return windows;
  }

  #slowPath(name: string, fileOffset: number): RegionAccess {
    const check = (verb: string, call: () => number, expected: number) => {
      this.#requireOpen();
      let done: number;
      try {
        done = call();
      } catch (cause) {
        const { syscall, errno } = cause as NicError;
        throw new NicError('VFIO', `Cannot ${verb} ${name}`, { syscall, errno, cause });
      }
      if (done !== expected) {
        throw new NicError('VFIO', `Cannot ${verb} ${name}: ${done} of ${expected} bytes were transferred`);
      }
    };
    const { fd } = this.#handle;
    return {
      read: (offset, into) =>
        check('read', () => this.#kernel.pread(fd, fileOffset + offset, into), into.length),
      write: (offset, from) =>
        check('write', () => this.#kernel.pwrite(fd, fileOffset + offset, from), from.length),
    };
  }

  #changeCommand(set: number, clear: number): void {
    new ConfigSpace(this.region(PciRegion.CONFIG)).changeCommand(set, clear);
  }

  /** Has the kernel signal the loss of the device on an event descriptor, where the device has this interrupt. */
  #watch(index: number, reason: string): void {
    if (this.irqInfo(index).count === 0) return;
    const kernel = this.#kernel;
    const fd = kernel.eventfd();
    let stop: (() => void) | undefined;
    this.#watches.push(() => {
      stop?.();
      kernel.close(fd);
    });
    this.setIrqEventfds(index, [fd]);
    stop = kernel.onReadable(fd, () => {
      if (kernel.readEventfd(fd) > 0) this.#reportGone(reason);
    });
  }

  #reportGone(reason: string): void {
    if (this.#gone !== undefined || this.#closed) return;
    const hint = 'close the device: the kernel waits for that';
    this.#gone = new NicError('DEVICE_GONE', `${this.address} is lost: ${reason}`, { hint });
    const listeners = [...this.#goneListeners];
    this.#goneListeners.clear();
    for (const listener of listeners) listener(this.#gone);
  }

  #ioctl(
    request: uapi.IoctlRequest,
    argument: uapi.Struct | number,
    what: string,
    code: 'VFIO' | 'INTERRUPTS' = 'VFIO',
  ): number {
    return checkedIoctl(this.#kernel, this.#handle.fd, request, argument, `${what} ${this.address}`, code);
  }

  #requireOpen(): void {
    if (this.#closed) throw new NicError('CLOSED', `${this.address} is closed`);
  }

  #attempt(step: () => void): void {
    try {
      step();
    } catch (error) {
      debug('%s: while closing: %o', this.address, error);
    }
  }
}

/** The part of a mappable area that can be mapped: it starts on a page, and ends on one or with the region. */
function wholePages(area: uapi.MappableArea, regionBytes: number): uapi.MappableArea | undefined {
  const offset = Math.ceil(area.offset / PAGE_BYTES) * PAGE_BYTES;
  const areaEnd = Math.min(area.offset + area.sizeBytes, offset + MAX_WINDOW_BYTES);
  const end = areaEnd === regionBytes ? areaEnd : Math.floor(areaEnd / PAGE_BYTES) * PAGE_BYTES;
  return end > offset ? { offset, sizeBytes: end - offset } : undefined;
}
