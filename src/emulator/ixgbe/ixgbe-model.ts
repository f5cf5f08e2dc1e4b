/**
 * An Intel 82599 (or X540) as a device to serve over vfio-user: puts the parts together and carries out resets.
 */
import { systemClock } from '../../clock.js';
import { NicError } from '../../errors.js';
import { formatIds } from '../../pci/ids.js';
import type { ServedArea } from '../../vfio/user/served-device.js';
import { NicModel } from '../device/nic-model.js';
import { MemoryBar } from '../device/pci-function.js';
import type { FrameBurst, FrameMemory, Port } from '../link.js';
import type { DeviceModel, ModelFamily, ModelOptions } from '../model.js';
import { describeConfig, MSIX_BAR, MSIX_BAR_SIZE_BYTES, VENDOR_ID } from './config.js';
import { Eeprom } from './eeprom.js';
import { FlowControl } from './flow-control.js';
import { Interrupts, VECTOR_COUNT } from './interrupts.js';
import { LinkState, type Media } from './link-state.js';
import { Management, type PluggedIn } from './management.js';
import { Receiver } from './receive.js';
import {
  CTRL,
  CTRL_GIO_DIS,
  CTRL_LRST,
  CTRL_RST,
  HLREG0,
  HLREG0_LPBK,
  RDRXCTL,
  STATUS,
  STATUS_GIO,
  TABLE,
} from './registers.js';
import { SfpModule } from './sfp-module.js';
import { Statistics } from './statistics.js';
import { Transmitter } from './transmit.js';

const DEFAULT_DEVICE = 0x10fb;
/** PCI device IDs the model can have, and what each is. */
const IXGBE_DEVICES: ReadonlyMap<number, IxgbeKind> = new Map([
  [DEFAULT_DEVICE, { name: '82599ES SFP+', media: 'sfp', packetBufferKib: 512 }],
  [0x10f7, { name: '82599 KX4 backplane', media: 'backplane', packetBufferKib: 512 }],
  [0x1528, { name: 'X540-AT2', media: 'copper', packetBufferKib: 384 }],
]);

interface IxgbeKind {
  readonly name: string;
  readonly media: Media;
  /** Memory for received frames. */
  readonly packetBufferKib: number;
}

export const ixgbe: ModelFamily = {
  vendorId: VENDOR_ID,
  devices: new Map(Array.from(IXGBE_DEVICES, ([id, { name }]) => [id, name])),
  create: (options) => new IxgbeModel(options),
};

/**
 * BAR0 pages that hold nothing but queue registers, and, as `Statistics` says, counters of queues: receive queues 0 to 63,
 * transmit queues, receive queues 64 to 127. Doorbells and counters lie on the same pages, so no split of pages serves
 * drivers that count on both.
 */
const QUEUE_PAGES: readonly ServedArea[] = [
  { offset: 0x1000, sizeBytes: 0x1000, onlyKnowing: true },
  { offset: 0x6000, sizeBytes: 0x2000, onlyKnowing: true },
  { offset: 0xd000, sizeBytes: 0x1000, onlyKnowing: true },
];

const DMAIDONE = 1 << 3;
const FDIRCTRL = 0xee00;
const FDIRCTRL_INIT_DONE = 1 << 3;
const FDIRCMD = 0xee2c;

/**
 * @example
 * const nic = new IxgbeModel({ deviceId: 0x10f7, strict: true });
 * connect(nic, otherNic);
 * // served by VfioUserServer, and in a loop:
 * nic.poll(64);
 */
export class IxgbeModel extends NicModel implements DeviceModel {
  /** Counters behind the statistics registers, to look at without clearing them. */
  readonly statistics: Statistics;

