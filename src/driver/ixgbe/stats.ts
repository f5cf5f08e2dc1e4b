/**
 * Which hardware counters of the 82599 family make up the statistics (82599 datasheet 8.2.3.23).
 *
 * A damaged frame counts once. CRCERRS has all frames of 64 bytes and more whose FCS is wrong, so RJC, the long ones of
 * them, is left out; RFC has the shorter ones. RUC and ROC have short and long frames whose FCS is right, RLEC those whose
 * length field is wrong.
 * ASSUMED: a frame with an illegal or an error byte in it has a wrong FCS too, so ILLERRC and ERRBC are left out; the text does not
 * say which counters go together. Linux and FreeBSD leave them out as well.
 */
import { type CounterMap, namedCounters, namedOctets } from '../intel/counters.js';
import * as reg from './registers.js';

/** What the hardware counts beside management, FCoE and virtual functions. */
const REGISTERS = {
  CRCERRS: reg.CRCERRS,
  ILLERRC: 0x4004,
  ERRBC: 0x4008,
  'MPC(0)': reg.mpc(0),
  MLFC: 0x4034,
  MRFC: 0x4038,
  RLEC: reg.RLEC,
  LXONTXC: 0x3f60,
  LXOFFTXC: 0x3f68,
  LXONRXCNT: 0x41a4,
  LXOFFRXCNT: 0x41a8,
  PRC64: 0x405c,
  PRC127: 0x4060,
  PRC255: 0x4064,
  PRC511: 0x4068,
  PRC1023: 0x406c,
  PRC1522: 0x4070,
  GPRC: reg.GPRC,
  BPRC: 0x4078,
  MPRC: 0x407c,
  GPTC: reg.GPTC,
  RUC: reg.RUC,
  RFC: reg.RFC,
  ROC: reg.ROC,
  RJC: 0x40b0,
  TPR: 0x40d0,
  TPT: 0x40d4,
  PTC64: 0x40d8,
  PTC127: 0x40dc,
  PTC255: 0x40e0,
  PTC511: 0x40e4,
  PTC1023: 0x40e8,
  PTC1522: 0x40ec,
  MPTC: 0x40f0,
  BPTC: 0x40f4,
  XEC: 0x4120,
  RXNFGPC: 0x41b0,
  RXDGPC: 0x2f50,
  TXDGPC: 0x87a0,
} as const;

const OCTETS = {
  GORC: reg.GORCL,
  GOTC: reg.GOTCL,
  TOR: 0x40c0,
  RXNFGBC: 0x41b4,
  RXDGBC: 0x2f54,
  TXDGBC: 0x87a4,
} as const;

/** Sets of counters that queues are mapped to: all to set 0. Their pages are those of the queues' registers. */
const QUEUES = [
  { name: 'QPRC(0)', offset: 0x1030, trapped: true },
  { name: 'QPRDC(0)', offset: reg.qprdc(0), trapped: true },
  { name: 'QPTC(0)', offset: 0x6030, trapped: true },
] as const;

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
  named: [...namedCounters(REGISTERS), ...namedOctets(OCTETS, reg.OCTETS_HIGH_MASK), ...QUEUES],
};
