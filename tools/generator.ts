/** Traffic of `pktgen` and `sink`: a run of flows on the ports of a command, and the account of it at the end. */
import type { Clock } from '../src/clock.js';
import type { NetDevice } from '../src/driver/device.js';
import {
  DEFAULT_CATCH_UP_MS,
  type FlowSender,
  type Schedule,
  type TrafficAccount,
  TrafficRun,
  type TrafficScript,
  type TrialOptions,
} from '../src/traffic/index.js';
import type { JunitCase } from './junit.js';
import { print, printError } from './output.js';
import type { PaceReport } from './pace.js';
import { AlreadyReported } from './run-command.js';
import { printAccount } from './traffic-account.js';
import type { TrafficCapture } from './traffic-capture.js';
import { trafficPage } from './traffic-page.js';
import type { ReportPort } from './traffic-report.js';
import type { Traffic } from './traffic-run.js';

export interface GeneratorOptions extends Omit<TrialOptions, 'clock' | 'onFrame' | 'firstFlow' | 'observer'> {
  /** Ends when so many frames have been received. */
  readonly receiveCount?: number;
  readonly json?: boolean;
  /** Losses are a failure. */
  readonly expectNoLoss?: boolean;
  /** Copies of what is sent and received; ended, and told about, with the run. */
  readonly capture?: TrafficCapture;
  /** Takes a case for each phase. */
  readonly writeReport?: (suite: string, cases: readonly JunitCase[]) => void;
  /** Takes a page about the whole run. */
  readonly writePage?: (page: string) => void;
}

export class Generator implements Traffic {
  readonly wakeOn: readonly NetDevice[];
  readonly report: readonly ReportPort[];
  readonly trafficRun: TrafficRun;
  readonly #clock: Clock;
  readonly #options: GeneratorOptions;
  readonly #phases: number;
  /** Of phases that have ended. */
  readonly #endedSenders: FlowSender[] = [];

