/** Which hardware counters of the 82576 make up the statistics (datasheet 8.19). */
import type { CounterMap } from '../intel/counters.js';
import * as reg from './registers.js';

const ALL_BITS = 0xffff_ffff;

export function counterMap(queuePairs: number): CounterMap {
  return {
    rxMissed: [reg.MPC, ...Array.from({ length: queuePairs }, (_, q) => reg.rqdpc(q))],
    rxMissedTrapped: [],
    rxErrors: [reg.CRCERRS, reg.SYMERRS, reg.RXERRC, reg.RLEC, reg.RUC, reg.RFC, reg.ROC, reg.RJC],
    rxPackets: reg.GPRC,
    txPackets: reg.GPTC,
    rxOctets: { low: reg.GORCL, high: reg.GORCH, highMask: ALL_BITS },
    txOctets: { low: reg.GOTCL, high: reg.GOTCH, highMask: ALL_BITS },
  };
}
