/**
 * The statistics registers (8.2.3.23). Counters are numbers beside the registers, because a 36-bit one does not fit
 * a word; reading a register takes the value and clears the counter.
 *
 * A 36-bit counter is a pair of registers: the low one is read first, the high one ends the reading and clears both.
 * So that octets counted between the two reads are not lost, reading the low half remembers what was shown, and
 * reading the high half takes off just that. (The datasheet only says that reading the high half clears the pair.)
 *
 * Queue counters QPRC, QBRC, QPRDC and QPTC lie in the pages of the queues' registers. A load from a mapping cannot clear
 * anything, so a client that maps these pages reads 0 there; a trapped read gives and clears the value.
 */
import type { RegisterFile } from '../device/register-file.js';
import { RQSMR, TQSM } from './registers.js';

/** Index of each counter. */
export const C = {
  CRCERRS: 0,
  RLEC: 1,
  RUC: 2,
  ROC: 3,
  MPC0: 4,
  ILLERRC: 5,
  PRC64: 6,
  PRC127: 7,
  PRC255: 8,
  PRC511: 9,
  PRC1023: 10,
  PRC1522: 11,
  GPRC: 12,
  BPRC: 13,
  MPRC: 14,
  GORC: 15,
  TOR: 16,
  TPR: 17,
  GPTC: 18,
  GOTC: 19,
  TPT: 20,
  PTC64: 21,
  PTC127: 22,
  PTC255: 23,
  PTC511: 24,
  PTC1023: 25,
  PTC1522: 26,
  MPTC: 27,
  BPTC: 28,
  RXNFGPC: 29,
  RXNFGBC: 30,
  RXDGPC: 31,
  RXDGBC: 32,
  TXDGPC: 33,
  TXDGBC: 34,
  MLFC: 35,
  MRFC: 36,
  RFC: 37,
  RJC: 38,
  LXONRXCNT: 39,
  LXOFFRXCNT: 120,
  LXONTXC: 121,
  LXOFFTXC: 122,
  QPRC: 40,
  QPRDC: 56,
  QPTC: 72,
  QBRC: 88,
  QBTC: 104,
} as const;

const COUNTER_COUNT = 123;
const QUEUE_SETS = 16;

/** A 32-bit counter sticks short of all ones, which a driver would take for a device that is gone. */
const MAX_32 = 0xfffffffe;
const TWO_32 = 4294967296;
const TWO_36 = 68719476736;

const SINGLE: readonly (readonly [string, number])[] = [
  ['CRCERRS', C.CRCERRS],
  ['RLEC', C.RLEC],
  ['RUC', C.RUC],
  ['ROC', C.ROC],
  ['ILLERRC', C.ILLERRC],
  ['PRC64', C.PRC64],
  ['PRC127', C.PRC127],
  ['PRC255', C.PRC255],
  ['PRC511', C.PRC511],
  ['PRC1023', C.PRC1023],
  ['PRC1522', C.PRC1522],
  ['GPRC', C.GPRC],
  ['BPRC', C.BPRC],
  ['MPRC', C.MPRC],
  ['TPR', C.TPR],
  ['GPTC', C.GPTC],
  ['TPT', C.TPT],
  ['PTC64', C.PTC64],
  ['PTC127', C.PTC127],
  ['PTC255', C.PTC255],
  ['PTC511', C.PTC511],
  ['PTC1023', C.PTC1023],
  ['PTC1522', C.PTC1522],
  ['MPTC', C.MPTC],
  ['BPTC', C.BPTC],
  ['RXNFGPC', C.RXNFGPC],
  ['RXDGPC', C.RXDGPC],
  ['TXDGPC', C.TXDGPC],
  ['MLFC', C.MLFC],
  ['MRFC', C.MRFC],
  ['RFC', C.RFC],
  ['RJC', C.RJC],
  ['LXONRXCNT', C.LXONRXCNT],
  ['LXOFFRXCNT', C.LXOFFRXCNT],
  ['LXONTXC', C.LXONTXC],
  ['LXOFFTXC', C.LXOFFTXC],
  ['QPRC', C.QPRC],
  ['QPRDC', C.QPRDC],
  ['QPTC', C.QPTC],
];

