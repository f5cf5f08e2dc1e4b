/** Hardware counters of the 82599 family (82599 datasheet 8.2.3.23): cleared by reading, so each read is added up. */
import type { HardwareCounters } from '../intel/intel-device.js';
import type { RegisterFile } from '../register-file.js';
import * as reg from './registers.js';

/** Frames that were damaged on the wire, or cut, too short or too long for Ethernet. */
const ERROR_COUNTERS = [
  reg.CRCERRS,
  reg.ILLERRC,
  reg.ERRBC,
  reg.RLEC,
  reg.RUC,
  reg.RFC,
  reg.ROC,
  reg.RJC,
] as const;

export function readCounters(registers: RegisterFile, sums: HardwareCounters): void {
  // Only packet buffer 0 has room (see setUpReceive), and all queues drop in counter 0 (RQSMR is left at 0).
  sums.rxMissed += registers.read(reg.mpc(0));
  // On the page of the receive queues' registers, which an emulated device maps.
  sums.rxMissed += registers.readTrapped(reg.qprdc(0));
  for (const counter of ERROR_COUNTERS) sums.rxErrors += registers.read(counter);
  sums.wireRxPackets += registers.read(reg.GPRC);
  sums.wireTxPackets += registers.read(reg.GPTC);
  sums.wireRxBytes += readOctets(registers, reg.GORCL, reg.GORCH);
  sums.wireTxBytes += readOctets(registers, reg.GOTCL, reg.GOTCH);
}

/** 36 bits, low half first (8.2.3.23.27): taking the low half only would lose 4 GiB at each wrap. */
function readOctets(registers: RegisterFile, low: number, high: number): number {
  const lowWord = registers.read(low);
  return lowWord + (registers.read(high) & reg.OCTETS_HIGH_MASK) * 2 ** 32;
}
