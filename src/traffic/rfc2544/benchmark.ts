/** Runs the trials of RFC 2544 on two open ports with a device between them. It works only when it is polled. */
import { type Clock, clockOption, systemClock } from '../../clock.js';
import type { NetDevice } from '../../driver/device.js';
import { NicError } from '../../errors.js';
import {
  arrayOption,
  badOption,
  choiceOption,
  integerOption,
  knownOptions,
  millisecondsOption,
} from '../../options.js';
import { MAX_FLOWS } from '../checker.js';
import { checkFlow, type FlowOptions } from '../flow.js';
import { DEFAULT_CATCH_UP_MS } from '../schedule.js';
import { Trial } from '../trial.js';
import {
  lineFramesPerS,
  mostTrials,
  type PlanOptions,
  RFC2544_SIZES,
  RFC2544_TESTS,
  type Rfc2544Plan,
  type Rfc2544Test,
  rfc2544Plan,
  type SizeReport,
  type TrialOutcome,
  type TrialSpec,
} from './plan.js';

export interface Rfc2544Options {
  /** Frame sizes, FCS included. Default: those of the RFC for Ethernet. */
  readonly sizesBytes?: readonly number[];
  /** Default all. */
  readonly tests?: readonly Rfc2544Test[];
  /** `binary` looks for the load without loss; `mlr` (default) also for the one with half a percent of it. */
  readonly search?: 'binary' | 'mlr';
  /** Bits a second of the line; by default what the sender's link says. */
  readonly lineBitsPerS?: number;
  /** Length of a trial, in milliseconds. Default 10,000; the RFC asks for 60,000. */
  readonly trialMs?: number;
  /** A trial has ended when nothing has come for so long. Default 200. */
  readonly settleMs?: number;
  /** How near the result must be to a load that is too high, as a share of the line. Default 0.005. */
  readonly tolerance?: number;
  /** Trials of each load. Default 1. */
  readonly repetitions?: number;
  /** Addresses, ports, tags: UDP, without size, rate, count and duration. */
  readonly flow?: FlowOptions;
  readonly clock?: Clock;
  /** Told of each trial when it has ended. */
  readonly onTrial?: (trial: TrialReport) => void;
}

export interface TrialReport extends TrialSpec, TrialOutcome {
  /** Trials until now, with this one. */
  readonly number: number;
  /** How long the rest takes at most, as far as can be told. */
  readonly leftMs: number;
  /** Frames that a port here lost: the ring was full, or the link down. They are no losses of the device. */
  readonly lostHere: number;
  /** This process, or the line, was held up in it. */
  readonly heldUp: boolean;
  /** Tried again for that. */
  readonly again: boolean;
}

const KNOWN = [
  'sizesBytes',
  'tests',
  'search',
  'lineBitsPerS',
  'trialMs',
  'settleMs',
  'tolerance',
  'repetitions',
  'flow',
  'clock',
  'onTrial',
] as const;
const NOT_IN_FLOW = [
  'size',
  'rate',
  'count',
  'durationMs',
  'burst',
  'burstGapMs',
  'startDelayMs',
  'spacing',
] as const;
/** How often a trial is tried again in which this process was held up. */
const MOST_AGAIN = 5;
/** Share of the frames up to which a loss after a pause may be of the burst that made up for it. */
const DOUBTFUL_LOSS = 0.005;
const SETTLE_MS = 200;
/** What is caught up after a pause is a burst: longer ones would fill a device's buffers, and the result be ours. */
const CATCH_UP_MS = 1;
/** Most that is queued ahead at the whole line, and how much of the ring it fills. */
const LEAD_MS = 10;
const LEAD_SHARE = 0.75;

export class Rfc2544 {
  /** Frames that ports here lost, in all trials. */
  lostHere = 0;
  /** Trials that were held up at each try: what they gave may be too low. */
  heldUp = 0;
  readonly #devices: readonly [NetDevice, NetDevice];
  readonly #clock: Clock;
  readonly #options: Rfc2544Options;
  readonly #planned: PlanOptions;
  readonly #plan: Rfc2544Plan;
  readonly #settleMs: number;
  #spec: TrialSpec | undefined;
  #trial: Trial | undefined;
  readonly #reports: SizeReport[] = [];
  #number = 0;
  #again = 0;
  /** Whether the port's own line is what was said, and frames wait for it; undefined until the warm-up has shown it. */
  #linePaces: boolean | undefined;
  /** Load that the sender reached at the try before; NaN at the first. */
  #offeredBefore = Number.NaN;
  /** Trials of the size that is tried. */
  #ofSize = 0;

  /**
   * @param tx sends what `rx` receives, behind the device under test; both are open, `rx` for every frame
   * @throws NicError `BAD_OPTION`, `BAD_ADDRESS`
   */
  constructor(tx: NetDevice, rx: NetDevice, options: Rfc2544Options = {}) {
    knownOptions('Rfc2544', options, KNOWN);
    this.#devices = [tx, rx];
    this.#options = options;
    this.#clock = clockOption('clock', options.clock ?? systemClock);
    this.#settleMs = millisecondsOption('settleMs', options.settleMs ?? SETTLE_MS);
    this.#planned = planned(options, tx);
    checkTemplate(options.flow ?? {});
    this.#plan = rfc2544Plan(this.#planned, this.#reports);
    this.#take(this.#plan.next());
  }

