/**
 * virtio-net through its modern PCI interface (VIRTIO 1.2, 5.1): the NIC of virtual machines. Split rings, or packed ones
 * by choice; the 12 bytes that the device keeps in front of each frame lie in the buffers' headroom.
 */
import createDebug from 'debug';
import { NicError } from '../../errors.js';
import type { PacketPool } from '../../hugepage/packet-pool.js';
import { booleanOption } from '../../options.js';
import { Interrupts } from '../../vfio/interrupts.js';
import { PciIrq, type VfioDevice } from '../../vfio/types.js';
import { BaseDevice } from '../base-device.js';
import type {
  DeviceCapabilities,
  DeviceId,
  DeviceLimits,
  Driver,
  LinkState,
  NetStats,
  OpenOptions,
  QueueStats,
  Queues,
} from '../device.js';
import {
  checkOpenOptions,
  type DeviceSettings,
  deviceSettings,
  multicastGroups,
  stationAddress,
} from '../options.js';
import { countQueues, sumQueues } from '../queue-counts.js';
import { shutDownDevice } from '../shut-down.js';
import { ControlQueue } from './control-queue.js';
import { CONTROL_RING } from './control-ring.js';
import { LAYOUT, type Ring, RingMemory } from './layout.js';
import { CAPABILITIES, LIMITS, type Offer, readOffer } from './offer.js';
import * as reg from './registers.js';
import { VirtioRxQueue } from './rx-queue.js';
import { rssConfig } from './steering.js';
import { virtioThreads } from './threads.js';
import { Transport } from './transport.js';
import { VirtioTxQueue } from './tx-queue.js';

const debug = createDebug('barewire:driver');

const CONTROL_BYTES = 4096;
const MAC_BYTES = 6;
const ANNOUNCE_TIMEOUT_MS = 1000;

const IDS = [
  { vendor: reg.VIRTIO_VENDOR, device: 0x1041, name: 'virtio net' },
  { vendor: reg.VIRTIO_VENDOR, device: 0x1000, name: 'virtio net (transitional)' },
];

export class VirtioNet extends BaseDevice {
  readonly address: string;
  readonly driver = 'virtio';
  readonly model: string;
  readonly vfio: VfioDevice;
  readonly pool: PacketPool;
  readonly limits: DeviceLimits;
  readonly capabilities: DeviceCapabilities;
  readonly maxFrameBytes: number;
  mac: Uint8Array;
  readonly #transport: Transport;
  readonly #settings: DeviceSettings;
  readonly #offer: Offer;
  readonly #rings: RingMemory;
  readonly #rxQueues: VirtioRxQueue[] = [];
  readonly #txQueues: VirtioTxQueue[] = [];
  #control: ControlQueue | undefined;
  #interrupts: Interrupts | undefined;
  #attached = false;
  #isAnnouncing = false;
  /** What the device did that no device may. */
  #lie: NicError | undefined;

  /** @throws NicError `BAD_OPTION`, `NO_MEMORY` */
  constructor(vfio: VfioDevice, id: DeviceId, transport: Transport, offer: Offer, options: OpenOptions) {
    super();
    this.address = vfio.address;
    this.model = id.name;
    this.vfio = vfio;
    this.limits = offer.limits;
    this.capabilities = offer.capabilities;
    this.mac = offer.mac;
    this.#transport = transport;
    this.#offer = offer;
    this.#settings = deviceSettings(vfio.address, options, offer.limits, offer.capabilities);
    const { queuePairs, rxRingSize, txRingSize, pageSize, pool, maxFrameBytes } = this.#settings;
    this.pool = pool;
    this.maxFrameBytes = maxFrameBytes;
    const sizes = Array.from({ length: queuePairs }, () => [rxRingSize, txRingSize]).flat();
    try {
      this.#rings = new RingMemory(
        this.#has(reg.Feature.RING_PACKED) ? 'packed' : 'split',
        [...sizes, CONTROL_RING],
        CONTROL_BYTES,
        pageSize,
      );
    } catch (error) {
      if (this.#settings.ownsPool) pool.close();
      throw error;
    }
  }

