/**
 * Runs a polling function without starving the event loop. Polling goes in bursts of about a millisecond; between
 * bursts timers, signals and sockets get their turn. When nothing has come for a while the loop sleeps until a device
 * interrupts.
 */
import type { NetDevice } from '../driver/device.js';

export interface PollLoopOptions {
  /** Ends the loop. */
  readonly signal: AbortSignal;
  /** Whose packets end a sleep. Without devices the loop never sleeps. */
  readonly devices?: readonly Pick<NetDevice, 'waitForPackets'>[];
  /** Time without work before the first sleep, in milliseconds. Default 20. */
  readonly idleAfterMs?: number;
}

const BURST_MS = 1;
const SLEEP_MS = 100;
const MAX_POLLS = 1 << 16;

/**
 * Calls `poll` over and over until the signal is aborted. Resolves when it is; rejects where `poll` throws.
 * @param poll does one batch and returns how much it did; 0 means idle
 * @example
 * await pollLoop(() => forwarder.poll(), { signal, devices: [a, b] });
 */
export async function pollLoop(poll: () => number, options: PollLoopOptions): Promise<void> {
  const { signal, devices = [], idleAfterMs = 20 } = options;
  let polls = 64;
  let lastWork = performance.now();
  while (!signal.aborted) {
    const start = performance.now();
    const work = burst(poll, polls);
    const now = performance.now();
    // The clock is read once a burst, not once a poll: aim the next burst at its length.
    if (now - start < BURST_MS / 2 && polls < MAX_POLLS) polls *= 2;
    else if (now - start > BURST_MS * 2 && polls > 1) polls >>= 1;
    if (work > 0) lastWork = now;
    if (devices.length > 0 && now - lastWork > idleAfterMs) {
      const woken = await Promise.race(devices.map((device) => device.waitForPackets(SLEEP_MS)));
      // After a packet there is the full time to find more; after a mere timeout one burst decides.
      if (woken) lastWork = performance.now();
    } else {
      await new Promise<void>((resolve) => setImmediate(resolve));
    }
  }
}

function burst(poll: () => number, polls: number): number {
  let work = 0;
  for (let i = 0; i < polls; i++) work += poll();
  return work;
}
