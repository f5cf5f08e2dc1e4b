/**
 * A network interface of the kernel as a NIC: one AF_XDP socket for each queue, and a program that directs the queue's
 * frames to it. Everything ends with the process, however it ends: the program's link, the filters, the sockets.
 */
import { type Filter, parseFilter } from '../../capture/filter/index.js';
import type { NicError } from '../../errors.js';
import type { PacketPool } from '../../hugepage/packet-pool.js';
import { booleanOption } from '../../options.js';
import type { DmaBacking, DmaMapper } from '../../vfio/types.js';
import { BaseDevice } from '../base-device.js';
import type {
  DeviceCapabilities,
  DeviceLimits,
  LinkState,
  NetStats,
  OpenOptions,
  QueueStats,
  Queues,
} from '../device.js';
import { type DeviceSettings, deviceSettings, multicastGroups, stationAddress } from '../options.js';
import { countQueues, sumQueues } from '../queue-counts.js';
import { checkBuffers, frameRoom, HEADER_BYTES, L2_BYTES, modeToAsk, withBuffers } from './buffers.js';
import { COUNTERS } from './counters.js';
import type { InterfaceWatch, KernelInterface, KernelProgram, KernelSocket, XdpKernel } from './kernel.js';
import { Member } from './net-interface.js';
import { XdpRxQueue } from './rx-queue.js';
import { XdpTxQueue } from './tx-queue.js';
import type { XdpMode } from './uapi.js';

const RING = { min: 64, max: 16_384, powerOfTwo: true, default: 1024 } as const;

