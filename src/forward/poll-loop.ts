/**
 * Runs a polling function without starving the event loop. Polling goes in bursts of about a millisecond; between
 * bursts timers, signals and sockets get their turn. When nothing has come for a while the loop sleeps until a device
 * interrupts.
 *
 * Where a device is served by another process that needs the same CPU (vfio-user on a machine with one), a burst ends
 * when nothing moves, and the other process gets the CPU.
 */
import { type Clock, clockOption, nextTurn, systemClock } from '../clock.js';
import type { NetDevice, RxQueue } from '../driver/device.js';
import { waitForAny } from '../driver/packet-wait.js';
import { queuesHere } from '../driver/queue-share.js';
import { NicError } from '../errors.js';
import { giveWay, hasOneCpu } from '../one-cpu.js';
import {
  arrayOption,
  badOption,
  booleanOption,
  describeValue,
  functionOption,
  knownOptions,
  millisecondsOption,
  signalOption,
} from '../options.js';

export interface PollLoopOptions {
  /** Ends the loop. */
  readonly signal: AbortSignal;
  /** Whose packets end a sleep. Without devices and queues the loop never sleeps. */
  readonly devices?: readonly Pick<NetDevice, 'rxQueues' | 'vfio'>[];
  /** Whose packets end a sleep: some queues of devices. */
  readonly queues?: readonly Pick<RxQueue, 'wait'>[];
  /** Time without work before the first sleep, in milliseconds. Default 20. */
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

const KNOWN = ['signal', 'devices', 'queues', 'idleAfterMs', 'sharesCpu', 'clock'] as const;
const IDLE_AFTER_MS = 20;
const BURST_NS = 1e6;
/** Longest sleep. Packets interrupt it; what has no interrupt is looked at by its own wait. */
const SLEEP_MS = 1000;
const MAX_POLLS = 1 << 16;

/**
 * Calls `poll` over and over until the signal is aborted. Resolves when it is; rejects where `poll` throws, and where a
 * device that it sleeps on is or gets closed.
 * @param poll does one batch and returns how much it did; 0 means idle
 * @throws NicError `BAD_OPTION`, also where `poll` returns no number; `CLOSED`, `DEVICE_GONE`
 * @example
 * await pollLoop(() => forwarder.poll(), { signal, devices: [a, b] });
 */
export async function pollLoop(poll: () => number, options: PollLoopOptions): Promise<void> {
  functionOption('The first parameter of pollLoop', poll);
  knownOptions('pollLoop', options, KNOWN);
  const signal = signalOption('signal', options.signal);
  const clock = clockOption('clock', options.clock ?? systemClock);
  const devices = arrayOption('devices', options.devices ?? []);
  const queues = [...arrayOption('queues', options.queues ?? []).map(queueOf), ...devices.flatMap(queuesOf)];
  const idleAfterNs = millisecondsOption('idleAfterMs', options.idleAfterMs ?? IDLE_AFTER_MS) * 1e6;
  const shares = booleanOption('sharesCpu', options.sharesCpu ?? sharesCpu(devices));
  let polls = 64;
  let lastWorkNs = clock.nowNs();
  while (!signal.aborted) {
    const startNs = clock.nowNs();
    const work = shares ? burstUntilIdle(poll, polls) : burst(poll, polls);
    if (!(Number.isFinite(work) && work >= 0)) throw noCount(poll, 'the sum of a burst is', work);
    const nowNs = clock.nowNs();
    // The clock is read once a burst, not once a poll: aim the next burst at its length.
    if (nowNs - startNs < BURST_NS / 2 && polls < MAX_POLLS) polls *= 2;
    else if (nowNs - startNs > BURST_NS * 2 && polls > 1) polls >>= 1;
    if (work > 0) lastWorkNs = nowNs;
    if (queues.length > 0 && nowNs - lastWorkNs > idleAfterNs) {
      const woken = await sleepOn(queues, signal, clock);
      // After a packet there is the full time to find more; after a mere timeout one burst decides.
      if (woken) lastWorkNs = clock.nowNs();
    } else {
      // After a full burst too: by then the other process has something to do.
      if (shares) giveWay();
      await nextTurn();
    }
  }
}

/** True where a device is served by another process, and this process has one CPU to share with it. */
export function sharesCpu(devices: readonly Pick<NetDevice, 'vfio'>[]): boolean {
  return hasOneCpu() && devices.some(({ vfio }) => vfio?.backend === 'vfio-user');
}

function queuesOf(device: Pick<NetDevice, 'rxQueues'>): readonly RxQueue[] {
  if (Array.isArray((device as Partial<NetDevice> | undefined)?.rxQueues)) return queuesHere(device.rxQueues);
  throw badOption('An element of devices', device, 'devices that open() returned');
}

function queueOf(queue: Pick<RxQueue, 'wait'>): Pick<RxQueue, 'wait'> {
  if (typeof (queue as Partial<RxQueue> | undefined)?.wait === 'function') return queue;
  throw badOption('An element of queues', queue, 'receive queues of devices that open() returned');
}

/** True where a packet has come, false after a while of the clock's time and when the loop is to end. */
async function sleepOn(
  queues: readonly Pick<RxQueue, 'wait'>[],
  signal: AbortSignal,
  clock: Clock,
): Promise<boolean> {
  const end = new AbortController();
  const wakeUp = (): void => end.abort();
  const cancel = clock.after(SLEEP_MS, wakeUp);
  signal.addEventListener('abort', wakeUp, { once: true });
  try {
    return await waitForAny(queues, { signal: end.signal });
  } catch (error) {
    if (error === end.signal.reason) return false;
    throw error;
  } finally {
    cancel();
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
