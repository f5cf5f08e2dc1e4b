/**
 * What the Intel families share: the order of bring-up and shutdown, ring and pool memory, queues, interrupts for
 * idle times and the sums of statistics. A family supplies the registers.
 */
import createDebug from 'debug';
import { NicError } from '../../errors.js';
import type { PageSize } from '../../hugepage/dma-region.js';
import { PacketPool } from '../../hugepage/packet-pool.js';
import { Interrupts } from '../../vfio/interrupts.js';
import { PciIrq, PciRegion, type VfioDevice } from '../../vfio/types.js';
import type { DeviceId, LinkState, NetDevice, NetStats, OpenOptions } from '../device.js';
import { RegisterFile } from '../register-file.js';
import { PacketWait } from '../wait.js';
import { receiveAddress } from './filters.js';
import { RingMemory } from './rings.js';
import {
  IntelRxQueue,
  RX_BYTES,
  RX_DAMAGED,
  RX_NO_BUFFER,
  RX_PACKETS,
  RX_TOO_LONG,
  type RxMetadataBits,
} from './rx-queue.js';
import { IntelTxQueue, TX_BYTES, TX_ERRORS, TX_PACKETS } from './tx-queue.js';

const debug = createDebug('barewire:driver');

const RING_MIN = 64;
const RING_MAX = 4096;
const RING_DEFAULT = 512;
/** Buffers of an own pool beyond those that fill the rings. */
const SPARE_BUFFERS = 1024;
const LINK_POLL_MS = 10;

/** Counters that a family reads from its hardware; cumulative. */
export interface HardwareCounters {
  rxMissed: number;
  rxErrors: number;
  wireRxPackets: number;
  wireRxBytes: number;
  wireTxPackets: number;
  wireTxBytes: number;
}

/** What differs between families besides register offsets. */
export interface IntelFamily {
  readonly driver: string;
  readonly maxQueuePairs: number;
  /** Status bits of a receive descriptor that mean a damaged frame. */
  readonly rxErrorMask: number;
  /** Where receive descriptors tell of checksums; undefined where the driver offers no offloads. */
  readonly metadata?: RxMetadataBits;
  /** Offset of a queue's tail register. */
  readonly rxTail: (queue: number) => number;
  readonly txTail: (queue: number) => number;
}

export abstract class IntelDevice implements NetDevice {
  readonly address: string;
  readonly driver: string;
  readonly model: string;
  readonly vfio: VfioDevice;
  readonly pool: PacketPool;
  readonly rxQueues: IntelRxQueue[] = [];
  readonly txQueues: IntelTxQueue[] = [];
  mac: Uint8Array = new Uint8Array(6);
  protected readonly registers: RegisterFile;
  protected readonly rings: RingMemory;
  protected readonly queuePairs: number;
  protected readonly options: OpenOptions;
  protected readonly hardware: HardwareCounters = {
    rxMissed: 0,
    rxErrors: 0,
    wireRxPackets: 0,
    wireRxBytes: 0,
    wireTxPackets: 0,
    wireTxBytes: 0,
  };
  readonly #family: IntelFamily;
  readonly #ownsPool: boolean;
  #wait: PacketWait | undefined;
  #interrupts: Interrupts | undefined;
  #attached = false;
  #closing: Promise<void> | undefined;

