/** Link of the 82574 with its internal copper PHY (datasheet 3.2 and 4.6.3). */
import { followPhy, negotiate } from '../intel/gigabit.js';
import type { RegisterFile } from '../register-file.js';
import * as reg from './registers.js';

const OWNERSHIP_TIMEOUT_MS = 1000;

export async function startLink(registers: RegisterFile): Promise<void> {
  followPhy(registers);
  await withPhy(registers, () => negotiate(registers));
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
