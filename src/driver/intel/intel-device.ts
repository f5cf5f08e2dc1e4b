/**
 * What the Intel families share: the order of bring-up and shutdown, ring and pool memory, queues, interrupts for
 * idle times and the sums of statistics. A family supplies the registers.
 */
import createDebug from 'debug';
import { NicError } from '../../errors.js';
import type { PacketPool } from '../../hugepage/packet-pool.js';
import { booleanOption } from '../../options.js';
import { Interrupts } from '../../vfio/interrupts.js';
import { PciIrq, PciRegion, type VfioDevice } from '../../vfio/types.js';
import { BaseDevice } from '../base-device.js';
import type {
  DeviceCapabilities,
  DeviceId,
  DeviceLimits,
  LinkState,
  NetStats,
  OpenOptions,
  QueueStats,
  Queues,
} from '../device.js';
import { type DeviceSettings, deviceSettings, multicastGroups, stationAddress } from '../options.js';
import { countQueues, sumQueues } from '../queue-counts.js';
import { RegisterFile } from '../register-file.js';
import { shutDownDevice } from '../shut-down.js';
import type { CounterSource } from './counters.js';
import { LAYOUT, TX_MIN_FRAME_BYTES } from './descriptors.js';
import { MULTICAST_WORDS, multicastTable, receiveAddress } from './filters.js';
import { type QueueInterrupts, type SharedInterrupt, SharedMask } from './interrupts.js';
import { RingMemory } from './rings.js';
import { IntelRxQueue, type RxMetadataBits } from './rx-queue.js';
import { IntelTxQueue, TX_OFFLOADS } from './tx-queue.js';

const debug = createDebug('barewire:driver');

const RING = { min: 64, max: 4096, powerOfTwo: true, default: 512 } as const;
/** Frames that were fetched and are counted by no MAC after this long were lost with the link. */
const LOST_AFTER_MS = 20;

/** Registers with the same meaning in all families, at offsets of their own. */
export interface IntelRegisters {
  /** A register that never reads all ones. */
  readonly status: number;
  readonly rxTail: (queue: number) => number;
  readonly txTail: (queue: number) => number;
  readonly txHead: (queue: number) => number;
  /** Absent where filters are not registers: a virtual function asks for them. */
  readonly filters?: FilterRegisters;
}

export interface FilterRegisters {
  /** Receive address 0, low and high (with Address Valid in bit 31), and the multicast table. */
  readonly receiveAddressLow: number;
  readonly receiveAddressHigh: number;
  readonly multicastTable: (word: number) => number;
  /** The filter control register and its unicast and multicast promiscuous bits. */
  readonly filterControl: number;
  readonly promiscuousBits: number;
}

/** What differs between families. */
export interface IntelFamily {
  readonly driver: string;
  readonly limits: DeviceLimits;
  readonly capabilities: DeviceCapabilities;
  readonly registers: IntelRegisters;
  /** Status bits of a receive descriptor that mean a damaged frame. */
  readonly rxErrorMask: number;
  /** Where receive descriptors tell of checksums; undefined where the driver offers no offloads. */
  readonly metadata?: RxMetadataBits;
  /**
   * The longest frame, where the hardware takes less than the buffers hold.
   * @param wantedBytes what `mtu` asks for; undefined for what is possible @throws NicError `BAD_OPTION`
   */
  readonly longestFrame?: (address: string, pool: PacketPool, wantedBytes: number | undefined) => number;
  /** `TxQueue.setRate`, where the hardware has it. @param link read where the line's speed matters */
  readonly setRate?: (
    registers: RegisterFile,
    queue: number,
    bitsPerS: number,
    link: () => LinkState,
    address: string,
  ) => number;
  /** Legacy descriptors in the transmit ring; without it advanced ones. */
  readonly legacyTransmit?: boolean;
  readonly counters: (registers: RegisterFile, queuePairs: number) => CounterSource;
  /** MSI-X, a vector for each receive queue. */
  readonly interrupts: QueueInterrupts;
  /** MSI, where there is no MSI-X. Without it idle waits look once a millisecond then. */
  readonly sharedInterrupt?: SharedInterrupt;
}

