/**
 * What models of NICs do alike: name and MAC address, region accesses, resets, the client and the far port. A model
 * extends this class with what its registers do and how it moves frames.
 */
import type { DeviceHost, ServedArea, ServedDevice, ServedRegion } from '../../vfio/user/served-device.js';
import type { FrameMemory, Pollable, Port } from '../link.js';
import type { ConfigDescription } from './config-space.js';
import { type IdentityOptions, identify } from './identity.js';
import { type BarContent, type MemoryBar, PciFunction } from './pci-function.js';
import { RegisterFile } from './register-file.js';
import type { RegisterTable } from './register-table.js';
import { type ViolationOptions, Violations } from './violations.js';

export interface NicParts {
  /** What it is, for its name: `82599ES SFP+`. */
  readonly device: string;
  /** Where its rules are written, for violations: `82599 datasheet`. */
  readonly datasheet: string;
  /** Registers, in BAR0. */
  readonly table: RegisterTable;
  /** What of BAR0 a client may map; nothing where every access is to trap. */
  readonly areas?: readonly ServedArea[];
  /** Further BARs by index, such as the one for the table of MSI-X. */
  readonly memoryBars?: Readonly<Record<number, MemoryBar>>;
  readonly config: (mac: Uint8Array) => ConfigDescription;
}

export abstract class NicModel implements ServedDevice, Port, Pollable {
  readonly name: string;
  readonly mac: Uint8Array;
  readonly violations: Violations;
  readonly regions: readonly (ServedRegion | undefined)[];
  readonly irqCounts: readonly number[];
  onAccess: (() => void) | undefined;
  protected readonly registers: RegisterFile;
  /** The client, while there is one. */
  protected host: DeviceHost | undefined;
  /** Where frames go, while something is plugged in. */
  protected out: Port | undefined;
  /** Whether to send only what `out.room()` allows. */
  protected flowControl = false;
  readonly #function: PciFunction;
  readonly #memoryBars: readonly MemoryBar[];
  #closed = false;

  /** @throws NicError `BAD_OPTION` where the MAC address is not one */
  protected constructor(parts: NicParts, options: IdentityOptions & ViolationOptions) {
    ({ name: this.name, mac: this.mac } = identify(parts.device, options));
    this.violations = new Violations(parts.datasheet, options);
    this.registers = new RegisterFile(parts.table, parts.areas ?? [], this.violations);
    this.registers.onWritten = () => {
      this.onWritten();
      this.onAccess?.();
    };
    const bars: Record<number, BarContent> = { ...parts.memoryBars, 0: this.registers };
    this.#memoryBars = Object.values(parts.memoryBars ?? {});
    this.#function = new PciFunction(parts.config(this.mac), bars, {
      onCommand: (busMaster, intxEnabled) => this.onCommand(busMaster, intxEnabled),
      onFunctionLevelReset: () => this.reset(),
    });
    this.regions = this.#function.regions;
    this.irqCounts = this.#function.irqCounts;
  }

  /** Whether the driver lets the device do DMA and send MSI and MSI-X. */
  protected get busMaster(): boolean {
    return this.#function.config.busMaster;
  }

  // What a model does beyond its registers' values. Nothing, unless it says so.

  /** The client came, or is gone (`host` is undefined): its memory must not be touched after this. */
  protected onHost(): void {}
  /** The command register changed. */
  protected onCommand(_busMaster: boolean, _intxEnabled: boolean): void {}
  /** Registers were written. */
  protected onWritten(): void {}
  /** Registers and memory got their reset values; the configuration space is about to. */
  protected onReset(): void {}

  // ServedDevice

  attach(host: DeviceHost): void {
    this.host = host;
    this.onHost();
  }

  /** The client is gone. Like a real function that VFIO gives back, the device is reset. */
  detach(): void {
    this.host = undefined;
    this.onHost();
    this.reset();
  }

  /** Function-level reset. */
  reset(): void {
    this.registers.reset(true);
    for (const bar of this.#memoryBars) bar.reset();
    this.onReset();
    this.#function.config.reset();
  }

  regionRead(index: number, offset: number, into: Uint8Array): void {
    this.#function.read(index, offset, into);
    this.violations.raise();
  }

  regionWrite(index: number, offset: number, from: Uint8Array): void {
    this.#function.write(index, offset, from);
    this.violations.raise();
  }

  // Port and Pollable

  plug(out: Port | undefined, flowControl: boolean): void {
    this.out = out;
    this.flowControl = flowControl;
  }

  abstract deliver(memory: FrameMemory, offsetBytes: number, lengthBytes: number): boolean;
  abstract room(): number;
  abstract poll(budget: number): number;
  damaged(_lengthBytes: number): void {}
  flush(): void {}
  carrier(_up: boolean): void {}

  /** While there is a client. A model that knows better says when the driver has turned its receiver on. */
  receiving(): boolean {
    return this.host !== undefined;
  }

  /** See `DeviceModel`. */
  abstract counters(): Readonly<Record<string, number>>;

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    if (this.host !== undefined) this.detach();
    this.registers.close();
  }
}