  get rxQueues(): Queues<VirtioRxQueue> {
    return this.#rxQueues as unknown as Queues<VirtioRxQueue>;
  }

  get txQueues(): Queues<VirtioTxQueue> {
    return this.#txQueues as unknown as Queues<VirtioTxQueue>;
  }

  /** Goes on after FEATURES_OK (3.1.1, step 7). On failure the device is closed and the error is the first one. */
  async start(): Promise<this> {
    const { signal, promiscuous, queuePairs } = this.#settings;
    try {
      signal?.throwIfAborted();
      this.pool.attach(this.vfio.mapper);
      this.#attached = true;
      this.#rings.region.mapInto(this.vfio.mapper);
      this.vfio.enableBusMaster();
      this.#connectInterrupts();
      this.#makeQueues();
      this.vfio.onGone((error) => this.#endWaits(error));
      this.#transport.addStatus(reg.STATUS_DRIVER_OK);
      this.#transport.assertWorks();
      if (this.#control !== undefined) this.#control.signal = signal;
      if (queuePairs > 1) await this.#setPairs(queuePairs);
      for (const queue of this.#rxQueues) queue.start();
      const { features } = this.#offer;
      // 5.1.5: an address that was chosen here is not the device's yet.
      if (!features.has(reg.Feature.MAC) && features.has(reg.Feature.CTRL_MAC_ADDR))
        await this.setMac(this.mac);
      if (features.has(reg.Feature.CTRL_RX)) {
        // What a device receives before it was told is its own affair (QEMU: everything).
        await this.setPromiscuous(promiscuous);
        await this.setMulticast([]);
      }
      signal?.throwIfAborted();
      // What was asked before the interrupt was connected.
      this.#lookForAnnouncement();
      debug('%s: %s is up, MAC %s', this.address, this.model, this.macAddress);
      return this;
    } catch (error) {
      await this.close().catch((second: unknown) =>
        debug('%s: close after failure: %o', this.address, second),
      );
      throw error;
    } finally {
      if (this.#control !== undefined) this.#control.signal = undefined;
    }
  }

  linkState(): LinkState {
    this.#assertWorks();
    const { features } = this.#offer;
    return this.#transport.readConfig((config) => {
      // Without STATUS the link is always up (5.1.4.2).
      const up =
        !features.has(reg.Feature.STATUS) || (config.read16(reg.NET_STATUS) & reg.NET_STATUS_LINK_UP) !== 0;
      if (!up || !features.has(reg.Feature.SPEED_DUPLEX)) return { up, speedMbps: 0, fullDuplex: up };
      const speedMbps = config.read32(reg.NET_SPEED);
      return {
        up,
        speedMbps: speedMbps === reg.SPEED_UNKNOWN ? 0 : speedMbps,
        fullDuplex: config.read8(reg.NET_DUPLEX) === reg.DUPLEX_FULL,
      };
    });
  }

  async setPromiscuous(on: boolean): Promise<void> {
    const bit = Number(booleanOption('setPromiscuous', on));
    this.closed.throwIfAborted();
    // A device without filters receives all frames anyway.
    if (!this.#has(reg.Feature.CTRL_RX)) return;
    await this.#converse((command) => command(reg.CTRL_PROMISCUOUS, Uint8Array.of(bit), 'promiscuous mode'));
  }

  async setMac(mac: Uint8Array): Promise<void> {
    this.closed.throwIfAborted();
    const address = stationAddress(mac);
    if (!this.#has(reg.Feature.CTRL_MAC_ADDR)) {
      throw new NicError('UNSUPPORTED_DEVICE', `${this.address} does not let its MAC address be changed`, {
        path: this.address,
        hint: 'The device does not offer VIRTIO_NET_F_CTRL_MAC_ADDR: set the address in the hypervisor.',
      });
    }
    await this.#converse(async (command) => {
      await command(reg.CTRL_MAC_ADDR_SET, address, 'the MAC address');
      this.mac = address;
    });
  }

  async setMulticast(groups: readonly Uint8Array[] | 'all'): Promise<void> {
    this.closed.throwIfAborted();
    const list = multicastGroups(groups);
    if (!this.#has(reg.Feature.CTRL_RX)) return;
    await this.#converse(async (command) => {
      const table = list === 'all' ? undefined : macTable(list);
      const fits = table !== undefined && table.length <= this.#control!.maxDataBytes;
      if (fits) await command(reg.CTRL_MAC_TABLE_SET, table, 'the multicast table');
      await command(reg.CTRL_ALL_MULTICAST, Uint8Array.of(fits ? 0 : 1), 'all multicast groups');
    });
  }

