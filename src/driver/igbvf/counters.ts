/**
 * Statistics of a virtual function (82576 datasheet 8.26): 32 bits each, which reading does not clear. They wrap round: octets
 * every 34 seconds at 1 Gb/s, so the device reads them by itself. Damaged frames are the port's, not ours: no counter here.
 */
import type { NetStats } from '../device.js';
import type { CounterSource } from '../intel/counters.js';
import type { RegisterFile } from '../register-file.js';
import * as reg from './registers.js';

const WRAPPING = {
  wireRxPackets: reg.VFGPRC,
  wireRxBytes: reg.VFGORC,
  wireTxPackets: reg.VFGPTC,
  wireTxBytes: reg.VFGOTC,
} as const;
/** The names that the datasheet has for them. */
const REGISTER_NAMES = {
  VFGPRC: 'wireRxPackets',
  VFGORC: 'wireRxBytes',
  VFGPTC: 'wireTxPackets',
  VFGOTC: 'wireTxBytes',
  RQDPC: 'rxMissed',
} as const;
type Name = keyof typeof WRAPPING;
const NAMES = Object.keys(WRAPPING) as Name[];

export class VirtualFunctionCounters implements CounterSource {
  readonly sums = {
    rxMissed: 0,
    wireRxPackets: 0,
    wireRxBytes: 0,
    wireTxPackets: 0,
    wireTxBytes: 0,
    resets: 0,
  } satisfies Partial<NetStats>;
  readonly #registers: RegisterFile;
  readonly #last = new Map<Name, number>();
  /** False while a reset is being survived: registers say nothing then. */
  valid = true;

  constructor(registers: RegisterFile) {
    this.#registers = registers;
  }

  read(): void {
    if (!this.valid) return;
    this.sums.rxMissed += this.#registers.read(reg.RQDPC);
    for (const name of NAMES) {
      const now = this.#registers.read(WRAPPING[name]);
      this.sums[name] += (now - this.#last.get(name)!) >>> 0;
      this.#last.set(name, now);
    }
  }

  skip(): void {
    this.#registers.read(reg.RQDPC);
    for (const name of NAMES) this.#last.set(name, this.#registers.read(WRAPPING[name]));
  }

  byName(): Record<string, number> {
    this.read();
    return Object.fromEntries(
      Object.entries(REGISTER_NAMES).map(([register, name]) => [register, this.sums[name]]),
    );
  }
}
