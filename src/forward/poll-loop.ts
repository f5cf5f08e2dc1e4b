/**
 * Runs a polling function without starving the event loop. Polling goes in bursts of about a millisecond; between
 * bursts timers, signals and sockets get their turn. When nothing has come for a while the loop sleeps until a device
 * interrupts; how long that while is, the policy says.
 *
 * Where a device is served by another process that needs the same CPU (vfio-user on a machine with one), a burst ends
 * when nothing moves, and the other process gets the CPU.
 *
 * A device that is gone ends the loop, or leaves it: `onGone`.
 */
import { type Clock, clockOption, every, nextTurn, systemClock } from '../clock.js';
import type { NetDevice, RxQueue } from '../driver/device.js';
import { waitForAny } from '../driver/packet-wait.js';
import { queuesHere } from '../driver/queue-share.js';
import { NicError, type NicErrorCode } from '../errors.js';
import { giveWay, hasOneCpu } from '../one-cpu.js';
import {
  arrayOption,
  badOption,
  booleanOption,
  choiceOption,
  describeValue,
  functionOption,
  knownOptions,
  millisecondsOption,
  signalOption,
} from '../options.js';

/** What the loop needs of a device. */
export type LoopDevice = Pick<NetDevice, 'rxQueues' | 'vfio'> & Partial<Pick<NetDevice, 'onGone'>>;

/**
 * What an idle loop does. `latency`: it polls on and never sleeps; a core is busy, and a packet is found at once. `balanced`:
 * it sleeps when nothing has come for a while (`idleAfterMs`). `power`: it sleeps as soon as there is nothing to do, so that a
 * core rests between packets, and each packet after a pause waits for the thread to wake up.
 */
export type PollPolicy = (typeof POLL_POLICIES)[number];

export const POLL_POLICIES = ['latency', 'balanced', 'power'] as const;

export interface PollLoopOptions {
  /** Ends the loop. */
  readonly signal: AbortSignal;
  /** Whose packets end a sleep, and whose end ends the loop. Without devices and queues the loop never sleeps. */
  readonly devices?: readonly LoopDevice[];
  /**
   * Called when one of `devices` is gone (unplugged, its server or its interface has ended), with the reason; from then on `poll`
   * should leave it alone. Returns the devices to go on with, which end sleeps from now on; where it returns none the loop rejects
   * with the reason. Without it, it always does.
   */
  readonly onGone?: (device: LoopDevice, error: Error) => readonly LoopDevice[];
  /** Whose packets end a sleep: some queues of devices. */
  readonly queues?: readonly Pick<RxQueue, 'wait'>[];
  /** When it sleeps. Default `balanced`; without devices and queues `latency` is the only one. */
  readonly policy?: PollPolicy;
  /** With `balanced`: time without work before the first sleep, in milliseconds. Default 20. */
  readonly idleAfterMs?: number;
  /**
   * Whether another process, which serves the devices, needs this process's CPU: then it gets it whenever nothing moves,
   * and a packet that comes at that moment waits for about 0.1 ms. By default true where this process has one CPU and
   * one of `devices` is a vfio-user server's.
   */
  readonly sharesCpu?: boolean;
  /** By default the machine's. */
  readonly clock?: Clock;
}

const KNOWN = [
  'signal',
  'devices',
  'onGone',
  'queues',
  'policy',
  'idleAfterMs',
  'sharesCpu',
  'clock',
] as const;
const IDLE_AFTER_MS = 20;
const BURST_NS = 1e6;
/** Errors that say that a device is gone. */
const GONE: readonly NicErrorCode[] = ['DEVICE_GONE', 'PEER_GONE', 'PROTOCOL'];
/** How often a sleeper polls once: a poll may do something by the clock. Packets interrupt. */
const LOOK_MS = 1000;
const MAX_POLLS = 1 << 16;
/** Where a burst ends when nothing moves: one that does not may take so many, and short ones say nothing about its length. */
const MAX_POLLS_UNTIL_IDLE = 1 << 12;

/**
 * Calls `poll` over and over until the signal is aborted. Resolves when it is; rejects where `poll` throws, where a device
 * of `devices` is gone, and where one that it sleeps on is or gets closed.
 * @param poll does one batch and returns how much it did; 0 means idle
 * @throws NicError `BAD_OPTION`, also where `poll` returns no number; `CLOSED`; `DEVICE_GONE`, `PEER_GONE`
 * @example
 * await pollLoop(() => forwarder.poll(), { signal, devices: [a, b] });
 */
