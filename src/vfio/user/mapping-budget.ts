/**
 * How much of its peers' memory the process maps. The kernel allows a process only so many mappings
 * (vm.max_map_count) and so much address space, and V8 ends the process where its heap finds none left; so a peer gets
 * an error long before. One budget for all threads: each server has an equal share of it for its client, which takes
 * nothing from the others. A thread that is terminated keeps its shares, as it keeps its mappings.
 */
import { readFileSync } from 'node:fs';
import { getEnvironmentData, setEnvironmentData } from 'node:worker_threads';

/** The kernel's default, for where it does not say. */
const DEFAULT_MAX_MAP_COUNT = 65530;
/** Half of what the kernel allows stays for the process itself: V8 needs a few thousand. */
const SHARE_OF_MAPPINGS = 0.5;
/** More would only cost memory, where the kernel allows them. */
const MAX_MAPPINGS = 32768;
const MIB = 2 ** 20;
/** A quarter of the address space of a process (128 TiB). */
const MAX_MAPPED_MIB = (32 * 2 ** 40) / MIB;

/** What is counted, over all threads. */
const MAPPINGS = 0;
const MAPPED_MIB = 1;
const HOLDERS = 2;
const COUNTS = 3;

export class MappingBudget {
  readonly #maxMappings: number;
  readonly #maxMib: number;
  readonly #counts: Int32Array;

  /** @param counts shared by all threads that share the budget */
  constructor(maxMappings: number, maxMib: number, counts = newCounts()) {
    this.#maxMappings = maxMappings;
    this.#maxMib = maxMib;
    this.#counts = counts;
  }

  /** A share for a further server or device. The shares of all others become smaller. */
  join(): MappingShare {
    return new MappingShare(this.#counts, this.#maxMappings, this.#maxMib);
  }
}

export class MappingShare {
  readonly #counts: Int32Array;
  readonly #maxMappings: number;
  readonly #maxMib: number;
  #mappings = 0;
  #mib = 0;
  #left = false;

  /** Made by `MappingBudget.join`. */
  constructor(counts: Int32Array, maxMappings: number, maxMib: number) {
    this.#counts = counts;
    this.#maxMappings = maxMappings;
    this.#maxMib = maxMib;
    Atomics.add(counts, HOLDERS, 1);
  }

  /** Mappings that the holder may have at a time. */
  get maxMappings(): number {
    return Math.floor(this.#maxMappings / Math.max(1, Atomics.load(this.#counts, HOLDERS)));
  }

  /** Takes a mapping out of the share. False where it is used up; nothing is taken then. */
  take(sizeBytes: number): boolean {
    const mib = Math.ceil(sizeBytes / MIB);
    const holders = Math.max(1, Atomics.load(this.#counts, HOLDERS));
    if (this.#mappings >= this.maxMappings || this.#mib + mib > this.#maxMib / holders) return false;
    // others may hold more than their share since the time when there were fewer of them
    const inAll = Atomics.add(this.#counts, MAPPINGS, 1) + 1;
    const mibInAll = Atomics.add(this.#counts, MAPPED_MIB, mib) + mib;
    if (inAll > this.#maxMappings || mibInAll > this.#maxMib) {
      Atomics.sub(this.#counts, MAPPINGS, 1);
      Atomics.sub(this.#counts, MAPPED_MIB, mib);
      return false;
    }
    this.#mappings++;
    this.#mib += mib;
    return true;
  }

  /** Gives back a mapping that was taken. */
  give(sizeBytes: number): void {
    const mib = Math.ceil(sizeBytes / MIB);
    this.#mappings--;
    this.#mib -= mib;
    Atomics.sub(this.#counts, MAPPINGS, 1);
    Atomics.sub(this.#counts, MAPPED_MIB, mib);
  }

  /** Gives the share to the others. What was taken must have been given back. May be called twice. */
  leave(): void {
    if (this.#left) return;
    this.#left = true;
    Atomics.sub(this.#counts, HOLDERS, 1);
  }
}

function newCounts(): Int32Array {
  return new Int32Array(new SharedArrayBuffer(4 * COUNTS));
}

/** Threads that this one starts find the counts under this name. */
const ENVIRONMENT_KEY = 'barewire:mappings';

function countsOfProcess(): Int32Array {
  const inherited: unknown = getEnvironmentData(ENVIRONMENT_KEY);
  if (inherited instanceof Int32Array && inherited.length === COUNTS) return inherited;
  const counts = newCounts();
  setEnvironmentData(ENVIRONMENT_KEY, counts);
  return counts;
}

function maxMapCount(): number {
  try {
    const count = Number.parseInt(readFileSync('/proc/sys/vm/max_map_count', 'utf8'), 10);
    return count > 0 ? count : DEFAULT_MAX_MAP_COUNT;
  } catch {
    return DEFAULT_MAX_MAP_COUNT;
  }
}

/** The budget of this process. */
export const processMappings = new MappingBudget(
  Math.min(Math.floor(maxMapCount() * SHARE_OF_MAPPINGS), MAX_MAPPINGS),
  MAX_MAPPED_MIB,
  countsOfProcess(),
);
