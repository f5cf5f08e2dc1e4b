/**
 * Waiting for something to become true, with a deadline, an abort signal and an end when the device closes: the one loop
 * behind all waits that look again and again.
 */
import { NicError } from '../errors.js';
import { millisecondsOption, signalOption } from '../options.js';
import type { WaitOptions } from './device.js';

export interface UntilOptions extends WaitOptions {
  /** Milliseconds between looks. Default 1. */
  readonly everyMs?: number;
  /** A second signal that ends the wait: its device closes. */
  readonly closed?: AbortSignal | undefined;
}

/**
 * Looks until `look` gives something other than undefined, and resolves with that; with undefined where it has not within
 * `timeoutMs`. A process that was held up for longer than the timeout looks once more before it gives up.
 * @throws what `look` throws; the reason of a signal
 */
export async function until<T>(
  look: () => T | undefined,
  options: UntilOptions = {},
): Promise<T | undefined> {
  const { everyMs = 1, signal, closed, timeoutMs = Number.POSITIVE_INFINITY } = options;
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    closed?.throwIfAborted();
    signal?.throwIfAborted();
    const late = performance.now() >= deadline;
    const found = look();
    if (found !== undefined) return found;
    if (late) return undefined;
    await pause(everyMs, signal, closed);
  }
}

/** Resolves after so many milliseconds, or when a signal is aborted. */
export function pause(ms: number, ...signals: readonly (AbortSignal | undefined)[]): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(done, ms);
    function done(): void {
      clearTimeout(timer);
      for (const signal of signals) signal?.removeEventListener('abort', done);
      resolve();
    }
    for (const signal of signals) {
      if (signal?.aborted === true) return done();
      signal?.addEventListener('abort', done, { once: true });
    }
  });
}

/** @throws NicError `BAD_OPTION` where these are no options of a wait */
export function checkWait(options: WaitOptions): void {
  // A number of milliseconds was the first parameter of waits once.
  if (typeof options !== 'object' || options === null) {
    throw new NicError('BAD_OPTION', `A wait was given ${String(options)}`, {
      hint: 'Give an object: { signal, timeoutMs }, both optional.',
    });
  }
  if (options.timeoutMs !== undefined) millisecondsOption('timeoutMs', options.timeoutMs);
  if (options.signal !== undefined) signalOption('signal', options.signal);
}
