/** Set-up of a virtual function's queue (82576 datasheet 4.5.9, 4.5.10 and 8.26), at the start and after a reset of the port. */
import type { RingMemory } from '../intel/rings.js';
import type { RegisterFile } from '../register-file.js';
import * as reg from './registers.js';

const ALL_VECTORS = 7;
const QUEUE_TIMEOUT_MS = 1000;
const QUEUE_ENABLE = 1 << 25;
/** PTHRESH 8, HTHRESH 8, WTHRESH 1: each descriptor is written back at once, as polling needs. */
const RX_THRESHOLDS = 8 | (8 << 8) | (1 << 16);
/** PTHRESH 8, HTHRESH 1, WTHRESH 0: not every descriptor asks for a write-back (8.12.13). */
const TX_THRESHOLDS = 8 | (1 << 8);
const SRRCTL_UNIT_BYTES = 1024;
/** DESCTYPE 001b: advanced, one buffer. */
const SRRCTL_ADVANCED = 1 << 25;
/** Drop rather than block the queues of all functions when this one has no descriptors. */
const SRRCTL_DROP_EN = (1 << 31) >>> 0;

/** Masks every interrupt and stops the queues; the physical function's driver hears of it. */
export function reset(registers: RegisterFile): void {
  registers.write(reg.EIMC, ALL_VECTORS);
  registers.write(reg.CTRL, reg.CTRL_RST);
  registers.read(reg.EICR);
}

/** All but turning the queue on. */
export function setUpReceive(registers: RegisterFile, rings: RingMemory, bufferSizeBytes: number): void {
  const [ring] = rings.rx;
  rings.assign(registers, reg.RDBAL, ring!);
  const size = Math.floor(bufferSizeBytes / SRRCTL_UNIT_BYTES);
  registers.write(reg.SRRCTL, (SRRCTL_DROP_EN | SRRCTL_ADVANCED | size) >>> 0);
  registers.write(reg.RXDCTL, RX_THRESHOLDS);
}

/** All but turning the queue on. */
export function setUpTransmit(registers: RegisterFile, rings: RingMemory): void {
  const [ring] = rings.tx;
  rings.assign(registers, reg.TDBAL, ring!);
  registers.write(reg.TXDCTL, TX_THRESHOLDS);
}

export async function startQueues(registers: RegisterFile): Promise<void> {
  registers.set(reg.RXDCTL, QUEUE_ENABLE);
  await registers.waitFor(reg.RXDCTL, QUEUE_ENABLE, QUEUE_ENABLE, 'RXDCTL.ENABLE', QUEUE_TIMEOUT_MS);
  registers.set(reg.TXDCTL, QUEUE_ENABLE);
  await registers.waitFor(reg.TXDCTL, QUEUE_ENABLE, QUEUE_ENABLE, 'TXDCTL.ENABLE', QUEUE_TIMEOUT_MS);
}

export async function stopQueues(registers: RegisterFile): Promise<void> {
  registers.clear(reg.RXDCTL, QUEUE_ENABLE);
  registers.clear(reg.TXDCTL, QUEUE_ENABLE);
  await registers.waitFor(reg.RXDCTL, QUEUE_ENABLE, 0, 'RXDCTL.ENABLE', QUEUE_TIMEOUT_MS);
  await registers.waitFor(reg.TXDCTL, QUEUE_ENABLE, 0, 'TXDCTL.ENABLE', QUEUE_TIMEOUT_MS);
}
