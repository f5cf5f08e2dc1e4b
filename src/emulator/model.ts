/** What any emulated NIC is: a device to be served over vfio-user, a port on a link, and work to be polled. */
import type { ServedDevice } from '../vfio/user/served-device.js';
import type { Pollable, Port } from './link.js';

export interface DeviceModel extends ServedDevice, Port, Pollable {
  /** For messages: `82599ES SFP+ #1`. */
  readonly name: string;
  /** Called when the client accessed a register: there may be work before the next poll is due. */
  onAccess: (() => void) | undefined;
  /** Forgets its client and releases what it holds (memory, descriptors). */
  close(): void;
}
