/**
 * Limits how often a source may be heard: what goes wrong because of a peer can go wrong ten thousand times a second,
 * and lines that nobody can read fill a queue that nobody empties.
 */
import { type Clock, systemClock } from '../clock.js';
import { NicError } from '../errors.js';

/** What passes of one source in a second. */
const REPORTS_PER_SECOND = 5;
const WINDOW_MS = 1000;

type Report = (error: unknown, where: string) => void;

interface Source {
  passed: number;
  suppressed: number;
  /** Ends the second that began with the first report. */
  readonly cancelTimer: () => void;
}

export class ReportLimit {
  readonly #report: Report;
  readonly #clock: Clock;
  readonly #sources = new Map<string, Source>();

  /** @param report gets what passes, and once a second how many others of the source there were */
  constructor(report: Report, clock: Clock = systemClock) {
    this.#report = report;
    this.#clock = clock;
  }

  report(error: unknown, where: string): void {
    const source = this.#sources.get(where) ?? this.#begin(where);
    if (source.passed < REPORTS_PER_SECOND) {
      source.passed++;
      this.#report(error, where);
    } else {
      source.suppressed++;
    }
  }

  /** Tells what was suppressed until now. */
  flush(): void {
    for (const where of [...this.#sources.keys()]) this.#end(where);
  }

  #begin(where: string): Source {
    const cancelTimer = this.#clock.after(WINDOW_MS, () => this.#end(where), false);
    const source = { passed: 0, suppressed: 0, cancelTimer };
    this.#sources.set(where, source);
    return source;
  }

  #end(where: string): void {
    const source = this.#sources.get(where);
    if (source === undefined) return;
    source.cancelTimer();
    this.#sources.delete(where);
    if (source.suppressed === 0) return;
    this.#report(new NicError('PROTOCOL', `${source.suppressed} more messages suppressed`), where);
  }
}
