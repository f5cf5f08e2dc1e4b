/**
 * What an emulated NIC is: a device to be served over vfio-user, a port on a link, and work to be polled. A family of
 * models is one folder and one line in `models.ts`; `examples/sample-nic.ts` is a small one.
 */
import type { Clock } from '../clock.js';
import type { ServedDevice } from '../vfio/user/served-device.js';
import type { ViolationOptions, Violations } from './device/violations.js';
import type { Pollable, Port } from './link.js';

export interface DeviceModel extends ServedDevice, Port, Pollable {
  /** For messages: `82599ES SFP+ #1`. */
  readonly name: string;
  /** What the driver did wrong, and what the IOMMU refused. */
  readonly violations: Violations;
  /** Frames that came from the wire while no driver received, where the model counts them. */
  readonly unheard?: number;
  /**
   * True where nothing can happen before a register is written or a frame comes: the driver sleeps until it is interrupted, and
   * writes a register when it wakes up. A doorbell in mapped memory is not heard, so a driver that rings one while it waits for
   * interrupts writes a register in addition. Models without it are polled all the time.
   */
  readonly resting?: boolean;
  /** Called when the client wrote a register: there may be work before the next poll is due. */
  onAccess: (() => void) | undefined;
  /** The hardware's statistics by name, not cleared by this; zeros are left out. For reports. */
  counters(): Readonly<Record<string, number>>;
  /** Forgets its client and releases what it holds (memory, descriptors). */
  close(): void;
}

/** Options that every family takes; what one has no use for, it ignores. */
export interface ModelOptions extends ViolationOptions {
  /** For messages. Made of the device's name and a number by default. */
  readonly name?: string;
  /** PCI device ID, one of the family's; the family's first by default. */
  readonly deviceId?: number;
  /** MAC address, six bytes. A locally administered one by default. */
  readonly mac?: Uint8Array;
  /**
   * Which clients may map the pages of doorbells, so that ringing one is a plain store. By default those that say they know
   * what else lies on these pages (Barewire's does): counters that a read clears, which a load does not. For all others every
   * access traps: slower, and right. True lets every client map, false none, which finds more mistakes.
   */
  readonly mappable?: boolean;
  readonly clock?: Clock;
}

/** Models of one controller, which differ by their PCI device ID. */
export interface ModelFamily {
  readonly vendorId: number;
  /** Names by PCI device ID; the first is the default. */
  readonly devices: ReadonlyMap<number, string>;
  /**
   * @param options with a `deviceId` of `devices`
   * @throws NicError `BAD_OPTION`
   */
  create(options: ModelOptions): DeviceModel;
}
