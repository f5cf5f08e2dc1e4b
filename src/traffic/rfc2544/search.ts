/**
 * Searches for the highest load that a device under test passes on. Each is a generator: it yields the load to be tried next, is given
 * what came of it, and returns what it found. So it needs no clock and no port.
 *
 * Loads are shares of the line, above 0 and up to 1.
 */

/** What came of one trial. */
export interface Measured {
  /** Load that the sender reached: a little below what was asked for, or far below where it is too slow. */
  readonly offered: number;
  /** Of the frames that were sent, how many did not come: 0 to 1. */
  readonly lossRatio: number;
}

export interface SearchOptions {
  /** How near the load that is found must be to one that is too high. Share of the line, such as 0.005. */
  readonly tolerance: number;
  /** Trials of each load. */
  readonly repetitions: number;
}

export interface FoundLoad {
  /** Highest load that passed; 0 where none did. */
  readonly load: number;
  /** Lowest load that did not pass; undefined where all did. */
  readonly tooHigh: number | undefined;
  /** The sender is the limit: what it reached passed, and what is above that it did not reach. */
  readonly unreached: boolean;
}

export type LoadSearch<Found> = Generator<number, Found, Measured>;

/** Share of a load that is no difference. */
const ROUNDING = 1e-12;
/** More trials than any search with a tolerance above 0.0001 needs. */
const MOST_LOADS = 64;

/**
 * Bisection (RFC 2544, 26.1, leaves the choice of rates open): a load passes where no trial of it lost more than the ratio allows.
 * @param lossRatio 0 for throughput as RFC 1242 defines it
 */
export function* binarySearch(options: SearchOptions, lossRatio = 0): LoadSearch<FoundLoad> {
  let [passed, failed] = [0, Number.POSITIVE_INFINITY];
  /** Lowest load that the sender did not reach: nothing is known of the device above what it reached instead. */
  let ceiling = Number.POSITIVE_INFINITY;
  let load = 1;
  for (let loads = 0; loads < MOST_LOADS; loads++) {
    const { offered, passes } = yield* tried(load, options.repetitions, lossRatio);
    if (!passes) failed = Math.min(failed, offered);
    else {
      // Less than what has passed before tells nothing of the device either, however near it is to what was asked for.
      if (offered < load - options.tolerance || offered <= passed) ceiling = load;
      passed = Math.max(passed, offered);
    }
    // The whole line passed, or all that the sender has.
    if (failed === Number.POSITIVE_INFINITY) break;
    const end = Math.min(failed, ceiling);
    if (end - passed <= options.tolerance) break;
    load = (passed + end) / 2;
  }
  const tooHigh = failed === Number.POSITIVE_INFINITY ? undefined : failed;
  return { load: passed, tooHigh, unreached: ceiling < failed };
}

function* tried(
  load: number,
  repetitions: number,
  lossRatio: number,
): Generator<number, { offered: number; passes: boolean }, Measured> {
  let offered = load;
  for (let i = 0; i < repetitions; i++) {
    const measured = yield load;
    offered = Math.min(offered, measured.offered);
    if (measured.lossRatio > lossRatio) return { offered: Math.min(load, measured.offered), passes: false };
  }
  return { offered, passes: true };
}

/** What a load must stand to be a bound: a goal of draft-ietf-bmwg-mlrsearch. */
export interface SearchGoal {
  readonly name: string;
  /** Highest loss ratio of a trial that passes. */
  readonly lossRatio: number;
}

/** No loss at all, and the half percent that many reports allow. */
export const NDR: SearchGoal = { name: 'NDR', lossRatio: 0 };
export const PDR: SearchGoal = { name: 'PDR', lossRatio: 0.005 };

/** The trials of one load, all of the same length. */
interface LoadTrials {
  readonly load: number;
  readonly lossRatios: number[];
  /** The least that the sender reached in one of them: a little below `load`. */
  offered: number;
}

/**
 * Several goals in one search, after draft-ietf-bmwg-mlrsearch: a load may lose too much in up to half of its trials (exceed ratio
 * 0.5) before it is too high; trials count for every goal, and the first guess is the rate that came through at full load.
 * All trials have the same length.
 * @returns for each goal in the order given
 */
