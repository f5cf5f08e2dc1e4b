/** Hardware counters of the 82576 (datasheet 8.19): all are cleared by reading, so each read is added up. */
import type { HardwareCounters } from '../intel/intel-device.js';
import type { RegisterFile } from '../register-file.js';
import * as reg from './registers.js';

/** Frames that were damaged on the wire, or cut, too short or too long for Ethernet. */
const ERROR_COUNTERS = [
  reg.CRCERRS,
  reg.SYMERRS,
  reg.RXERRC,
  reg.RLEC,
  reg.RUC,
  reg.RFC,
  reg.ROC,
  reg.RJC,
] as const;

export function readCounters(registers: RegisterFile, queuePairs: number, sums: HardwareCounters): void {
  sums.rxMissed += registers.read(reg.MPC);
  for (let q = 0; q < queuePairs; q++) sums.rxMissed += registers.read(reg.rqdpc(q));
  for (const counter of ERROR_COUNTERS) sums.rxErrors += registers.read(counter);
  sums.wireRxPackets += registers.read(reg.GPRC);
  sums.wireTxPackets += registers.read(reg.GPTC);
  sums.wireRxBytes += readOctets(registers, reg.GORCL, reg.GORCH);
  sums.wireTxBytes += readOctets(registers, reg.GOTCL, reg.GOTCH);
}

/** Low half first: reading the high half clears both. */
function readOctets(registers: RegisterFile, low: number, high: number): number {
  const lowWord = registers.read(low);
  return lowWord + registers.read(high) * 2 ** 32;
}
