/**
 * A device behind a vfio-user socket, as a `VfioDevice`. Requests block until the reply is here, as register
 * accesses must; so the server has to be another process or thread. Where the server shares a region's memory,
 * accesses go there directly and send nothing.
 *
 * The server is not trusted: replies are checked, memory it shares is only mapped where it is sealed against
 * shrinking (else a server could make our next access a SIGBUS), and a server that is silent for the time-out, sends
 * nonsense or hangs up is gone: the socket is closed, the listeners of `onGone` are told, whatever needs a message
 * throws `PEER_GONE`. Mapped regions stay readable and writable until `close`, without effect.
 *
 * Specification: vfio-user protocol 0.9.1.
 */
import { fstatSync } from 'node:fs';
import { resolve } from 'node:path';
import { NicError } from '../../errors.js';
import { ConfigSpace } from '../../pci/config-space.js';
import { BAR_COUNT, Command as PciCommand } from '../../pci/registers.js';
import { type Mapping, mapShared, munmap, PAGE_BYTES } from '../../syscalls/memory.js';
import { type MappedWindow, Region, type RegionAccess } from '../region.js';
import {
  type DmaMapper,
  type IrqInfo,
  PCI_IRQ_COUNT,
  PCI_REGION_COUNT,
  PciIrq,
  PciRegion,
  regionName,
  type VfioDevice,
} from '../types.js';
import { assignBars } from './bar-assignment.js';
import { Connection } from './connection.js';
import { sealAgainstShrinking } from './memory.js';
import { disableMsix, enableMsix } from './msix.js';
import {
  Command,
  DEVICE_FLAG_PCI,
  DEVICE_FLAG_RESET,
  decodeDeviceInfo,
  decodeIrqInfo,
  decodeRegionData,
  decodeRegionInfo,
  decodeRegionRange,
  encodeDeviceInfo,
  encodeIrqInfo,
  encodeRegionInfoRequest,
  encodeRegionRange,
  encodeSetIrqs,
  IRQ_ACTION_TRIGGER,
  IRQ_DATA_EVENTFD,
  IRQ_DATA_NONE,
  IRQ_FLAG_EVENTFD,
  IRQ_FLAG_MASKABLE,
  IRQ_FLAG_NORESIZE,
  NO_BODY,
  REGION_FLAG_MMAP,
  REGION_FLAG_READ,
  REGION_FLAG_WRITE,
  REGION_INFO_MAX_BYTES,
  type RegionInfo,
  type RegionRange,
} from './protocol.js';
import { closeFds, connectSocket } from './socket.js';

const DEFAULT_TIMEOUT_MS = 5000;
/** The MSI-X table has 11 bits for its size (PCI 3.0 section 6.8.2). */
const MAX_VECTORS = 2048;
/** Larger areas stay unmapped: no NIC has them. */
const MAX_AREA_BYTES = 2 ** 30;

export interface VfioUserClientOptions {
  /** How long the server may take for one reply; 5000 by default. */
  readonly timeoutMs?: number;
}

/**
 * Connects to the device served at the socket `path`.
 * @throws NicError `NO_SUCH_DEVICE` where there is no socket, `PEER_GONE` where nobody serves or answers,
 * `PROTOCOL` where the answers are not a PCI device's, `NO_PERMISSION`, `BAD_ADDRESS`
 * @example
 * const device = connectVfioUser('/tmp/nic0.sock');
 * const status = device.region(PciRegion.BAR0).read32(0x8);
 */
export function connectVfioUser(path: string, options: VfioUserClientOptions = {}): VfioDevice {
  const timeoutMs = options.timeoutMs ?? DEFAULT_TIMEOUT_MS;
  const fd = connectSocket(path, timeoutMs);
  const connection = new Connection(fd, path, timeoutMs);
  try {
    connection.negotiate();
    return new VfioUserDevice(path, connection);
  } catch (error) {
    connection.close();
    throw explainRefusal(error, path);
  }
}

function explainRefusal(error: unknown, path: string): unknown {
  if (!(error instanceof NicError) || error.code !== 'PEER_GONE' || error.hint !== undefined) return error;
  return new NicError('PEER_GONE', `The vfio-user server at ${path} hung up on a new client`, {
    path,
    hint: 'Servers take one client at a time: look for another process that uses the device, and try again.',
    cause: error,
  });
}

interface OpenRegion {
  readonly region: Region;
  readonly mappings: readonly Mapping[];
}

class VfioUserDevice implements VfioDevice {
  readonly address: string;
  readonly backend = 'vfio-user';
  readonly mapper: DmaMapper;
  readonly canReset: boolean;
  readonly #connection: Connection;
  readonly #regions: (OpenRegion | undefined)[] = [];
  readonly #irqs: IrqInfo[] = [];
  readonly #enabledIrqs = new Set<number>();
  #closed = false;

