/**
 * Ends a traffic command in good order: the first signal that asks it to end (Ctrl-C, Ctrl-\, `kill`, a terminal that is
 * closed) stops it, a second one kills it.
 */
import { systemClock } from '../src/clock.js';

/** What asks a command to end. */
const SIGNALS: readonly NodeJS.Signals[] = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'];
const EXIT_INTERRUPTED = 130;
/** A signal that follows another this soon is the same Ctrl-C: the terminal's, and npm's that passes it on. */
const SAME_SIGNAL_MS = 100;

/** What a signal does now; undefined where it has its default meaning. */
let handler: (() => void) | undefined;
const dispatch = (): void => handler?.();

/** Listeners stay while the meaning changes: a signal that comes at that moment is not lost. */
function onSignals(next: (() => void) | undefined): void {
  if (handler === undefined && next !== undefined) for (const name of SIGNALS) process.on(name, dispatch);
  if (handler !== undefined && next === undefined) for (const name of SIGNALS) process.off(name, dispatch);
  handler = next;
}

/** Lets a signal end the process, with status 0 where none is set yet, until `stopOnSignals` gives it another meaning. */
export function exitOnSignals(): void {
  onSignals(() => process.exit());
}

export interface Stop {
  readonly signal: AbortSignal;
  /** Stops the run, as a signal does. With an error the run fails with it. */
  stop(error?: unknown): void;
  /** Has the run fail with an error when it ends, and goes on. */
  fail(error: unknown): void;
  /** Whether there was an error. */
  readonly failed: boolean;
  /** The first error, thrown; nothing where there was none. */
  throwIfFailed(): void;
  /** Gives the signals back their default meaning. */
  dispose(): void;
}

export function stopOnSignals(): Stop {
  const controller = new AbortController();
  let failure: { error: unknown } | undefined;
  const fail = (error: unknown): void => {
    failure ??= { error };
  };
  // Not `aborted`: a first signal while a run that ended by itself is closing must not cut that short.
  let signalledNs: number | undefined;
  const onSignal = (): void => {
    const nowNs = systemClock.nowNs();
    signalledNs ??= nowNs;
    if (nowNs - signalledNs > SAME_SIGNAL_MS * 1e6) process.exit(EXIT_INTERRUPTED);
    controller.abort();
  };
  onSignals(onSignal);
  return {
    signal: controller.signal,
    stop(error) {
      if (error !== undefined) fail(error);
      controller.abort();
    },
    fail,
    get failed() {
      return failure !== undefined;
    },
    throwIfFailed() {
      if (failure !== undefined) throw failure.error;
    },
    dispose() {
      if (handler === onSignal) onSignals(undefined);
    },
  };
}
