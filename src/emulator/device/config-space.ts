/**
 * PCI configuration space (chapter 9.3), with the capabilities where drivers that hard-code them look: power
 * management 0x40, MSI 0x50, MSI-X 0x70 (table and pending bits in BAR4), PCI Express 0xA0; device serial number
 * 0x140 in extended space.
 */
import { BAR0_SIZE_BYTES } from '../ixgbe/registers.js';

export const CONFIG_SIZE_BYTES = 4096;
export const MSIX_BAR_SIZE_BYTES = 0x4000;
export const MSIX_VECTORS = 64;

const COMMAND = 0x04;
const COMMAND_BUS_MASTER = 1 << 2;
const COMMAND_INTX_DISABLE = 1 << 10;
const DEVICE_CONTROL = 0xa8;
const DEVICE_CONTROL_FLR = 1 << 15;

/** 64-bit memory BAR, prefetchable, as lspci shows on cards. */
const BAR_FLAGS = 0x0c;

export interface ConfigEvents {
  /** The command register changed. */
  onCommand(busMaster: boolean, intxEnabled: boolean): void;
  /** Initiate Function Level Reset was written (9.3.10.6). */
  onFunctionLevelReset(): void;
}

export class ConfigSpace {
  readonly #bytes = new Uint8Array(CONFIG_SIZE_BYTES);
  readonly #view = new DataView(this.#bytes.buffer);
  /** Bits that a write changes. */
  readonly #writable = new Uint8Array(CONFIG_SIZE_BYTES);
  /** Bits that writing 1 clears. */
  readonly #clearable = new Uint8Array(CONFIG_SIZE_BYTES);
  readonly #events: ConfigEvents;
  readonly #deviceId: number;
  readonly #mac: Uint8Array;

  constructor(deviceId: number, mac: Uint8Array, events: ConfigEvents) {
    this.#deviceId = deviceId;
    this.#mac = mac;
    this.#events = events;
    this.reset();
  }

  get busMaster(): boolean {
    return (this.#view.getUint16(COMMAND, true) & COMMAND_BUS_MASTER) !== 0;
  }

  read(offset: number, into: Uint8Array): void {
    into.set(this.#bytes.subarray(offset, offset + into.length));
  }

  write(offset: number, from: Uint8Array): void {
    let resetWanted = false;
    for (let i = 0; i < from.length; i++) {
      const at = offset + i;
      const value = from[i]!;
      // FLR reads as 0, so it is not storage.
      if (at === DEVICE_CONTROL + 1 && (value & (DEVICE_CONTROL_FLR >>> 8)) !== 0) resetWanted = true;
      const mask = this.#writable[at]!;
      this.#bytes[at] = ((this.#bytes[at]! & ~mask) | (value & mask)) & ~(value & this.#clearable[at]!);
    }
    if (resetWanted) this.#events.onFunctionLevelReset();
    else if (offset < COMMAND + 2 && offset + from.length > COMMAND) this.#commandChanged();
  }

  #commandChanged(): void {
    const command = this.#view.getUint16(COMMAND, true);
    this.#events.onCommand((command & COMMAND_BUS_MASTER) !== 0, (command & COMMAND_INTX_DISABLE) === 0);
  }

  reset(): void {
    this.#bytes.fill(0);
    this.#writable.fill(0);
    this.#clearable.fill(0);
    this.#header();
    this.#bar(0x10, BAR0_SIZE_BYTES);
    this.#bar(0x20, MSIX_BAR_SIZE_BYTES);
    this.#powerManagement();
    this.#messageInterrupts();
    this.#express();
    this.#extended();
    this.#commandChanged();
  }

  #header(): void {
    this.#set16(0x00, 0x8086);
    this.#set16(0x02, this.#deviceId);
    // Memory, bus master, parity response, SERR, INTx disable. I/O is missing because there is no I/O BAR.
    this.#set16(COMMAND, 0, 0x0546);
    this.#set16(0x06, 0x0010, 0, 0xf900);
    this.#set8(0x08, 0x01);
    this.#set8(0x0b, 0x02);
    this.#set8(0x0c, 0x00, 0xff);
    this.#set16(0x2c, 0x8086);
    // Subsystem: Ethernet Server Adapter X520-1 for SFP cards; X540-T1; generic for backplane.
    this.#set16(0x2e, this.#deviceId === 0x10fb ? 0x000a : this.#deviceId === 0x1528 ? 0x0002 : 0x0000);
    this.#set8(0x34, 0x40);
    this.#set8(0x3c, 0x00, 0xff);
    this.#set8(0x3d, 0x01);
  }

