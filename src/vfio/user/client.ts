/**
 * A device behind a vfio-user socket, as a `VfioDevice`. Requests block until the reply is here, as register
 * accesses must; so the server has to be another process or thread. Where the server shares a region's memory,
 * accesses go there directly and send nothing.
 *
 * The server is not trusted: replies are checked, memory it shares is only mapped where it is sealed against
 * shrinking (else a server could make our next access a SIGBUS), event counters are read without waiting, and a server
 * that is silent for the time-out, slow for long, sends nonsense or hangs up is gone: the socket is closed, the listeners
 * of `onGone` are told, whatever needs a message throws `PEER_GONE`. Mapped regions stay readable and writable until
 * `close`, without effect.
 *
 * Specification: vfio-user protocol 0.9.1.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { NicError } from '../../errors.js';
import { ConfigSpace } from '../../pci/config-space.js';
import { openAddress } from '../../pci/device-address.js';
import { BAR_COUNT, Command as PciCommand } from '../../pci/registers.js';
import { canReadWithoutWaiting } from '../../syscalls/event-counters.js';
import { Region, type RegionAccess } from '../region.js';
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
import { disableMsix, enableMsix } from './msix.js';
import { DEFAULT_PATIENCE_MS } from './patience.js';
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
  REGION_FLAG_READ,
  REGION_FLAG_WRITE,
  REGION_INFO_MAX_BYTES,
  type RegionRange,
} from './protocol.js';
import { RegionMemory } from './region-memory.js';
import { connectSocket } from './socket.js';

const DEFAULT_TIMEOUT_MS = 5000;
/** The MSI-X table has 11 bits for its size (PCI 3.0 section 6.8.2). */
const MAX_VECTORS = 2048;

export interface VfioUserClientOptions {
  /** How long the server may take for one reply; 5000 by default. */
  readonly timeoutMs?: number;
  /**
   * How long all replies may take, counting what each takes beyond 100 ms, of which half of the time that passes comes back; twice
   * that is how long they may keep the event loop from its turn. 10000 by default.
   */
  readonly patienceMs?: number;
  /**
   * Maps memory of the server's that it could shrink, which would end this process. Default false: registers there are
   * reached by messages, which is slower. Also lifts the need for Linux 5.8, whose counters can be read without waiting.
   */
  readonly trustServer?: boolean;
  /** Ends the connecting. */
  readonly signal?: AbortSignal | undefined;
}

/**
 * Connects to the device served at the socket `path`. The event loop runs on while the server gives no first answer, which one
 * that is stopped or serves somebody else never gives; each later answer is waited for, a turn each.
 * @throws NicError `NO_SUCH_DEVICE` where there is no socket, `PEER_GONE` where nobody serves or answers,
 * `PROTOCOL` where the answers are not a PCI device's, `NO_PERMISSION`, `BAD_ADDRESS`; the reason of `signal`
 * @example
 * const device = await connectVfioUser('/tmp/nic0.sock');
 * const status = device.region(PciRegion.BAR0).read32(0x8);
 */
export async function connectVfioUser(
  path: string,
  options: VfioUserClientOptions = {},
): Promise<VfioDevice> {
  const { timeoutMs = DEFAULT_TIMEOUT_MS, patienceMs = DEFAULT_PATIENCE_MS, signal } = options;
  const fd = await connectSocket(path, performance.now() + timeoutMs, signal);
  const connection = new Connection(fd, path, timeoutMs, patienceMs);
  const device = new VfioUserDevice(path, connection, options);
  try {
    await connection.negotiate(signal);
    for (const _ of device.setUp()) {
      await nextTurn();
      signal?.throwIfAborted();
    }
    return device;
  } catch (error) {
    device.abandon();
    throw error;
  }
}

class VfioUserDevice implements VfioDevice {
  readonly address: string;
  readonly backend = 'vfio-user';
  readonly mapper: DmaMapper;
  readonly #options: VfioUserClientOptions;
  readonly #connection: Connection;
  readonly #memory: RegionMemory;
  readonly #regions: (Region | undefined)[] = [];
  readonly #irqs: IrqInfo[] = [];
  readonly #enabledIrqs = new Set<number>();
  #canReset = false;
  #closed = false;

