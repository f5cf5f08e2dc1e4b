/**
 * Which hardware counters of the 82574 make up the statistics (datasheet 10.2.7). What counts as damaged: see igb's, whose
 * counters have the same meanings.
 */
import type { CounterMap } from '../intel/counters.js';
import { GIGABIT_COUNTERS } from '../intel/gigabit-counters.js';
import * as reg from './registers.js';

const ALL_BITS = 0xffff_ffff;

export const counterMap: CounterMap = {
  // QEMU's model copies TPT and TOT to GPTC and GOTC at each frame: where they were not read as well, GPTC and GOTC would
  // have the frames of before once more. In hardware that changes nothing.
  first: [reg.TPT, reg.TOTL, reg.TOTH],
  rxMissed: [reg.MPC],
  rxMissedTrapped: [],
  rxErrors: [reg.CRCERRS, reg.RFC, reg.RUC, reg.ROC],
  rxPackets: reg.GPRC,
  txPackets: reg.GPTC,
  rxOctets: { low: reg.GORCL, high: reg.GORCH, highMask: ALL_BITS },
  txOctets: { low: reg.GOTCL, high: reg.GOTCH, highMask: ALL_BITS },
  named: [...GIGABIT_COUNTERS, { name: 'TSCTFC', offset: reg.TSCTFC }, { name: 'IAC', offset: reg.IAC }],
};