  constructor(path: string, connection: Connection) {
    this.address = `vfio-user:${resolve(path)}`;
    this.#connection = connection;
    this.mapper = connection.dma;
    const request = encodeDeviceInfo({ flags: 0, regionCount: 0, irqCount: 0 });
    const info = connection.ask(Command.DEVICE_GET_INFO, request, decodeDeviceInfo);
    if ((info.flags & DEVICE_FLAG_PCI) === 0 || info.regionCount < PCI_REGION_COUNT) {
      throw connection.broken(`serves no PCI device (flags ${info.flags}, ${info.regionCount} regions)`);
    }
    this.canReset = (info.flags & DEVICE_FLAG_RESET) !== 0;
    try {
      for (let index = 0; index < PCI_REGION_COUNT; index++) this.#regions.push(this.#openRegion(index));
      for (let index = 0; index < Math.min(info.irqCount, PCI_IRQ_COUNT); index++) {
        this.#irqs.push(this.#queryIrq(index));
      }
      this.#assignBars();
    } catch (error) {
      this.#unmapRegions();
      throw error;
    }
  }

  region(index: number): Region {
    const open = this.#regions[index];
    if (open === undefined) {
      throw new NicError('REGION_RANGE', `${this.address} has no region ${index}`, { path: this.address });
    }
    return open.region;
  }

  irqInfo(index: number): IrqInfo {
    return this.#irqs[index] ?? { count: 0, eventfd: false, maskable: false, noResize: false };
  }

  setIrqEventfds(index: number, eventfds: readonly number[]): void {
    const { count } = this.irqInfo(index);
    if (eventfds.length === 0 || eventfds.length > count) {
      throw new NicError(
        'INTERRUPTS',
        `${eventfds.length} vectors asked of interrupt index ${index}, which has ${count}`,
        {
          path: this.address,
        },
      );
    }
    this.#enabledIrqs.add(index);
    // the protocol sets a range and leaves other vectors alone; -1 (not connected) is a range without descriptors
    let start = 0;
    while (start < eventfds.length) {
      const connected = eventfds[start]! >= 0;
      let end = start + 1;
      while (
        end < eventfds.length &&
        eventfds[end]! >= 0 === connected &&
        (!connected || end - start < this.#connection.maxFds)
      ) {
        end++;
      }
      this.#connection.send(
        Command.DEVICE_SET_IRQS,
        encodeSetIrqs({
          flags: IRQ_DATA_EVENTFD | IRQ_ACTION_TRIGGER,
          index,
          start,
          count: end - start,
          data: NO_BODY,
        }),
        'INTERRUPTS',
        connected ? eventfds.slice(start, end) : [],
      );
      start = end;
    }
    const config = this.#config();
    if (index === PciIrq.MSIX && config !== undefined) {
      enableMsix(
        config,
        (bar) => (bar < BAR_COUNT ? this.#regions[bar]?.region : undefined),
        eventfds.map((fd) => fd >= 0),
      );
    }
  }

  disableIrqs(index: number): void {
    if (this.#connection.gone || this.irqInfo(index).count === 0) return;
    this.#enabledIrqs.delete(index);
    const config = this.#config();
    if (index === PciIrq.MSIX && config !== undefined) disableMsix(config);
    this.#connection.send(
      Command.DEVICE_SET_IRQS,
      encodeSetIrqs({ flags: IRQ_DATA_NONE | IRQ_ACTION_TRIGGER, index, start: 0, count: 0, data: NO_BODY }),
      'INTERRUPTS',
    );
  }

  reset(): void {
    if (!this.canReset) return;
    this.#connection.send(Command.DEVICE_RESET, NO_BODY, 'VFIO');
    this.#assignBars(); // as the kernel restores config space after a reset
  }

  enableBusMaster(): void {
    const config = new ConfigSpace(this.region(PciRegion.CONFIG));
    config.changeCommand(PciCommand.MEMORY_SPACE | PciCommand.BUS_MASTER, 0);
  }

  disableBusMaster(): void {
    // a server that is gone does no DMA
    if (this.#connection.gone) return;
    new ConfigSpace(this.region(PciRegion.CONFIG)).changeCommand(0, PciCommand.BUS_MASTER);
  }

  onGone(listener: (error: Error) => void): () => void {
    return this.#connection.onGone(listener);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    try {
      this.disableBusMaster();
      for (const index of [...this.#enabledIrqs]) this.disableIrqs(index);
    } catch {
      // the server forgets all of it anyway when the connection ends
    }
    this.#unmapRegions();
    this.#connection.close();
  }

  /** Where it can be read and written. */
  #config(): Region | undefined {
    const config = this.#regions[PciRegion.CONFIG]?.region;
    return config?.readable && config.writable ? config : undefined;
  }

  #assignBars(): void {
    const config = this.#config();
    if (config === undefined) return;
    assignBars(
      config,
      this.#regions.slice(0, BAR_COUNT).map((open) => open?.region.sizeBytes ?? 0),
    );
  }

  #unmapRegions(): void {
    for (const open of this.#regions) {
      open?.region.revoke();
      for (const mapping of open?.mappings ?? []) munmap(mapping);
    }
  }

