/** Which hardware counters of the 82599 family make up the statistics (82599 datasheet 8.2.3.23). */
import type { CounterMap } from '../intel/counters.js';
import * as reg from './registers.js';

export const counterMap: CounterMap = {
  // Only packet buffer 0 has room (see setUpReceive).
  rxMissed: [reg.mpc(0)],
  // All queues drop in counter 0 (RQSMR is left at 0). It is on the page of the receive queues' registers.
  rxMissedTrapped: [reg.qprdc(0)],
  rxErrors: [reg.CRCERRS, reg.ILLERRC, reg.ERRBC, reg.RLEC, reg.RUC, reg.RFC, reg.ROC, reg.RJC],
  rxPackets: reg.GPRC,
  txPackets: reg.GPTC,
  rxOctets: { low: reg.GORCL, high: reg.GORCH, highMask: reg.OCTETS_HIGH_MASK },
  txOctets: { low: reg.GOTCL, high: reg.GOTCH, highMask: reg.OCTETS_HIGH_MASK },
};
