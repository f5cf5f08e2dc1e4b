/** Link of the 82599 family (82599 datasheet 3.7.4 and 4.6.4). */
import type { LinkState } from '../device.js';
import type { RegisterFile } from '../register-file.js';
import * as reg from './registers.js';

const SEMAPHORE_TIMEOUT_MS = 1000;
const RESTART_TIMEOUT_MS = 1000;
const SPEEDS_MBPS = [0, 100, 1000, 10_000] as const;

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
  await withMacRegisters(registers, async () => {
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

/** Runs `action` while this driver owns the link registers, which firmware may write too (10.5.4). */
async function withMacRegisters(registers: RegisterFile, action: () => Promise<void>): Promise<void> {
  const ours = reg.SW_FW_SYNC_MAC_CSR;
  const theirs = ours << reg.SW_FW_SYNC_FIRMWARE_SHIFT;
  await takeSemaphore(registers);
  try {
    await registers.waitFor(reg.SW_FW_SYNC, ours | theirs, 0, 'SW_FW_SYNC.MAC_CSR', SEMAPHORE_TIMEOUT_MS);
    registers.set(reg.SW_FW_SYNC, ours);
  } finally {
    releaseSemaphore(registers);
  }
  try {
    await action();
  } finally {
    await takeSemaphore(registers);
    registers.clear(reg.SW_FW_SYNC, ours);
    releaseSemaphore(registers);
  }
}

async function takeSemaphore(registers: RegisterFile): Promise<void> {
  await registers.waitFor(reg.SWSM, reg.SWSM_SMBI, 0, 'SWSM.SMBI', SEMAPHORE_TIMEOUT_MS);
  registers.set(reg.SWSM, reg.SWSM_SWESMBI);
  const sticky = reg.SWSM_SWESMBI;
  await registers.waitFor(reg.SWSM, sticky, sticky, 'SWSM.SWESMBI', SEMAPHORE_TIMEOUT_MS);
}

function releaseSemaphore(registers: RegisterFile): void {
  registers.clear(reg.SWSM, reg.SWSM_SMBI | reg.SWSM_SWESMBI);
}
