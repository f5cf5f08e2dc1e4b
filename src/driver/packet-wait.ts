/**
 * Sleeping until a packet comes, for one receive queue. Under load a queue is polled; when nothing has come for a while,
 * its interrupt is unmasked and the event loop sleeps on the eventfd.
 */
import { MAX_TIMER_MS } from '../clock.js';
import type { WaitOptions } from './device.js';
import { checkWait } from './until.js';

export interface PacketWaitOptions {
  /** True where a packet is waiting. */
  readonly pending: () => boolean;
  /** Unmasks the interrupt. Without it (a device without interrupts) the wait looks once a millisecond. */
  readonly arm?: (() => void) | undefined;
  /** Masks it. */
  readonly disarm?: (() => void) | undefined;
}

const LOOK_MS = 1;

/** How a wait ended: packets, no packets, or an error. */
type Outcome = boolean | { readonly error: unknown };

export class PacketWait {
  readonly #options: PacketWaitOptions;
  readonly #waiters = new Set<(outcome: Outcome) => void>();
  #looking: NodeJS.Timeout | undefined;
  #end: { readonly error: unknown } | undefined;

  constructor(options: PacketWaitOptions) {
    this.#options = options;
  }

  /**
   * True as soon as packets are there, false after `timeoutMs`. Any number may wait at the same time. The process stays
   * alive meanwhile.
   * @throws the signal's reason; what `close` was given; what masking or unmasking throws: the device is gone
   */
  async wait(options: WaitOptions = {}): Promise<boolean> {
    checkWait(options);
    const { signal, timeoutMs = Number.POSITIVE_INFINITY } = options;
    signal?.throwIfAborted();
    if (this.#end !== undefined) throw this.#end.error;
    if (this.#options.pending()) return true;
    const outcome = await new Promise<Outcome>((resolve) => {
      // Interrupts do not keep the process alive. A timer does, also one that ends nothing.
      const timer =
        timeoutMs === Number.POSITIVE_INFINITY
          ? setInterval(() => {}, MAX_TIMER_MS)
          : setTimeout(() => finish(false), Math.min(timeoutMs, MAX_TIMER_MS));
      const onAbort = (): void => finish({ error: signal!.reason });
      const finish = (how: Outcome): void => {
        clearTimeout(timer);
        signal?.removeEventListener('abort', onAbort);
        this.#waiters.delete(finish);
        resolve(this.#waiters.size === 0 ? this.#stop(how) : how);
      };
      signal?.addEventListener('abort', onAbort, { once: true });
      this.#waiters.add(finish);
      this.#start();
    });
    if (typeof outcome === 'object') throw outcome.error;
    return outcome;
  }

  /** An interrupt came. One left over from packets that were polled long ago ends no wait. */
  wake(): void {
    if (this.#waiters.size === 0) return;
    if (this.#options.pending()) this.#finishAll(true);
    else this.#armAndLook();
  }

  /** Ends every wait, now and from now on, with an error. A later one takes its place: what was gone is closed then. */
  close(error: unknown): void {
    this.#end = { error };
    this.#finishAll(this.#end);
  }

  #start(): void {
    if (this.#options.arm === undefined) {
      this.#looking ??= setInterval(() => this.wake(), LOOK_MS);
      return;
    }
    // Armed already for another who waits: the interrupt is for all.
    if (this.#waiters.size === 1) this.#armAndLook();
    else if (this.#options.pending()) this.#finishAll(true);
  }

  /** A packet that came between the last look and the unmasking may have raised no interrupt. */
  #armAndLook(): void {
    this.#arm();
    if (this.#options.pending()) this.#finishAll(true);
  }

  #arm(): void {
    try {
      this.#options.arm?.();
    } catch (error) {
      this.#finishAll({ error });
    }
  }

  /** The last one stopped waiting. */
  #stop(how: Outcome): Outcome {
    clearInterval(this.#looking);
    this.#looking = undefined;
    try {
      this.#options.disarm?.();
    } catch (error) {
      return typeof how === 'object' ? how : { error };
    }
    return how;
  }

  #finishAll(outcome: Outcome): void {
    for (const finish of [...this.#waiters]) finish(outcome);
  }
}

/**
 * Waits on several queues: true as soon as one has a packet, false where none has within `timeoutMs`.
 * @throws the first error of any, the reason of the signal
 */
export async function waitForAny(
  queues: readonly { wait(options?: WaitOptions): Promise<boolean> }[],
  options: WaitOptions = {},
): Promise<boolean> {
  if (queues.length === 1) return queues[0]!.wait(options);
  const { signal, timeoutMs } = options;
  signal?.throwIfAborted();
  const end = new AbortController();
  const onAbort = (): void => end.abort(signal!.reason);
  signal?.addEventListener('abort', onAbort, { once: true });
  try {
    const waits = queues.map((queue) => queue.wait({ signal: end.signal, timeoutMs }));
    // Those that are ended by the first have nobody who listens.
    for (const wait of waits) wait.catch(() => {});
    return await Promise.race(waits);
  } finally {
    signal?.removeEventListener('abort', onAbort);
    end.abort();
  }
}