  readonly #interrupts: Interrupts;
  readonly #link: LinkState;
  readonly #management: Management;
  readonly #eeprom: Eeprom;
  readonly #receiver: Receiver;
  readonly #transmitter: Transmitter;
  readonly #flow: FlowControl;
  /** Where frames go in loopback: past `deliver`, which takes those of the wire. */
  readonly #ownEnd: Port = {
    plug: () => {},
    deliver: (memory, offsetBytes, lengthBytes) => this.#receiver.deliver(memory, offsetBytes, lengthBytes),
    damaged: (lengthBytes) => this.#receiver.damaged(lengthBytes),
    flush: () => this.flush(),
    room: () => this.room(),
    carrier: () => {},
  };
  readonly #mapsForAll: boolean;
  #loopback = false;
  #unheardInLoopback = 0;

  /** @throws NicError `BAD_OPTION` where the device ID or MAC address is not one */
  constructor(options: ModelOptions = {}) {
    const deviceId = options.deviceId ?? DEFAULT_DEVICE;
    const device = IXGBE_DEVICES.get(deviceId);
    if (device === undefined) {
      throw new NicError('BAD_OPTION', `no model of PCI device ${formatIds(VENDOR_ID, deviceId)}`);
    }
    super(
      {
        device: device.name,
        datasheet: '82599 datasheet',
        table: TABLE,
        areas: mappableAreas(options.mappable),
        memoryBars: { [MSIX_BAR]: new MemoryBar(MSIX_BAR_SIZE_BYTES) },
        config: (mac) => describeConfig(deviceId, mac, VECTOR_COUNT),
      },
      options,
    );
    this.#mapsForAll = options.mappable === true;
    this.statistics = new Statistics(this.registers);
    const clock = options.clock ?? systemClock;
    this.#interrupts = new Interrupts(this.registers, clock);
    this.#link = new LinkState(this.registers, this.#interrupts, device.media);
    this.#management = new Management(this.registers, this.#pluggedIn(device.media));
    this.#eeprom = new Eeprom(this.registers, this.mac);
    this.#flow = new FlowControl(this.registers, this.statistics.counters, clock);
    this.#receiver = new Receiver(
      this.registers,
      this.statistics,
      this.#interrupts,
      this.violations,
      this.#flow,
      device.packetBufferKib,
    );
    this.#transmitter = new Transmitter(
      this.registers,
      this.statistics,
      this.#interrupts,
      this.violations,
      this.#flow,
      clock,
    );
    this.#receiver.filters.reset(this.mac);
    this.#hookControl();
  }

  get resting(): boolean {
    // Clients that were not asked whether they know the model's ways may ring doorbells that nobody hears.
    return !this.#mapsForAll && this.#interrupts.awaited && !this.#transmitter.waiting;
  }

  /** What answers on the management buses: an X540's PHY, the module in an SFP cage, or nothing. */
  #pluggedIn(media: Media): PluggedIn {
    if (media === 'copper') return { phy: true };
    if (media !== 'sfp') return {};
    return { module: new SfpModule({ serial: serialNumber(this.mac), lit: () => this.#link.up }) };
  }

  #hookControl(): void {
    const registers = this.registers;
    registers.hook('CTRL', undefined, (value) => this.#control(value));
    registers.hook('HLREG0', undefined, (value) => {
      registers.poke(HLREG0, value);
      this.#receiver.configure();
      this.#transmitter.configure();
      this.#applyOut();
    });
    registers.hook('RDRXCTL', undefined, (value) => registers.poke(RDRXCTL, value | DMAIDONE));
    registers.hook('FDIRCTRL', undefined, (value) => registers.poke(FDIRCTRL, value | FDIRCTRL_INIT_DONE));
    registers.hook('FDIRCMD', undefined, (value) => registers.poke(FDIRCMD, value & ~3));
  }

  protected override onHost(): void {
    this.#interrupts.setHost(this.host);
    this.#applyHost();
  }

  protected override onCommand(busMaster: boolean, intxEnabled: boolean): void {
    this.#interrupts.busMaster = busMaster;
    this.#interrupts.intxEnabled = intxEnabled;
    this.#applyHost();
  }

  protected override onWritten(): void {
    this.#interrupts.flush();
  }

  /** Function-level reset: everything but the link and what the EEPROM holds. */
  protected override onReset(): void {
    this.statistics.clear();
    this.#link.reset();
    this.#management.releaseAll();
    this.#resetParts();
  }

  #control(value: number): void {
    if ((value & (CTRL_RST | CTRL_LRST)) !== 0) {
      this.registers.reset(false);
      if ((value & CTRL_LRST) !== 0) this.#link.reset();
      this.#resetParts();
    } else {
      this.registers.poke(CTRL, value);
    }
    const disabled = (this.registers.peek(CTRL) & CTRL_GIO_DIS) !== 0;
    // No DMA is ever under way between two register accesses, so the master is disabled at once.
    this.registers.poke(STATUS, disabled ? 0 : STATUS_GIO);
    this.#applyHost();
  }

  /** What a software reset does to the parts after the registers got their values. */
  #resetParts(): void {
    this.#eeprom.reset();
    this.#management.reset();
    this.#interrupts.reset();
    this.statistics.resetMapping();
    this.#receiver.reset();
    this.#receiver.filters.reset(this.mac);
    this.#transmitter.reset();
    this.#flow.reset();
    this.#applyOut();
  }

  #applyHost(): void {
    const mayMaster = (this.registers.peek(CTRL) & CTRL_GIO_DIS) === 0;
    const allowed = this.host !== undefined && this.busMaster && mayMaster;
    this.#receiver.setHost(this.host, allowed);
    this.#transmitter.setHost(this.host, allowed);
  }

  // Port

  override plug(out: Port | undefined, flowControl: boolean): void {
    super.plug(out, flowControl);
    this.#applyOut();
  }

  /** With HLREG0.LPBK what is sent comes back, and nothing goes out or comes in (3.7.7). */
  #applyOut(): void {
    this.#loopback = (this.registers.peek(HLREG0) & HLREG0_LPBK) !== 0;
    this.#flow.setOut(this.#loopback ? undefined : this.out);
    this.#transmitter.setOut(this.#loopback ? this.#ownEnd : this.out, !this.#loopback && this.flowControl);
  }

  deliver(memory: FrameMemory, offsetBytes: number, lengthBytes: number): boolean {
    if (this.#loopback) {
      this.#unheardInLoopback++;
      return true;
    }
    return this.#receiver.deliver(memory, offsetBytes, lengthBytes);
  }

  deliverBurst(burst: FrameBurst): void {
    if (this.#loopback) this.#unheardInLoopback += burst.count;
    else this.#receiver.deliverBurst(burst);
  }

  override damaged(lengthBytes: number): void {
    if (!this.#loopback) this.#receiver.damaged(lengthBytes);
  }

  override flush(): void {
    this.#interrupts.flush();
  }

  room(): number {
    return this.#receiver.room();
  }

  override carrier(up: boolean): void {
    this.#link.setCarrier(up);
  }

  override receiving(): boolean {
    return !this.#loopback && this.#receiver.receiving;
  }

  maxFrameBytes(): number {
    return this.#receiver.maxFrameBytes;
  }

  /** Frames that came from the wire while no driver received. */
  get unheard(): number {
    return this.#receiver.unheard + this.#unheardInLoopback;
  }

  // Pollable

  poll(budget: number): number {
    if (this.host === undefined) return 0;
    const placed = this.#receiver.poll();
    const sent = this.#transmitter.poll(budget);
    this.#interrupts.flush();
    this.violations.raise();
    return placed + sent;
  }

  // For tests and reports

  counters(): Readonly<Record<string, number>> {
    return this.statistics.byName();
  }

  /** Value of a register as the model holds it, without side effects. */
  peek(offset: number): number {
    return this.registers.peek(offset) >>> 0;
  }
}

function mappableAreas(mappable: boolean | undefined): readonly ServedArea[] {
  if (mappable === undefined) return QUEUE_PAGES;
  return mappable ? QUEUE_PAGES.map((area) => ({ ...area, onlyKnowing: false })) : [];
}

/** `BW` and the MAC address. */
function serialNumber(mac: Uint8Array): string {
  return `BW${Array.from(mac, (byte) => byte.toString(16).padStart(2, '0'))
    .join('')
    .toUpperCase()}`;
}
