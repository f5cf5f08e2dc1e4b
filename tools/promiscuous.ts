/** What a user has to know of a port that cannot receive every frame. */
import type { NetDevice } from '../src/driver/device.js';
import { warn } from './output.js';

/** Says so where promiscuous mode was asked for and brings less. */
export function warnOfMissingFrames({ address, capabilities, macAddress }: NetDevice): void {
  if (capabilities.promiscuous !== 'multicast') return;
  warn(
    `${address} is a virtual function: of unicast frames only those to ${macAddress} come`,
    'stations have to send there; a hook (fwd --on-packet) can put in for whom a frame is',
  );
}
