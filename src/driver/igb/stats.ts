/**
 * Which hardware counters of the 82576 make up the statistics (datasheet 8.19).
 *
 * A damaged frame counts once. CRCERRS has all frames of 64 bytes and more whose FCS is wrong, so RJC, the long ones of
 * them, is left out; RFC has the shorter ones. RUC and ROC have short and long frames whose FCS is right; RLEC has the same
 * frames again ("undersized or oversized"). SYMERRS counts symbols, in frames and between them.
 * ASSUMED: a frame in which the PHY reported an error (RXERRC) has a wrong FCS too; the text does not say which counters go
 * together.
 */
import type { CounterMap } from '../intel/counters.js';
import { GIGABIT_COUNTERS } from '../intel/gigabit-counters.js';
import * as reg from './registers.js';

const ALL_BITS = 0xffff_ffff;

export function counterMap(queuePairs: number): CounterMap {
  const queues = Array.from({ length: queuePairs }, (_, q) => q);
  return {
    rxMissed: [reg.MPC, ...queues.map(reg.rqdpc)],
    rxMissedTrapped: [],
    rxErrors: [reg.CRCERRS, reg.RFC, reg.RUC, reg.ROC],
    rxPackets: reg.GPRC,
    txPackets: reg.GPTC,
    rxOctets: { low: reg.GORCL, high: reg.GORCH, highMask: ALL_BITS },
    txOctets: { low: reg.GOTCL, high: reg.GOTCH, highMask: ALL_BITS },
    named: [...GIGABIT_COUNTERS, ...queues.map((q) => ({ name: `RQDPC(${q})`, offset: reg.rqdpc(q) }))],
  };
}