  stats(): NetStats {
    if (!this.closed.aborted) this.#assertWorks();
    return sumQueues(this.#rxQueues, this.#txQueues, LAYOUT);
  }

  queueStats(): QueueStats[] {
    return countQueues(this.#rxQueues, this.#txQueues, LAYOUT);
  }

  onGone(listener: (error: Error) => void): () => void {
    return this.vfio.onGone(listener);
  }

  /** A device has no counters of its wire: what it has used has left. */
  protected isDrained(): boolean {
    this.#assertWorks();
    for (const queue of this.#txQueues) if (!queue.elsewhere) queue.reclaim();
    return this.#txQueues.every((queue) => queue.inFlight === 0);
  }

  protected async shutDown(): Promise<void> {
    const queues = [...this.#rxQueues, ...this.#txQueues];
    await shutDownDevice(
      {
        vfio: this.vfio,
        interrupts: this.#interrupts,
        queues,
        rings: this.#rings.region,
        pool: this.pool,
        attached: this.#attached,
        ownsPool: this.#settings.ownsPool,
        why: this.closedError(),
      },
      async (attempt) => {
        // Threads that have queues of this device leave them while the rings are still there.
        await attempt('queues of other threads', async () => {
          await Promise.all(queues.map((queue) => queue.beginClose()));
        });
        await attempt('reset', () => this.#transport.reset());
      },
    );
  }

  /** Queue pair q is virtqueues 2q and 2q + 1; the control queue comes behind all pairs that there could be (5.1.2). */
  #makeQueues(): void {
    const { pool, maxFrameBytes } = this;
    const { minFrameBytes } = this.limits;
    const { queuePairs } = this.#settings;
    const { rings } = this.#rings;
    const onLie = (what: string): void => this.#noteLie(what);
    const hasInterrupt = this.#interrupts !== undefined;
    const merges = this.#has(reg.Feature.MRG_RXBUF);
    const accepted = {
      notifiesData: this.#has(reg.Feature.NOTIFICATION_DATA),
      eventIdx: this.#has(reg.Feature.EVENT_IDX),
    };
    for (let q = 0; q < queuePairs; q++) {
      const [rxRing, txRing] = [rings[2 * q]!, rings[2 * q + 1]!];
      const [rx, tx] = [2 * q, 2 * q + 1];
      const rxNotify = this.#setUpQueue(rx, rxRing, hasInterrupt ? q : reg.NO_VECTOR);
      const receiver = new VirtioRxQueue({
        ...{ ring: rxRing, queue: rx, notify: rxNotify, pool, maxFrameBytes, hasInterrupt, merges, onLie },
        ...accepted,
        address: this.address,
        metadata: this.#settings.rxMetadata,
      });
      this.#rxQueues.push(receiver);
      this.#interrupts?.onInterrupt(q, () => receiver.interrupted());
      const notify = this.#setUpQueue(tx, txRing, reg.NO_VECTOR);
      this.#txQueues.push(
        new VirtioTxQueue({
          ...{ ring: txRing, queue: tx, notify, pool, minFrameBytes, maxFrameBytes, onLie },
          ...accepted,
          address: this.address,
          offloads: this.capabilities.txOffloads !== 0,
        }),
      );
    }
    if (this.#offer.controlQueue === undefined) return;
    const ring = rings[2 * queuePairs]!;
    this.#control = new ControlQueue({
      ring,
      queue: this.#offer.controlQueue,
      notify: this.#setUpQueue(this.#offer.controlQueue, ring, reg.NO_VECTOR),
      memory: this.#rings.control,
      iovaLow: this.#rings.region.iovaLow + this.#rings.controlOffset,
      iovaHigh: this.#rings.region.iovaHigh,
      address: this.address,
      assertWorks: () => this.#assertWorks(),
      closed: this.closed,
      ...accepted,
    });
  }

  /** 4.1.5.1.3: tells the device where a queue is and enables it; returns where it is notified. */
  #setUpQueue(queue: number, ring: Ring, vector: number): ReturnType<Transport['doorbell']> {
    const transport = this.#transport;
    const { iovaLow, iovaHigh } = this.#rings.region;
    transport.write16(reg.QUEUE_SELECT, queue);
    transport.write16(reg.QUEUE_SIZE, ring.size);
    this.#assignVector(reg.QUEUE_MSIX_VECTOR, vector, `queue ${queue}`);
    const [descriptors, driver, device] = ring.areas;
    transport.writeAddress(reg.QUEUE_DESC, iovaLow + descriptors, iovaHigh);
    transport.writeAddress(reg.QUEUE_DRIVER, iovaLow + driver, iovaHigh);
    transport.writeAddress(reg.QUEUE_DEVICE, iovaLow + device, iovaHigh);
    const notify = transport.doorbell(queue, this.#has(reg.Feature.NOTIFICATION_DATA));
    transport.write16(reg.QUEUE_ENABLE, 1);
    return notify;
  }

  /** 4.1.5.1.2.2: reads the vector back, since a device may be out of resources. */
  #assignVector(register: number, vector: number, what: string): void {
    this.#transport.write16(register, vector);
    const got = this.#transport.read16(register);
    if (got === vector) return;
    throw new NicError('INTERRUPTS', `${this.address}: ${what} was given vector ${vector} and says ${got}`, {
      path: this.address,
      hint: 'The device is out of interrupt vectors: give it more in the hypervisor (QEMU: vectors=N).',
    });
  }

  /** A vector for each receive queue, one more for changes of the configuration; else idle waits look once a millisecond. */
  #connectInterrupts(): void {
    const { queuePairs } = this.#settings;
    const vectors = this.vfio.irqInfo(PciIrq.MSIX).count;
    if (vectors <= queuePairs) {
      debug('%s: %d MSI-X vectors, %d needed: idle waits poll', this.address, vectors, queuePairs + 1);
      return;
    }
    this.#interrupts = new Interrupts(this.vfio, queuePairs + 1);
    this.#assignVector(reg.CONFIG_MSIX_VECTOR, queuePairs, 'configuration changes');
    this.#interrupts.onInterrupt(queuePairs, () => this.#configurationChanged());
  }

