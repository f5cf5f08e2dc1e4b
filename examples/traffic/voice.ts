/**
 * Fifty packets a second as RTP has them (G.711, 20 ms), beside bulk traffic that grows: at which load does voice suffer? Fails where
 * it came later, or less evenly, than it may.
 *
 *     barewire pktgen --script examples/traffic/voice.ts PORT PORT-BEHIND-IT
 */
import { defineTraffic } from 'barewire/traffic';

const MAX_P99_MS = 20;
const MAX_JITTER_MS = 5;
let bulkMbit = 10;

export default defineTraffic({
  flows: [
    { name: 'voice', srcPort: 5004, dstPort: 5004, tos: 0xb8, size: 218, rate: 50, durationMs: 10_000 },
    { name: 'bulk', size: 'imix', rate: `${bulkMbit}Mbit`, durationMs: 10_000 },
  ],
  onTick(run) {
    bulkMbit += 10;
    run.flow('bulk').setRate(`${bulkMbit}Mbit`);
  },
  onPhaseEnd({ flows }, run) {
    const { latency, lost = 0 } = flows[0] ?? {};
    if (lost > 0) run.fail(`${lost} voice packets were lost`);
    else if (latency === undefined) run.fail('no voice packet came');
    else if (latency.p99Ns > MAX_P99_MS * 1e6) run.fail(`1 % of voice came later than ${MAX_P99_MS} ms`);
    else if (latency.jitterNs > MAX_JITTER_MS * 1e6) run.fail(`voice had a jitter above ${MAX_JITTER_MS} ms`);
  },
});