/** What all families of advanced descriptors are limited to. */
export function intelLimits(
  hardware: Pick<DeviceLimits, 'maxQueuePairs' | 'maxFrameBytes' | 'interruptIntervalUs'>,
): DeviceLimits {
  return { rxRing: RING, txRing: RING, minFrameBytes: TX_MIN_FRAME_BYTES, ...hardware };
}

/**
 * @param offloads whether the driver offers what advanced descriptors tell and can be told
 * @param more bits of `TxFlag` that the hardware does as well
 */
export function intelCapabilities(offloads: boolean, more = 0): DeviceCapabilities {
  return {
    rxMetadata: offloads,
    vlanStrip: offloads,
    txOffloads: TX_OFFLOADS | more,
    rxTimes: false,
    interrupts: true,
  };
}

const ADDRESS_VALID = (1 << 31) >>> 0;

export abstract class IntelDevice extends BaseDevice {
  readonly address: string;
  readonly driver: string;
  readonly model: string;
  readonly vfio: VfioDevice;
  readonly pool: PacketPool;
  readonly limits: DeviceLimits;
  readonly capabilities: DeviceCapabilities;
  readonly maxFrameBytes: number;
  mac: Uint8Array = new Uint8Array(6);
  protected readonly registers: RegisterFile;
  protected readonly rings: RingMemory;
  protected readonly queuePairs: number;
  protected readonly settings: DeviceSettings;
  readonly #rxQueues: IntelRxQueue[] = [];
  readonly #txQueues: IntelTxQueue[] = [];
  readonly #family: IntelFamily;
  readonly #hardware: CounterSource;
  /** Frames that wait on the transmit rings, at the last look. */
  #inRings = 0;
  #interrupts: Interrupts | undefined;
  #attached = false;
  /** Sent frames that the link lost: fetched, and counted by no MAC. */
  #lostFrames = 0;
  #fetchedSinceMs = Number.POSITIVE_INFINITY;
  #fetchedFrames = 0;

  /** @throws NicError `BAD_OPTION`, `NO_MEMORY` */
  constructor(vfio: VfioDevice, id: DeviceId, family: IntelFamily, options: OpenOptions) {
    super();
    this.address = vfio.address;
    this.driver = family.driver;
    this.model = id.name;
    this.vfio = vfio;
    this.#family = family;
    this.limits = family.limits;
    this.capabilities = family.capabilities;
    this.settings = deviceSettings(vfio.address, options, family.limits, family.capabilities);
    const { queuePairs, rxRingSize, txRingSize, pageSize, pool } = this.settings;
    this.queuePairs = queuePairs;
    this.pool = pool;
    try {
      const { maxFrameBytes } = this.settings;
      const wantedBytes = options.mtu === undefined ? undefined : maxFrameBytes;
      this.maxFrameBytes = family.longestFrame?.(vfio.address, pool, wantedBytes) ?? maxFrameBytes;
      this.registers = new RegisterFile(vfio.region(PciRegion.BAR0), vfio.address);
      this.#hardware = family.counters(this.registers, queuePairs);
      this.rings = new RingMemory({ queuePairs, rxRingSize, txRingSize, pageSize });
    } catch (error) {
      if (this.settings.ownsPool) pool.close();
      throw error;
    }
  }

  get rxQueues(): Queues<IntelRxQueue> {
    return this.#rxQueues as unknown as Queues<IntelRxQueue>;
  }

  get txQueues(): Queues<IntelTxQueue> {
    return this.#txQueues as unknown as Queues<IntelTxQueue>;
  }