  /** Knows nothing of the device before `setUp`. */
  constructor(path: string, connection: Connection, options: VfioUserClientOptions) {
    this.address = openAddress({ kind: 'vfio-user', path });
    this.#options = options;
    this.#connection = connection;
    this.mapper = connection.dma;
    this.#memory = new RegionMemory({
      trustServer: options.trustServer ?? false,
      address: this.address,
      broken: (what) => connection.broken(what),
    });
  }

  /** Asks the server what the device is, a few messages at each step. Run it to its end. @throws NicError */
  *setUp(): Generator<void> {
    const request = encodeDeviceInfo({ flags: 0, regionCount: 0, irqCount: 0 });
    const info = this.#connection.ask(Command.DEVICE_GET_INFO, request, decodeDeviceInfo);
    if ((info.flags & DEVICE_FLAG_PCI) === 0 || info.regionCount < PCI_REGION_COUNT) {
      throw this.#connection.broken(
        `serves no PCI device (flags ${info.flags}, ${info.regionCount} regions)`,
      );
    }
    this.#canReset = (info.flags & DEVICE_FLAG_RESET) !== 0;
    for (let index = 0; index < PCI_REGION_COUNT; index++) {
      yield;
      this.#regions.push(this.#openRegion(index));
    }
    for (let index = 0; index < Math.min(info.irqCount, PCI_IRQ_COUNT); index++) {
      yield;
      this.#irqs.push(this.#queryIrq(index));
    }
    yield;
    this.#assignBars();
  }

  /** Whether the server offers it. */
  get canReset(): boolean {
    return this.#canReset;
  }

  region(index: number): Region {
    const region = this.#regions[index];
    if (region === undefined) {
      throw new NicError('REGION_RANGE', `${this.address} has no region ${index}`, { path: this.address });
    }
    return region;
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
    if (!canReadWithoutWaiting() && this.#options.trustServer !== true) {
      throw new NicError(
        'INTERRUPTS',
        `This kernel cannot read the event counters of ${this.address} safely`,
        {
          path: this.address,
          hint: 'Linux 5.8 or later can, whatever the server does to them.',
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
        (bar) => (bar < BAR_COUNT ? this.#regions[bar] : undefined),
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
    this.#release();
  }

  /** Closes a device whose `setUp` failed, without another word to the server. */
  abandon(): void {
    this.#closed = true;
    this.#release();
  }

  #release(): void {
    for (const region of this.#regions) region?.revoke();
    this.#memory.close();
    this.#connection.close();
  }

  /** Where it can be read and written. */
  #config(): Region | undefined {
    const config = this.#regions[PciRegion.CONFIG];
    return config?.readable && config.writable ? config : undefined;
  }

  #assignBars(): void {
    const config = this.#config();
    if (config === undefined) return;
    assignBars(
      config,
      this.#regions.slice(0, BAR_COUNT).map((region) => region?.sizeBytes ?? 0),
    );
  }

  #openRegion(index: number): Region | undefined {
    const connection = this.#connection;
    const request = encodeRegionInfoRequest(index, REGION_INFO_MAX_BYTES);
    const { body, fds } = connection.request(Command.DEVICE_GET_REGION_INFO, request, 'VFIO');
    try {
      const info = connection.check(() => decodeRegionInfo(body));
      if (info.index !== index) throw connection.broken(`described region ${info.index} instead of ${index}`);
      if (info.sizeBytes === 0) return undefined;
      const name = `${regionName(index)} of ${this.address}`;
      const windows = this.#memory.map(info, fds[0]);
      const properties = {
        index,
        name,
        sizeBytes: info.sizeBytes,
        readable: (info.flags & REGION_FLAG_READ) !== 0,
        writable: (info.flags & REGION_FLAG_WRITE) !== 0,
      };
      return new Region(properties, this.#messageAccess(index), windows);
    } finally {
      connection.closeFds(fds);
    }
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
