/**
 * An Intel 82599 (or X540) as a device to serve over vfio-user: puts the parts together, routes region accesses to
 * them, and carries out resets.
 */

import { type Clock, monotonicClock } from '../../clock.js';
import { NicError } from '../../errors.js';
import { PciRegion } from '../../vfio/types.js';
import type { DeviceHost, ServedRegion } from '../../vfio/user/served-device.js';
import { CONFIG_SIZE_BYTES, ConfigSpace, MSIX_BAR_SIZE_BYTES, MSIX_VECTORS } from '../device/config-space.js';
import { RegisterFile } from '../device/register-file.js';
import { type ViolationOptions, Violations } from '../device/violations.js';
import type { FrameMemory, Port } from '../link.js';
import type { DeviceModel } from '../model.js';
import { Eeprom } from './eeprom.js';
import { FlowControl } from './flow-control.js';
import { Interrupts } from './interrupts.js';
import { LinkState, type Media } from './link-state.js';
import { Management, type PluggedIn } from './management.js';
import { Receiver } from './receive.js';
import {
  BAR0_SIZE_BYTES,
  CTRL,
  CTRL_GIO_DIS,
  CTRL_LRST,
  CTRL_RST,
  HLREG0,
  HLREG0_LPBK,
  RDRXCTL,
  STATUS,
  STATUS_GIO,
} from './registers.js';
import { SfpModule } from './sfp-module.js';
import { Statistics } from './statistics.js';
import { Transmitter } from './transmit.js';

/** PCI device IDs the model can have, and what each is. */
export const IXGBE_DEVICES: ReadonlyMap<number, IxgbeKind> = new Map([
  [0x10fb, { name: '82599ES SFP+', media: 'sfp', packetBufferKib: 512 }],
  [0x10f7, { name: '82599 KX4 backplane', media: 'backplane', packetBufferKib: 512 }],
  [0x1528, { name: 'X540-AT2', media: 'copper', packetBufferKib: 384 }],
]);

export interface IxgbeKind {
  readonly name: string;
  readonly media: Media;
  /** Memory for received frames. */
  readonly packetBufferKib: number;
}

export interface IxgbeOptions extends ViolationOptions {
  readonly name?: string;
  /** One of `IXGBE_DEVICES`; 0x10fb by default. */
  readonly deviceId?: number;
  /** MAC address in the EEPROM, six bytes. A locally administered one by default. */
  readonly mac?: Uint8Array;
  /**
   * Lets the client map the pages of queue registers, so that doorbells are plain stores. Default true. False traps
   * every access, which finds more mistakes.
   */
  readonly mappable?: boolean;
  readonly clock?: Clock;
}

/** BAR0 pages that hold nothing but queue registers (and, see `Statistics`, some queue counters). */
const MAPPABLE_AREAS = [
  { offset: 0x1000, sizeBytes: 0x1000 },
  { offset: 0x6000, sizeBytes: 0x2000 },
  { offset: 0xd000, sizeBytes: 0x1000 },
] as const;

const DMAIDONE = 1 << 3;
const FDIRCTRL = 0xee00;
const FDIRCTRL_INIT_DONE = 1 << 3;
const FDIRCMD = 0xee2c;

let modelCount = 0;

/**
 * @example
 * const nic = new IxgbeModel({ deviceId: 0x10f7, strict: true });
 * connect(nic, otherNic);
 * // served by VfioUserServer, and in a loop:
 * nic.poll(64);
 */
export class IxgbeModel implements DeviceModel {
  readonly name: string;
  readonly regions: readonly (ServedRegion | undefined)[];
  readonly irqCounts = [1, 1, MSIX_VECTORS, 0, 0] as const;
  readonly mac: Uint8Array;
  onAccess: (() => void) | undefined;
  /** What the driver did wrong, and what the IOMMU refused. */
  readonly violations: Violations;
  /** Counters behind the statistics registers, to look at without clearing them. */
  readonly statistics: Statistics;

  readonly #registers: RegisterFile;
  readonly #config: ConfigSpace;
  readonly #msix = new Uint8Array(MSIX_BAR_SIZE_BYTES);
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
  #host: DeviceHost | undefined;
  #out: Port | undefined;
  #lossless = false;
  #loopback = false;
  #closed = false;