  #bar(offset: number, sizeBytes: number): void {
    const mask = (~(sizeBytes - 1) & 0xfffffff0) >>> 0;
    this.#set32(offset, BAR_FLAGS, mask);
    this.#set32(offset + 4, 0, 0xffffffff);
  }

  #powerManagement(): void {
    this.#set32(0x40, 0x48235001);
    this.#set16(0x44, 0x2008, 0x0103, 0x8000);
  }

  #messageInterrupts(): void {
    // MSI: one message, 64-bit address, maskable.
    this.#set8(0x50, 0x05);
    this.#set8(0x51, 0x70);
    this.#set16(0x52, 0x0180, 0x0071);
    this.#set32(0x54, 0, 0xfffffffc);
    this.#set32(0x58, 0, 0xffffffff);
    this.#set16(0x5c, 0, 0xffff);
    this.#set32(0x60, 0, 0x1);
    // MSI-X: table at BAR4 + 0, pending bits at BAR4 + 0x2000.
    this.#set8(0x70, 0x11);
    this.#set8(0x71, 0xa0);
    this.#set16(0x72, MSIX_VECTORS - 1, 0xc000);
    this.#set32(0x74, 0x0000 | 4);
    this.#set32(0x78, 0x2000 | 4);
  }

  #express(): void {
    // Version 2 endpoint.
    this.#set32(0xa0, 0x00020010);
    // Function-level reset, 512-byte payload, role-based errors.
    this.#set32(0xa4, 0x10008cc2);
    this.#set16(DEVICE_CONTROL, 0x2810, 0x7fff);
    this.#set16(0xaa, 0, 0, 0x000f);
    // 5 GT/s, eight lanes.
    this.#set32(0xac, 0x00023c82);
    this.#set16(0xb0, 0, 0x01fb);
    this.#set16(0xb2, 0x1082);
    this.#set32(0xc4, 0x0000001f);
    this.#set16(0xc8, 0, 0x001f);
    this.#set32(0xd0, 0x00000002, 0x0000ffff);
  }

  #extended(): void {
    // Advanced error reporting without any errors, then the serial number made of the MAC address (9.4.2).
    this.#set32(0x100, 0x14010001);
    this.#set32(0x140, 0x00010003);
    const mac = this.#mac;
    this.#bytes.set([mac[5]!, mac[4]!, mac[3]!, 0xff, 0xff, mac[2]!, mac[1]!, mac[0]!], 0x144);
  }

  #set8(offset: number, value: number, writable = 0): void {
    this.#bytes[offset] = value;
    this.#writable[offset] = writable;
  }

  #set16(offset: number, value: number, writable = 0, clearable = 0): void {
    this.#view.setUint16(offset, value, true);
    for (let i = 0; i < 2; i++) {
      this.#writable[offset + i] = (writable >>> (8 * i)) & 0xff;
      this.#clearable[offset + i] = (clearable >>> (8 * i)) & 0xff;
    }
  }

  #set32(offset: number, value: number, writable = 0): void {
    this.#view.setUint32(offset, value, true);
    for (let i = 0; i < 4; i++) this.#writable[offset + i] = (writable >>> (8 * i)) & 0xff;
  }
}
