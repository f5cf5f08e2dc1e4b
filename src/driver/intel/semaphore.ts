/**
 * The semaphores between the ports' drivers and the firmware (82576 datasheet 4.7, 82599 datasheet 10.5.4). SWSM guards
 * the register SW_FW_SYNC, in which each owner marks the resources that it uses.
 */
import type { RegisterFile } from '../register-file.js';

const TIMEOUT_MS = 1000;
/** Software Semaphore Bit: reading returns its value and sets it, so a read that finds 0 has taken it. */
const SWSM_SMBI = 1 << 0;
/** Software EEPROM Semaphore Bit: sticks when written unless firmware holds it. */
const SWSM_SWESMBI = 1 << 1;

export interface SharedResource {
  /** Offsets of the two registers. */
  readonly swsm: number;
  readonly swFwSync: number;
  /** The software's bit in SW_FW_SYNC, and the firmware's for the same resource. */
  readonly software: number;
  readonly firmware: number;
  /** For messages: `SW_FW_SYNC.PHY`. */
  readonly name: string;
}

/** Runs `action` while this driver owns the resource. @throws NicError `DEVICE_TIMEOUT` */
export async function withResource(
  registers: RegisterFile,
  resource: SharedResource,
  action: () => Promise<void>,
): Promise<void> {
  const { swFwSync, software, firmware, name } = resource;
  await takeSemaphore(registers, resource.swsm);
  try {
    await registers.waitFor(swFwSync, software | firmware, 0, name, TIMEOUT_MS);
    registers.set(swFwSync, software);
  } finally {
    releaseSemaphore(registers, resource.swsm);
  }
  try {
    await action();
  } finally {
    await takeSemaphore(registers, resource.swsm);
    registers.clear(swFwSync, software);
    releaseSemaphore(registers, resource.swsm);
  }
}

async function takeSemaphore(registers: RegisterFile, swsm: number): Promise<void> {
  await registers.waitFor(swsm, SWSM_SMBI, 0, 'SWSM.SMBI', TIMEOUT_MS);
  registers.set(swsm, SWSM_SWESMBI);
  await registers.waitFor(swsm, SWSM_SWESMBI, SWSM_SWESMBI, 'SWSM.SWESMBI', TIMEOUT_MS);
}

function releaseSemaphore(registers: RegisterFile, swsm: number): void {
  registers.clear(swsm, SWSM_SMBI | SWSM_SWESMBI);
}
