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
import { addCounters, type CounterMap, type HardwareCounters, noCounts } from './counters.js';
import { MULTICAST_WORDS, multicastTable, receiveAddress } from './filters.js';
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
/** Longest sleep of a device whose slots all wait in another's transmit ring: it cannot interrupt. */
const BLOCKED_MS = 1;

/** Registers with the same meaning in all families, at offsets of their own. */
export interface IntelRegisters {
  /** A register that never reads all ones. */
  readonly status: number;
  readonly rxTail: (queue: number) => number;
  readonly txTail: (queue: number) => number;
  /** Receive address 0, low and high (with Address Valid in bit 31), and the multicast table. */
  readonly receiveAddressLow: number;
  readonly receiveAddressHigh: number;
  readonly multicastTable: (word: number) => number;
  /** The filter control register and its unicast and multicast promiscuous bits. */
  readonly filterControl: number;
  readonly promiscuousBits: number;
  /** Interrupt mode, the value for MSI-X with auto-mask, and the vector registers. */
  readonly gpie: number;
  readonly gpieMsix: number;
  readonly eiac: number;
  readonly eiam: number;
  readonly eims: number;
  readonly eimc: number;
  readonly ivar: (queue: number) => number;
  readonly ivarRxShift: (queue: number) => number;
}

/** What differs between families. */
export interface IntelFamily {
  readonly driver: string;
  readonly maxQueuePairs: number;
  readonly registers: IntelRegisters;
  /** Status bits of a receive descriptor that mean a damaged frame. */
  readonly rxErrorMask: number;
  /** Where receive descriptors tell of checksums; undefined where the driver offers no offloads. */
  readonly metadata?: RxMetadataBits;
  readonly counters: (queuePairs: number) => CounterMap;
}

