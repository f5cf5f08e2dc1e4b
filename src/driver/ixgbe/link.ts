/** Link of the 82599 family (82599 datasheet 3.7.4 and 4.6.4). */
import type { LinkState } from '../device.js';
import { type SharedResource, withResource } from '../intel/semaphore.js';
import type { RegisterFile } from '../register-file.js';
import * as reg from './registers.js';

const RESTART_TIMEOUT_MS = 1000;
const SPEEDS_MBPS = [0, 100, 1000, 10_000] as const;

/** AUTOC and its kin, which firmware may write too. */
const LINK_REGISTERS: SharedResource = {
  swsm: reg.SWSM,
  swFwSync: reg.SW_FW_SYNC,
  software: reg.SW_FW_SYNC_MAC_CSR,
  firmware: reg.SW_FW_SYNC_MAC_CSR << reg.SW_FW_SYNC_FIRMWARE_SHIFT,
  name: 'SW_FW_SYNC.MAC_CSR',
};

/** How a device's MAC reaches the wire. */
export type Media = 'sfp' | 'backplane' | 'copper-phy';

/**
 * Starts the link; does not wait for the partner.
 *
 * - `sfp`: 10 Gb/s over SFI, the mode of SFP+ modules.
 * - `backplane`: the mode that the EEPROM chose, negotiated anew.
 * - `copper-phy` (X540): the PHY negotiates by itself; the MAC follows it, and AUTOC does not exist.
 */
export async function startLink(registers: RegisterFile, media: Media): Promise<void> {
  if (media === 'copper-phy') return;
  await withResource(registers, LINK_REGISTERS, async () => {
    let autoc = registers.read(reg.AUTOC);
    if (media === 'sfp') {
      autoc = (autoc & ~reg.AUTOC_LMS_MASK) | reg.AUTOC_LMS_10G_SERIAL;
      registers.write(
        reg.AUTOC2,
        ((registers.read(reg.AUTOC2) & ~reg.AUTOC2_PMA_MASK) | reg.AUTOC2_PMA_SFI) >>> 0,
      );
    }
    registers.write(reg.AUTOC, (autoc | reg.AUTOC_RESTART_AN) >>> 0);
    await registers.waitFor(reg.AUTOC, reg.AUTOC_RESTART_AN, 0, 'AUTOC.RESTART_AN', RESTART_TIMEOUT_MS);
  });
}

export function linkState(registers: RegisterFile): LinkState {
  const links = registers.read(reg.LINKS);
  const up = (links & reg.LINKS_UP) !== 0;
  // The family knows no half duplex.
  return { up, speedMbps: up ? SPEEDS_MBPS[(links >>> reg.LINKS_SPEED_SHIFT) & 3]! : 0, fullDuplex: up };
}