export async function pollLoop(poll: () => number, options: PollLoopOptions): Promise<void> {
  functionOption('The first parameter of pollLoop', poll);
  knownOptions('pollLoop', options, KNOWN);
  const signal = signalOption('signal', options.signal);
  const clock = clockOption('clock', options.clock ?? systemClock);
  const devices = arrayOption('devices', options.devices ?? []);
  const onGone = options.onGone === undefined ? undefined : functionOption('onGone', options.onGone);
  const queues = arrayOption('queues', options.queues ?? []).map(queueOf);
  const shares = booleanOption('sharesCpu', options.sharesCpu ?? sharesCpu(devices));
  const idleAfterNs = millisecondsOption('idleAfterMs', options.idleAfterMs ?? IDLE_AFTER_MS) * 1e6;
  let polls = 64;
  let lastWorkNs = clock.nowNs();
  using members = new Members(queues, devices, onGone);
  const policy = policyOf(options, members.sleepers.length > 0);
  // True where one poll without work is enough to sleep on.
  let looksOnce = policy === 'power';
  while (!signal.aborted) {
    members.throwIfEnded();
    const { losses } = members;
    try {
      const startNs = clock.nowNs();
      const untilIdle = shares || looksOnce;
      const most = untilIdle ? MAX_POLLS_UNTIL_IDLE : MAX_POLLS;
      const work = untilIdle ? burstUntilIdle(poll, Math.min(polls, most)) : burst(poll, polls);
      if (!(Number.isFinite(work) && work >= 0)) throw noCount(poll, 'the sum of a burst is', work);
      const nowNs = clock.nowNs();
      // The clock is read once a burst, not once a poll: aim the next burst at its length.
      if (nowNs - startNs < BURST_NS / 2 && polls < most) polls *= 2;
      else if (nowNs - startNs > BURST_NS * 2 && polls > 1) polls >>= 1;
      if (work > 0) lastWorkNs = nowNs;
      const isIdle = policy === 'power' ? work === 0 : nowNs - lastWorkNs > idleAfterNs;
      if (isIdle && policy !== 'latency' && members.sleepers.length > 0) {
        const woken = await sleepOn(members.sleepers, poll, signal, clock);
        // After a packet there is the full time to find more; where a wait has ended by its time one poll decides.
        if (woken) lastWorkNs = clock.nowNs();
        looksOnce = policy === 'power' || !woken;
      } else {
        looksOnce = policy === 'power';
        // After a full burst too: by then the other process has something to do.
        if (shares) giveWay();
        await nextTurn();
      }
    } catch (error) {
      await members.explain(error, losses);
    }
  }
}

/** The devices of a loop, and which of them are still there. */
class Members implements Disposable {
  /** Queues whose packets end a sleep: those that were named, and those of the devices that are there. */
  sleepers: readonly Pick<RxQueue, 'wait'>[] = [];
  /** How many have gone. */
  losses = 0;
  readonly #named: readonly Pick<RxQueue, 'wait'>[];
  readonly #onGone: PollLoopOptions['onGone'];
  readonly #watches = new Map<LoopDevice, () => void>();
  #end: { readonly error: unknown } | undefined;

  constructor(
    named: readonly Pick<RxQueue, 'wait'>[],
    devices: readonly LoopDevice[],
    onGone: PollLoopOptions['onGone'],
  ) {
    this.#named = named;
    this.#onGone = onGone;
    this.#follow(devices);
  }