  /** @throws NicError for a script that cannot be run on these ports */
  constructor(devices: readonly NetDevice[], script: TrafficScript, options: GeneratorOptions, clock: Clock) {
    const {
      receiveCount: _,
      json: __,
      expectNoLoss: ___,
      writeReport: ____,
      writePage: _____,
      capture,
      ...trial
    } = options;
    this.#clock = clock;
    this.#options = options;
    this.#phases = script.phases?.length ?? 1;
    this.trafficRun = new TrafficRun(devices, script, {
      ...trial,
      clock,
      ...(capture === undefined ? {} : { observer: capture }),
    });
    const { senders } = this.trafficRun.trial;
    // A schedule, or a script's clock, is no packet that could end a sleep.
    const isSink = senders.length === 0 && this.#phases === 1 && script.onTick === undefined;
    this.wakeOn = isSink ? devices : [];
    this.report = devices.map((device): ReportPort => {
      const pace = this.#paceOf(device);
      return {
        device,
        dropped: () => 0,
        ...(pace === undefined ? {} : { pace }),
        ...(options.pacing === 'filler' ? { fillers: () => this.#fillersOf(device) } : {}),
      };
    });
  }

  /** What filled gaps on a port, in all phases so far. */
  #fillersOf(device: NetDevice): { frames: number; bytes: number } {
    const sum = { frames: 0, bytes: 0 };
    for (const sender of [...this.#endedSenders, ...this.trafficRun.trial.senders]) {
      if (sender.device !== device) continue;
      sum.frames += sender.fillers;
      sum.bytes += sender.fillerBytes;
    }
    return sum;
  }

  /** How the rate of all flows of a port together was kept; undefined where one goes as fast as it can, or rates change. */
  #paceOf(device: NetDevice): (() => PaceReport) | undefined {
    const sender = this.trafficRun.trial.senders.find((one) => one.device === device);
    if (sender === undefined || this.#phases > 1) return undefined;
    const sumOf = (value: (schedule: Schedule) => number): number =>
      sender.flows.reduce((sum, { schedule }) => sum + value(schedule), 0);
    if (sumOf(({ requestedPps }) => requestedPps) === Number.POSITIVE_INFINITY) return undefined;
    const [{ pacing }] = sender.flows as [(typeof sender.flows)[number]];
    const { txRate } = device.capabilities;
    return () => ({
      ...(pacing === 'software' ? {} : { pacing }),
      ...(pacing === 'hardware' && txRate !== undefined
        ? { hardwarePps: sender.flows[0]!.hardwarePps ?? 0, divisorStep: txRate.divisorStep }
        : {}),
      requestedPps: sumOf(({ requestedPps }) => requestedPps),
      leftOutNoRoom: sumOf(({ leftOutNoRoom }) => leftOutNoRoom),
      leftOutLate: sumOf(({ leftOutLate }) => leftOutLate),
      longestPauseMs: Math.round(sender.longestPauseNs / 1e4) / 100,
      catchUpMs: this.#options.catchUpMs ?? DEFAULT_CATCH_UP_MS,
    });
  }

  get done(): boolean {
    const { receiveCount } = this.#options;
    if (this.trafficRun.done) return true;
    return receiveCount !== undefined && this.trafficRun.trial.checker!.received >= receiveCount;
  }

  get settling(): boolean {
    return this.trafficRun.settling;
  }

  poll(): number {
    const { trial } = this.trafficRun;
    const moved = this.trafficRun.poll();
    if (trial !== this.trafficRun.trial) this.#endedSenders.push(...trial.senders);
    return moved;
  }

  /** Sends nothing more, and waits until what is under way has come or is lost. */
  async beforeEnd(): Promise<void> {
    this.trafficRun.stop();
    while (!this.trafficRun.done) {
      // The loop may be asleep until a packet comes.
      this.trafficRun.poll();
      await new Promise<void>((resolve) => this.#clock.after(1, resolve));
    }
  }

  /** Of each phase that ran. */
  get accounts(): readonly { readonly phase: string; readonly account: TrafficAccount }[] {
    const run = this.trafficRun;
    return run.done ? run.reports : [...run.reports, { phase: run.phase, account: run.trial.account() }];
  }

  afterTotals(): void {
    const { accounts, trafficRun: run } = this;
    const { json = false, expectNoLoss = false, writeReport, writePage, capture } = this.#options;
    capture?.close();
    if (capture !== undefined) print(capture.summary(json));
    for (const { phase, account } of accounts)
      printAccount(account, json, accounts.length > 1 ? phase : undefined);
    if (run.failure !== undefined) printError(run.failure, undefined);
    const cases: JunitCase[] = accounts.map(({ phase, account }) => {
      const failure = expectNoLoss ? this.#lossOf(account) : undefined;
      if (failure === undefined) return { name: phase };
      printError(failure, undefined);
      return { name: phase, failure };
    });
    if (run.failure !== undefined) cases.push({ name: 'script', failure: run.failure });
    writeReport?.('pktgen', cases);
    writePage?.(trafficPage(accounts, cases));
    if (cases.some(({ failure }) => failure !== undefined)) throw new AlreadyReported();
  }

  /** Why it is not known that every frame came once; undefined where it is. */
  #lossOf(account: TrafficAccount): string | undefined {
    const { complete, flows, received = 0, duplicated = 0, notNumbered = 0 } = account;
    const { receiveCount = 1 } = this.#options;
    if (notNumbered > 0)
      return `${notNumbered} frames have no number, so nothing proves that they came (UDP frames have one)`;
    if (complete !== undefined) return complete ? undefined : lossText(account);
    if (received < receiveCount) return `received ${received}, expected ${receiveCount} at least`;
    return duplicated > 0 || flows.some(({ lost = 0 }) => lost > 0) ? lossText(account) : undefined;
  }
}

/** What the account says, where it does not prove that every frame came once. */
function lossText({ flows, sent, received, lost, duplicated, losses }: TrafficAccount): string {
  const unexplained = losses === undefined ? '' : `, unexplained ${losses.unexplained}`;
  const missing = lost ?? flows.reduce((sum, flow) => sum + (flow.lost ?? 0), 0);
  return `${sent === undefined ? '' : `sent ${sent}, `}received ${received}, lost ${missing}, duplicated ${duplicated}${unexplained}`;
}
