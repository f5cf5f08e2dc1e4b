/**
 * What RFC 2544 has measured of a device between two ports, as a plan: it yields one trial after the other, is given what came of each,
 * and returns the report. So it needs no clock and no port.
 */

import { FCS_BYTES } from '../frame-size.js';
import type { HistogramSummary } from '../histogram.js';
import { wireBits } from '../rate.js';
import { binarySearch, type FoundLoad, type LoadSearch, mlrSearch, NDR, PDR, trialsLeft } from './search.js';

/** Frame sizes of Ethernet, FCS included (RFC 2544, 9.1). */
export const RFC2544_SIZES = [64, 128, 256, 512, 1024, 1280, 1518] as const;

export type Rfc2544Test = 'throughput' | 'latency' | 'loss' | 'back-to-back';
export const RFC2544_TESTS: readonly Rfc2544Test[] = ['throughput', 'latency', 'loss', 'back-to-back'];

/** A trial that is wanted. */
export interface TrialSpec {
  readonly test: Rfc2544Test | 'warm-up';
  /** FCS included. */
  readonly sizeBytes: number;
  /** Share of the line. */
  readonly load: number;
  readonly durationMs: number;
  /** In place of a duration: so many frames. */
  readonly count?: number;
}

/** What came of it. Losses are the device's: what the ports here lost themselves is no part of them. */
export interface TrialOutcome {
  /** Load that the sender reached. */
  readonly offered: number;
  readonly sent: number;
  readonly received: number;
  /** Frames that did not come, and that no port here lost. */
  readonly lost: number;
  /** Absent where frames waited in the sender's ring, as they do at the whole line in all tests but that of latency. */
  readonly latency?: HistogramSummary & { readonly jitterNs: number };
}

export interface ThroughputReport {
  /** Share of the line; 0 where no load passed. */
  readonly load: number;
  readonly framesPerS: number;
  /** Bits a second on the wire, preamble and gap included. */
  readonly bitsPerS: number;
  /** Lowest share of the line that lost too much; absent where none did. */
  readonly tooHigh?: number;
  /** What keeps the load from being higher: the device that lost frames, the line, or a sender that reached no more. */
  readonly limit: 'device' | 'line' | 'sender';
}

/** A load at which frames were lost or not. */
export interface LoadLoss {
  /** What was asked for, and what the sender reached. */
  readonly load: number;
  readonly offered: number;
  readonly lossRatio: number;
}

export interface BurstReport {
  readonly frames: number;
  /** No longer one was tried: it took two seconds. */
  readonly isWhole: boolean;
  /** Share of the line that the sender reached in it. */
  readonly offered: number;
}

export interface SizeReport {
  readonly sizeBytes: number;
  /** Frames a second that the line carries. */
  readonly lineFramesPerS: number;
  /** Without loss (RFC 1242, 3.17); NDR of a search with two goals. */
  readonly throughput?: ThroughputReport;
  /** With half a percent of loss, where the search looked for it. */
  readonly partial?: ThroughputReport;
  /** At the throughput. */
  readonly latency?: HistogramSummary & { readonly jitterNs: number };
  /** By load, from the whole line down to the second one without loss. */
  readonly losses?: readonly LoadLoss[];
  /** Longest burst at the rate of the line without loss. */
  readonly backToBack?: BurstReport;
}

export interface PlanOptions {
  readonly sizesBytes: readonly number[];
  readonly tests: readonly Rfc2544Test[];
  readonly search: 'binary' | 'mlr';
  readonly lineBitsPerS: number;
  readonly trialMs: number;
  /** Share of the line. */
  readonly tolerance: number;
  readonly repetitions: number;
}

export type Rfc2544Plan = Generator<TrialSpec, SizeReport[], TrialOutcome>;

/** First few frames, so that a device learns its tables without losing any; then the whole line, so that the code here is compiled. */
const WARM_UPS = [
  { load: 0.1, trials: 1, mostMs: 500 },
  { load: 1, trials: 5, mostMs: 1000 },
] as const;
const LOSS_STEPS = 10;
/** A burst of two seconds is long enough (RFC 2544, 26.4). */
const LONGEST_BURST_MS = 2000;

/** Frames of a size that a line carries a second. @param sizeBytes FCS included */
export function lineFramesPerS(lineBitsPerS: number, sizeBytes: number): number {
  return lineBitsPerS / wireBits(sizeBytes - FCS_BYTES);
}

/** @param reports takes the report of each size as soon as there is one */
export function* rfc2544Plan(options: PlanOptions, reports: SizeReport[] = []): Rfc2544Plan {
  // Not counted.
  const [sizeBytes = 64] = options.sizesBytes;
  for (const { load, trials, mostMs } of WARM_UPS)
    yield { test: 'warm-up', sizeBytes, load, durationMs: Math.min(trials * options.trialMs, mostMs) };
  for (const sizeBytes of options.sizesBytes) reports.push(yield* sizePlan(sizeBytes, options));
  return reports;
}