const CAPABILITIES: DeviceCapabilities = {
  rxMetadata: false,
  vlanStrip: false,
  txOffloads: 0,
  rxTimes: false,
  interrupts: true,
  sharesInterface: true,
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
  readonly #kernel: XdpKernel;
  readonly #interface: KernelInterface;
  readonly #firstQueue: number;
  readonly #settings: DeviceSettings;
  readonly #only: Filter | undefined;
  readonly #wantedMode: 'auto' | XdpMode;
  readonly #busyPollUs: number | undefined;
  /** What the sockets have; of several queues a driver may take some by zero-copy and others not. */
  readonly #modes = new Set<XdpMode>();
  readonly #mapper = new UmemMapper();
  readonly #sockets: KernelSocket[] = [];
  readonly #rxQueues: XdpRxQueue[] = [];
  readonly #txQueues: XdpTxQueue[] = [];
  readonly #watched = new Map<KernelSocket, () => void>();
  readonly #goneListeners = new Set<(error: Error) => void>();
  #program: KernelProgram | undefined;
  #attached = false;
  #watch: InterfaceWatch | undefined;
  #gone: NicError | undefined;
  #promiscuous = false;
  #station: Uint8Array | undefined;
  #groups: readonly Uint8Array[] | 'all' = [];
  #lastStats: NetStats | undefined;

  /** @throws NicError `BAD_OPTION`, `NO_MEMORY` */
  constructor(address: string, kernel: XdpKernel, firstQueue: number, options: OpenOptions) {
    super();
    const { netInterface } = kernel;
    this.address = address;
    this.#kernel = kernel;
    this.#interface = netInterface;
    this.#firstQueue = firstQueue;
    this.#only = options.only === undefined ? undefined : parseFilter(options.only);
    this.#wantedMode = options.interfaceMode ?? 'auto';
    this.#busyPollUs = options.busyPollUs;
    this.mac = netInterface.mac;
    this.limits = {
      rxRing: RING,
      txRing: RING,
      maxQueuePairs: netInterface.queuePairs - firstQueue,
      minFrameBytes: HEADER_BYTES,
      maxFrameBytes: netInterface.mtu + L2_BYTES,
    };
    this.#settings = deviceSettings(address, withBuffers(options, netInterface), this.limits, CAPABILITIES);
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
    const mode = this.#modes.size === 0 ? '' : ` ${[...this.#modes].join(' and ')} mode`;
    const program = this.#program === undefined ? '' : `, ${this.#program.mode} program`;
    return `${this.#interface.kernelDriver} under Linux, AF_XDP${mode}${program}`;
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
    try {
      this.pool.attach(this.#mapper);
      this.#attached = true;
      // Some drivers refuse a socket's wake-up while they have no program, so that comes first.
      this.#program = this.#kernel.attach(this.#firstQueue + queuePairs, this.#only);
      if (this.#program.mode === 'generic') warnOfGeneric(this.#interface);
      const ask = modeToAsk(this.address, this.#wantedMode, this.#program.mode, this.pool, this.#interface);
      for (let pair = 0; pair < queuePairs; pair++) {
        await this.#addPair(this.#firstQueue + pair, ask, signal);
      }
      for (const [pair, { fd }] of this.#sockets.entries()) this.#program.direct(this.#firstQueue + pair, fd);
      if (promiscuous) await this.setPromiscuous(true);
      this.#watch = this.#kernel.watch(this.#sockets, (error) => this.#end(error));
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
    if (this.#gone !== undefined) throw this.#gone;
    const sums = sumQueues(this.#rxQueues, this.#txQueues, COUNTERS);
    const txInRing = this.#txQueues.reduce((sum, queue) => sum + queue.inRing, 0);
    let rxMissed = 0;
    for (const socket of this.#sockets) {
      const { rxDropped, rxRingFull, fillRingEmpty, txInvalid } = socket.statistics();
      // Each frame that copy mode finds no buffer for counts in both; the rest did not fit one. With zero-copy the hardware
      // keeps or drops such frames, and the interface's own counters have them.
      const noBuffer = Math.min(rxDropped, fillRingEmpty);
      rxMissed += rxRingFull + noBuffer;
      sums.rxTooLong += rxDropped - noBuffer;
      sums.txErrors += txInvalid;
    }
    return { ...sums, txInRing, rxMissed, ...this.#ways() };
  }

  queueStats(): QueueStats[] {
    return countQueues(this.#rxQueues, this.#txQueues, COUNTERS);
  }

  /** `struct xdp_statistics` of the sockets, summed up; the interface's own counters are the kernel's (`ip -s link`). */
  registerCounters(): Record<string, number> {
    this.closed.throwIfAborted();
    if (this.#gone !== undefined) throw this.#gone;
    const sums = { rx_dropped: 0, tx_invalid_descs: 0, rx_ring_full: 0, rx_fill_ring_empty_descs: 0 };
    for (const socket of this.#sockets) {
      const { rxDropped, txInvalid, rxRingFull, fillRingEmpty } = socket.statistics();
      sums.rx_dropped += rxDropped;
      sums.tx_invalid_descs += txInvalid;
      sums.rx_ring_full += rxRingFull;
      sums.rx_fill_ring_empty_descs += fillRingEmpty;
    }
    return sums;
  }

  onGone(listener: (error: Error) => void): () => void {
    const gone = this.#gone;
    if (gone !== undefined) queueMicrotask(() => this.#tell(gone));
    this.#goneListeners.add(listener);
    return () => this.#goneListeners.delete(listener);
  }

  protected isDrained(): boolean {
    if (this.#gone !== undefined) throw this.#gone;
    for (const queue of this.#txQueues) queue.reclaim();
    return this.#txQueues.every((queue) => queue.inFlight === 0);
  }

  protected async shutDown(): Promise<void> {
    this.#watch?.stop();
    this.#unwatchAll();
    if (this.#sockets.length > 0 && this.#gone === undefined) this.#lastStats = this.stats();
    this.#program?.close();
    for (const socket of this.#sockets) socket.close();
    for (const queue of [...this.#rxQueues, ...this.#txQueues]) queue.close(this.closedError());
    this.#interface.close();
    if (this.#attached) this.pool.detach(this.#mapper);
    if (this.#settings.ownsPool) this.pool.close();
    this.#goneListeners.clear();
  }

  /** How frames come and go; nothing before that is decided. */
  #ways(): Pick<NetStats, 'interfaceMode' | 'interfaceProgram'> {
    const [mode] = this.#modes;
    return {
      ...(mode === undefined ? {} : { interfaceMode: this.#modes.size > 1 ? 'mixed' : mode }),
      ...(this.#program === undefined ? {} : { interfaceProgram: this.#program.mode }),
    };
  }

  async #addPair(queue: number, ask: 'auto' | XdpMode, signal: AbortSignal | undefined): Promise<void> {
    const { pool, maxFrameBytes } = this;
    const { rxRingSize, txRingSize } = this.#settings;
    const memoryAddress = this.#mapper.address;
    const socket = this.#kernel.openSocket({ pool, memoryAddress, rxRingSize, txRingSize });
    this.#sockets.push(socket);
    if (this.#busyPollUs !== undefined) socket.busyPoll(this.#busyPollUs);
    const mode = await socket.bind(this.#interface.index, queue, { mode: ask, signal, closed: this.closed });
    this.#modes.add(mode);
    const zeroCopy = mode === 'zero-copy';
    const { tx, completion, rx, fill } = socket;
    const sender = new XdpTxQueue({
      tx,
      completion,
      pool,
      minFrameBytes: HEADER_BYTES,
      maxFrameBytes,
      sendsLater: zeroCopy,
      wake: () => socket.wakeTransmit(),
    });
    const receiver = new XdpRxQueue({
      rx,
      fill,
      pool,
      maxFrameBytes,
      zeroCopy,
      busyPoll: this.#busyPollUs !== undefined,
      idle: () => sender.kick(),
      wake: () => socket.wakeReceive(),
      arm: () => this.#arm(socket, receiver),
      disarm: () => this.#disarm(socket),
    });
    this.#txQueues.push(sender);
    this.#rxQueues.push(receiver);
  }

  #arm(socket: KernelSocket, receiver: XdpRxQueue): void {
    if (this.#watched.has(socket) || this.#gone !== undefined) return;
    const stop = socket.watch(() => {
      // Readable without a packet: an error, which would be told again and again.
      if (!receiver.pending) this.#watch?.look();
      receiver.readable();
    });
    this.#watched.set(socket, stop);
  }

  #disarm(socket: KernelSocket): void {
    this.#watched.get(socket)?.();
    this.#watched.delete(socket);
  }

  #unwatchAll(): void {
    for (const stop of this.#watched.values()) stop();
    this.#watched.clear();
  }

  #setGroups(add: boolean, groups: readonly Uint8Array[] | 'all'): void {
    if (groups === 'all') this.#interface.setMember(add, Member.ALL_GROUPS);
    else for (const group of groups) this.#interface.setMember(add, Member.GROUP, group);
  }

  #end(error: NicError): void {
    if (this.#gone !== undefined || this.closed.aborted) return;
    this.#gone = error;
    this.#unwatchAll();
    for (const queue of this.#rxQueues) queue.end(error);
    this.#tell(error);
  }

  #tell(error: NicError): void {
    const listeners = [...this.#goneListeners];
    this.#goneListeners.clear();
    for (const listener of listeners) listener(error);
  }
}

/** The kernel's general code costs another copy, and nobody would see why it is slow. */
function warnOfGeneric({ name, kernelDriver }: KernelInterface): void {
  process.emitWarning(
    `The driver of ${name} (${kernelDriver}) runs no XDP program, so the kernel's general code does, which costs another copy of each frame.`,
    { code: 'BAREWIRE_GENERIC_XDP' },
  );
}