  get done(): boolean {
    return this.#trial === undefined;
  }

  /** Of the sizes that are done. */
  get reports(): readonly SizeReport[] {
    return this.#reports;
  }

  /** One batch of each port. @throws NicError `NO_LINK` where not one frame comes */
  poll(): number {
    const [trial, spec] = [this.#trial, this.#spec];
    if (trial === undefined || spec === undefined) return 0;
    const moved = trial.poll();
    this.#lookAtRing(trial, spec);
    if (trial.done) this.#ended(spec, trial);
    return moved;
  }

  #ended(spec: TrialSpec, trial: Trial): void {
    const { outcome, lostHere, heldUp } = this.#outcomeOf(spec, trial);
    this.lostHere += lostHere;
    this.#number++;
    if (spec.test === 'warm-up' && outcome.sent === 0) throw nothingSent(spec);
    if (spec.test === 'warm-up' && outcome.received === 0) throw nothingCame(this.#devices);
    const again = heldUp && spec.test !== 'warm-up' && this.#again < MOST_AGAIN;
    this.#again = again ? this.#again + 1 : 0;
    this.#offeredBefore = again ? outcome.offered : Number.NaN;
    if (!again) this.#ofSize++;
    if (heldUp && !again && spec.test !== 'warm-up') this.heldUp++;
    this.#options.onTrial?.({
      ...spec,
      ...outcome,
      number: this.#number,
      leftMs: this.#leftMs(spec),
      lostHere,
      heldUp,
      again,
    });
    if (again) this.#begin(spec);
    else this.#take(this.#plan.next(outcome));
  }

  #outcomeOf(spec: TrialSpec, trial: Trial) {
    const {
      sent = 0,
      received = 0,
      losses,
      flows: [flow],
    } = trial.account();
    const { longestPauseNs } = trial.senders[0]!;
    const lostHere = Math.max(0, (losses?.atReceiverRing ?? 0) + (losses?.atSender ?? 0));
    const leftOut = (flow?.leftOutLate ?? 0) + (flow?.leftOutNoRoom ?? 0);
    const share = sent + leftOut === 0 ? 0 : sent / (sent + leftOut);
    const outcome: TrialOutcome = {
      offered: spec.load * share,
      sent,
      received,
      lost: Math.max(0, sent - received - lostHere),
      // It would count the time in the ring.
      ...(flow?.latency === undefined || this.#leadMs(spec) > 0 ? {} : { latency: flow.latency }),
    };
    // A load that was not offered, or frames that were lost here, say nothing of the device. A line that takes no more does so twice.
    const bound = this.#planned.tolerance / 2;
    const isTheSame = Math.abs(outcome.offered - this.#offeredBefore) <= bound;
    const wasLate = (flow?.leftOutLate ?? 0) > 0;
    const isShort = spec.load - outcome.offered > bound && (wasLate || !isTheSame);
    const isDoubtful = wasLate && outcome.lost > 0 && outcome.lost < DOUBTFUL_LOSS * sent;
    // What was late is sent, but a burst with a gap in it is none.
    const hasGap =
      spec.count !== undefined && longestPauseNs > 1e6 * Math.max(this.#leadMs(spec), CATCH_UP_MS);
    return { outcome, lostHere, heldUp: isShort || isDoubtful || hasGap || lostHere > 0 };
  }

  /**
   * How far the sender is ahead of its schedule: at the whole line frames may wait in the ring, so that the line does not run empty while
   * this process is held up. Not where their latency is measured. A quarter of the ring stays free, so that a full one means that the
   * line is slower than was said; and what comes during a pause finds room in the receiver's ring.
   */
  #leadMs({ load, test, sizeBytes }: TrialSpec): number {
    if (load < 1 || test === 'latency' || this.#linePaces === false) return 0;
    const [tx, rx] = this.#devices;
    const frames = LEAD_SHARE * Math.min(tx.txQueues[0].size, rx.rxQueues[0].size);
    return Math.min(LEAD_MS, (1000 * frames) / lineFramesPerS(this.#planned.lineBitsPerS, sizeBytes));
  }

  /** At the end of sending as many frames must be in the ring as were queued ahead: else the port is faster than the line is said to be. */
  #lookAtRing(trial: Trial, spec: TrialSpec): void {
    if (this.#linePaces !== undefined || spec.load < 1 || !trial.settling) return;
    const [tx] = this.#devices;
    tx.txQueues[0].reclaim();
    const { txInRing } = tx.stats();
    const framesPerMs = lineFramesPerS(this.#planned.lineBitsPerS, spec.sizeBytes) / 1000;
    this.#linePaces = txInRing !== undefined && txInRing > (framesPerMs * this.#leadMs(spec)) / 2;
  }

  #leftMs(spec: TrialSpec): number {
    const { sizesBytes, trialMs } = this.#planned;
    const most = mostTrials(this.#planned);
    const sizesLeft = sizesBytes.length - 1 - Math.max(0, sizesBytes.indexOf(spec.sizeBytes));
    const trials = Math.max(0, most - this.#ofSize) + sizesLeft * most;
    return trials * (trialMs + this.#settleMs);
  }

  #take(step: IteratorResult<TrialSpec, SizeReport[]>): void {
    if (step.done) {
      this.#trial = undefined;
      return;
    }
    if (step.value.sizeBytes !== this.#spec?.sizeBytes) this.#ofSize = 0;
    this.#begin(step.value);
  }

  #begin(spec: TrialSpec): void {
    const [tx, rx] = this.#devices;
    this.#spec = spec;
    const flow: FlowOptions = {
      ...this.#options.flow,
      size: spec.sizeBytes,
      rate: lineFramesPerS(this.#planned.lineBitsPerS, spec.sizeBytes) * spec.load,
      ...(spec.count === undefined ? { durationMs: spec.durationMs } : { count: spec.count }),
    };
    const ports =
      tx === rx
        ? [{ device: tx, flows: [flow], checked: true }]
        : [
            { device: tx, flows: [flow] },
            { device: rx, checked: true },
          ];
    // Late frames of a trial before are known by their flow number.
    const firstFlow = this.#number % MAX_FLOWS;
    const leadMs = this.#leadMs(spec);
    // The whole line cannot be exceeded: there lateness only counts against the average, which may be off by the tolerance.
    const { tolerance, trialMs } = this.#planned;
    const mostLateMs =
      spec.load < 1 ? CATCH_UP_MS : Math.min(DEFAULT_CATCH_UP_MS, Math.max(CATCH_UP_MS, tolerance * trialMs));
    this.#trial = new Trial(ports, {
      clock: this.#clock,
      settleMs: this.#settleMs,
      leadMs,
      catchUpMs: leadMs + mostLateMs,
      firstFlow,
    });
  }
}

function planned(options: Rfc2544Options, tx: NetDevice): PlanOptions {
  const sizesBytes = arrayOption('sizesBytes', options.sizesBytes ?? RFC2544_SIZES);
  if (sizesBytes.length === 0) throw badOption('sizesBytes', sizesBytes, 'one size at least');
  for (const size of sizesBytes) integerOption('sizesBytes', size, { min: 64, max: 16_384 });
  const tests = arrayOption('tests', options.tests ?? RFC2544_TESTS);
  for (const test of tests) choiceOption('tests', test, RFC2544_TESTS);
  if (tests.length === 0) throw badOption('tests', tests, 'one test at least');
  const lineBitsPerS = options.lineBitsPerS ?? tx.linkState().speedMbps * 1e6;
  if (!(lineBitsPerS > 0 && lineBitsPerS < Number.POSITIVE_INFINITY))
    throw new NicError('BAD_OPTION', `the speed of the line of ${tx.address} is not known`, {
      hint: 'Give it (--line-rate 1G).',
    });
  const { tolerance = 0.005 } = options;
  if (!(tolerance >= 1e-4 && tolerance <= 0.5))
    throw badOption('tolerance', tolerance, 'a share from 0.0001 to 0.5');
  const trialMs = millisecondsOption('trialMs', options.trialMs ?? 10_000);
  if (!(trialMs >= 1 && trialMs < Number.POSITIVE_INFINITY))
    throw badOption('trialMs', trialMs, 'milliseconds from 1');
  return {
    sizesBytes,
    tests,
    search: choiceOption('search', options.search ?? 'mlr', ['binary', 'mlr']),
    lineBitsPerS,
    trialMs,
    tolerance,
    repetitions: integerOption('repetitions', options.repetitions ?? 1, { min: 1, max: 1000 }),
  };
}

function checkTemplate(flow: FlowOptions): void {
  for (const name of NOT_IN_FLOW) {
    if (flow[name] !== undefined)
      throw new NicError('BAD_OPTION', `${name} does nothing in the flow of a benchmark`, {
        hint: 'Leave it out: the trials choose it.',
      });
  }
  if (!checkFlow(flow, 0).numbered)
    throw new NicError('BAD_OPTION', 'a benchmark with frames that have no number', {
      hint: 'Give UDP without a payload of its own.',
    });
}

function nothingSent({ sizeBytes, durationMs }: TrialSpec): NicError {
  return new NicError('BAD_OPTION', `no frame of ${sizeBytes} bytes was sent in ${durationMs} ms`, {
    hint: 'Make the trials longer (--trial), or check the line (--line-rate).',
  });
}

function nothingCame([tx, rx]: readonly [NetDevice, NetDevice]): NicError {
  return new NicError('NO_LINK', `of what ${tx.address} sent no frame came to ${rx.address}`, {
    hint: 'Check that the device between them forwards, and the addresses that it expects (--dst-mac, --dst-ip).',
  });
}