  /** @throws NicError `BAD_OPTION`, `NO_MEMORY` */
  constructor(vfio: VfioDevice, id: DeviceId, family: IntelFamily, options: OpenOptions) {
    this.address = vfio.address;
    this.driver = family.driver;
    this.model = id.name;
    this.vfio = vfio;
    this.#family = family;
    this.options = options;
    if (family.metadata === undefined && (options.rxMetadata === true || options.vlanStrip === true)) {
      throw new NicError('BAD_OPTION', `The ${family.driver} driver offers no rxMetadata and no vlanStrip`, {
        path: vfio.address,
      });
    }
    this.queuePairs = checkCount('queuePairs', options.queuePairs ?? 1, family.maxQueuePairs);
    const rxRingSize = checkRing('rxRingSize', options.rxRingSize ?? RING_DEFAULT);
    const txRingSize = checkRing('txRingSize', options.txRingSize ?? RING_DEFAULT);
    const pageSize: PageSize = options.pageSize ?? 'auto';
    this.registers = new RegisterFile(vfio.region(PciRegion.BAR0), vfio.address);
    this.#ownsPool = options.pool === undefined;
    this.pool = options.pool ?? ownPool(options, this.queuePairs * (rxRingSize + txRingSize), pageSize);
    const needed = this.queuePairs * rxRingSize;
    if (this.pool.available < needed) {
      throw new NicError(
        'BAD_OPTION',
        `${vfio.address} needs ${needed} buffers for its receive rings and the pool has ${this.pool.available} free`,
        { hint: 'Make the pool larger: the receive and transmit rings of all devices, and some in flight.' },
      );
    }
    try {
      this.rings = new RingMemory({ queuePairs: this.queuePairs, rxRingSize, txRingSize, pageSize });
    } catch (error) {
      if (this.#ownsPool) this.pool.close();
      throw error;
    }
  }

  get macAddress(): string {
    return Array.from(this.mac, (byte) => byte.toString(16).padStart(2, '0')).join(':');
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
  /** Routes receive queue q to MSI-X vector q; all stay masked. */
  protected abstract routeInterrupts(): void;
  protected abstract unmaskReceiveInterrupts(): void;
  protected abstract maskReceiveInterrupts(): void;
  /** Adds what the clear-on-read counters hold to `hardware`. */
  protected abstract readCounters(): void;
  /** @throws NicError `DEVICE_GONE` */
  protected abstract assertPresent(): void;
  abstract linkState(): LinkState;
  abstract setPromiscuous(on: boolean): void;
  abstract setMulticast(groups: readonly Uint8Array[] | 'all'): void;
  protected abstract writeReceiveAddress(low: number, high: number): void;

  /** Brings the device up. On failure the device is closed and the error is the first one. */
  async start(): Promise<this> {
    try {
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
      this.setPromiscuous(this.options.promiscuous ?? false);
      this.#connectInterrupts();
      await this.startQueues();
      for (const queue of this.rxQueues) queue.start();
      await this.startLink();
      // Clear-on-read counters may hold what happened before this open.
      this.readCounters();
      for (const name of Object.keys(this.hardware) as (keyof HardwareCounters)[]) this.hardware[name] = 0;
      debug('%s: %s is up, MAC %s', this.address, this.model, this.macAddress);
      return this;
    } catch (error) {
      await this.close().catch((second: unknown) =>
        debug('%s: close after failure: %o', this.address, second),
      );
      throw error;
    }
  }

  setMac(mac: Uint8Array): void {
    const { low, high } = receiveAddress(mac);
    this.writeReceiveAddress(low, high);
    this.mac = Uint8Array.from(mac);
  }

  async waitForLink(timeoutMs: number): Promise<LinkState> {
    const deadline = performance.now() + timeoutMs;
    for (;;) {
      this.assertPresent();
      const state = this.linkState();
      if (state.up || performance.now() >= deadline || this.#closing !== undefined) return state;
      await new Promise((resolve) => setTimeout(resolve, LINK_POLL_MS));
    }
  }

  stats(): NetStats {
    if (this.#closing === undefined) {
      this.assertPresent();
      this.readCounters();
    }
    const sum = (queues: readonly { counters: Float64Array }[], index: number): number =>
      queues.reduce((total, queue) => total + queue.counters[index]!, 0);
    return {
      rxPackets: sum(this.rxQueues, RX_PACKETS),
      rxBytes: sum(this.rxQueues, RX_BYTES),
      txPackets: sum(this.txQueues, TX_PACKETS),
      txBytes: sum(this.txQueues, TX_BYTES),
      rxTooLong: sum(this.rxQueues, RX_TOO_LONG),
      rxDamaged: sum(this.rxQueues, RX_DAMAGED),
      rxNoBuffer: sum(this.rxQueues, RX_NO_BUFFER),
      txErrors: sum(this.txQueues, TX_ERRORS),
      ...this.hardware,
    };
  }

  waitForPackets(timeoutMs: number): Promise<boolean> {
    if (this.#wait === undefined || this.#closing !== undefined) return Promise.resolve(false);
    return this.#wait.wait(timeoutMs);
  }

  async drain(timeoutMs: number): Promise<boolean> {
    const deadline = performance.now() + timeoutMs;
    for (;;) {
      const { wireTxPackets, txPackets } = this.stats();
      if (wireTxPackets >= txPackets) return true;
      if (performance.now() >= deadline || this.#closing !== undefined) return false;
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  }

  close(): Promise<void> {
    this.#closing ??= this.#shutDown();
    return this.#closing;
  }

  async #shutDown(): Promise<void> {
    this.#wait?.cancel();
    let failure: unknown;
    // A device that hangs or is gone must not keep the memory: bus mastering off ends its DMA all the same.
    const attempt = async (step: string, action: () => void | Promise<void>): Promise<void> => {
      try {
        debug('%s: %s', this.address, step);
        await action();
      } catch (error) {
        failure ??= error;
      }
    };
    if (this.rxQueues.length > 0) {
      await attempt('read counters', () => this.readCounters());
      await attempt('stop queues', () => this.stopQueues());
    }
    if (this.#attached) await attempt('reset', () => this.resetHardware());
    await attempt('bus master off', () => this.vfio.disableBusMaster());
    await attempt('interrupts off', () => this.#interrupts?.close());
    for (const queue of this.rxQueues) queue.close();
    for (const queue of this.txQueues) queue.close();
    await attempt('unmap rings', () => this.rings.region.close());
    if (this.#attached) await attempt('unmap buffers', () => this.pool.detach(this.vfio.mapper));
    if (this.#ownsPool) await attempt('free buffers', () => this.pool.close());
    await attempt('close device', () => this.vfio.close());
    if (failure !== undefined) throw failure;
  }

  #makeQueues(): void {
    const { pool, rings, registers } = this;
    const { rxErrorMask: errorMask, rxTail, txTail } = this.#family;
    const metadata = this.options.rxMetadata === true ? this.#family.metadata : undefined;
    for (let q = 0; q < this.queuePairs; q++) {
      const rx = { ring: rings.rx[q]!.words, tail: registers.doorbell(rxTail(q)), pool, errorMask, metadata };
      this.rxQueues.push(new IntelRxQueue(rx));
      this.txQueues.push(
        new IntelTxQueue({ ring: rings.tx[q]!.words, tail: registers.doorbell(txTail(q)), pool }),
      );
    }
  }

  #connectInterrupts(): void {
    const pending = (): boolean => this.rxQueues.some((queue) => queue.pending);
    const vectors = this.vfio.irqInfo(PciIrq.MSIX).count;
    if (vectors >= this.queuePairs) {
      this.#interrupts = new Interrupts(this.vfio, this.queuePairs);
      this.routeInterrupts();
      this.#wait = new PacketWait({
        pending,
        arm: () => this.unmaskReceiveInterrupts(),
        disarm: () => this.maskReceiveInterrupts(),
      });
      for (let q = 0; q < this.queuePairs; q++) {
        this.#interrupts.onInterrupt(q, () => this.#wait?.wake());
      }
    } else {
      debug('%s: %d MSI-X vectors, %d needed: idle waits poll', this.address, vectors, this.queuePairs);
      this.#wait = new PacketWait({ pending });
    }
  }
}

function ownPool(options: OpenOptions, ringSlots: number, pageSize: PageSize): PacketPool {
  const { buffers = ringSlots + SPARE_BUFFERS, bufferSizeBytes, debug: checks } = options;
  return new PacketPool({
    buffers,
    pageSize,
    ...(bufferSizeBytes === undefined ? {} : { bufferSizeBytes }),
    ...(checks === undefined ? {} : { debug: checks }),
  });
}

function checkCount(name: string, value: number, max: number): number {
  if (Number.isInteger(value) && value >= 1 && value <= max) return value;
  throw new NicError('BAD_OPTION', `${name} is ${value}`, { hint: `Give 1 to ${max}.` });
}

function checkRing(name: string, value: number): number {
  if (Number.isInteger(Math.log2(value)) && value >= RING_MIN && value <= RING_MAX) return value;
  throw new NicError('BAD_OPTION', `${name} is ${value}`, {
    hint: `Give a power of two from ${RING_MIN} to ${RING_MAX}.`,
  });
}
