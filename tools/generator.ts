/** Traffic of `pktgen` and `sink`: a sender, a receiver that checks, or both, and the account of it at the end. */
import type { Clock } from '../src/clock.js';
import type { NetDevice, NetStats } from '../src/driver/device.js';
import {
  accountOf,
  DEFAULT_CATCH_UP_MS,
  type FlowOptions,
  type Schedule,
  type SenderOptions,
  type TrafficAccount,
  TrafficChecker,
  TrafficReceiver,
  TrafficSender,
} from '../src/traffic/index.js';
import type { PaceReport } from './pace.js';
import { AlreadyReported } from './run-command.js';
import { printAccount } from './traffic-account.js';
import type { ReportPort } from './traffic-report.js';
import type { Traffic } from './traffic-run.js';

export interface GeneratorOptions extends Omit<SenderOptions, 'clock'> {
  /** Sends these; without them it only receives. */
  readonly flows?: readonly FlowOptions[];
  /** The receiver's frames tell latencies: both ends have one clock. */
  readonly sharedClock?: boolean;
  /** Ends when so many frames have been received. */
  readonly receiveCount?: number;
  /** Nothing has come for so long: nothing is under way any more. */
  readonly settleMs?: number;
  readonly json?: boolean;
  /** Losses are a failure. */
  readonly expectNoLoss?: boolean;
}

const SETTLE_MS = 200;
const MOST_SETTLE_MS = 10_000;
const DRAIN_MS = 500;

export class Generator implements Traffic {
  readonly wakeOn: readonly NetDevice[];
  readonly report: readonly ReportPort[];
  readonly sender: TrafficSender | undefined;
  readonly checker: TrafficChecker | undefined;
  readonly #receivers: readonly TrafficReceiver[];
  readonly #tx: NetDevice | undefined;
  readonly #rx: NetDevice | undefined;
  readonly #before: ReadonlyMap<NetDevice, NetStats>;
  readonly #clock: Clock;
  readonly #options: GeneratorOptions;

  /** @param tx sends; undefined where nothing is sent @param rx is checked; undefined where nothing is */
  constructor(tx: NetDevice | undefined, rx: NetDevice | undefined, options: GeneratorOptions, clock: Clock) {
    this.#tx = tx;
    this.#rx = rx;
    this.#clock = clock;
    this.#options = options;
    const devices = [...new Set([tx, rx])].filter((device) => device !== undefined);
    // A sender's schedule is no packet that could end a sleep.
    this.wakeOn = tx === undefined ? devices : [];
    this.checker =
      rx === undefined ? undefined : new TrafficChecker({ sharedClock: options.sharedClock ?? false });
    const { batch, catchUpMs, lineBitsPerS } = options;
    this.sender =
      tx === undefined
        ? undefined
        : new TrafficSender(tx, options.flows ?? [], {
            clock,
            ...(batch === undefined ? {} : { batch }),
            ...(catchUpMs === undefined ? {} : { catchUpMs }),
            ...(lineBitsPerS === undefined ? {} : { lineBitsPerS }),
          });
    const pace = this.#pace();
    this.report = devices.map(
      (device): ReportPort => ({
        device,
        dropped: () => 0,
        ...(device === tx && pace !== undefined ? { pace } : {}),
      }),
    );
    this.#receivers = devices.map(
      (device) =>
        new TrafficReceiver(
          device,
          clock,
          device === rx ? this.checker : undefined,
          this.sender?.device.pool === device.pool ? [this.sender] : [],
        ),
    );
    this.#before = new Map(devices.map((device) => [device, device.stats()]));
    this.sender?.start();
  }

  /** How the rate of all flows together was kept; undefined where one goes as fast as it can. */
  #pace(): (() => PaceReport) | undefined {
    const { sender } = this;
    const sumOf = (value: (schedule: Schedule) => number): number =>
      sender?.flows.reduce((sum, { schedule }) => sum + value(schedule), 0) ?? 0;
    const requestedPps = sumOf((schedule) => schedule.requestedPps);
    if (sender === undefined || requestedPps === Number.POSITIVE_INFINITY) return undefined;
    return () => ({
      requestedPps,
      leftOutNoRoom: sumOf((schedule) => schedule.leftOutNoRoom),
      leftOutLate: sumOf((schedule) => schedule.leftOutLate),
      longestPauseMs: Math.round(sender.longestPauseNs / 1e4) / 100,
      catchUpMs: this.#options.catchUpMs ?? DEFAULT_CATCH_UP_MS,
    });
  }

  get done(): boolean {
    if (this.sender !== undefined) return this.sender.done;
    return (
      this.checker !== undefined &&
      this.checker.received >= (this.#options.receiveCount ?? Number.POSITIVE_INFINITY)
    );
  }

  poll(): number {
    let moved = this.sender?.poll() ?? 0;
    for (const receiver of this.#receivers) moved += receiver.poll();
    return moved;
  }

  /** Sends nothing more, and waits until what is under way has come or is lost. */
  async beforeEnd(): Promise<void> {
    if (this.sender === undefined) return;
    this.sender.stop();
    if (this.checker === undefined) return;
    await this.sender.device.drain({ timeoutMs: DRAIN_MS });
    await this.#quiet();
  }

  async #quiet(): Promise<void> {
    const settleNs = (this.#options.settleMs ?? SETTLE_MS) * 1e6;
    const startNs = this.#clock.nowNs();
    let [before, sinceNs] = [-1, startNs];
    for (;;) {
      const frames = this.#receivers.reduce((sum, receiver) => sum + receiver.frames, 0);
      const nowNs = this.#clock.nowNs();
      if (frames !== before) [before, sinceNs] = [frames, nowNs];
      if (nowNs - sinceNs >= settleNs || nowNs - startNs > settleNs + MOST_SETTLE_MS * 1e6) return;
      await new Promise<void>((resolve) => this.#clock.after(Math.max(1, settleNs / 10e6), resolve));
    }
  }

  account(): TrafficAccount {
    const [tx, rx] = [this.#countedOf(this.#tx), this.#countedOf(this.#rx)];
    return accountOf({
      ...(this.sender === undefined ? {} : { sender: this.sender }),
      ...(this.checker === undefined ? {} : { checker: this.checker }),
      ...(tx === undefined ? {} : { tx }),
      ...(rx === undefined ? {} : { rx }),
    });
  }

  /** What a port counted since the start; undefined for one that is gone. */
  #countedOf(device: NetDevice | undefined): NetStats | undefined {
    if (device === undefined) return undefined;
    const before = this.#before.get(device)!;
    try {
      const now = Object.entries(device.stats()) as [keyof NetStats, number][];
      return Object.fromEntries(
        now.map(([name, count]) => [name, count - (before[name] ?? 0)]),
      ) as unknown as NetStats;
    } catch {
      return undefined; // the run fails with the reason
    }
  }

  afterTotals(): void {
    const account = this.account();
    printAccount(account, this.#options.json ?? false);
    const isLossy =
      account.complete === undefined ? account.flows.some(({ lost }) => (lost ?? 0) > 0) : !account.complete;
    if (this.#options.expectNoLoss === true && isLossy) throw new AlreadyReported();
  }
}