function* sizePlan(sizeBytes: number, options: PlanOptions): Generator<TrialSpec, SizeReport, TrialOutcome> {
  const { tests } = options;
  const linePps = lineFramesPerS(options.lineBitsPerS, sizeBytes);
  const found =
    tests.includes('throughput') || tests.includes('latency') ? yield* throughput(sizeBytes, options) : [];
  const [ndr, pdr] = found;
  return {
    sizeBytes,
    lineFramesPerS: linePps,
    ...(ndr === undefined ? {} : { throughput: throughputReport(ndr, linePps, options) }),
    ...(pdr === undefined ? {} : { partial: throughputReport(pdr, linePps, options) }),
    ...(tests.includes('latency') && ndr !== undefined && ndr.load > 0
      ? yield* latencyAt(sizeBytes, ndr.load, options)
      : {}),
    ...(tests.includes('loss') ? { losses: yield* lossCurve(sizeBytes, options) } : {}),
    ...(tests.includes('back-to-back')
      ? { backToBack: yield* longestBurst(sizeBytes, linePps, options) }
      : {}),
  };
}

function throughputReport(
  { load, tooHigh, unreached }: FoundLoad,
  linePps: number,
  { lineBitsPerS, tolerance }: PlanOptions,
): ThroughputReport {
  return {
    load,
    framesPerS: load * linePps,
    bitsPerS: load * lineBitsPerS,
    ...(tooHigh === undefined ? {} : { tooHigh }),
    limit: limitOf(load >= 1 - tolerance, unreached, tooHigh),
  };
}

function limitOf(
  isWhole: boolean,
  unreached: boolean,
  tooHigh: number | undefined,
): ThroughputReport['limit'] {
  if (unreached) return isWhole ? 'line' : 'sender';
  if (tooHigh !== undefined) return 'device';
  return isWhole ? 'line' : 'sender';
}

function* throughput(
  sizeBytes: number,
  options: PlanOptions,
): Generator<TrialSpec, FoundLoad[], TrialOutcome> {
  const isMlr = options.search === 'mlr';
  const search: LoadSearch<FoundLoad | FoundLoad[]> = isMlr
    ? mlrSearch(options, [NDR, PDR])
    : binarySearch(options);
  let step = search.next();
  while (!step.done) {
    const outcome = yield { test: 'throughput', sizeBytes, load: step.value, durationMs: options.trialMs };
    step = search.next({ offered: outcome.offered, lossRatio: lossRatioOf(outcome) });
  }
  return [step.value].flat();
}

function* latencyAt(
  sizeBytes: number,
  load: number,
  { trialMs }: PlanOptions,
): Generator<TrialSpec, Pick<SizeReport, 'latency'>, TrialOutcome> {
  const { latency } = yield { test: 'latency', sizeBytes, load, durationMs: trialMs };
  return latency === undefined ? {} : { latency };
}

/** From the whole line down by tenths, until two loads in a row lose nothing (RFC 2544, 26.3). */
function* lossCurve(
  sizeBytes: number,
  { trialMs }: PlanOptions,
): Generator<TrialSpec, LoadLoss[], TrialOutcome> {
  const losses: LoadLoss[] = [];
  let clean = 0;
  for (let step = LOSS_STEPS; step > 0 && clean < 2; step--) {
    const load = step / LOSS_STEPS;
    const outcome = yield { test: 'loss', sizeBytes, load, durationMs: trialMs };
    const lossRatio = lossRatioOf(outcome);
    losses.push({ load, offered: outcome.offered, lossRatio });
    clean = lossRatio === 0 ? clean + 1 : 0;
  }
  return losses;
}

/** Bisects the number of frames that go out at the rate of the line and all come (RFC 2544, 26.4). */
function* longestBurst(
  sizeBytes: number,
  linePps: number,
  { tolerance }: PlanOptions,
): Generator<TrialSpec, BurstReport, TrialOutcome> {
  const longest = Math.max(1, Math.floor((linePps * LONGEST_BURST_MS) / 1000));
  let [passed, failed, offered] = [0, Number.POSITIVE_INFINITY, 1];
  let count = longest;
  for (;;) {
    const durationMs = (count * 1000) / linePps;
    const { lost, offered: reached } = yield {
      test: 'back-to-back',
      sizeBytes,
      load: 1,
      durationMs,
      count,
    };
    if (lost === 0) [passed, offered] = [count, reached];
    else failed = count;
    const isWhole = failed === Number.POSITIVE_INFINITY;
    if (isWhole || failed - passed <= Math.max(1, passed * tolerance))
      return { frames: passed, isWhole, offered };
    count = Math.floor((passed + failed) / 2);
  }
}

function lossRatioOf({ sent, lost }: TrialOutcome): number {
  return sent === 0 ? 1 : lost / sent;
}

/** Trials that a size may need: for an estimate of the time left. */
export function mostTrials({ tests, tolerance, repetitions }: PlanOptions): number {
  const search = (1 + trialsLeft(1, tolerance)) * repetitions;
  return (
    (tests.includes('throughput') || tests.includes('latency') ? search : 0) +
    (tests.includes('latency') ? 1 : 0) +
    (tests.includes('loss') ? LOSS_STEPS : 0) +
    (tests.includes('back-to-back') ? trialsLeft(1, tolerance) : 0)
  );
}
