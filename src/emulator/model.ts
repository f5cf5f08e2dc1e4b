/** What any emulated NIC is: a device to be served over vfio-user, a port on a link, and work to be polled. */
import type { ServedDevice } from '../vfio/user/served-device.js';
import type { Pollable, Port } from './link.js';

export interface DeviceModel extends ServedDevice, Port, Pollable {
  /** For messages: `nic0 (8086:10fb)`. */
  readonly name: string;
  /** Forgets its client and releases what it holds (memory, descriptors). */
  close(): void;
}
