/**
 * The rate of a transmit queue (82599 datasheet 4.6.11.4, 8.2.3.10). The hardware leaves between the beginnings of two frames of a
 * queue as many byte times as the first one has bytes, times the rate factor: the line's speed divided by the rate, a number with
 * 10 bits before the point and 14 behind it. The text allows factors up to 1000.
 *
 * ASSUMED: the length that counts includes the FCS ("layer 2 length, without preamble and gap"), as MoonGen and DPDK reckon too.
 */
import { NicError } from '../../errors.js';
import type { LinkState, TxRateLimits } from '../device.js';
import type { RegisterFile } from '../register-file.js';
import * as reg from './registers.js';

const MAX_FACTOR = 1000;
const STEPS = 1 << reg.RTTBCNRC_RF_SHIFT;

export const RATE_LIMITS: TxRateLimits = { leastShare: 1 / MAX_FACTOR, divisorStep: 1 / STEPS };

/**
 * As `TxQueue.setRate`.
 * @throws NicError `BAD_OPTION`, `NO_LINK`
 */
export function setQueueRate(
  registers: RegisterFile,
  queue: number,
  bitsPerS: number,
  link: () => LinkState,
  address: string,
): number {
  if (bitsPerS === 0) {
    writeFactor(registers, queue, 0);
    return 0;
  }
  const lineBitsPerS = link().speedMbps * 1e6;
  if (lineBitsPerS === 0)
    throw new NicError('NO_LINK', `${address} has no link, and a queue's rate is a share of its speed`, {
      hint: 'Wait for the link (waitForLink), then set the rate.',
    });
  const least = lineBitsPerS / MAX_FACTOR;
  if (!(bitsPerS >= least && bitsPerS <= lineBitsPerS))
    throw new NicError('BAD_OPTION', `${address} cannot hold a queue to ${bitsPerS} bits a second`, {
      hint: `Give ${least} to ${lineBitsPerS}, or 0 for no rate. Counted are frames with FCS, without preamble and gap.`,
    });
  const steps = Math.round((lineBitsPerS / bitsPerS) * STEPS);
  writeFactor(registers, queue, (reg.RTTBCNRC_RS_ENA | steps) >>> 0);
  return (lineBitsPerS * STEPS) / steps;
}

function writeFactor(registers: RegisterFile, queue: number, value: number): void {
  registers.write(reg.RTTDQSEL, queue);
  registers.write(reg.RTTBCNRC, value);
}
