/**
 * The configuration space of a PCI function: identifiers, command register, BARs and capabilities.
 *
 * Section numbers: "PCI" is the PCI Local Bus Specification 3.0, "PCIe" the PCI Express Base Specification 4.0.
 * Everything is little-endian. A device that has left the bus answers every read with ones, so 0xffff as a vendor
 * (which no vendor has: PCI 6.2.1) means that it is gone.
 */
import { NicError } from '../errors.js';
import {
  ALL_ONES,
  BAR_COUNT,
  BarBits,
  CapabilityId,
  CONVENTIONAL_SIZE_BYTES,
  ConfigOffset,
  HeaderType,
  Msix,
  Pcie,
  Status,
} from './registers.js';

/** How config space is reached. A `Region` of VFIO is one. */
export interface ConfigAccess {
  /** 256 for conventional PCI, 4096 for PCI Express. */
  readonly sizeBytes: number;
  /** For messages: `config space of 0000:03:00.0`. */
  readonly name: string;
  read8(offset: number): number;
  read16(offset: number): number;
  read32(offset: number): number;
  write8(offset: number, value: number): void;
  write16(offset: number, value: number): void;
  write32(offset: number, value: number): void;
}

/** An entry of the capability list; `offset` is where its header lies. */
export interface Capability {
  readonly id: number;
  readonly offset: number;
}

export interface ExtendedCapability extends Capability {
  readonly version: number;
}

/** MSI-X capability (PCI 6.8.2). Offsets are in bytes from the start of the BAR. */
export interface MsixCapability {
  readonly offset: number;
  /** Number of vectors: 1 to 2048. */
  readonly tableSize: number;
  readonly tableBar: number;
  readonly tableOffset: number;
  /** The pending-bit array. */
  readonly pbaBar: number;
  readonly pbaOffset: number;
  readonly enabled: boolean;
}

/** PCI Express capability (PCIe 7.5.3). */
export interface PcieCapability {
  readonly offset: number;
  readonly version: number;
  /** Device/port type, for example 0 for an endpoint (PCIe 7.5.3.2). */
  readonly portType: number;
  /** The function can be reset on its own (PCIe 7.5.3.3, Function Level Reset Capability). */
  readonly hasFlr: boolean;
}

/** A base address register that is in use (PCI 6.2.5.1). */
export interface Bar {
  /** 0 to 5; a 64-bit BAR takes two and has the number of the first. */
  readonly index: number;
  readonly kind: 'io' | 'mem32' | 'mem64';
  readonly prefetchable: boolean;
  /** Bus address the register holds, 0 where none is assigned. */
  readonly address: bigint;
}

const HEADER_SIZE_BYTES = 0x40;

/** Reads and writes the configuration space of one function. For set-up and messages, not for the packet path. */
export class ConfigSpace {
  readonly #access: ConfigAccess;

  constructor(access: ConfigAccess) {
    this.#access = access;
  }

  /** @throws NicError `DEVICE_GONE` where the device no longer answers */
  get vendorId(): number {
    const id = this.#access.read16(ConfigOffset.VENDOR_ID);
    if (id === ALL_ONES) throw this.#gone();
    return id;
  }

  get deviceId(): number {
    return this.#access.read16(ConfigOffset.DEVICE_ID);
  }

  /** One of `HeaderType`. @throws NicError `DEVICE_GONE` where the device no longer answers */
  get headerType(): number {
    const type = this.#access.read8(ConfigOffset.HEADER_TYPE) & HeaderType.LAYOUT_MASK;
    if (type === HeaderType.LAYOUT_MASK) this.assertPresent();
    return type;
  }

  get subsystemVendorId(): number {
    return this.#access.read16(ConfigOffset.SUBSYSTEM_VENDOR_ID);
  }

  get subsystemId(): number {
    return this.#access.read16(ConfigOffset.SUBSYSTEM_ID);
  }

  get revision(): number {
    return this.#access.read8(ConfigOffset.REVISION_ID);
  }

  /** 24 bits: base class, subclass, programming interface. */
  get classCode(): number {
    // One aligned word: the class code begins at an odd offset, above the revision.
    return this.#access.read32(ConfigOffset.REVISION_ID) >>> 8;
  }

  /** The command register, see `Command`. */
  get command(): number {
    return this.#access.read16(ConfigOffset.COMMAND);
  }

  set command(value: number) {
    this.#access.write16(ConfigOffset.COMMAND, value);
  }

  /** The status register, see `Status`. */
  get status(): number {
    return this.#access.read16(ConfigOffset.STATUS);
  }

