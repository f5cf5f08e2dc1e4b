/**
 * PCI configuration space of a model, made of a description: identifiers, BARs and capabilities. What it does by itself:
 * BARs tell their size, bits that are fixed stay, and a function-level reset and the command register are reported.
 */
import {
  BarBits,
  CapabilityId,
  CONVENTIONAL_SIZE_BYTES,
  Command,
  ConfigOffset,
  EXPRESS_SIZE_BYTES,
  Pcie,
  Status,
} from '../../pci/registers.js';
import type { CapabilityDescription, ConfigField } from './capabilities.js';

export interface ConfigDescription {
  readonly vendorId: number;
  readonly deviceId: number;
  readonly subsystemVendorId?: number;
  readonly subsystemId?: number;
  readonly revision?: number;
  /** 24 bits: base class, subclass, programming interface. */
  readonly classCode: number;
  /** In the order of the list that drivers walk; extended ones have a list of their own, which starts at 0x100. */
  readonly capabilities: readonly CapabilityDescription[];
}

/** A memory BAR of 64 bits, prefetchable, as NICs have them. */
export interface BarSize {
  /** 0 to 4: it takes the next one as well. */
  readonly index: number;
  /** A power of two. */
  readonly sizeBytes: number;
}

export interface ConfigEvents {
  /** The command register changed. */
  onCommand(busMaster: boolean, intxEnabled: boolean): void;
  /** Initiate Function Level Reset was written. */
  onFunctionLevelReset(): void;
}

/** Status bits that writing 1 clears: the errors (PCI 6.2.3). */
const STATUS_ERRORS = 0xf900;
// I/O space is missing because there are no I/O BARs.
const COMMAND_WRITABLE =
  Command.MEMORY_SPACE |
  Command.BUS_MASTER |
  Command.PARITY_RESPONSE |
  Command.SERR_ENABLE |
  Command.INTX_DISABLE;

export class EmulatedConfigSpace {
  readonly #bytes = new Uint8Array(EXPRESS_SIZE_BYTES);
  readonly #view = new DataView(this.#bytes.buffer);
  /** Bits that a write changes. */
  readonly #writable = new Uint8Array(EXPRESS_SIZE_BYTES);
  /** Bits that writing 1 clears. */
  readonly #clearable = new Uint8Array(EXPRESS_SIZE_BYTES);
  /** What it holds after a reset. */
  readonly #initial: Uint8Array;
  /** Byte whose highest bit starts a function-level reset; -1 without PCI Express. */
  readonly #resetByte: number;
  readonly #events: ConfigEvents;

  constructor(description: ConfigDescription, bars: readonly BarSize[], events: ConfigEvents) {
    this.#events = events;
    this.#header(description);
    for (const bar of bars) this.#bar(bar);
    const isExtended = ({ at }: CapabilityDescription) => at >= CONVENTIONAL_SIZE_BYTES;
    const { capabilities } = description;
    this.#list(capabilities.filter((capability) => !isExtended(capability)));
    this.#extendedList(capabilities.filter(isExtended));
    const express = capabilities.find(
      ({ id, at }) => id === CapabilityId.PCIE && at < CONVENTIONAL_SIZE_BYTES,
    );
    this.#resetByte = express === undefined ? -1 : express.at + Pcie.DEVICE_CONTROL + 1;
    this.#initial = this.#bytes.slice();
  }

  get sizeBytes(): number {
    return EXPRESS_SIZE_BYTES;
  }

  get busMaster(): boolean {
    return (this.#view.getUint16(ConfigOffset.COMMAND, true) & Command.BUS_MASTER) !== 0;
  }

  read(offset: number, into: Uint8Array): void {
    into.set(this.#bytes.subarray(offset, offset + into.length));
  }

  write(offset: number, from: Uint8Array): void {
    let resetWanted = false;
    for (let i = 0; i < from.length; i++) {
      const at = offset + i;
      const value = from[i]!;
      // The bit reads as 0, so it is not storage.
      if (at === this.#resetByte && (value & (Pcie.CONTROL_FLR >>> 8)) !== 0) resetWanted = true;
      const mask = this.#writable[at]!;
      this.#bytes[at] = ((this.#bytes[at]! & ~mask) | (value & mask)) & ~(value & this.#clearable[at]!);
    }
    const { COMMAND } = ConfigOffset;
    if (resetWanted) this.#events.onFunctionLevelReset();
    else if (offset < COMMAND + 2 && offset + from.length > COMMAND) this.#commandChanged();
  }

  reset(): void {
    this.#bytes.set(this.#initial);
    this.#commandChanged();
  }

  #commandChanged(): void {
    const command = this.#view.getUint16(ConfigOffset.COMMAND, true);
    this.#events.onCommand((command & Command.BUS_MASTER) !== 0, (command & Command.INTX_DISABLE) === 0);
  }

  #header(description: ConfigDescription): void {
    const { vendorId, deviceId, revision = 1, classCode, subsystemVendorId = vendorId } = description;
    const fields: readonly ConfigField[] = [
      [ConfigOffset.VENDOR_ID, 2, vendorId],
      [ConfigOffset.DEVICE_ID, 2, deviceId],
      [ConfigOffset.COMMAND, 2, 0, COMMAND_WRITABLE],
      [ConfigOffset.STATUS, 2, Status.CAPABILITIES_LIST, 0, STATUS_ERRORS],
      [ConfigOffset.REVISION_ID, 4, revision | (classCode << 8)],
      [ConfigOffset.CACHE_LINE_SIZE, 1, 0, 0xff],
      [ConfigOffset.SUBSYSTEM_VENDOR_ID, 2, subsystemVendorId],
      [ConfigOffset.SUBSYSTEM_ID, 2, description.subsystemId ?? 0],
      [ConfigOffset.INTERRUPT_LINE, 1, 0, 0xff],
      [ConfigOffset.INTERRUPT_PIN, 1, 1],
    ];
    for (const field of fields) this.#define(0, field);
  }

  #bar({ index, sizeBytes }: BarSize): void {
    const offset = ConfigOffset.BAR0 + 4 * index;
    const mask = ~(sizeBytes - 1) & ~BarBits.MEMORY_MASK;
    this.#define(offset, [0, 4, BarBits.TYPE_64 | BarBits.PREFETCHABLE, mask]);
    this.#define(offset, [4, 4, 0, 0xffffffff]);
  }

  #list(capabilities: readonly CapabilityDescription[]): void {
    this.#define(ConfigOffset.CAPABILITIES, [0, 1, capabilities[0]?.at ?? 0]);
    for (const [i, { id, at, fields }] of capabilities.entries()) {
      this.#define(at, [0, 2, id | ((capabilities[i + 1]?.at ?? 0) << 8)]);
      for (const field of fields) this.#define(at, field);
    }
  }

  #extendedList(capabilities: readonly CapabilityDescription[]): void {
    for (const [i, { id, at, version = 1, fields }] of capabilities.entries()) {
      this.#define(at, [0, 4, id | (version << 16) | ((capabilities[i + 1]?.at ?? 0) << 20)]);
      for (const field of fields) this.#define(at, field);
    }
  }

  #define(base: number, [offset, widthBytes, value, writable = 0, clearable = 0]: ConfigField): void {
    for (let i = 0; i < widthBytes; i++) {
      this.#bytes[base + offset + i] = value >>> (8 * i);
      this.#writable[base + offset + i] = writable >>> (8 * i);
      this.#clearable[base + offset + i] = clearable >>> (8 * i);
    }
  }
}
