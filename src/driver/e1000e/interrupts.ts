/**
 * Interrupts of the 82574 (datasheet 7.4). One IVAR register routes all causes; the mask is IMS, and a receive queue has a bit
 * of its own in it only while MSI-X is on.
 */
import type { QueueInterrupts, SharedInterrupt } from '../intel/interrupts.js';
import * as reg from './registers.js';

/** The longest is 16.7 ms. */
export const INTERVAL_US = { min: 1, max: Math.floor((reg.ITR_MAX * reg.ITR_UNIT_NS) / 1000) } as const;

function intervals(us: number): number {
  return Math.ceil((us * 1000) / reg.ITR_UNIT_NS);
}

/** MSI-X: queue q's cause is routed to vector q. EIAC acknowledges it when it fires, and IAM masks it. */
export const queueInterrupts: QueueInterrupts = {
  route(registers, queuePairs) {
    let vectors = 0;
    let causes = 0;
    for (let q = 0; q < queuePairs; q++) {
      vectors |= (reg.IVAR_VALID | q) << reg.ivarRxShift(q);
      causes |= reg.causeRx(q);
      // No throttling: an interrupt that is held back would delay the first packet after a sleep.
      registers.write(reg.eitr(q), 0);
    }
    registers.write(reg.IVAR, vectors);
    registers.write(reg.EIAC, causes);
    registers.write(reg.IAM, causes);
    registers.set(reg.CTRL_EXT, reg.CTRL_EXT_EIAME | reg.CTRL_EXT_PBA_CLR);
  },
  arm: (registers, queue) => registers.write(reg.IMS, reg.causeRx(queue)),
  disarm: (registers, queue) => registers.write(reg.IMC, reg.causeRx(queue)),
  throttle(registers, queuePairs, intervalUs) {
    for (let q = 0; q < queuePairs; q++) registers.write(reg.eitr(q), intervals(intervalUs));
  },
};

const CAUSES = reg.CAUSE_RXT0 | reg.CAUSE_RXO | reg.CAUSE_RXDMT0;

/** MSI: one vector, and causes that all receive queues share. Writing ICR acknowledges. */
export const sharedInterrupt: SharedInterrupt = {
  route(registers) {
    registers.write(reg.IAM, 0);
  },
  arm: (registers) => registers.write(reg.IMS, CAUSES),
  disarm: (registers) => registers.write(reg.IMC, CAUSES),
  acknowledge: (registers) => registers.write(reg.ICR, CAUSES),
  throttle: (registers, _queuePairs, intervalUs) => registers.write(reg.ITR, intervals(intervalUs)),
};
