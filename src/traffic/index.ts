/**
 * Entry point `barewire/traffic`: flows of frames with fields that change, sent when they are due, and a checker that accounts for
 * each of them.
 *
 * @example
 * import { open, pollLoop, systemClock } from 'barewire';
 * import { accountOf, TrafficChecker, TrafficReceiver, TrafficSender } from 'barewire/traffic';
 * await using a = await open('0000:03:00.0');
 * await using b = await open('0000:03:00.1', { promiscuous: true });
 * const sender = new TrafficSender(a, [{ srcIp: '10.0.0.1-10.0.0.254~', rate: '10kpps', count: 1000 }], { clock: systemClock });
 * const checker = new TrafficChecker({ sharedClock: true });
 * const receiver = new TrafficReceiver(b, systemClock, checker);
 * const stop = new AbortController();
 * await pollLoop(() => {
 *   if (sender.done && checker.received === 1000) stop.abort();
 *   return sender.poll() + receiver.poll();
 * }, { signal: stop.signal });
 * console.log(accountOf({ sender, checker, tx: a.stats(), rx: b.stats() }));
 */
export {
  type AccountParts,
  accountOf,
  type Counted,
  type FlowReport,
  type Losses,
  type TrafficAccount,
} from './account.js';
export { type CheckerOptions, FlowCheck, MAX_FLOWS, TrafficChecker } from './checker.js';
export { type DryRunOptions, writeDryRun } from './dry-run.js';
export type { FieldValue, ValueList, ValueRange } from './field-value.js';
export {
  type CheckedFlow,
  checkFlow,
  type FlowOptions,
  type FlowProtocol,
  type PayloadField,
} from './flow.js';
export type { FrameSizes, SizeSpec } from './frame-size.js';
export { FrameWriter } from './frame-writer.js';
export { Histogram, type HistogramSummary } from './histogram.js';
export { describeRate, frameBits, parseRate, type Rate, type RateSpec, wireBits } from './rate.js';
export { TrafficReceiver } from './receiver.js';
export { DEFAULT_CATCH_UP_MS, Schedule } from './schedule.js';
export { type SenderOptions, SendingFlow, TrafficSender } from './sender.js';
