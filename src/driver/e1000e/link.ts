/** Link of the 82574 with its internal copper PHY (datasheet 3.2 and 4.6.3). */
import type { LinkState } from '../device.js';
import type { RegisterFile } from '../register-file.js';
import * as reg from './registers.js';

const MDIC_TIMEOUT_MS = 100;
const OWNERSHIP_TIMEOUT_MS = 1000;
const SPEEDS_MBPS = [10, 100, 1000, 1000] as const;

/** Lets the MAC follow the PHY, powers the PHY up and restarts auto-negotiation. Does not wait for the partner. */
export async function startLink(registers: RegisterFile): Promise<void> {
  const forced = reg.CTRL_FRCSPD | reg.CTRL_FRCDPLX;
  registers.write(reg.CTRL, ((registers.read(reg.CTRL) & ~forced) | reg.CTRL_SLU) >>> 0);
  await withPhy(registers, async () => {
    const control = await readPhy(registers, reg.PHY_CONTROL);
    const value =
      (control & ~reg.PHY_CONTROL_POWER_DOWN) | reg.PHY_CONTROL_AUTONEG | reg.PHY_CONTROL_RESTART_AUTONEG;
    await mdic(registers, reg.MDIC_OP_WRITE, reg.PHY_CONTROL, value);
  });
}

export function linkState(registers: RegisterFile): LinkState {
  const status = registers.read(reg.STATUS);
  const up = (status & reg.STATUS_LU) !== 0;
  return {
    up,
    speedMbps: up ? SPEEDS_MBPS[(status >>> reg.STATUS_SPEED_SHIFT) & 3]! : 0,
    fullDuplex: (status & reg.STATUS_FD) !== 0,
  };
}

/**
 * 10.2.2.13: the wires to the PHY have one owner, software, hardware or firmware. The software's bit sticks once the others
 * let go, so it is written again until it does: it is the only bit of the register that this driver changes.
 */
async function withPhy(registers: RegisterFile, action: () => Promise<void>): Promise<void> {
  const owned = reg.EXTCNF_CTRL_MDIO_SW;
  registers.set(reg.EXTCNF_CTRL, owned);
  await registers.waitFor(reg.EXTCNF_CTRL, owned, owned, 'EXTCNF_CTRL.MDIO_SW', OWNERSHIP_TIMEOUT_MS);
  try {
    await action();
  } finally {
    registers.clear(reg.EXTCNF_CTRL, owned);
  }
}

async function readPhy(registers: RegisterFile, register: number): Promise<number> {
  await mdic(registers, reg.MDIC_OP_READ, register, 0);
  return registers.read(reg.MDIC) & 0xffff;
}

/** One PHY access (10.2.2.7). */
async function mdic(
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