  /** Stops DMA and interrupts and brings every register to its reset value (the datasheet's reset sequence). */
  protected abstract resetHardware(): Promise<void>;
  /** The address that the EEPROM gave, six bytes. */
  protected abstract readMac(): Uint8Array;
  /** Ring bases, buffer sizes, filters; the queues and the receiver stay off. */
  protected abstract setUpReceive(): Promise<void>;
  protected abstract setUpTransmit(): Promise<void>;
  /** Turns the queues on, and waits until each is. */
  protected abstract startQueues(): Promise<void>;
  protected abstract stopQueues(): Promise<void>;
  protected abstract startLink(): Promise<void>;
  abstract override linkState(): LinkState;

  /** Brings the device up. On failure the device is closed and the error is the first one. */
  async start(): Promise<this> {
    const { signal } = this.settings;
    try {
      signal?.throwIfAborted();
      this.registers.signal = signal;
      debug('%s: reset', this.address);
      this.vfio.reset();
      this.assertPresent();
      await this.resetHardware();
      this.pool.attach(this.vfio.mapper);
      this.#attached = true;
      this.rings.region.mapInto(this.vfio.mapper);
      this.vfio.enableBusMaster();
      this.mac = this.readMac();
      await this.setUpReceive();
      await this.setUpTransmit();
      this.#makeQueues();
      await this.applyPromiscuous(this.settings.promiscuous);
      this.#connectInterrupts();
      this.vfio.onGone((error) => this.#endWaits(error));
      // Clear-on-read counters may hold what happened before this open. Nothing counts while the receiver is off.
      this.#hardware.skip();
      await this.startQueues();
      for (const queue of this.#rxQueues) queue.start();
      await this.startLink();
      signal?.throwIfAborted();
      debug('%s: %s is up, MAC %s', this.address, this.model, this.macAddress);
      return this;
    } catch (error) {
      await this.close().catch((second: unknown) =>
        debug('%s: close after failure: %o', this.address, second),
      );
      throw error;
    } finally {
      this.registers.signal = undefined;
    }
  }

  async setMac(mac: Uint8Array): Promise<void> {
    this.closed.throwIfAborted();
    const address = stationAddress(mac);
    const { low, high } = receiveAddress(address);
    const { receiveAddressLow, receiveAddressHigh } = this.#filters;
    this.registers.write(receiveAddressLow, low);
    this.registers.write(receiveAddressHigh, (high | ADDRESS_VALID) >>> 0);
    this.mac = address;
  }

  async setPromiscuous(on: boolean): Promise<void> {
    this.closed.throwIfAborted();
    await this.applyPromiscuous(booleanOption('setPromiscuous', on));
  }

  /** Puts the option into effect; at open, and when it changes. */
  protected applyPromiscuous(on: boolean): Promise<void> {
    return this.changeFilterControl(this.#filters.promiscuousBits, on);
  }

  /** Sets or clears bits of the filter control register, whether the receiver is on or not. */
  protected async changeFilterControl(mask: number, on: boolean): Promise<void> {
    const { filterControl } = this.#filters;
    if (on) this.registers.set(filterControl, mask);
    else this.registers.clear(filterControl, mask);
  }

  async setMulticast(groups: readonly Uint8Array[] | 'all'): Promise<void> {
    this.closed.throwIfAborted();
    const checked = multicastGroups(groups);
    // A full table is the same as multicast promiscuous, and leaves that bit to setPromiscuous.
    const table =
      checked === 'all' ? new Uint32Array(MULTICAST_WORDS).fill(0xffff_ffff) : multicastTable(checked);
    const offset = this.#filters.multicastTable;
    for (const [word, bits] of table.entries()) this.registers.write(offset(word), bits);
  }

  onGone(listener: (error: Error) => void): () => void {
    return this.vfio.onGone(listener);
  }

  stats(): NetStats {
    if (!this.closed.aborted) this.#readState();
    return {
      ...sumQueues(this.#rxQueues, this.#txQueues, LAYOUT),
      txInRing: this.#inRings,
      ...this.#hardware.sums,
    };
  }

  queueStats(): QueueStats[] {
    return countQueues(this.#rxQueues, this.#txQueues, LAYOUT);
  }

  registerCounters(): Record<string, number> {
    this.closed.throwIfAborted();
    this.assertPresent();
    return this.#hardware.byName();
  }

  /**
   * Every frame was counted at the MAC; or the hardware has fetched all, and the counters stand still though the link is
   * up: a link that went down took the rest with it.
   */
  protected isDrained(): boolean {
    const { wireTxPackets = 0, txPackets, txInRing } = this.stats();
    const missing = txPackets - wireTxPackets - this.#lostFrames;
    if (missing <= 0) return true;
    const nowMs = performance.now();
    if (txInRing !== 0 || !this.linkState().up || wireTxPackets !== this.#fetchedFrames) {
      this.#fetchedSinceMs = nowMs;
      this.#fetchedFrames = wireTxPackets;
    } else if (nowMs - this.#fetchedSinceMs >= LOST_AFTER_MS) {
      this.#lostFrames += missing;
      return true;
    }
    return false;
  }

  protected async shutDown(): Promise<void> {
    this.registers.signal = undefined;
    const queues = [...this.#rxQueues, ...this.#txQueues];
    await shutDownDevice(
      {
        vfio: this.vfio,
        interrupts: this.#interrupts,
        queues,
        rings: this.rings.region,
        pool: this.pool,
        attached: this.#attached,
        ownsPool: this.settings.ownsPool,
        why: this.closedError(),
      },
      async (attempt) => {
        // Threads that have queues of this device leave them while the rings are still there.
        await attempt('queues of other threads', async () => {
          await Promise.all(queues.map((queue) => queue.beginClose()));
        });
        if (this.#rxQueues.length > 0) {
          await attempt('read counters', () => this.#readState());
          await attempt('stop queues', () => this.stopQueues());
        }
        if (this.#attached) await attempt('reset', () => this.resetHardware());
      },
    );
  }

  #makeQueues(): void {
    const { pool, rings, registers, maxFrameBytes, settings } = this;
    const { rxErrorMask: errorMask } = this.#family;
    const { legacyTransmit: legacy = false, setRate } = this.#family;
    const { rxTail, txTail } = this.#family.registers;
    const metadata = settings.rxMetadata ? this.#family.metadata : undefined;
    const mask = this.#queueMask();
    for (let q = 0; q < this.queuePairs; q++) {
      this.#rxQueues.push(
        new IntelRxQueue({
          ring: rings.rx[q]!.words,
          tail: registers.doorbell(rxTail(q)),
          pool,
          address: this.address,
          maxFrameBytes,
          errorMask,
          metadata,
          interrupt: mask && {
            arm: () => {
              // First: what is sent from the unmasking on is told.
              this.#announceSends(true);
              mask.arm(q);
            },
            disarm: () => {
              mask.disarm(q);
              this.#announceSends(false);
            },
          },
        }),
      );
      const ring = rings.tx[q]!.words;
      this.#txQueues.push(
        new IntelTxQueue({
          ring,
          tail: registers.doorbell(txTail(q)),
          pool,
          maxFrameBytes,
          address: this.address,
          legacy,
          offloads: this.capabilities.txOffloads,
          setRate:
            setRate && ((bitsPerS) => setRate(registers, q, bitsPerS, () => this.linkState(), this.address)),
          mayRest: this.#mayRest,
        }),
      );
    }
  }

  /**
   * An emulator that serves us does not look at mapped doorbells while we wait for interrupts; what is sent meanwhile is
   * announced by a write that it hears. When a wait ends, masking the interrupt is one.
   */
  get #mayRest(): boolean {
    return this.vfio.backend === 'vfio-user' && this.#family.interrupts.announce !== undefined;
  }

  #announceSends(on: boolean): void {
    if (!this.#mayRest) return;
    const announce = on ? () => this.#family.interrupts.announce!(this.registers) : undefined;
    for (const queue of this.#txQueues) queue.announceSends(announce);
  }

  /** What the hardware counts, and how far it has come on the transmit rings. @throws NicError `DEVICE_GONE` */
  #readState(): void {
    // A device that is gone would add all ones to each sum.
    this.assertPresent();
    this.#hardware.read();
    const { txHead, txTail } = this.#family.registers;
    this.#inRings = 0;
    for (const [q, queue] of this.#txQueues.entries())
      this.#inRings += queue.countFrames(this.registers.read(txHead(q)), this.registers.read(txTail(q)));
  }

  /** @throws NicError `DEVICE_GONE` */
  protected assertPresent(): void {
    this.registers.assertPresent(this.#family.registers.status, 'STATUS');
  }

  /** The device is gone, whatever the back end calls that. */
  #endWaits(error: Error): void {
    const gone =
      error instanceof NicError && error.code === 'DEVICE_GONE'
        ? error
        : new NicError('DEVICE_GONE', `${this.address} is gone: ${error.message}`, {
            path: this.address,
            hint: 'Close it, and open it again when it is back.',
            cause: error,
          });
    for (const queue of this.#rxQueues) queue.end(gone);
  }

  /** Unmasks and masks a queue's interrupt; undefined where waits have to look. */
  #queueMask(): { arm(queue: number): void; disarm(queue: number): void } | undefined {
    const { registers } = this;
    const { interrupts, sharedInterrupt } = this.#family;
    if (this.#hasVectors) {
      return {
        arm: (queue) => interrupts.arm(registers, queue),
        disarm: (queue) => interrupts.disarm(registers, queue),
      };
    }
    return sharedInterrupt !== undefined && this.#hasMsi
      ? new SharedMask(sharedInterrupt, registers)
      : undefined;
  }

  get #hasMsi(): boolean {
    return this.vfio.irqInfo(PciIrq.MSI).count > 0;
  }

  get #hasVectors(): boolean {
    return this.vfio.irqInfo(PciIrq.MSIX).count >= this.queuePairs;
  }

  /** Each receive queue has a vector of its own; without enough of them its waits look once a millisecond. */
  #connectInterrupts(): void {
    const { interrupts, sharedInterrupt } = this.#family;
    if (this.#hasVectors) {
      this.#interrupts = new Interrupts(this.vfio, this.queuePairs);
      interrupts.route(this.registers, this.queuePairs);
      this.#throttle(interrupts);
      for (const [q, queue] of this.#rxQueues.entries()) {
        this.#interrupts.onInterrupt(q, () => queue.interrupted());
      }
    } else if (sharedInterrupt !== undefined && this.#hasMsi) {
      this.#interrupts = new Interrupts(this.vfio, 1, { index: PciIrq.MSI });
      sharedInterrupt.route(this.registers, this.queuePairs);
      this.#throttle(sharedInterrupt);
      this.#interrupts.onInterrupt(0, () => {
        sharedInterrupt.acknowledge(this.registers);
        for (const queue of this.#rxQueues) queue.interrupted();
      });
    } else if (this.settings.interruptIntervalUs > 0) {
      throw new NicError('BAD_OPTION', `${this.address} has too few interrupt vectors to interrupt at all`, {
        path: this.address,
        hint: 'Leave interruptIntervalUs out, or open fewer queue pairs.',
      });
    } else {
      debug('%s: too few interrupt vectors, %d needed: idle waits poll', this.address, this.queuePairs);
    }
  }

  #throttle(interrupts: QueueInterrupts): void {
    const { interruptIntervalUs } = this.settings;
    if (interruptIntervalUs > 0) interrupts.throttle?.(this.registers, this.queuePairs, interruptIntervalUs);
  }

  get #filters(): FilterRegisters {
    const { filters } = this.#family.registers;
    if (filters === undefined) throw new Error(`${this.driver} has no filter registers`);
    return filters;
  }
}
