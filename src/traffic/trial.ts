/**
 * One run of flows, from the first frame to a quiet end: sends what is due on some ports, checks what arrives at others, waits until
 * nothing is under way any more, and then says what became of every frame. It works only when it is polled, so it takes
 * whatever time its clock says.
 */
import { type Clock, clockOption, systemClock } from '../clock.js';
import type { NetDevice, NetStats } from '../driver/device.js';
import { badOption, choiceOption, millisecondsOption } from '../options.js';
import { accountOf, type TrafficAccount } from './account.js';
import { MAX_FLOWS, TrafficChecker } from './checker.js';
import { FillerSender } from './filler-sender.js';
import type { FlowOptions } from './flow.js';
import type { TrafficObserver } from './observer.js';
import { type ForeignFrame, TrafficReceiver } from './receiver.js';
import { type FlowSender, TrafficSender } from './sender.js';
import { PACINGS, type Pacing, type SendingFlow } from './sending-flow.js';

/** What a trial does with a port. Every port is received from, so that its ring does not fill up. */
export interface TrialPort {
  readonly device: NetDevice;
  /** Sent by it; their numbers follow those of the ports before. Default none. */
  readonly flows?: readonly FlowOptions[];
  /** Test frames that arrive here are accounted for. Default false. */
  readonly checked?: boolean;
}

export interface TrialOptions {
  /** Default: the machine's. */
  readonly clock?: Clock;
  /** Most frames in a batch, 1 to 256. Default 32. */
  readonly batch?: number;
  /** How late frames may be and still be sent, in milliseconds. Default 10. */
  readonly catchUpMs?: number;
  /**
   * How long ago the schedules began, in milliseconds: so much is queued at once, and lies in the ring while this process is held up.
   * Latencies count from the queueing, so they grow with it. Default 0.
   */
  readonly leadMs?: number;
  /** Bits a second, for rates in percent and for fillers; by default what each link says. */
  readonly lineBitsPerS?: number;
  /**
   * What spaces the frames: this process by default. `hardware`: the rate of a queue, where the device has one
   * (`capabilities.txRate`), for one flow a port with even gaps. `filler`: frames with a wrong FCS between them, which the receiver's
   * hardware drops, where the device sends such (`TxFlag.OWN_FCS`) and knows its line's speed.
   */
  readonly pacing?: Pacing;
  /** Nothing is under way when nothing has come for so long, in milliseconds. Default 200. */
  readonly settleMs?: number;
  /** Sender and receiver have one clock: latencies are told. Default true. */
  readonly sharedClock?: boolean;
  /** Number of the first flow: others than those of earlier trials tell their late frames apart. Default 0. */
  readonly firstFlow?: number;
  /** Called for each frame that is none of the trial's. What it throws, `poll` throws. */
  readonly onFrame?: (frame: ForeignFrame) => void;
  /** Sees all frames of all ports as they are sent and come. */
  readonly observer?: TrafficObserver;
}

const SETTLE_MS = 200;
/** Test frames that go on coming for so long after the last was sent are no answer to it. */
const MOST_SETTLE_MS = 10_000;
/** How long a transmit ring that moves nothing is waited for. */
const RING_MS = 500;
const LOOK_NS = 1e6;

export class Trial {
  readonly senders: readonly FlowSender[];
  /** Undefined where no port is checked. */
  readonly checker: TrafficChecker | undefined;
  readonly #ports: readonly TrialPort[];
  readonly #receivers: readonly TrafficReceiver[];
  readonly #before: readonly NetStats[];
  readonly #clock: Clock;
  readonly #settleNs: number;
  #state: 'sending' | 'settling' | 'done' = 'sending';
  #framesSeen = -1;
  #quietSinceNs = 0;
  #settlingSinceNs = 0;
  #nextLookNs = 0;
  #account: TrafficAccount | undefined;