const PAIRS: readonly (readonly [string, string, number])[] = [
  ['GORCL', 'GORCH', C.GORC],
  ['GOTCL', 'GOTCH', C.GOTC],
  ['TORL', 'TORH', C.TOR],
  ['RXNFGBCL', 'RXNFGBCH', C.RXNFGBC],
  ['RXDGBCL', 'RXDGBCH', C.RXDGBC],
  ['TXDGBCL', 'TXDGBCH', C.TXDGBC],
  ['QBRC_L', 'QBRC_H', C.QBRC],
  ['QBTC_L', 'QBTC_H', C.QBTC],
];

export class Statistics {
  readonly counters = new Float64Array(COUNTER_COUNT);
  /** Which of the 16 sets of counters a receive queue counts in (RQSMR). */
  readonly rxSet = new Uint8Array(128);
  /** The same for transmit queues (TQSM). */
  readonly txSet = new Uint8Array(128);
  /** What the low half of a pair showed last, until the high half is read. */
  readonly #shown = new Float64Array(COUNTER_COUNT).fill(-1);

  constructor(registers: RegisterFile) {
    for (const [name, counter] of SINGLE) {
      registers.hook(name, (index) => this.#take(counter + index), undefined);
    }
    registers.hook('MPC', (index) => (index === 0 ? this.#take(C.MPC0) : 0), undefined);
    for (const [low, high, counter] of PAIRS) {
      registers.hook(low, (index) => this.#showLow(counter + index), undefined);
      registers.hook(high, (index) => this.#takeHigh(counter + index), undefined);
    }
    const mapper = (sets: Uint8Array, offset: number) => (value: number, index: number) => {
      registers.poke(offset + index * 4, value & 0x0f0f0f0f);
      for (let n = 0; n < 4; n++) sets[index * 4 + n] = (value >>> (n * 8)) & 0xf;
    };
    registers.hook('RQSMR', undefined, mapper(this.rxSet, RQSMR));
    registers.hook('TQSM', undefined, mapper(this.txSet, TQSM));
  }

  #take(counter: number): number {
    const value = Math.min(this.counters[counter]!, MAX_32);
    this.counters[counter] = 0;
    return value | 0;
  }

  #showLow(counter: number): number {
    const value = this.counters[counter]! % TWO_36;
    this.#shown[counter] = value;
    return (value % TWO_32) | 0;
  }

  #takeHigh(counter: number): number {
    const shown = this.#shown[counter]!;
    this.#shown[counter] = -1;
    const value = shown < 0 ? this.counters[counter]! % TWO_36 : shown;
    this.counters[counter] = Math.max(0, this.counters[counter]! - value);
    return Math.floor(value / TWO_32);
  }

  /** Software reset leaves counters alone (4.2.1.6); the queue mapping goes back to set 0. */
  resetMapping(): void {
    this.rxSet.fill(0);
    this.txSet.fill(0);
  }

  /** Counters by name, octet pairs as one (`GORC`), queue sets as `QPRC(3)`. Zeros are left out. */
  byName(): Record<string, number> {
    const result: Record<string, number> = {};
    for (const [name, counter] of Object.entries(C)) {
      const count = counter >= C.QPRC && counter < C.LXOFFRXCNT ? QUEUE_SETS : 1;
      for (let i = 0; i < count; i++) {
        const value = this.counters[counter + i]!;
        if (value !== 0) result[count === 1 ? name : `${name}(${i})`] = value;
      }
    }
    return result;
  }

  clear(): void {
    this.counters.fill(0);
    this.#shown.fill(-1);
  }
}

/** Counter of the size class of a frame, `octets` with FCS: 64, 65-127, 128-255, 256-511, 512-1023, 1024 and more. */
export function sizeClass(octets: number): number {
  if (octets <= 64) return 0;
  if (octets >= 1024) return 5;
  // clz32 of 65..127 is 25, of 512..1023 is 22.
  return 26 - Math.clz32(octets);
}