  /** 2.1.2: a device that cannot go on says so by such an interrupt. Whoever sleeps is told. */
  #configurationChanged(): void {
    if (this.closed.aborted) return;
    try {
      this.#transport.assertWorks();
      debug('%s: configuration changed, link %s', this.address, this.linkState().up ? 'up' : 'down');
      this.#lookForAnnouncement();
    } catch (error) {
      for (const queue of this.#rxQueues) queue.end(error as Error);
    }
  }

  /** 5.1.6.5.4: after a move to another host the device asks the driver to tell the network where its address is now. */
  #lookForAnnouncement(): void {
    if (!this.#has(reg.Feature.GUEST_ANNOUNCE) || this.#isAnnouncing) return;
    const status = this.#transport.readConfig((config) => config.read16(reg.NET_STATUS));
    if ((status & reg.NET_STATUS_ANNOUNCE) === 0) return;
    this.#isAnnouncing = true;
    this.#announce()
      .catch((error: unknown) => debug('%s: announcement: %o', this.address, error))
      .finally(() => {
        this.#isAnnouncing = false;
      });
  }

  /** The device clears the request when it is acknowledged. A ring without room for the frame does not hold that up for long. */
  async #announce(): Promise<void> {
    await this.sendFrame(announcement(this.mac), { timeoutMs: ANNOUNCE_TIMEOUT_MS }).catch((error: unknown) =>
      debug('%s: its announcement was not sent: %o', this.address, error),
    );
    await this.#converse((command) =>
      command(reg.CTRL_ANNOUNCE_ACK, new Uint8Array(0), 'that it has announced itself'),
    );
  }

  /** 5.1.6.5.6: how many pairs are in use; where the device has RSS, also which flows go where. */
  async #setPairs(pairs: number): Promise<void> {
    const { rss } = this.#offer;
    const { symmetricRss } = this.#settings;
    await this.#converse((command) =>
      rss === undefined
        ? command(reg.CTRL_PAIRS_SET, Uint8Array.of(pairs & 0xff, pairs >>> 8), `${pairs} queue pairs`)
        : command(reg.CTRL_RSS_SET, rssConfig(rss, pairs, symmetricRss), `RSS for ${pairs} queue pairs`),
    );
  }

  #has(feature: number): boolean {
    return this.#offer.features.has(feature);
  }

  #converse(talk: (command: ControlQueue['command']) => Promise<void>): Promise<void> {
    return this.#control!.converse(talk);
  }

  /** @throws NicError `DEVICE_GONE`, `DEVICE_STATE` */
  #assertWorks(): void {
    this.#transport.assertWorks();
    if (this.#lie !== undefined) throw this.#lie;
  }

  #noteLie(what: string): void {
    this.#lie ??= new NicError('DEVICE_STATE', `${this.address} broke the rules of its rings: ${what}`, {
      path: this.address,
      hint: 'This is no device after VIRTIO 1.2, sections 2.7 and 2.8. Close it; open resets it.',
    });
    for (const queue of this.#rxQueues) queue.end(this.#lie);
  }

  /** The device is gone, whatever the back end calls that. */
  #endWaits(error: Error): void {
    const gone = error instanceof NicError && error.code === 'DEVICE_GONE' ? error : this.#transport.gone();
    for (const queue of this.#rxQueues) queue.end(gone);
  }
}

