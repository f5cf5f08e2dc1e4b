/**
 * Entry point `barewire/traffic`: flows of frames with fields that change, sent when they are due, and a checker that accounts for
 * each of them.
 *
 * @example
 * import { open, pollLoop } from 'barewire';
 * import { TrafficRun } from 'barewire/traffic';
 * await using a = await open('0000:03:00.0');
 * await using b = await open('0000:03:00.1', { promiscuous: true });
 * const run = new TrafficRun([a, b], { flows: [{ srcIp: '10.0.0.1-10.0.0.254~', rate: '10kpps', count: 1000 }] });
 * const end = new AbortController();
 * await pollLoop(() => {
 *   if (run.done) end.abort();
 *   return run.poll();
 * }, { signal: end.signal });
 * console.log(run.reports[0]?.account);
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
export { Histogram, type HistogramSummary, type Octave } from './histogram.js';
export type { TrafficObserver } from './observer.js';
export { describeRate, frameBits, parseRate, type Rate, type RateSpec, wireBits } from './rate.js';
export { type ForeignFrame, type ReceiverOptions, TrafficReceiver } from './receiver.js';
export { Rfc2544, type Rfc2544Options, type TrialReport } from './rfc2544/benchmark.js';
export {
  RFC2544_SIZES,
  RFC2544_TESTS,
  type Rfc2544Test,
  type SizeReport,
  type ThroughputReport,
} from './rfc2544/plan.js';
export { type PhaseReport, RunningFlow, TrafficRun } from './run.js';
export { DEFAULT_CATCH_UP_MS, Schedule } from './schedule.js';
export { defineTraffic, portsOf, type ScriptFlow, type TrafficPhase, type TrafficScript } from './script.js';
export { type FlowSender, type SenderOptions, TrafficSender } from './sender.js';
export { PACINGS, type Pacing, SendingFlow } from './sending-flow.js';
export { Trial, type TrialOptions, type TrialPort } from './trial.js';