  /** @throws NicError `BAD_OPTION` where the device ID or MAC address is not one */
  constructor(options: IxgbeOptions = {}) {
    const deviceId = options.deviceId ?? 0x10fb;
    const device = IXGBE_DEVICES.get(deviceId);
    if (device === undefined) {
      const known = [...IXGBE_DEVICES.keys()].map((id) => id.toString(16)).join(', ');
      throw new NicError('BAD_OPTION', `no model of PCI device 8086:${deviceId.toString(16)}`, {
        hint: `device IDs that are emulated: ${known}`,
      });
    }
    modelCount++;
    this.mac = checkMac(options.mac ?? Uint8Array.of(0x02, 0xba, 0x7e, 0x00, modelCount >>> 8, modelCount));
    this.name = options.name ?? `${device.name} #${modelCount}`;
    this.violations = new Violations(options);
    this.#registers = new RegisterFile(options.mappable ?? true, this.violations);
    this.statistics = new Statistics(this.#registers);
    const clock = options.clock ?? monotonicClock;
    this.#interrupts = new Interrupts(this.#registers, clock);
    this.#link = new LinkState(this.#registers, this.#interrupts, device.media);
    this.#management = new Management(this.#registers, this.#pluggedIn(device.media));
    this.#eeprom = new Eeprom(this.#registers, this.mac);
    this.#flow = new FlowControl(this.#registers, this.statistics.counters, clock);
    this.#receiver = new Receiver(
      this.#registers,
      this.statistics,
      this.#interrupts,
      this.violations,
      this.#flow,
      device.packetBufferKib,
    );
    this.#transmitter = new Transmitter(
      this.#registers,
      this.statistics,
      this.#interrupts,
      this.violations,
      this.#flow,
    );
    this.#receiver.filters.reset(this.mac);
    this.#hookControl();
    this.#config = new ConfigSpace(deviceId, this.mac, {
      onCommand: (busMaster, intxEnabled) => {
        this.#interrupts.busMaster = busMaster;
        this.#interrupts.intxEnabled = intxEnabled;
        this.#applyHost(busMaster);
      },
      onFunctionLevelReset: () => this.reset(),
    });
    this.regions = this.#declareRegions();
  }

  /** What answers on the management buses: an X540's PHY, the module in an SFP cage, or nothing. */
  #pluggedIn(media: Media): PluggedIn {
    if (media === 'copper') return { phy: true };
    if (media !== 'sfp') return {};
    return { module: new SfpModule({ serial: serialNumber(this.mac), lit: () => this.#link.up }) };
  }

  #declareRegions(): (ServedRegion | undefined)[] {
    const regions: (ServedRegion | undefined)[] = new Array(9).fill(undefined);
    const access = { readable: true, writable: true };
    const fd = this.#registers.fd;
    const mapping = fd === undefined ? {} : { fd, areas: MAPPABLE_AREAS };
    regions[PciRegion.BAR0] = { sizeBytes: BAR0_SIZE_BYTES, ...access, ...mapping };
    regions[PciRegion.BAR4] = { sizeBytes: MSIX_BAR_SIZE_BYTES, ...access };
    regions[PciRegion.CONFIG] = { sizeBytes: CONFIG_SIZE_BYTES, ...access };
    return regions;
  }

  #hookControl(): void {
    const registers = this.#registers;
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

  // ServedDevice

  attach(host: DeviceHost): void {
    this.#host = host;
    this.#interrupts.attach(host);
    this.#applyHost(this.#config.busMaster);
  }

  /** The client is gone. Like a real function that VFIO gives back, the device is reset. */
  detach(): void {
    this.#host = undefined;
    this.#interrupts.detach();
    this.#applyHost(false);
    this.reset();
  }

  /** Function-level reset: everything but the link and what the EEPROM holds. */
  reset(): void {
    this.#registers.reset(true);
    this.statistics.clear();
    this.#link.reset();
    this.#management.releaseAll();
    this.#msix.fill(0);
    this.#resetParts();
    this.#config.reset();
  }

  regionRead(index: number, offset: number, into: Uint8Array): void {
    if (index === PciRegion.CONFIG) this.#config.read(offset, into);
    else if (index === PciRegion.BAR4) into.set(this.#msix.subarray(offset, offset + into.length));
    else if (index === PciRegion.BAR0) this.#readBar0(offset, into);
    else into.fill(0);
    this.violations.raise();
  }

  regionWrite(index: number, offset: number, from: Uint8Array): void {
    if (index === PciRegion.CONFIG) this.#config.write(offset, from);
    else if (index === PciRegion.BAR4) this.#msix.set(from, offset);
    else if (index === PciRegion.BAR0) this.#writeBar0(offset, from);
    this.violations.raise();
  }

  #readBar0(offset: number, into: Uint8Array): void {
    if (offset % 4 === 0 && (into.length === 4 || into.length === 8)) {
      for (let at = 0; at < into.length; at += 4) {
        const value = this.#registers.read(offset + at);
        for (let i = 0; i < 4; i++) into[at + i] = value >>> (8 * i);
      }
      return;
    }
    // Other sizes show what is stored, without side effects: nothing is cleared by half.
    this.#reportAccess(offset, into.length);
    for (let i = 0; i < into.length; i++) {
      into[i] = this.#registers.peek(offset + i) >>> (8 * ((offset + i) & 3));
    }
  }

  #writeBar0(offset: number, from: Uint8Array): void {
    if (offset % 4 !== 0 || (from.length !== 4 && from.length !== 8)) {
      this.#reportAccess(offset, from.length);
      return;
    }
    for (let at = 0; at < from.length; at += 4) {
      const value = from[at]! | (from[at + 1]! << 8) | (from[at + 2]! << 16) | (from[at + 3]! << 24);
      this.#registers.write(offset + at, value);
    }
    this.#interrupts.flush();
    this.onAccess?.();
  }

  #reportAccess(offset: number, sizeBytes: number): void {
    this.violations.report(
      this.#registers.nameAt(offset),
      '8.1.1',
      `access of ${sizeBytes} bytes; registers are 32 bits`,
    );
  }

  #control(value: number): void {
    if ((value & (CTRL_RST | CTRL_LRST)) !== 0) {
      this.#registers.reset(false);
      if ((value & CTRL_LRST) !== 0) this.#link.reset();
      this.#resetParts();
    } else {
      this.#registers.poke(CTRL, value);
    }
    const disabled = (this.#registers.peek(CTRL) & CTRL_GIO_DIS) !== 0;
    // No DMA is ever under way between two register accesses, so the master is disabled at once.
    this.#registers.poke(STATUS, disabled ? 0 : STATUS_GIO);
    this.#applyHost(this.#config.busMaster);
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

  #applyHost(busMaster: boolean): void {
    const allowed = busMaster && (this.#registers.peek(CTRL) & CTRL_GIO_DIS) === 0;
    this.#receiver.setHost(this.#host, allowed);
    this.#transmitter.setHost(this.#host, allowed);
  }

  // Port

  plug(out: Port | undefined, flowControl: boolean): void {
    this.#out = out;
    this.#lossless = flowControl;
    this.#applyOut();
  }

  /** With HLREG0.LPBK what is sent comes back, and nothing goes out or comes in (3.7.7). */
  #applyOut(): void {
    this.#loopback = (this.#registers.peek(HLREG0) & HLREG0_LPBK) !== 0;
    this.#flow.setOut(this.#loopback ? undefined : this.#out);
    this.#transmitter.setOut(this.#loopback ? this.#ownEnd : this.#out, !this.#loopback && this.#lossless);
  }

  deliver(memory: FrameMemory, offsetBytes: number, lengthBytes: number): boolean {
    if (this.#loopback) return true;
    return this.#receiver.deliver(memory, offsetBytes, lengthBytes);
  }

  damaged(lengthBytes: number): void {
    if (!this.#loopback) this.#receiver.damaged(lengthBytes);
  }

  flush(): void {
    this.#interrupts.flush();
  }

  room(): number {
    return this.#receiver.room();
  }

  carrier(up: boolean): void {
    this.#link.setCarrier(up);
  }

  // Pollable

  poll(budget: number): number {
    if (this.#host === undefined) return 0;
    const placed = this.#receiver.poll();
    const sent = this.#transmitter.poll(budget);
    this.#interrupts.flush();
    this.violations.raise();
    return placed + sent;
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    if (this.#host !== undefined) this.detach();
    this.#registers.close();
  }

  // For tests and reports

  /** Value of a register as the model holds it, without side effects. */
  peek(offset: number): number {
    return this.#registers.peek(offset) >>> 0;
  }
}

function checkMac(mac: Uint8Array): Uint8Array {
  if (mac.length !== 6 || (mac[0]! & 1) !== 0 || mac.every((byte) => byte === 0)) {
    throw new NicError('BAD_OPTION', 'a MAC address is six bytes, not multicast and not all zero');
  }
  return Uint8Array.from(mac);
}

/** `BW` and the MAC address. */
function serialNumber(mac: Uint8Array): string {
  return `BW${Array.from(mac, (byte) => byte.toString(16).padStart(2, '0'))
    .join('')
    .toUpperCase()}`;
}
