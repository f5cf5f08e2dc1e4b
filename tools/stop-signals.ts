/** Ends a traffic command in good order: the first SIGINT or SIGTERM stops it, a second one kills it. */

const EXIT_INTERRUPTED = 130;
/** A signal that follows another this soon is the same Ctrl-C: the terminal's, and npm's that passes it on. */
const SAME_SIGNAL_MS = 100;

export interface Stop {
  readonly signal: AbortSignal;
  /** Stops the run, as SIGINT does. With an error the run fails with it. */
  stop(error?: unknown): void;
  /** Whether `stop` was given an error. */
  readonly failed: boolean;
  /** The error given to `stop`, thrown; nothing where there was none. */
  throwIfFailed(): void;
  /** Gives the signals back their default meaning. */
  dispose(): void;
}

export function stopOnSignals(): Stop {
  const controller = new AbortController();
  let failure: { error: unknown } | undefined;
  // Not `aborted`: a first signal while a run that ended by itself is closing must not cut that short.
  let signalledAt: number | undefined;
  const onSignal = (): void => {
    const now = performance.now();
    signalledAt ??= now;
    if (now - signalledAt > SAME_SIGNAL_MS) process.exit(EXIT_INTERRUPTED);
    controller.abort();
  };
  process.on('SIGINT', onSignal);
  process.on('SIGTERM', onSignal);
  return {
    signal: controller.signal,
    stop(error) {
      if (error !== undefined) failure ??= { error };
      controller.abort();
    },
    get failed() {
      return failure !== undefined;
    },
    throwIfFailed() {
      if (failure !== undefined) throw failure.error;
    },
    dispose() {
      process.off('SIGINT', onSignal);
      process.off('SIGTERM', onSignal);
    },
  };
}
