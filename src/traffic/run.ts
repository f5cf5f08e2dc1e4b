/** Runs a script of traffic on open ports: one trial for each phase. It works only when it is polled. */
import { type Clock, clockOption, systemClock } from '../clock.js';
import type { NetDevice } from '../driver/device.js';
import { NicError } from '../errors.js';
import type { TrafficAccount } from './account.js';
import { MAX_FLOWS } from './checker.js';
import type { HistogramSummary } from './histogram.js';
import { parseRate, type RateSpec } from './rate.js';
import {
  defineTraffic,
  phaseName,
  phasesOf,
  portsOf,
  type TrafficPhase,
  type TrafficScript,
} from './script.js';
import type { SendingFlow } from './sending-flow.js';
import { Trial, type TrialOptions } from './trial.js';

export interface PhaseReport {
  readonly phase: string;
  readonly account: TrafficAccount;
}

const DEFAULT_TICK_MS = 1000;
/** Frames of a ring without room are given up so long after the end of their phase. */
const END_MARGIN_MS = 500;

/** A flow under way, as a script sees and changes it. */
export class RunningFlow {
  readonly #flow: SendingFlow;
  readonly #trial: Trial;
  readonly #clock: Clock;

  constructor(flow: SendingFlow, trial: Trial, clock: Clock) {
    this.#flow = flow;
    this.#trial = trial;
    this.#clock = clock;
  }

  /** Frames that the ring took. */
  get sent(): number {
    return this.#flow.taken;
  }

  /** Frames that came, each counted once; 0 where nobody checks. */
  get received(): number {
    return this.#check?.received ?? 0;
  }

  /** Numbers that have not come and are below the highest that has. */
  get missing(): number {
    return this.#check?.numbers.lost ?? 0;
  }

  get latency(): HistogramSummary | undefined {
    return this.#check?.latency.summary();
  }

  /** Mean difference of the latencies of frames that follow each other, in ns. */
  get jitterNs(): number {
    const { jitterSumNs = 0, jitterCount = 0 } = this.#check ?? {};
    return jitterCount === 0 ? 0 : jitterSumNs / jitterCount;
  }

  /** Frames a second that were asked for the last time. */
  get requestedPps(): number {
    return this.#flow.schedule.requestedPps;
  }

  /** Goes on at another rate. @throws NicError `BAD_OPTION` */
  setRate(rate: RateSpec): void {
    this.#flow.setRate(parseRate(rate), this.#clock.nowNs());
  }

  /** Sends no more of it. */
  stop(): void {
    this.#flow.schedule.end();
  }

  get #check() {
    return this.#trial.checker?.flows[this.#flow.index];
  }
}

export class TrafficRun {
  /** Of the phases that have ended. */
  readonly reports: PhaseReport[] = [];
  /** What `fail` was told first. */
  failure: string | undefined;
  readonly #script: TrafficScript;
  readonly #phases: TrafficPhase[];
  readonly #devices: readonly NetDevice[];
  readonly #options: TrialOptions;
  readonly #clock: Clock;
  readonly #checked: ReadonlySet<number>;
  #phaseIndex = 0;
  #nextFlow = 0;
  #trial: Trial;
  #startNs = 0;
  #endNs = Number.POSITIVE_INFINITY;
  #nextTickNs = 0;
  #stopped = false;
  #done = false;

  /**
   * The first phase begins at once.
   * @param devices the ports that the script counts from 0
   * @throws NicError `BAD_OPTION`, `BAD_ADDRESS` for a script that cannot be, or needs other ports
   */
  constructor(devices: readonly NetDevice[], script: TrafficScript, options: TrialOptions = {}) {
    this.#script = defineTraffic(script);
    const needed = portsOf(script);
    if (devices.length < needed)
      throw new NicError('BAD_OPTION', `the script needs ${needed} ports, and has ${devices.length}`, {
        hint: 'Give more ports.',
      });
    this.#devices = devices;
    this.#options = options;
    this.#clock = clockOption('clock', options.clock ?? systemClock);
    this.#phases = [...phasesOf(script)];
    this.#checked = checkedPorts(script, devices.length);
    this.#trial = this.#begin();
  }

  /** Whether all phases have ended. */
  get done(): boolean {
    return this.#done;
  }