/** 5.1.6.5.2: unicast addresses, of which there are none beside the device's own, then groups, each with their number. */
function macTable(groups: readonly Uint8Array[]): Uint8Array {
  const table = new Uint8Array(8 + groups.length * MAC_BYTES);
  new DataView(table.buffer).setUint32(4, groups.length, true);
  for (const [i, group] of groups.entries()) table.set(group, 8 + i * MAC_BYTES);
  return table;
}

/**
 * A request that nobody answers, from which switches learn where an address is: RARP (RFC 903), for the driver knows no address of
 * layer 3.
 */
function announcement(mac: Uint8Array): Uint8Array {
  const frame = new Uint8Array(60).fill(0xff, 0, MAC_BYTES);
  frame.set(mac, MAC_BYTES);
  // Ethernet, IPv4, lengths of 6 and 4, "request reverse".
  frame.set([0x80, 0x35, 0, 1, 0x08, 0, 6, 4, 0, 3], 12);
  frame.set(mac, 22);
  frame.set(mac, 32);
  return frame;
}

/** `Driver` of virtio-net. */
export const virtio: Driver = {
  name: 'virtio',
  ids: IDS,
  limits: LIMITS,
  capabilities: CAPABILITIES,
  threads: virtioThreads,
  async open(vfio, id, options) {
    // Before the device is touched: the rest is checked when it has said what it can do.
    checkOpenOptions(options);
    options.signal?.throwIfAborted();
    vfio.reset();
    const transport = new Transport(vfio);
    await transport.reset(options.signal);
    const offer = readOffer(vfio, transport, options.rxMetadata === true);
    return new VirtioNet(vfio, id, transport, offer, options).start();
  },
};
