/**
 * What bring-up and link of the gigabit controllers 82574 and 82576 have in common. Sections are those of the datasheet of the
 * 82574, then of the 82576.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import createDebug from 'debug';
import { NicError } from '../../errors.js';
import type { LinkState } from '../device.js';
import type { RegisterFile } from '../register-file.js';
import { macFromRegisters } from './filters.js';
import * as reg from './gigabit-registers.js';
import type { FilterRegisters } from './intel-device.js';

const debug = createDebug('barewire:driver');

const RESET_TIMEOUT_MS = 1000;
const EEPROM_TIMEOUT_MS = 50;
const MDIC_TIMEOUT_MS = 100;
const SPEEDS_MBPS = [10, 100, 1000, 1000] as const;

/**
 * Quiesces bus mastering, resets, waits for the EEPROM (4.6.1; 4.5.3 and 5.2.4).
 * @param maskAllInterrupts called before and after: the reset unmasks nothing, but firmware may
 */
export async function resetGigabit(
  registers: RegisterFile,
  maskAllInterrupts: (registers: RegisterFile) => void,
): Promise<void> {
  maskAllInterrupts(registers);
  registers.write(reg.RCTL, 0);
  registers.write(reg.TCTL, reg.TCTL_PSP);
  registers.set(reg.CTRL, reg.CTRL_GIO_MASTER_DISABLE);
  const name = 'STATUS.GIO_MASTER_ENABLE';
  await registers.waitFor(reg.STATUS, reg.STATUS_GIO_MASTER_ENABLE, 0, name, RESET_TIMEOUT_MS);
  registers.set(reg.CTRL, reg.CTRL_RST);
  // The registers may not be read for 1 us (10.2.2.1) or 3 us (8.2.1) after RST; the event loop's shortest sleep is longer.
  await sleep(1);
  await registers.waitFor(reg.CTRL, reg.CTRL_RST, 0, 'CTRL.RST', RESET_TIMEOUT_MS);
  await waitForEeprom(registers);
  maskAllInterrupts(registers);
}

/** A device without an EEPROM never reports AUTO_RD and works all the same, so this wait may end in vain. */
async function waitForEeprom(registers: RegisterFile): Promise<void> {
  const done = reg.EECD_AUTO_RD;
  try {
    await registers.waitFor(reg.EECD, done, done, 'EECD.AUTO_RD', EEPROM_TIMEOUT_MS);
  } catch (error) {
    if (!(error instanceof NicError) || error.code !== 'DEVICE_TIMEOUT') throw error;
    debug('%s; going on without an EEPROM', error.message);
  }
}

/** Lets the MAC follow what the PHY negotiates. */
export function followPhy(registers: RegisterFile): void {
  const forced = reg.CTRL_FRCSPD | reg.CTRL_FRCDPLX;
  registers.write(reg.CTRL, ((registers.read(reg.CTRL) & ~forced) | reg.CTRL_SLU) >>> 0);
}

/** Powers the PHY up and restarts auto-negotiation; the caller owns the wires to the PHY. Does not wait for the partner. */
export async function negotiate(registers: RegisterFile): Promise<void> {
  await accessPhy(registers, reg.MDIC_OP_READ, reg.PHY_CONTROL, 0);
  const control = registers.read(reg.MDIC) & 0xffff;
  const value =
    (control & ~reg.PHY_CONTROL_POWER_DOWN) | reg.PHY_CONTROL_AUTONEG | reg.PHY_CONTROL_RESTART_AUTONEG;
  await accessPhy(registers, reg.MDIC_OP_WRITE, reg.PHY_CONTROL, value);
}

/** One PHY access (10.2.2.7; 8.2.4). */
async function accessPhy(
  registers: RegisterFile,
  operation: number,
  register: number,
  data: number,
): Promise<void> {
  const address = (register << reg.MDIC_REG_SHIFT) | (reg.MDIC_PHY_ADDRESS << reg.MDIC_PHY_SHIFT);
  registers.write(reg.MDIC, (operation | address | data) >>> 0);
  const done = reg.MDIC_READY | reg.MDIC_ERROR;
  await registers.waitFor(reg.MDIC, done, reg.MDIC_READY, 'MDIC.READY', MDIC_TIMEOUT_MS);
}

/** The address that the device loaded from its EEPROM into receive address 0. */
export function readMac(registers: RegisterFile): Uint8Array {
  return macFromRegisters(registers.read(reg.ral(0)), registers.read(reg.rah(0)));
}

/** Registers of the filters. */
export const gigabitFilters: FilterRegisters = {
  receiveAddressLow: reg.ral(0),
  receiveAddressHigh: reg.rah(0),
  multicastTable: reg.mta,
  filterControl: reg.RCTL,
  promiscuousBits: reg.RCTL_UPE | reg.RCTL_MPE,
};

export function linkState(registers: RegisterFile): LinkState {
  const status = registers.read(reg.STATUS);
  const up = (status & reg.STATUS_LU) !== 0;
  return {
    up,
    speedMbps: up ? SPEEDS_MBPS[(status >>> reg.STATUS_SPEED_SHIFT) & 3]! : 0,
    fullDuplex: (status & reg.STATUS_FD) !== 0,
  };
}