  /** @throws the reason of the last loss, where the loop has none to go on with */
  throwIfEnded(): void {
    if (this.#end !== undefined) throw this.#end.error;
  }

  /**
   * Returns where a device's end since `losses` is what an error says. What finds a device gone may throw before the device tells
   * so, which it does in a turn of its own.
   * @throws any other error
   */
  async explain(error: unknown, losses: number): Promise<void> {
    if (!(error instanceof NicError && GONE.includes(error.code))) throw error;
    if (this.losses === losses) await nextTurn();
    if (this.losses === losses) throw error;
  }

  [Symbol.dispose](): void {
    for (const stop of this.#watches.values()) stop();
    this.#watches.clear();
  }

  #follow(devices: readonly LoopDevice[]): void {
    const queues = devices.flatMap(queuesOf);
    for (const [device, stop] of this.#watches) {
      if (devices.includes(device)) continue;
      this.#watches.delete(device);
      stop();
    }
    for (const device of devices) {
      if (this.#watches.has(device)) continue;
      const stop = device.onGone?.((error) => this.#lose(device, error));
      this.#watches.set(device, stop ?? (() => {}));
    }
    this.sleepers = [...this.#named, ...queues];
  }

  #lose(device: LoopDevice, error: Error): void {
    this.losses++;
    try {
      const left = arrayOption('What onGone returns', this.#onGone?.(device, error) ?? []);
      if (left.length === 0) throw error;
      this.#follow(left);
    } catch (reason) {
      // Thrown by the loop: who tells of a loss expects no errors.
      this.#end ??= { error: reason };
    }
  }
}

/** True where a device is served by another process, and this process has one CPU to share with it. */
export function sharesCpu(devices: readonly Pick<NetDevice, 'vfio'>[]): boolean {
  return hasOneCpu() && devices.some(({ vfio }) => vfio?.backend === 'vfio-user');
}

/** @throws NicError `BAD_OPTION` for what would do nothing */
function policyOf({ policy, idleAfterMs }: PollLoopOptions, canSleep: boolean): PollPolicy {
  if (policy === undefined) return canSleep ? 'balanced' : 'latency';
  choiceOption('policy', policy, POLL_POLICIES);
  if (policy !== 'latency' && !canSleep) {
    throw new NicError('BAD_OPTION', `A loop without devices and queues cannot have the policy ${policy}`, {
      hint: 'Give the devices or queues whose packets are to end a sleep, or leave the policy out.',
    });
  }
  if (policy !== 'balanced' && idleAfterMs !== undefined) {
    throw new NicError('BAD_OPTION', `idleAfterMs does nothing with the policy ${policy}`, {
      hint: 'Leave it out, or take the policy balanced.',
    });
  }
  return policy;
}

function queuesOf(device: Pick<NetDevice, 'rxQueues'>): readonly RxQueue[] {
  if (Array.isArray((device as Partial<NetDevice> | undefined)?.rxQueues)) return queuesHere(device.rxQueues);
  throw badOption('An element of devices', device, 'devices that open() returned');
}

function queueOf(queue: Pick<RxQueue, 'wait'>): Pick<RxQueue, 'wait'> {
  if (typeof (queue as Partial<RxQueue> | undefined)?.wait === 'function') return queue;
  throw badOption('An element of queues', queue, 'receive queues of devices that open() returned');
}

/**
 * True where a packet has come, false where a queue has ended the wait by itself and when the loop is to end. The interrupts stay
 * unmasked meanwhile: masking and unmasking them at each look would wake up an emulator.
 */
async function sleepOn(
  queues: readonly Pick<RxQueue, 'wait'>[],
  poll: () => number,
  signal: AbortSignal,
  clock: Clock,
): Promise<boolean> {
  const end = new AbortController();
  const wakeUp = (): void => end.abort();
  let found = false;
  let failure: { readonly error: unknown } | undefined;
  const endLooks = every(clock, LOOK_MS, () => {
    try {
      found = firstOf(poll) > 0;
    } catch (error) {
      failure = { error };
    }
    if (found || failure !== undefined) wakeUp();
  });
  signal.addEventListener('abort', wakeUp, { once: true });
  try {
    return await waitForAny(queues, { signal: end.signal });
  } catch (error) {
    if (failure !== undefined) throw failure.error;
    if (error === end.signal.reason) return found;
    throw error;
  } finally {
    endLooks();
    signal.removeEventListener('abort', wakeUp);
  }
}

function burst(poll: () => number, polls: number): number {
  let work = firstOf(poll);
  for (let i = 1; i < polls; i++) work += poll();
  return work;
}

/** Stops at the first poll that finds nothing. */
function burstUntilIdle(poll: () => number, polls: number): number {
  let moved = firstOf(poll);
  let work = moved;
  for (let i = 1; i < polls && moved > 0; i++) {
    moved = poll();
    work += moved;
  }
  return work;
}

/** The first poll of a burst, and its result checked; of the others the sum is. */
function firstOf(poll: () => number): number {
  const moved = poll();
  if (typeof moved === 'number' && moved >= 0) return moved;
  throw noCount(poll, 'it returned', moved);
}

function noCount(poll: () => number, what: string, result: unknown): NicError {
  const name = poll.name === '' ? 'The poll function' : `The poll function ${poll.name}`;
  return new NicError(
    'BAD_OPTION',
    `${name} does not return a number of packets: ${what} ${describeValue(result)}`,
    {
      hint: 'Return how many packets it moved, 0 where there was nothing to do; an async function cannot poll.',
    },
  );
}
