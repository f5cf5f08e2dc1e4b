/**
 * Which hardware counters of the 82599 family make up the statistics (82599 datasheet 8.2.3.23).
 *
 * A damaged frame counts once. CRCERRS has all frames of 64 bytes and more whose FCS is wrong, so RJC, the long ones of
 * them, is left out; RFC has the shorter ones. RUC and ROC have short and long frames whose FCS is right, RLEC those whose
 * length field is wrong.
 * ASSUMED: a frame with an illegal or an error byte in it has a wrong FCS too, so ILLERRC and ERRBC are left out; the text does not
 * say which counters go together. Linux and FreeBSD leave them out as well.
 */
import type { CounterMap } from '../intel/counters.js';
import * as reg from './registers.js';

export const counterMap: CounterMap = {
  // Only packet buffer 0 has room (see setUpReceive).
  rxMissed: [reg.mpc(0)],
  // All queues drop in counter 0 (RQSMR is left at 0). It is on the page of the receive queues' registers.
  rxMissedTrapped: [reg.qprdc(0)],
  rxErrors: [reg.CRCERRS, reg.RFC, reg.RUC, reg.ROC, reg.RLEC],
  rxPackets: reg.GPRC,
  txPackets: reg.GPTC,
  rxOctets: { low: reg.GORCL, high: reg.GORCH, highMask: reg.OCTETS_HIGH_MASK },
  txOctets: { low: reg.GOTCL, high: reg.GOTCH, highMask: reg.OCTETS_HIGH_MASK },
};
