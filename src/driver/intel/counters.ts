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

/** A statistics register, or the pair of an octet counter under one name. */
export interface NamedCounter {
  /** As the datasheet has it, of a pair without its ending: `GPRC`, `GORC`, `RQDPC(3)`. */
  readonly name: string;
  readonly offset: number;
  readonly high?: { readonly offset: number; readonly mask: number };
  /** On a page that an emulated device may map (see `RegisterFile.readTrapped`). */
  readonly trapped?: true;
}

/** Which registers there are, and which of them make up the sums. */
export interface CounterMap {
  /** Registers to clear before the others, which are copies of them. */
  readonly first?: readonly number[];
  readonly rxMissed: readonly number[];
  /** As `rxMissed`, on pages that an emulated device may map. */
  readonly rxMissedTrapped: readonly number[];
  readonly rxErrors: readonly number[];
  readonly rxPackets: number;
  readonly txPackets: number;
  readonly rxOctets: OctetCounter;
  readonly txOctets: OctetCounter;
  /** All that the hardware counts, those of the sums among them. */
  readonly named: readonly NamedCounter[];
}

/** Where a device's hardware counters come from. */
export interface CounterSource {
  /** Sums since the open, of the counters that the hardware has. */
  readonly sums: Partial<NetStats>;
  /** Adds what was counted since the last call. */
  read(): void;
  /** Forgets what was counted until now: it happened before the open. */
  skip(): void;
  /** Reads all registers, and gives the sums since the open by their names. */
  byName(): Record<string, number>;
}

/** A register of 32 bits stands still when it is full: at 14.88 million frames a second after 288 s. */
const READ_ALL_MS = 60_000;

/** Counters that reading clears. What is read is kept for each register, whoever asks for it. */
export class ClearingCounters implements CounterSource {
  readonly sums: HardwareCounters = noCounts();
  readonly #registers: RegisterFile;
  readonly #map: CounterMap;
  /** Those that the sums do not need. */
  readonly #others: readonly NamedCounter[];
  /** Sum of what each register gave, by offset. */
  readonly #counted = new Map<number, number>();
  #lastAllMs = Number.NEGATIVE_INFINITY;

  constructor(registers: RegisterFile, map: CounterMap) {
    this.#registers = registers;
    this.#map = map;
    const inSums = sumOffsets(map);
    this.#others = map.named.filter(({ offset }) => !inSums.has(offset));
  }

  read(): void {
    this.#readSums();
    if (performance.now() - this.#lastAllMs >= READ_ALL_MS) this.#readOthers();
  }

  skip(): void {
    this.#readSums();
    this.#readOthers();
    Object.assign(this.sums, noCounts());
    this.#counted.clear();
  }

  byName(): Record<string, number> {
    this.#readSums();
    this.#readOthers();
    const counted = (offset: number): number => this.#counted.get(offset) ?? 0;
    return Object.fromEntries(
      this.#map.named.map(({ name, offset, high }) => [
        name,
        counted(offset) + (high === undefined ? 0 : counted(high.offset) * 2 ** 32),
      ]),
    );
  }

  #readSums(): void {
    const { sums } = this;
    const map = this.#map;
    for (const offset of map.first ?? []) this.#take(offset);
    for (const offset of map.rxMissed) sums.rxMissed += this.#take(offset);
    for (const offset of map.rxMissedTrapped) sums.rxMissed += this.#takeTrapped(offset);
    for (const offset of map.rxErrors) sums.rxErrors += this.#take(offset);
    sums.wireRxPackets += this.#take(map.rxPackets);
    sums.wireTxPackets += this.#take(map.txPackets);
    sums.wireRxBytes += this.#takeOctets(map.rxOctets);
    sums.wireTxBytes += this.#takeOctets(map.txOctets);
  }

  #readOthers(): void {
    for (const { offset, high, trapped } of this.#others) {
      if (high !== undefined)
        this.#takeOctets({ low: offset, high: high.offset, highMask: high.mask }, trapped);
      else if (trapped) this.#takeTrapped(offset);
      else this.#take(offset);
    }
    this.#lastAllMs = performance.now();
  }

  #take(offset: number): number {
    return this.#add(offset, this.#registers.read(offset));
  }

  #takeTrapped(offset: number): number {
    return this.#add(offset, this.#registers.readTrapped(offset));
  }

  /** Both halves every time, low first: the high one ends the read, and the low one alone would lose what is above 4 GiB. */
  #takeOctets(counter: OctetCounter, trapped?: true): number {
    const read = (offset: number): number =>
      trapped ? this.#registers.readTrapped(offset) : this.#registers.read(offset);
    const low = this.#add(counter.low, read(counter.low));
    return low + this.#add(counter.high, (read(counter.high) & counter.highMask) >>> 0) * 2 ** 32;
  }

  #add(offset: number, value: number): number {
    this.#counted.set(offset, (this.#counted.get(offset) ?? 0) + value);
    return value;
  }
}

function sumOffsets(map: CounterMap): ReadonlySet<number> {
  const { first = [], rxMissed, rxMissedTrapped, rxErrors, rxPackets, txPackets, rxOctets, txOctets } = map;
  return new Set([
    ...first,
    ...rxMissed,
    ...rxMissedTrapped,
    ...rxErrors,
    rxPackets,
    txPackets,
    rxOctets.low,
    txOctets.low,
  ]);
}

function noCounts(): HardwareCounters {
  return { rxMissed: 0, rxErrors: 0, wireRxPackets: 0, wireRxBytes: 0, wireTxPackets: 0, wireTxBytes: 0 };
}

/** Names and offsets as a table has them. */
export function namedCounters(table: Readonly<Record<string, number>>): NamedCounter[] {
  return Object.entries(table).map(([name, offset]) => ({ name, offset }));
}

/** Octet counters: the low register's offset, the high one four bytes on. */
export function namedOctets(table: Readonly<Record<string, number>>, highMask: number): NamedCounter[] {
  return Object.entries(table).map(([name, offset]) => ({
    name,
    offset,
    high: { offset: offset + 4, mask: highMask },
  }));
}
