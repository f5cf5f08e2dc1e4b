/**
 * The simple IMIX at a rate that grows until frames are lost.
 *
 *     barewire pktgen --script examples/traffic/imix.ts PORT PORT-BEHIND-IT
 */
import { defineTraffic } from 'barewire/traffic';

const STEPS_MBIT = [50, 100, 200, 400, 800];

export default defineTraffic({
  phases: STEPS_MBIT.map((mbit) => ({
    name: `${mbit} Mbit/s`,
    flows: [{ name: 'imix', size: 'imix', rate: `${mbit}Mbit` }],
    durationMs: 2000,
  })),
  onPhaseEnd(account, run) {
    if (account.lost) run.fail(`${run.phase}: ${account.lost} of ${account.sent} frames lost`);
  },
});