  /**
   * Sets and clears bits of the command register (`Command`), and leaves the others. Writes only where that changes it.
   * @throws NicError `DEVICE_GONE`: ones read from a lost device must not be written back to what comes after it
   */
  changeCommand(set: number, clear: number): void {
    const before = this.command;
    // Bits 15:11 are reserved and read 0, so ones are no command.
    if (before === ALL_ONES) throw this.#gone();
    const after = (before & ~clear) | set;
    if (after !== before) this.command = after;
  }

  /** @throws NicError `DEVICE_GONE` where the device no longer answers */
  assertPresent(): void {
    if (this.#access.read16(ConfigOffset.VENDOR_ID) === ALL_ONES) throw this.#gone();
  }

  /**
   * The capability list (PCI 6.7), in the device's order.
   * @throws NicError `DEVICE_GONE`; `CONFIG_SPACE` where the list runs in a loop or into the header
   */
  capabilities(): Capability[] {
    this.assertPresent();
    const found: Capability[] = [];
    if ((this.status & Status.CAPABILITIES_LIST) === 0) return found;
    const seen = new Set<number>();
    // The two low bits of a pointer are reserved and must be masked (PCI 6.7).
    let offset = this.#access.read8(ConfigOffset.CAPABILITIES) & 0xfc;
    while (offset !== 0) {
      this.#assertInList(offset, HEADER_SIZE_BYTES, CONVENTIONAL_SIZE_BYTES, seen);
      const header = this.#access.read16(offset);
      if (header === 0xffff) throw this.#ones(offset);
      found.push({ id: header & 0xff, offset });
      offset = (header >>> 8) & 0xfc;
    }
    return found;
  }

  /**
   * The extended capability list (PCIe 7.6.1, header in 7.6.3): empty for a conventional device, and where only
   * the first 256 bytes can be reached.
   * @throws NicError `DEVICE_GONE`; `CONFIG_SPACE` where the list runs in a loop or into the conventional part
   */
  extendedCapabilities(): ExtendedCapability[] {
    this.assertPresent();
    const found: ExtendedCapability[] = [];
    if (this.#access.sizeBytes <= CONVENTIONAL_SIZE_BYTES) return found;
    const seen = new Set<number>();
    let offset = CONVENTIONAL_SIZE_BYTES;
    do {
      this.#assertInList(offset, CONVENTIONAL_SIZE_BYTES, this.#access.sizeBytes, seen);
      const header = this.#access.read32(offset);
      if (header === 0xffffffff) {
        // A bridge answers ones for the extended space of a conventional device behind it.
        if (found.length === 0 && offset === CONVENTIONAL_SIZE_BYTES) {
          this.assertPresent();
          return found;
        }
        throw this.#ones(offset);
      }
      // Zero ends the list at its first place (PCIe 7.6.1). VFIO hides a first entry by giving it the
      // identifier zero and keeping the pointer (vfio_pci_config.c), so that one is only passed over.
      const id = header & 0xffff;
      if (id !== 0) found.push({ id, offset, version: (header >>> 16) & 0xf });
      offset = (header >>> 20) & 0xffc;
    } while (offset !== 0);
    return found;
  }

  /** The first capability with this identifier (`CapabilityId`). Throws as `capabilities` does. */
  findCapability(id: number): Capability | undefined {
    return this.capabilities().find((capability) => capability.id === id);
  }

  /** The first extended capability with this identifier. Throws as `extendedCapabilities` does. */
  findExtendedCapability(id: number): ExtendedCapability | undefined {
    return this.extendedCapabilities().find((capability) => capability.id === id);
  }

  /**
   * Where the MSI-X table lies and how many vectors it has (PCI 6.8.2); undefined without MSI-X.
   * @throws NicError as `capabilities`; `CONFIG_SPACE` where it names a BAR that cannot exist
   */
  msix(): MsixCapability | undefined {
    const offset = this.findCapability(CapabilityId.MSIX)?.offset;
    if (offset === undefined) return undefined;
    this.#assertFits('MSI-X', offset, Msix.SIZE_BYTES);
    const control = this.#access.read16(offset + Msix.CONTROL);
    const table = this.#access.read32(offset + Msix.TABLE);
    const pba = this.#access.read32(offset + Msix.PBA);
    const [tableBar, pbaBar] = [table & Msix.BAR_MASK, pba & Msix.BAR_MASK];
    if (tableBar >= BAR_COUNT || pbaBar >= BAR_COUNT) {
      throw this.#malformed(`MSI-X capability names BAR ${tableBar} and ${pbaBar}; there are 0 to 5`);
    }
    return {
      offset,
      tableSize: (control & Msix.CONTROL_TABLE_SIZE) + 1,
      tableBar,
      tableOffset: (table & ~Msix.BAR_MASK) >>> 0,
      pbaBar,
      pbaOffset: (pba & ~Msix.BAR_MASK) >>> 0,
      enabled: (control & Msix.CONTROL_ENABLE) !== 0,
    };
  }

  /** The PCI Express capability (PCIe 7.5.3); undefined for a conventional device. Throws as `capabilities` does. */
  pcie(): PcieCapability | undefined {
    const offset = this.findCapability(CapabilityId.PCIE)?.offset;
    if (offset === undefined) return undefined;
    this.#assertFits('PCI Express', offset, 8);
    const flags = this.#access.read16(offset + Pcie.FLAGS);
    return {
      offset,
      version: flags & 0xf,
      portType: (flags >>> 4) & 0xf,
      hasFlr: (this.#access.read32(offset + Pcie.DEVICE_CAPABILITIES) & Pcie.CAPABILITIES_FLR) !== 0,
    };
  }

  /**
   * Whether the function waits for answers to requests of its own (PCIe 7.5.3.5, Transactions Pending); false for a
   * conventional device. Throws as `capabilities` does.
   */
  transactionsPending(): boolean {
    const offset = this.pcie()?.offset;
    if (offset === undefined) return false;
    this.#assertFits('PCI Express', offset, Pcie.DEVICE_STATUS + 2);
    return (this.#access.read16(offset + Pcie.DEVICE_STATUS) & Pcie.STATUS_TRANSACTIONS_PENDING) !== 0;
  }

  /**
   * The base address registers that are in use (PCI 6.2.5.1). Their sizes are not told here: finding them means
   * writing to the registers, and VFIO has them as the sizes of its regions.
   * @param sizesBytes where they are known: a BAR is in use if it has a size. Otherwise a memory BAR of 32 bits at address
   *   0 that is not prefetchable looks like one that is not there, and is left out
   * @throws NicError `DEVICE_GONE`; `CONFIG_SPACE` where a 64-bit BAR has no second half
   */
  bars(sizesBytes?: readonly number[]): Bar[] {
    const bars: Bar[] = [];
    const type = this.headerType;
    const count = type === HeaderType.DEVICE ? BAR_COUNT : type === HeaderType.BRIDGE ? 2 : 0;
    for (let index = 0; index < count; index++) {
      const low = this.#access.read32(ConfigOffset.BAR0 + 4 * index);
      if (sizesBytes === undefined ? low === 0 : (sizesBytes[index] ?? 0) === 0) continue;
      if ((low & BarBits.IO) !== 0) {
        bars.push({
          index,
          kind: 'io',
          prefetchable: false,
          address: BigInt((low & ~BarBits.IO_MASK) >>> 0),
        });
        continue;
      }
      const prefetchable = (low & BarBits.PREFETCHABLE) !== 0;
      const address = BigInt((low & ~BarBits.MEMORY_MASK) >>> 0);
      if ((low & BarBits.TYPE_MASK) !== BarBits.TYPE_64) {
        bars.push({ index, kind: 'mem32', prefetchable, address });
        continue;
      }
      if (index + 1 === count)
        throw this.#malformed(`BAR${index} is of 64 bits but there is no BAR${index + 1}`);
      const high = this.#access.read32(ConfigOffset.BAR0 + 4 * (index + 1));
      bars.push({ index, kind: 'mem64', prefetchable, address: (BigInt(high) << 32n) | address });
      index++;
    }
    return bars;
  }

  #assertInList(offset: number, first: number, end: number, seen: Set<number>): void {
    if (offset < first || offset + 4 > end) {
      throw this.#malformed(`Capability pointer 0x${offset.toString(16)} is out of range`);
    }
    if (seen.has(offset)) throw this.#malformed(`Capability list runs in a loop at 0x${offset.toString(16)}`);
    seen.add(offset);
  }

  #assertFits(name: string, offset: number, sizeBytes: number): void {
    if (offset + sizeBytes > CONVENTIONAL_SIZE_BYTES) {
      throw this.#malformed(`${name} capability at 0x${offset.toString(16)} does not fit`);
    }
  }

  /** A header of ones in the middle of a list: the device has just gone, or the list leads nowhere. */
  #ones(offset: number): NicError {
    if (this.#access.read16(ConfigOffset.VENDOR_ID) === ALL_ONES) return this.#gone();
    return this.#malformed(`Capability header at 0x${offset.toString(16)} is all ones`);
  }

  #gone(): NicError {
    return new NicError(
      'DEVICE_GONE',
      `All ones read from ${this.#access.name}: the device does not answer`,
      {
        path: this.#access.name,
        hint: 'it was removed, lost its power or is being reset; "dmesg" may say which',
      },
    );
  }

  #malformed(what: string): NicError {
    return new NicError('CONFIG_SPACE', `${what} (${this.#access.name})`, {
      path: this.#access.name,
      hint: 'the device or its model is faulty; compare with "lspci -xxxx -s ADDRESS"',
    });
  }
}