const ADDRESS_VALID = (1 << 31) >>> 0;
const IVAR_VALID = 1 << 7;
const IVAR_ENTRY_MASK = 0xff;

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
  readonly #hardware = noCounts();
  readonly #family: IntelFamily;
  readonly #counters: CounterMap;
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
    this.#counters = family.counters(this.queuePairs);
    const rxRingSize = checkRing('rxRingSize', options.rxRingSize ?? RING_DEFAULT);
    const txRingSize = checkRing('txRingSize', options.txRingSize ?? RING_DEFAULT);
    const pageSize: PageSize = options.pageSize ?? 'auto';
    this.registers = new RegisterFile(vfio.region(PciRegion.BAR0), vfio.address);
    this.#ownsPool = options.pool === undefined;
    this.pool = options.pool ?? ownPool(options, this.queuePairs * (rxRingSize + txRingSize), pageSize);
    const needed = this.queuePairs * rxRingSize;
    if (this.pool.available < needed) {
      const { available } = this.pool;
      if (this.#ownsPool) this.pool.close();
      throw new NicError(
        'BAD_OPTION',
        `${vfio.address} needs ${needed} buffers for its receive rings and the pool has ${available} free`,
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
  abstract linkState(): LinkState;
  /** Brings the device up. On failure the device is closed and the error is the first one. */
  async start(): Promise<this> {
    try {
      debug('%s: reset', this.address);
      this.vfio.reset();
      this.#assertPresent();
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
      this.#readCounters(noCounts());
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
    const { receiveAddressLow, receiveAddressHigh } = this.#family.registers;
    this.registers.write(receiveAddressLow, low);
    this.registers.write(receiveAddressHigh, (high | ADDRESS_VALID) >>> 0);
    this.mac = Uint8Array.from(mac);
  }

  setPromiscuous(on: boolean): void {
    const { filterControl, promiscuousBits } = this.#family.registers;
    if (on) this.registers.set(filterControl, promiscuousBits);
    else this.registers.clear(filterControl, promiscuousBits);
  }

  setMulticast(groups: readonly Uint8Array[] | 'all'): void {
    // A full table is the same as multicast promiscuous, and leaves that bit to setPromiscuous.
    const table =
      groups === 'all' ? new Uint32Array(MULTICAST_WORDS).fill(0xffff_ffff) : multicastTable(groups);
    const offset = this.#family.registers.multicastTable;
    for (const [word, bits] of table.entries()) this.registers.write(offset(word), bits);
  }

  async waitForLink(timeoutMs: number): Promise<LinkState> {
    const deadline = performance.now() + timeoutMs;
    for (;;) {
      const late = performance.now() >= deadline; // before the look, see RegisterFile.waitFor
      this.#assertPresent();
      const state = this.linkState();
      if (state.up || late || this.#closing !== undefined) return state;
      await new Promise((resolve) => setTimeout(resolve, LINK_POLL_MS));
    }
  }

  stats(): NetStats {
    if (this.#closing === undefined) {
      this.#assertPresent();
      this.#readCounters(this.#hardware);
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
      ...this.#hardware,
    };
  }

  waitForPackets(timeoutMs: number): Promise<boolean> {
    if (this.#wait === undefined || this.#closing !== undefined) return Promise.resolve(false);
    const blocked = this.rxQueues.some((queue) => queue.blocked);
    return this.#wait.wait(blocked ? Math.min(timeoutMs, BLOCKED_MS) : timeoutMs);
  }

  async drain(timeoutMs: number): Promise<boolean> {
    const deadline = performance.now() + timeoutMs;
    for (;;) {
      const late = performance.now() >= deadline; // before the look, see RegisterFile.waitFor
      const { wireTxPackets, txPackets } = this.stats();
      if (wireTxPackets >= txPackets) return true;
      if (late || this.#closing !== undefined) return false;
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
      await attempt('read counters', () => {
        // A device that is gone would add all ones to each sum.
        this.#assertPresent();
        this.#readCounters(this.#hardware);
      });
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
    const { rxErrorMask: errorMask } = this.#family;
    const { rxTail, txTail } = this.#family.registers;
    const metadata = this.options.rxMetadata === true ? this.#family.metadata : undefined;
    for (let q = 0; q < this.queuePairs; q++) {
      const rx = { ring: rings.rx[q]!.words, tail: registers.doorbell(rxTail(q)), pool, errorMask, metadata };
      this.rxQueues.push(new IntelRxQueue(rx));
      this.txQueues.push(
        new IntelTxQueue({ ring: rings.tx[q]!.words, tail: registers.doorbell(txTail(q)), pool }),
      );
    }
  }

  #readCounters(sums: HardwareCounters): void {
    addCounters(this.registers, this.#counters, sums);
  }

  /** @throws NicError `DEVICE_GONE` */
  #assertPresent(): void {
    this.registers.assertPresent(this.#family.registers.status, 'STATUS');
  }

  /** One bit a receive queue: queue q uses vector q. */
  #vectors(): number {
    return (1 << this.queuePairs) - 1;
  }

  /** Routes receive queue q to vector q. The hardware acknowledges and masks when it fires: one interrupt per arming. */
  #routeInterrupts(): void {
    const reg = this.#family.registers;
    this.registers.write(reg.gpie, reg.gpieMsix);
    this.registers.write(reg.eiac, this.#vectors());
    this.registers.write(reg.eiam, this.#vectors());
    for (let q = 0; q < this.queuePairs; q++) {
      const shift = reg.ivarRxShift(q);
      const others = this.registers.read(reg.ivar(q)) & ~(IVAR_ENTRY_MASK << shift);
      this.registers.write(reg.ivar(q), (others | ((q | IVAR_VALID) << shift)) >>> 0);
    }
  }

  #connectInterrupts(): void {
    const { eims, eimc } = this.#family.registers;
    const pending = (): boolean => this.rxQueues.some((queue) => queue.pending);
    const vectors = this.vfio.irqInfo(PciIrq.MSIX).count;
    if (vectors >= this.queuePairs) {
      this.#interrupts = new Interrupts(this.vfio, this.queuePairs);
      this.#routeInterrupts();
      this.#wait = new PacketWait({
        pending,
        arm: () => this.registers.write(eims, this.#vectors()),
        disarm: () => this.registers.write(eimc, this.#vectors()),
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