  #openRegion(index: number): OpenRegion | undefined {
    const connection = this.#connection;
    const request = encodeRegionInfoRequest(index, REGION_INFO_MAX_BYTES);
    const { body, fds } = connection.request(Command.DEVICE_GET_REGION_INFO, request, 'VFIO');
    try {
      const info = connection.check(() => decodeRegionInfo(body));
      if (info.index !== index) throw connection.broken(`described region ${info.index} instead of ${index}`);
      if (info.sizeBytes === 0) return undefined;
      const name = `${regionName(index)} of ${this.address}`;
      const { windows, mappings } = this.#mapAreas(info, fds[0]);
      const properties = {
        index,
        name,
        sizeBytes: info.sizeBytes,
        readable: (info.flags & REGION_FLAG_READ) !== 0,
        writable: (info.flags & REGION_FLAG_WRITE) !== 0,
      };
      return { region: new Region(properties, this.#messageAccess(index), windows), mappings };
    } finally {
      closeFds(fds);
    }
  }

  /** Maps what the server shares. What cannot be mapped, or not safely, is reached by messages. */
  #mapAreas(info: RegionInfo, fd: number | undefined): { windows: MappedWindow[]; mappings: Mapping[] } {
    const windows: MappedWindow[] = [];
    const mappings: Mapping[] = [];
    const readWriteMap = REGION_FLAG_MMAP | REGION_FLAG_READ | REGION_FLAG_WRITE;
    if (fd === undefined || (info.flags & readWriteMap) !== readWriteMap || !sealAgainstShrinking(fd)) {
      return { windows, mappings };
    }
    const fileBytes = fstatSync(fd).size;
    for (const area of info.areas ?? [{ offset: 0, sizeBytes: info.sizeBytes }]) {
      const start = info.offset + area.offset;
      if (start + area.sizeBytes > fileBytes) {
        for (const mapping of mappings) munmap(mapping);
        throw this.#connection.broken(
          `shares ${area.sizeBytes} bytes at ${start} of a file of ${fileBytes} bytes for region ${info.index}`,
        );
      }
      const aligned =
        start % PAGE_BYTES === 0 && area.offset % PAGE_BYTES === 0 && area.sizeBytes % PAGE_BYTES === 0;
      if (!aligned || area.sizeBytes === 0 || area.sizeBytes > MAX_AREA_BYTES) continue;
      try {
        const mapping = mapShared(fd, area.sizeBytes, start);
        mappings.push(mapping);
        windows.push({ offset: area.offset, buffer: mapping.buffer });
      } catch (error) {
        if (!(error instanceof NicError)) throw error;
      }
    }
    return { windows, mappings };
  }

  #messageAccess(index: number): RegionAccess {
    const connection = this.#connection;
    return {
      read(offset, into) {
        for (let at = 0; at < into.length; at += connection.maxTransferBytes) {
          const count = Math.min(into.length - at, connection.maxTransferBytes);
          const range = { index, offset: offset + at, count };
          const reply = connection.ask(Command.REGION_READ, encodeRegionRange(range), decodeRegionData);
          checkRange(connection, range, reply);
          into.set(reply.data, at);
        }
      },
      write(offset, from) {
        for (let at = 0; at < from.length; at += connection.maxTransferBytes) {
          const data = from.subarray(at, at + connection.maxTransferBytes);
          const range = { index, offset: offset + at, count: data.length };
          const reply = connection.ask(
            Command.REGION_WRITE,
            encodeRegionRange(range, data),
            decodeRegionRange,
          );
          checkRange(connection, range, reply);
        }
      },
    };
  }

  #queryIrq(index: number): IrqInfo {
    const request = encodeIrqInfo({ flags: 0, index, count: 0 });
    const info = this.#connection.ask(Command.DEVICE_GET_IRQ_INFO, request, decodeIrqInfo);
    if (info.index !== index || info.count > MAX_VECTORS) {
      throw this.#connection.broken(
        `has ${info.count} vectors of interrupt index ${info.index} (asked for ${index})`,
      );
    }
    return {
      count: info.count,
      eventfd: (info.flags & IRQ_FLAG_EVENTFD) !== 0,
      maskable: (info.flags & IRQ_FLAG_MASKABLE) !== 0,
      noResize: (info.flags & IRQ_FLAG_NORESIZE) !== 0,
    };
  }
}

function checkRange(connection: Connection, asked: RegionRange, given: RegionRange): void {
  if (given.index !== asked.index || given.offset !== asked.offset || given.count !== asked.count) {
    throw connection.broken(
      `answered for ${given.count} bytes at ${given.offset} of region ${given.index} ` +
        `where ${asked.count} at ${asked.offset} of region ${asked.index} were asked for`,
    );
  }
}
