/** Link of the 82576 with its internal copper PHY (datasheet 3.5.6 and 4.5.7). */
import { followPhy, negotiate } from '../intel/gigabit.js';
import { type SharedResource, withResource } from '../intel/semaphore.js';
import type { RegisterFile } from '../register-file.js';
import * as reg from './registers.js';

export async function startLink(registers: RegisterFile): Promise<void> {
  followPhy(registers);
  await withResource(registers, phyOf(registers), () => negotiate(registers));
}

/** The PHY of this port: firmware and the other port's driver use the same wires. */
function phyOf(registers: RegisterFile): SharedResource {
  const port = (registers.read(reg.STATUS) >>> reg.STATUS_LAN_ID_SHIFT) & reg.STATUS_LAN_ID_MASK;
  const software = reg.SW_FW_SYNC_PHY0 << port;
  return {
    swsm: reg.SWSM,
    swFwSync: reg.SW_FW_SYNC,
    software,
    firmware: software << reg.SW_FW_SYNC_FIRMWARE_SHIFT,
    name: 'SW_FW_SYNC.PHY',
  };
}
