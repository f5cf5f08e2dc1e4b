/**
 * A network interface of the kernel as a NIC: one AF_XDP socket for each queue, and a program that directs the queue's
 * frames to it. Everything ends with the process, however it ends: the program's link, the filters, the sockets.
 */
import { errnoText, NicError } from '../../errors.js';
import type { PacketPool } from '../../hugepage/packet-pool.js';
import { booleanOption } from '../../options.js';
import { watchFd } from '../../syscalls/descriptors.js';
import { wakeTransmit } from '../../syscalls/sockets.js';
import type { DmaBacking, DmaMapper } from '../../vfio/types.js';
import { BaseDevice } from '../base-device.js';
import type {
  DeviceCapabilities,
  DeviceLimits,
  LinkState,
  NetStats,
  OpenOptions,
  Queues,
} from '../device.js';
import { type DeviceSettings, deviceSettings, multicastGroups, stationAddress } from '../options.js';
import { Member, type NetInterface } from './net-interface.js';
import { XdpProgram } from './program.js';
import { XdpRxQueue } from './rx-queue.js';
import { XdpTxQueue } from './tx-queue.js';
import { frameRoom, XdpSocket } from './xdp-socket.js';

const RING = { min: 64, max: 16_384, powerOfTwo: true, default: 1024 } as const;
/** Ethernet header; with two VLAN tags. */
const HEADER_BYTES = 14;
const L2_BYTES = 22;
const VLAN_BYTES = 4;
const BUFFER_SIZES = [2048, 4096];
const DEFAULT_HEADROOM = 64;
const LOOK_MS = 200;

const CAPABILITIES: DeviceCapabilities = {
  rxMetadata: false,
  vlanStrip: false,
  txOffloads: 0,
  rxTimes: false,
  interrupts: true,
};

/** What the pool is to the device: memory at an address. There is no IOMMU of ours between. */
class UmemMapper implements DmaMapper {
  readonly iovaRanges = [{ first: 0n, last: (1n << 48n) - 1n }];
  address = 0n;

  map(backing: DmaBacking): void {
    this.address = backing.address;
  }

  unmap(): void {
    this.address = 0n;
  }
}

export class XdpDevice extends BaseDevice {
  readonly address: string;
  readonly driver = 'xdp';
  readonly limits: DeviceLimits;
  readonly capabilities = CAPABILITIES;
  readonly pool: PacketPool;
  readonly maxFrameBytes: number;
  mac: Uint8Array;
  readonly #interface: NetInterface;
  readonly #firstQueue: number;
  readonly #settings: DeviceSettings;
  readonly #mapper = new UmemMapper();
  readonly #sockets: XdpSocket[] = [];
  readonly #rxQueues: XdpRxQueue[] = [];
  readonly #txQueues: XdpTxQueue[] = [];
  readonly #watches = new Map<number, () => void>();
  readonly #goneListeners = new Set<(error: Error) => void>();
  #program: XdpProgram | undefined;
  #attached = false;
  #looking: NodeJS.Timeout | undefined;
  #gone: NicError | undefined;
  #promiscuous = false;
  #station: Uint8Array | undefined;
  #groups: readonly Uint8Array[] | 'all' = [];
  #lastStats: NetStats | undefined;