export function* mlrSearch(
  options: SearchOptions,
  goals: readonly SearchGoal[] = [NDR, PDR],
): LoadSearch<FoundLoad[]> {
  const { repetitions, tolerance } = options;
  const loads = new Map<number, LoadTrials>();
  let ceiling = Number.POSITIVE_INFINITY;
  const measure = function* (
    load: number,
  ): Generator<number, LoadTrials & { lastOffered: number }, Measured> {
    const { offered, lossRatio } = yield load;
    // Where the sender cannot reach a load, it is the one that it reached that was tried.
    const reached = offered < load - tolerance ? offered : load;
    if (reached < load && lossRatio === 0) ceiling = Math.min(ceiling, load);
    const trials = loads.get(reached) ?? { load: reached, lossRatios: [], offered: reached };
    trials.lossRatios.push(lossRatio);
    trials.offered = Math.min(trials.offered, offered);
    loads.set(reached, trials);
    return { ...trials, lastOffered: reached };
  };
  const first = yield* measure(1);
  const top = first.lastOffered;
  // Below what came through by more than the rounding: above it, a device at its limit would lose again.
  const guess = top * (1 - first.lossRatios[0]!) * (1 - ROUNDING);
  if (first.lossRatios[0]! > 0 && guess >= tolerance && guess < top) yield* measure(guess);
  for (const goal of goals) {
    for (let trials = 0; trials < MOST_LOADS * repetitions; trials++) {
      const next = nextLoad([...loads.values()], goal, options, top, ceiling);
      if (next === undefined) break;
      yield* measure(next);
    }
  }
  return goals.map((goal) => {
    const bounds = boundsOf([...loads.values()], goal, repetitions, ceiling);
    // What passed is what was offered, not what was asked for.
    return { ...bounds, load: loads.get(bounds.load)?.offered ?? bounds.load };
  });
}

/** The load to be tried for a goal; undefined where its bounds are near enough. */
function nextLoad(
  loads: readonly LoadTrials[],
  goal: SearchGoal,
  { repetitions, tolerance }: SearchOptions,
  top: number,
  ceiling: number,
): number | undefined {
  const bounds = boundsOf(loads, goal, repetitions, ceiling);
  const { load: passed } = bounds;
  const tooHigh = Math.min(bounds.tooHigh ?? Number.POSITIVE_INFINITY, ceiling);
  if (bounds.tooHigh === undefined && ceiling !== Number.POSITIVE_INFINITY && passed >= top) return undefined;
  // One between the bounds whose trials do not decide yet comes first: those nearest to too high.
  const open = loads.filter(
    ({ load, lossRatios }) =>
      load > passed && load < tooHigh && verdict(lossRatios, goal, repetitions) === 'open',
  );
  if (open.length > 0) return Math.max(...open.map(({ load }) => load));
  if (tooHigh === Number.POSITIVE_INFINITY) return undefined; // nothing above the highest
  if (tooHigh - passed <= tolerance) return undefined;
  // Near a bound that is known, one width away from it: the other bound is likely there.
  const isFresh = passed > 0 && !loads.some(({ load }) => load > passed && load < tooHigh);
  const step = passed + tolerance;
  if (isFresh && tooHigh >= top && step < tooHigh) return step;
  return (passed + tooHigh) / 2;
}

/** What the trials of a load say: too high or not whatever the missing ones bring, or not yet. */
function verdict(
  lossRatios: readonly number[],
  goal: SearchGoal,
  repetitions: number,
): 'passes' | 'too high' | 'open' {
  const bad = lossRatios.filter((ratio) => ratio > goal.lossRatio).length;
  const all = Math.max(repetitions, lossRatios.length);
  const missing = all - lossRatios.length;
  if (bad > all / 2) return 'too high';
  return bad + missing <= all / 2 ? 'passes' : 'open';
}

/** The lowest load that is too high, and the highest below it that passes. */
function boundsOf(
  loads: readonly LoadTrials[],
  goal: SearchGoal,
  repetitions: number,
  ceiling: number,
): FoundLoad {
  const are = (wanted: string): number[] =>
    loads
      .filter(({ lossRatios }) => verdict(lossRatios, goal, repetitions) === wanted)
      .map(({ load }) => load);
  const tooHigh = Math.min(Number.POSITIVE_INFINITY, ...are('too high'));
  const load = Math.max(0, ...are('passes').filter((passing) => passing < tooHigh));
  return {
    load,
    tooHigh: tooHigh === Number.POSITIVE_INFINITY ? undefined : tooHigh,
    unreached: ceiling < tooHigh,
  };
}

/** Trials that a bisection of a range still needs, for an estimate of the time left. */
export function trialsLeft(range: number, tolerance: number): number {
  return range <= tolerance ? 0 : Math.ceil(Math.log2(range / tolerance));
}