  /**
   * The schedules begin at once.
   * @throws NicError `BAD_OPTION`, `BAD_ADDRESS` for flows that cannot be, or not on their port; `DEVICE_GONE`
   */
  constructor(ports: readonly TrialPort[], options: TrialOptions = {}) {
    const clock = clockOption('clock', options.clock ?? systemClock);
    this.#clock = clock;
    this.#ports = ports;
    this.#settleNs = millisecondsOption('settleMs', options.settleMs ?? SETTLE_MS) * 1e6;
    const leadMs = millisecondsOption('leadMs', options.leadMs ?? 0);
    const { batch, catchUpMs, lineBitsPerS, sharedClock = true, onFrame, observer } = options;
    const pacing = choiceOption('pacing', options.pacing ?? 'software', PACINGS);
    const first = options.firstFlow ?? 0;
    let next = first;
    const senders = ports.map(({ device, flows = [] }) => {
      if (flows.length === 0) return undefined;
      const firstFlow = next;
      next += flows.length;
      const made = {
        clock,
        firstFlow,
        ...(observer === undefined ? {} : { observer }),
        ...(batch === undefined ? {} : { batch }),
        ...(catchUpMs === undefined ? {} : { catchUpMs }),
        ...(lineBitsPerS === undefined ? {} : { lineBitsPerS }),
      };
      return pacing === 'filler'
        ? new FillerSender(device, flows, made)
        : new TrafficSender(device, flows, { ...made, pacing });
    });
    if (next > MAX_FLOWS)
      throw badOption('The number of flows', next, `at most ${MAX_FLOWS} in all, with firstFlow`);
    this.senders = senders.filter((sender) => sender !== undefined);
    const isChecked = ports.some(({ checked = false }) => checked);
    // One that only receives takes the flows of any sender.
    const range = this.senders.length === 0 ? {} : { firstFlow: first, flows: next - first };
    this.checker = isChecked ? new TrafficChecker({ sharedClock, ...range }) : undefined;
    this.#receivers = ports.map(
      ({ device, checked = false }) =>
        new TrafficReceiver(device, clock, {
          ...(checked && this.checker !== undefined ? { checker: this.checker } : {}),
          senders: this.senders.filter((sender) => sender.device.pool === device.pool),
          ...(onFrame === undefined ? {} : { onFrame }),
          ...(observer === undefined ? {} : { observer }),
        }),
    );
    this.#before = ports.map(({ device }) => device.stats());
    for (const sender of this.senders) sender.start(leadMs);
  }

  /** Whether all has been sent and nothing is under way: the account is final. A trial without flows ends by `stop`. */
  get done(): boolean {
    return this.#state === 'done';
  }

  /** Whether all has been sent, or sending was ended, and what is under way is waited for. */
  get settling(): boolean {
    return this.#state === 'settling';
  }

  /** All flows of all ports, by their number. */
  get flows(): readonly SendingFlow[] {
    return this.senders.flatMap(({ flows }) => flows);
  }

  /** Sends and receives one batch a port; returns how many frames that were, 0 when it is done. */
  poll(): number {
    if (this.#state === 'done') return 0;
    let moved = 0;
    for (let i = 0; i < this.senders.length; i++) moved += this.senders[i]!.poll();
    for (let i = 0; i < this.#receivers.length; i++) moved += this.#receivers[i]!.poll();
    if (this.#state === 'settling') this.#lookForEnd();
    else if (this.senders.length > 0 && this.#hasSent()) this.stop();
    return moved;
  }

  /** Sends nothing more. What is under way is still waited for, by `poll`. */
  stop(): void {
    if (this.#state !== 'sending') return;
    for (const sender of this.senders) sender.stop();
    this.#state = 'settling';
    this.#settlingSinceNs = this.#clock.nowNs();
    if (this.senders.length === 0 || (this.checker === undefined && this.#isDrained)) this.#end();
  }

  get #isDrained(): boolean {
    return this.senders.every(({ drained }) => drained);
  }

  #hasSent(): boolean {
    for (let i = 0; i < this.senders.length; i++) if (!this.senders[i]!.done) return false;
    return true;
  }

  #lookForEnd(): void {
    const nowNs = this.#clock.nowNs();
    if (!this.#isDrained) {
      this.#quietSinceNs = nowNs;
      return;
    }
    if (this.checker === undefined) {
      this.#end();
      return;
    }
    // Frames of somebody else may go on for ever.
    let frames = 0;
    for (let i = 0; i < this.#receivers.length; i++) frames += this.#receivers[i]!.testFrames;
    if (frames !== this.#framesSeen) {
      this.#framesSeen = frames;
      this.#quietSinceNs = nowNs;
    }
    const quietNs = nowNs - this.#quietSinceNs;
    const isLong = nowNs - this.#settlingSinceNs > this.#settleNs + MOST_SETTLE_MS * 1e6;
    if ((quietNs < this.#settleNs && !isLong) || nowNs < this.#nextLookNs) return;
    this.#nextLookNs = nowNs + LOOK_NS;
    if (isLong || quietNs > this.#settleNs + RING_MS * 1e6 || this.#ringsAreEmpty()) this.#end();
  }

  #ringsAreEmpty(): boolean {
    return this.senders.every(({ device }) => {
      // A family that counts by its reports must have read them.
      for (const queue of device.txQueues) queue.reclaim();
      return (device.stats().txInRing ?? 0) === 0;
    });
  }

  #end(): void {
    this.#account = this.account();
    this.#state = 'done';
  }

  /** What became of the frames: final when `done`, else as far as it can be told by now. */
  account(): TrafficAccount {
    if (this.#account !== undefined) return this.#account;
    const { checker } = this;
    const tx = this.#counted(({ flows = [] }) => flows.length > 0);
    const rx = this.#counted(({ checked = false }) => checked);
    return accountOf({
      senders: this.senders,
      ...(checker === undefined ? {} : { checker }),
      ...(tx === undefined ? {} : { tx }),
      ...(rx === undefined ? {} : { rx }),
      otherFramesSent: this.#receivers.reduce(
        (sum, { replies }, i) => sum + ((this.#ports[i]!.flows?.length ?? 0) > 0 ? replies : 0),
        0,
      ),
    });
  }

  /** What some ports counted since the start, summed; undefined where one is gone. */
  #counted(isMeant: (port: TrialPort) => boolean): NetStats | undefined {
    const sum: Record<string, number> = {};
    let most = 0;
    for (const [i, port] of this.#ports.entries()) {
      if (!isMeant(port)) continue;
      try {
        const before = this.#before[i] as unknown as Record<string, number>;
        for (const [name, count] of Object.entries(port.device.stats())) {
          // Not all that is told is a count.
          if (typeof count === 'number') sum[name] = (sum[name] ?? 0) + count - (before[name] ?? 0);
        }
        most++;
      } catch {
        return undefined; // the run fails with the reason
      }
    }
    return most === 0 ? undefined : (sum as unknown as NetStats);
  }
}