  /** Whether nothing more will be sent: what is under way is waited for, or all has ended. */
  get settling(): boolean {
    if (this.#done) return true;
    return this.#trial.settling && (this.#stopped || this.#phaseIndex + 1 === this.#phases.length);
  }

  /** Name of the phase that is going on. */
  get phase(): string {
    return phaseName(this.#phases[this.#phaseIndex]!, this.#phaseIndex);
  }

  /** How long the phase has been going on. */
  get timeMs(): number {
    return (this.#clock.nowNs() - this.#startNs) / 1e6;
  }

  /** The trial of the phase that is going on. */
  get trial(): Trial {
    return this.#trial;
  }

  /** A flow of the phase that is going on. @throws NicError `BAD_OPTION` for a name that none has */
  flow(name: string): RunningFlow {
    const found = this.#trial.flows.find(({ options }) => options.name === name);
    if (found !== undefined) return new RunningFlow(found, this.#trial, this.#clock);
    const names = this.#trial.flows.map(({ options }) => options.name).join(', ');
    throw new NicError('BAD_OPTION', `no flow of ${this.phase} is called ${name}`, {
      hint: names === '' ? 'The phase has no flows.' : `There are ${names}.`,
    });
  }

  /** One more phase behind all others. @throws NicError `BAD_OPTION` */
  addPhase(phase: TrafficPhase): void {
    defineTraffic({ phases: [phase] });
    this.#phases.push(phase);
  }

  /** Sends nothing more in this phase. */
  endPhase(): void {
    this.#trial.stop();
  }

  /** Ends all phases when what is under way has come, and the run as a failure. */
  fail(message: string): void {
    this.failure ??= message;
    this.stop();
  }

  /** Ends all phases when what is under way has come. */
  stop(): void {
    this.#stopped = true;
    this.#trial.stop();
  }

  /** One batch of each port; returns how many frames that moved. Throws what a callback throws. */
  poll(): number {
    if (this.#done) return 0;
    const moved = this.#trial.poll();
    const nowNs = this.#clock.nowNs();
    if (nowNs >= this.#endNs) this.#trial.stop();
    if (nowNs >= this.#nextTickNs && !this.#trial.settling && !this.#trial.done) {
      const tickNs = (this.#script.tickMs ?? DEFAULT_TICK_MS) * 1e6;
      this.#nextTickNs += tickNs * Math.floor(1 + (nowNs - this.#nextTickNs) / tickNs);
      this.#script.onTick?.(this);
    }
    if (this.#trial.done) this.#endPhase();
    return moved;
  }

  #begin(): Trial {
    const { flows = [], durationMs = Number.POSITIVE_INFINITY } = this.#phases[this.#phaseIndex]!;
    const { onFrame } = this.#script;
    this.#startNs = this.#clock.nowNs();
    // Flows end by themselves; this is for those that cannot, and for phases without any.
    this.#endNs = this.#startNs + (durationMs + (flows.length > 0 ? END_MARGIN_MS : 0)) * 1e6;
    this.#nextTickNs =
      this.#script.onTick === undefined
        ? Number.POSITIVE_INFINITY
        : this.#startNs + (this.#script.tickMs ?? DEFAULT_TICK_MS) * 1e6;
    const named = flows.map((flow, i) => ({
      name: `flow ${i}`,
      ...flow,
      durationMs: Math.min(flow.durationMs ?? durationMs, Math.max(0, durationMs - (flow.startDelayMs ?? 0))),
    }));
    const ports = this.#devices.map((device, i) => ({
      device,
      flows: named.filter(({ port = 0 }) => port === i).map(({ port: _, ...flow }) => flow),
      checked: this.#checked.has(i),
    }));
    return new Trial(ports, {
      ...this.#options,
      clock: this.#clock,
      firstFlow: this.#nextFlow,
      ...(onFrame === undefined ? {} : { onFrame: (frame) => onFrame.call(this.#script, frame, this) }),
    });
  }

  #endPhase(): void {
    const account = this.#trial.account();
    const { flows = [] } = this.#phases[this.#phaseIndex]!;
    this.reports.push({ phase: this.phase, account });
    this.#script.onPhaseEnd?.(account, this);
    if (this.#stopped || this.#phaseIndex + 1 === this.#phases.length) {
      this.#done = true;
      return;
    }
    this.#phaseIndex++;
    // Other numbers tell the late frames of an earlier phase apart.
    const next = this.#phases[this.#phaseIndex]!.flows?.length ?? 0;
    this.#nextFlow += flows.length;
    if (this.#nextFlow + next > MAX_FLOWS) this.#nextFlow = 0;
    this.#trial = this.#begin();
  }
}

/** Ports whose test frames are accounted for: those that are named, or those that send nothing. */
function checkedPorts(script: TrafficScript, ports: number): ReadonlySet<number> {
  if (script.checked !== undefined) return new Set(script.checked);
  const sending = new Set(phasesOf(script).flatMap(({ flows = [] }) => flows.map(({ port = 0 }) => port)));
  const others = Array.from({ length: ports }, (_, i) => i).filter((i) => !sending.has(i));
  return new Set(sending.size === 0 ? [] : others);
}
