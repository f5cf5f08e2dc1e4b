/** Hardware statistics of the Intel families: registers that reading clears, so each read is added up. */
import type { NetStats } from '../device.js';
import type { RegisterFile } from '../register-file.js';

/** Cumulative sums; the names are those of `NetStats`. */
export interface HardwareCounters {
  rxMissed: number;
  rxErrors: number;
  wireRxPackets: number;
  wireRxBytes: number;
  wireTxPackets: number;
  wireTxBytes: number;
}

/** An octet counter in two registers. */
export interface OctetCounter {
  readonly low: number;
  readonly high: number;
  /** Bits of the high register that count. */
  readonly highMask: number;
}

/** Offsets of the registers that make up the sums. */
export interface CounterMap {
  /** Registers to clear before the others, which are copies of them. */
  readonly first?: readonly number[];
  readonly rxMissed: readonly number[];
  /** As `rxMissed`, on pages that an emulated device may map (see `RegisterFile.readTrapped`). */
  readonly rxMissedTrapped: readonly number[];
  readonly rxErrors: readonly number[];
  readonly rxPackets: number;
  readonly txPackets: number;
  readonly rxOctets: OctetCounter;
  readonly txOctets: OctetCounter;
}

/** Where a device's hardware counters come from. */
export interface CounterSource {
  /** Sums since the open, of the counters that the hardware has. */
  readonly sums: Partial<NetStats>;
  /** Adds what was counted since the last call. */
  read(): void;
  /** Forgets what was counted until now: it happened before the open. */
  skip(): void;
}

/** Counters that reading clears. */
export class ClearingCounters implements CounterSource {
  readonly sums: HardwareCounters = noCounts();
  readonly #registers: RegisterFile;
  readonly #map: CounterMap;

  constructor(registers: RegisterFile, map: CounterMap) {
    this.#registers = registers;
    this.#map = map;
  }

  read(): void {
    addCounters(this.#registers, this.#map, this.sums);
  }

  skip(): void {
    addCounters(this.#registers, this.#map, noCounts());
  }
}

function noCounts(): HardwareCounters {
  return { rxMissed: 0, rxErrors: 0, wireRxPackets: 0, wireRxBytes: 0, wireTxPackets: 0, wireTxBytes: 0 };
}

function addCounters(registers: RegisterFile, map: CounterMap, sums: HardwareCounters): void {
  for (const offset of map.first ?? []) registers.read(offset);
  for (const offset of map.rxMissed) sums.rxMissed += registers.read(offset);
  for (const offset of map.rxMissedTrapped) sums.rxMissed += registers.readTrapped(offset);
  for (const offset of map.rxErrors) sums.rxErrors += registers.read(offset);
  sums.wireRxPackets += registers.read(map.rxPackets);
  sums.wireTxPackets += registers.read(map.txPackets);
  sums.wireRxBytes += readOctets(registers, map.rxOctets);
  sums.wireTxBytes += readOctets(registers, map.txOctets);
}

/** Both halves every time, low first: the high one ends the read, and the low one alone would lose what is above 4 GiB. */
function readOctets(registers: RegisterFile, counter: OctetCounter): number {
  const low = registers.read(counter.low);
  return low + ((registers.read(counter.high) & counter.highMask) >>> 0) * 2 ** 32;
}