  /** @throws NicError `BAD_OPTION`, `NO_MEMORY` */
  constructor(address: string, netInterface: NetInterface, firstQueue: number, options: OpenOptions) {
    super();
    this.address = address;
    this.#interface = netInterface;
    this.#firstQueue = firstQueue;
    this.mac = netInterface.mac;
    this.limits = {
      rxRing: RING,
      txRing: RING,
      maxQueuePairs: netInterface.queuePairs - firstQueue,
      minFrameBytes: HEADER_BYTES,
      maxFrameBytes: netInterface.mtu + L2_BYTES,
    };
    this.#settings = deviceSettings(
      address,
      withBuffers(options, netInterface.mtu),
      this.limits,
      CAPABILITIES,
    );
    this.pool = this.#settings.pool;
    const room = frameRoom(this.pool.bufferSizeBytes, this.pool.headroomBytes);
    try {
      checkBuffers(address, this.pool, netInterface.mtu, options.mtu);
    } catch (error) {
      if (this.#settings.ownsPool) this.pool.close();
      throw error;
    }
    this.maxFrameBytes = Math.min(this.#settings.maxFrameBytes, room);
  }

  get model(): string {
    const mode = this.#program === undefined ? '' : `, ${this.#program.mode} program`;
    return `${this.#interface.kernelDriver} under Linux, AF_XDP copy mode${mode}`;
  }

  get rxQueues(): Queues<XdpRxQueue> {
    return this.#rxQueues as unknown as Queues<XdpRxQueue>;
  }

  get txQueues(): Queues<XdpTxQueue> {
    return this.#txQueues as unknown as Queues<XdpTxQueue>;
  }

  /** Attaches the program and binds the sockets. On failure the device is closed. */
  async start(): Promise<this> {
    const { queuePairs, promiscuous, signal } = this.#settings;
    const { name, index } = this.#interface;
    try {
      this.pool.attach(this.#mapper);
      this.#attached = true;
      // Some drivers refuse a socket's wake-up while they have no program, so that comes first.
      this.#program = new XdpProgram(name, index, this.#firstQueue + queuePairs);
      for (let pair = 0; pair < queuePairs; pair++) await this.#addPair(this.#firstQueue + pair, signal);
      for (const [pair, { fd }] of this.#sockets.entries()) this.#program.direct(this.#firstQueue + pair, fd);
      if (promiscuous) await this.setPromiscuous(true);
      this.#looking = setInterval(() => this.#look(), LOOK_MS).unref();
      return this;
    } catch (error) {
      await this.close();
      throw error;
    }
  }

  linkState(): LinkState {
    if (this.#gone !== undefined) throw this.#gone;
    return this.#interface.linkState();
  }

  async setPromiscuous(on: boolean): Promise<void> {
    booleanOption('setPromiscuous', on);
    this.closed.throwIfAborted();
    if (on !== this.#promiscuous) this.#interface.setMember(on, Member.PROMISCUOUS);
    this.#promiscuous = on;
  }

  async setMac(mac: Uint8Array): Promise<void> {
    const address = stationAddress(mac);
    this.closed.throwIfAborted();
    this.#interface.setMember(true, Member.STATION, address);
    if (this.#station !== undefined) this.#interface.setMember(false, Member.STATION, this.#station);
    this.#station = address;
    this.mac = address;
  }

  async setMulticast(groups: readonly Uint8Array[] | 'all'): Promise<void> {
    const wanted = multicastGroups(groups);
    this.closed.throwIfAborted();
    const before = this.#groups;
    this.#setGroups(true, wanted);
    this.#groups = wanted;
    this.#setGroups(false, before);
  }

  stats(): NetStats {
    if (this.#lastStats !== undefined) return { ...this.#lastStats };
    const rx = { packets: 0, bytes: 0, tooLong: 0, damaged: 0, noBuffer: 0 };
    const tx = { packets: 0, bytes: 0, errors: 0 };
    for (const { counters } of this.#rxQueues) addTo(rx, counters);
    for (const { counters } of this.#txQueues) addTo(tx, counters);
    let missed = 0;
    for (const socket of this.#sockets) {
      const { rxDropped, rxRingFull, fillRingEmpty, txInvalid } = socket.statistics();
      // In copy mode each frame that finds the fill ring empty counts in both; the rest did not fit a buffer.
      const noBuffer = Math.min(rxDropped, fillRingEmpty);
      missed += rxRingFull + noBuffer;
      rx.tooLong += rxDropped - noBuffer;
      tx.errors += txInvalid;
    }
    return {
      rxPackets: rx.packets,
      rxBytes: rx.bytes,
      rxTooLong: rx.tooLong,
      rxDamaged: rx.damaged,
      rxNoBuffer: rx.noBuffer,
      rxMissed: missed,
      txPackets: tx.packets,
      txBytes: tx.bytes,
      txErrors: tx.errors,
    };
  }

  onGone(listener: (error: Error) => void): () => void {
    this.#goneListeners.add(listener);
    return () => this.#goneListeners.delete(listener);
  }

  protected isDrained(): boolean {
    if (this.#gone !== undefined) throw this.#gone;
    for (const queue of this.#txQueues) queue.reclaim();
    return this.#txQueues.every((queue) => queue.inFlight === 0);
  }

  protected async shutDown(): Promise<void> {
    clearInterval(this.#looking);
    for (const stop of this.#watches.values()) stop();
    this.#watches.clear();
    if (this.#sockets.length > 0) this.#lastStats = this.stats();
    this.#program?.close();
    for (const socket of this.#sockets) socket.close();
    for (const queue of [...this.#rxQueues, ...this.#txQueues]) queue.close(this.closedError());
    this.#interface.close();
    if (this.#attached) this.pool.detach(this.#mapper);
    if (this.#settings.ownsPool) this.pool.close();
    this.#goneListeners.clear();
  }

  async #addPair(queue: number, signal: AbortSignal | undefined): Promise<void> {
    const { pool, maxFrameBytes } = this;
    const { rxRingSize, txRingSize } = this.#settings;
    const { name, index } = this.#interface;
    const socket = new XdpSocket({ name, pool, memoryAddress: this.#mapper.address, rxRingSize, txRingSize });
    this.#sockets.push(socket);
    await socket.bind(index, queue, { signal, closed: this.closed });
    const { fd, tx, completion, rx, fill } = socket;
    const sender = new XdpTxQueue({
      tx,
      completion,
      pool,
      minFrameBytes: HEADER_BYTES,
      maxFrameBytes,
      wake: () => wakeTransmit(fd),
    });
    const receiver = new XdpRxQueue({
      rx,
      fill,
      pool,
      maxFrameBytes,
      idle: () => sender.kick(),
      arm: () => this.#watch(fd, receiver),
      disarm: () => this.#unwatch(fd),
    });
    this.#txQueues.push(sender);
    this.#rxQueues.push(receiver);
  }

  #watch(fd: number, receiver: XdpRxQueue): void {
    if (this.#watches.has(fd) || this.#gone !== undefined) return;
    const stop = watchFd(fd, { readable: true }, false, () => {
      // Readable without a packet: an error, which would be told again and again.
      if (!receiver.pending) this.#look();
      receiver.readable();
    });
    this.#watches.set(fd, stop);
  }

  #unwatch(fd: number): void {
    this.#watches.get(fd)?.();
    this.#watches.delete(fd);
  }

  #setGroups(add: boolean, groups: readonly Uint8Array[] | 'all'): void {
    if (groups === 'all') this.#interface.setMember(add, Member.ALL_GROUPS);
    else for (const group of groups) this.#interface.setMember(add, Member.GROUP, group);
  }

  /** An interface that is deleted says nothing by itself, so it is asked now and then. */
  #look(): void {
    if (this.#gone !== undefined || this.closed.aborted) return;
    let error: NicError | undefined;
    try {
      if (!this.#interface.isUp()) {
        error = new NicError('DEVICE_GONE', `Interface ${this.#interface.name} was brought down`, {
          path: this.address,
          hint: `ip link set dev ${this.#interface.name} up, and open it again.`,
        });
      } else {
        const errno = this.#sockets.map((socket) => socket.error()).find((one) => one !== 0);
        if (errno !== undefined) {
          error = new NicError('DEVICE_GONE', `The socket on ${this.#interface.name} has ended`, {
            path: this.address,
            errno,
            hint: `The kernel says ${errnoText(errno)}: was the interface deleted or set up anew?`,
          });
        }
      }
    } catch (cause) {
      error = cause as NicError;
    }
    if (error === undefined) return;
    this.#gone = error;
    for (const stop of this.#watches.values()) stop();
    this.#watches.clear();
    for (const queue of this.#rxQueues) queue.end(error);
    for (const listener of [...this.#goneListeners]) listener(error);
    this.#goneListeners.clear();
  }
}

/** An own pool gets buffers that hold what the interface's MTU lets through. */
function withBuffers(options: OpenOptions, mtu: number): OpenOptions {
  const { pool, bufferSizeBytes, headroomBytes = DEFAULT_HEADROOM } = options;
  if (pool !== undefined || bufferSizeBytes !== undefined) return options;
  const frameBytes =
    (options.mtu ?? mtu) + (options.mtu === undefined ? HEADER_BYTES + VLAN_BYTES : L2_BYTES);
  const large = frameBytes > frameRoom(2048, headroomBytes) && frameBytes <= frameRoom(4096, headroomBytes);
  return large ? { ...options, bufferSizeBytes: 4096 } : options;
}

/** @throws NicError `BAD_OPTION` where the kernel cannot use the buffers, or where frames of the interface do not fit */
function checkBuffers(
  address: string,
  pool: PacketPool,
  interfaceMtu: number,
  mtu: number | undefined,
): void {
  const { bufferSizeBytes, headroomBytes } = pool;
  if (!BUFFER_SIZES.includes(bufferSizeBytes)) {
    throw new NicError('BAD_OPTION', `${address} cannot use buffers of ${bufferSizeBytes} bytes`, {
      path: address,
      hint: `AF_XDP takes buffers of ${BUFFER_SIZES.join(' or ')} bytes: set bufferSizeBytes.`,
    });
  }
  const room = frameRoom(bufferSizeBytes, headroomBytes);
  const wanted = mtu === undefined ? interfaceMtu + HEADER_BYTES : mtu + L2_BYTES;
  if (wanted <= room) return;
  const largest = frameRoom(4096, headroomBytes);
  throw new NicError(
    'BAD_OPTION',
    `${address} has frames of up to ${wanted} bytes, and a buffer of ${bufferSizeBytes} bytes holds ${room} of a frame`,
    {
      path: address,
      hint:
        wanted <= largest
          ? 'Set bufferSizeBytes to 4096, or a lower MTU.'
          : `Lower its MTU: ip link set dev NAME mtu ${largest - L2_BYTES}`,
    },
  );
}

function addTo<T extends Record<string, number>>(sums: T, more: Readonly<T>): void {
  for (const name of Object.keys(sums) as (keyof T & string)[]) {
    (sums as Record<string, number>)[name]! += more[name]!;
  }
}
